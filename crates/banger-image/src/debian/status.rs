//! The database of the packages that were unpacked.

use std::path::Path;

use crate::archive::members;
use crate::build::BuildError;
use crate::kernel::take;

const STATUS: &str = "var/lib/dpkg/status";
/// The same for the kernel's own package, see `bootstrap`.
const KERNEL_STATUS: &str = "boot/banger-kernel-status";

pub(super) fn read(packages: &Path) -> Result<String, BuildError> {
    let mut found = members(packages, |path| path == STATUS || path == KERNEL_STATUS)?;
    let mut text = |path: &str| -> Result<String, BuildError> {
        Ok(String::from_utf8_lossy(&take(&mut found, path)?).into_owned())
    };
    Ok(format!("{}\n{}", text(STATUS)?, text(KERNEL_STATUS)?))
}
