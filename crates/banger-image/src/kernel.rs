//! The kernel in a tar file of unpacked packages, with the modules that the initramfs needs.

use std::collections::BTreeMap;
use std::path::Path;

use crate::archive::members;
use crate::build::BuildError;
use crate::{modules, vmlinux};

const KERNEL: &str = "boot/vmlinuz-";
const MODULES: &str = "usr/lib/modules";

pub(crate) struct Kernel {
    pub release: String,
    pub vmlinux: Vec<u8>,
    /// Name and uncompressed content, in the order to load them.
    pub modules: Vec<(String, Vec<u8>)>,
}

/// Reads the kernel of that release; the first one if none is given.
///
/// # Errors
/// The tar file cannot be read, has no such kernel or none that boots, or lacks a module.
pub(crate) fn read(packages: &Path, release: Option<&str>) -> Result<Kernel, BuildError> {
    let mut found = members(packages, |path| {
        path.starts_with(KERNEL)
            || path.starts_with(MODULES)
                && (path.ends_with("/modules.dep") || path.ends_with("/modules.builtin"))
    })?;
    let wanted = format!("{KERNEL}{}", release.unwrap_or_default());
    let matches = |path: &&String| match release {
        Some(_) => **path == wanted,
        None => path.starts_with(KERNEL),
    };
    let kernel = found.keys().find(matches).cloned().ok_or(BuildError::Missing(wanted))?;
    let release = kernel.strip_prefix(KERNEL).unwrap_or_default().to_owned();
    let vmlinux = vmlinux::extract(&take(&mut found, &kernel)?)?;

    let folder = format!("{MODULES}/{release}");
    let mut text = |path: &str| -> Result<String, BuildError> {
        Ok(String::from_utf8_lossy(&take(&mut found, path)?).into_owned())
    };
    let dep = text(&format!("{folder}/modules.dep"))?;
    let index = modules::Index::parse(&dep, &text(&format!("{folder}/modules.builtin"))?);

    let order = index.boot_order()?;
    let paths: Vec<_> = order.iter().map(|path| format!("{folder}/{path}")).collect();
    let mut found = members(packages, |path| paths.iter().any(|wanted| wanted == path))?;
    let mut modules = Vec::new();
    for path in &paths {
        modules.push(modules::unpacked(path, take(&mut found, path)?)?);
    }
    Ok(Kernel { release, vmlinux, modules })
}

/// Takes a file out of what was found.
///
/// # Errors
/// It is not there.
pub(crate) fn take(
    found: &mut BTreeMap<String, Vec<u8>>,
    path: &str,
) -> Result<Vec<u8>, BuildError> {
    found.remove(path).ok_or_else(|| BuildError::Missing(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decompress::Format;
    use crate::decompress::tests::compress;
    use crate::elf::tests::kernel as elf;
    use std::fs::File;

    #[test]
    fn the_kernel_and_its_modules_come_out_of_the_tar() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("packages.tar");
        let mut tar = tar::Builder::new(File::create(&path).unwrap());
        let mut add = |path: &str, content: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, format!("./{path}"), content).unwrap();
        };
        let order = "virtio_blk.ko.xz: virtio.ko\nvirtio.ko:\n";
        let builtin = "ext4.ko\nvirtio_net.ko\nvirtio-rng.ko\nvirtio_mmio.ko\nvmw_vsock_virtio_transport.ko\n";
        add("boot/vmlinuz-6.1-test", &elf(0));
        add("boot/vmlinuz-6.2-test", b"");
        add("usr/lib/modules/6.1-test/modules.builtin", builtin.as_bytes());
        add("usr/lib/modules/6.1-test/modules.dep", order.as_bytes());
        add("usr/lib/modules/6.1-test/virtio.ko", b"VIRTIO");
        add("usr/lib/modules/6.1-test/virtio_blk.ko.xz", &compress(Format::Xz, b"BLK"));
        tar.finish().unwrap();

        let kernel = read(&path, None).unwrap();
        assert_eq!(kernel.release, "6.1-test");
        let expected = [("virtio.ko", "VIRTIO"), ("virtio_blk.ko", "BLK")]
            .map(|(name, content)| (name.to_owned(), content.as_bytes().to_vec()));
        assert_eq!(kernel.modules, expected);
        assert_eq!(read(&path, Some("6.1-test")).unwrap().modules, expected);
        let missing = read(&path, Some("6.1")).err().unwrap();
        insta::assert_snapshot!(missing, @"the unpacked packages have no boot/vmlinuz-6.1");
    }
}
