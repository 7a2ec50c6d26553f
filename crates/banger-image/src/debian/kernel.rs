//! What is read out of the unpacked packages: the kernel, the modules that
//! the initramfs needs, and the package database.

use std::collections::BTreeMap;
use std::path::Path;

use crate::archive::members;
use crate::build::BuildError;
use crate::{modules, vmlinux};

const STATUS: &str = "var/lib/dpkg/status";
/// The same for the kernel's own package, see `bootstrap`.
const KERNEL_STATUS: &str = "boot/banger-kernel-status";
const KERNEL: &str = "boot/vmlinuz-";
const MODULES: &str = "usr/lib/modules";

pub(super) struct Kernel {
    pub release: String,
    pub vmlinux: Vec<u8>,
    /// Name and uncompressed content, in the order to load them.
    pub modules: Vec<(String, Vec<u8>)>,
    /// The database of installed packages.
    pub package_status: String,
}

pub(super) fn read(packages: &Path) -> Result<Kernel, BuildError> {
    let mut found = members(packages, |path| {
        path == STATUS
            || path == KERNEL_STATUS
            || path.starts_with(KERNEL)
            || path.starts_with(MODULES)
                && (path.ends_with("/modules.dep") || path.ends_with("/modules.builtin"))
    })?;
    let kernel = found.keys().find(|path| path.starts_with(KERNEL)).cloned();
    let kernel = kernel.ok_or_else(|| BuildError::Missing(KERNEL.to_owned()))?;
    let release = kernel[KERNEL.len()..].to_owned();
    let vmlinux = vmlinux::extract(&take(&mut found, &kernel)?)?;

    let folder = format!("{MODULES}/{release}");
    let mut text = |path: &str| -> Result<String, BuildError> {
        Ok(String::from_utf8_lossy(&take(&mut found, path)?).into_owned())
    };
    let dep = text(&format!("{folder}/modules.dep"))?;
    let index = modules::Index::parse(&dep, &text(&format!("{folder}/modules.builtin"))?);
    let package_status = format!("{}\n{}", text(STATUS)?, text(KERNEL_STATUS)?);

    let order = index.load_order(modules::BOOT)?;
    let paths: Vec<_> = order.iter().map(|path| format!("{folder}/{path}")).collect();
    let mut found = members(packages, |path| paths.iter().any(|wanted| wanted == path))?;
    let mut modules = Vec::new();
    for path in &paths {
        modules.push(modules::unpacked(path, take(&mut found, path)?)?);
    }
    Ok(Kernel { release, vmlinux, modules, package_status })
}

fn take(found: &mut BTreeMap<String, Vec<u8>>, path: &str) -> Result<Vec<u8>, BuildError> {
    found.remove(path).ok_or_else(|| BuildError::Missing(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::decompress::Format;
    use crate::decompress::tests::compress;
    use crate::elf::tests::kernel as elf;

    #[test]
    fn kernel_modules_and_packages_come_out_of_the_tar() {
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
        add("boot/banger-kernel-status", b"KERNEL");
        add("boot/vmlinuz-6.1-test", &elf(0));
        add("usr/lib/modules/6.1-test/modules.builtin", builtin.as_bytes());
        add("usr/lib/modules/6.1-test/modules.dep", order.as_bytes());
        add("usr/lib/modules/6.1-test/virtio.ko", b"VIRTIO");
        add("usr/lib/modules/6.1-test/virtio_blk.ko.xz", &compress(Format::Xz, b"BLK"));
        add("var/lib/dpkg/status", b"STATUS");
        tar.finish().unwrap();

        let kernel = read(&path).unwrap();
        assert_eq!(kernel.release, "6.1-test");
        assert_eq!(kernel.package_status, "STATUS\nKERNEL");
        let expected = [("virtio.ko", "VIRTIO"), ("virtio_blk.ko", "BLK")]
            .map(|(name, content)| (name.to_owned(), content.as_bytes().to_vec()));
        assert_eq!(kernel.modules, expected);
    }
}
