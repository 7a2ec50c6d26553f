//! What is read out of the kernel's package: the kernel, and the modules of the initramfs.

use crate::archive::members;
use crate::build::BuildError;
use crate::{modules, vmlinux};

use super::packages::Had;

/// The kernel, a bzImage.
const VMLINUZ: &str = "boot/vmlinuz-virt";
/// Where modules are: of today's releases, and of those whose folders are merged into `/usr`.
const MODULES: [&str; 2] = ["lib/modules/", "usr/lib/modules/"];

pub(super) struct Kernel {
    pub release: String,
    pub vmlinux: Vec<u8>,
    /// Those that the initramfs loads.
    pub modules: Vec<modules::Unpacked>,
}

pub(super) fn read(package: &Had<'_>) -> Result<Kernel, BuildError> {
    let missing = |path: &str| BuildError::Missing(path.to_owned());
    let (package, tar) = package.content.as_ref().ok_or_else(|| missing(VMLINUZ))?;
    let read = |wanted: &str| Ok(members(tar, |path| path == wanted)?.remove(wanted));
    let vmlinuz = read(VMLINUZ)?.ok_or_else(|| missing(VMLINUZ))?;

    let list = package.files.iter().find_map(|file| {
        let path = std::str::from_utf8(&file.path).ok()?;
        let folder = path.strip_suffix("/modules.dep")?;
        let release = MODULES.iter().find_map(|modules| folder.strip_prefix(modules))?;
        (!release.contains('/')).then_some((folder, release))
    });
    let (folder, release) = list.ok_or_else(|| missing("lib/modules/RELEASE/modules.dep"))?;
    let modules = modules::boot(&|path: &str| read(&format!("{folder}/{path}")))?;
    Ok(Kernel {
        release: release.to_owned(),
        vmlinux: vmlinux::extract(&vmlinuz)?,
        modules: modules.unwrap_or_default(),
    })
}
