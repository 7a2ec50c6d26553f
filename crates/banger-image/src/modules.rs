//! Which modules an initramfs needs, in the order to load them.
//!
//! Source of the two lists: depmod(8), modules.dep(5); kernel:
//! `Documentation/kbuild/kbuild.rst` for modules.builtin.

use std::collections::{BTreeMap, BTreeSet};

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
