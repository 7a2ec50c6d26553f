//! Which modules an initramfs needs, in the order to load them.
//!
//! Source of the two lists: depmod(8), modules.dep(5); kernel:
//! `Documentation/kbuild/kbuild.rst` for modules.builtin.

use std::collections::{BTreeMap, BTreeSet};

use crate::build::BuildError;
use crate::decompress::{Format, decompress};

/// What the initramfs loads to reach the root, the network and the host.
/// Those that a kernel has built in are left out.
pub const BOOT: &[&str] = &[
    "virtio_mmio",
    "virtio_blk",
    "ext4",
    "virtio_net",
    "vmw_vsock_virtio_transport",
    "virtio_rng",
];

/// What ext4 asks the kernel for by another name than a module's (`crypto_alloc_shash`), and nothing
/// in an initramfs would load. A kernel that has it neither built in nor as a file needs it not.
const ASKED_FOR: &[&str] = &["crc32c_generic"];

/// The modules that the initramfs loads, in order: name and uncompressed content. `read` gives the
/// files of the folder of a kernel's modules.
///
/// # Errors
/// Those of `read`; or the kernel lacks one, or it is damaged. Nothing if there is no such folder.
pub fn boot(read: &ReadFile<'_>) -> Result<Option<Vec<Unpacked>>, BuildError> {
    let text =
        |file| Ok::<_, BuildError>(read(file)?.map(|b| String::from_utf8_lossy(&b).into_owned()));
    let Some(dep) = text("modules.dep")? else { return Ok(None) };
    let index = Index::parse(&dep, &text("modules.builtin")?.unwrap_or_default());
    let load = |path: &&str| {
        let content = read(path)?.ok_or_else(|| BuildError::Missing((*path).to_owned()))?;
        unpacked(path, content)
    };
    let asked_for = ASKED_FOR.iter().filter(|module| index.files.contains_key(**module));
    let wanted: Vec<_> = asked_for.chain(BOOT).copied().collect();
    index.load_order(&wanted)?.iter().map(load).collect::<Result<_, _>>().map(Some)
}

/// A module's name, and its uncompressed content.
pub type Unpacked = (String, Vec<u8>);

/// Reads a file by its path below the folder of a kernel's modules; nothing if it is not there.
pub type ReadFile<'a> = dyn Fn(&str) -> Result<Option<Vec<u8>>, BuildError> + 'a;

/// The name without what says that it is compressed, and the content.
pub(crate) fn unpacked(path: &str, content: Vec<u8>) -> Result<Unpacked, BuildError> {
    let file = path.rsplit('/').next().unwrap_or(path);
    let end = file.find(".ko").map_or(file.len(), |at| at + 3);
    let name = file[..end].to_owned();
    if Format::of(&content).is_none() {
        return Ok((name, content));
    }
    match decompress(&content) {
        Ok(content) => Ok((name, content)),
        Err(source) => Err(BuildError::Compressed { name, source }),
    }
}

/// A module that the kernel does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the kernel has no module '{0}', neither built in nor as a file")]
pub struct UnknownModule(pub String);

/// The modules of one kernel.
#[derive(Debug, Clone, Default)]
pub struct Index {
    files: BTreeMap<String, Module>,
    builtin: BTreeSet<String>,
}

#[derive(Debug, Clone)]
struct Module {
    path: String,
    needs: Vec<String>,
}

impl Index {
    /// Reads the texts of `modules.dep` and `modules.builtin`.
    #[must_use]
    pub fn parse(modules_dep: &str, modules_builtin: &str) -> Self {
        let file = |line: &str| {
            let (path, needs) = line.split_once(':')?;
            let needs = needs.split_whitespace().map(name).collect();
            Some((name(path), Module { path: path.trim().to_owned(), needs }))
        };
        Self {
            files: modules_dep.lines().filter_map(file).collect(),
            builtin: modules_builtin.lines().map(name).collect(),
        }
    }

    /// The files to load for `wanted`, each after those that it needs: paths
    /// below the folder of the kernel's modules.
    ///
    /// # Errors
    /// The kernel lacks one of them.
    pub fn load_order(&self, wanted: &[&str]) -> Result<Vec<&str>, UnknownModule> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for module in wanted {
            self.visit(&name(module), &mut seen, &mut order)?;
        }
        Ok(order)
    }

    fn visit<'a>(
        &'a self,
        module: &str,
        seen: &mut BTreeSet<String>,
        order: &mut Vec<&'a str>,
    ) -> Result<(), UnknownModule> {
        if self.builtin.contains(module) || !seen.insert(module.to_owned()) {
            return Ok(());
        }
        let found = self.files.get(module).ok_or_else(|| UnknownModule(module.to_owned()))?;
        for need in &found.needs {
            self.visit(need, seen, order)?;
        }
        order.push(&found.path);
        Ok(())
    }
}

/// The name of a module by its path: `-` and `_` are the same in it.
fn name(path: &str) -> String {
    let file = path.trim().rsplit('/').next().unwrap_or_default();
    file.split(".ko").next().unwrap_or_default().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DEP: &str = "\
kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/virtio/virtio_ring.ko:
kernel/drivers/virtio/virtio_mmio.ko.xz: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/char/hw_random/virtio-rng.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
";

    #[test]
    fn what_a_module_needs_comes_first_and_once() {
        let index = Index::parse(DEP, "kernel/fs/ext4/ext4.ko\n");
        let order = index.load_order(&["virtio_mmio", "ext4", "virtio_rng"]).unwrap();
        insta::assert_snapshot!(order.join("\n"), @r"
        kernel/drivers/virtio/virtio_ring.ko
        kernel/drivers/virtio/virtio.ko
        kernel/drivers/virtio/virtio_mmio.ko.xz
        kernel/drivers/char/hw_random/virtio-rng.ko
        ");
    }

    #[test]
    fn what_ext4_asks_for_is_loaded_if_there_is_such_a_file() {
        let builtin = BOOT.join(".ko\n") + ".ko\n";
        let of = |dep: &str| {
            let read = |file: &str| {
                Ok(Some(match file {
                    "modules.dep" => dep.into(),
                    "modules.builtin" => builtin.clone().into_bytes(),
                    _ => b"CONTENT".to_vec(),
                }))
            };
            let modules = boot(&read).unwrap().unwrap();
            modules.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(of("kernel/crypto/crc32c_generic.ko:\n"), ["crc32c_generic.ko"]);
        assert_eq!(of("kernel/lib/crc32c.ko:\n"), [""; 0]);
    }

    #[test]
    fn an_unknown_module_is_an_error() {
        let error = Index::parse(DEP, "").load_order(&["ext4"]).unwrap_err();
        insta::assert_snapshot!(error, @"the kernel has no module 'ext4', neither built in nor as a file");
    }

    #[test]
    fn modules_that_need_each_other_do_not_hang() {
        let index = Index::parse("a.ko: b.ko\nb.ko: a.ko\n", "");
        assert_eq!(index.load_order(&["a"]), Ok(vec!["b.ko", "a.ko"]));
    }

    proptest! {
        #[test]
        fn any_text_is_read(dep in "([a-c_-]{1,2}\\.ko:?( [a-c]\\.ko)*\n)*|\\PC*") {
            let _ = Index::parse(&dep, &dep).load_order(&["a"]);
        }
    }
}
