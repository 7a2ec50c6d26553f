//! The file system of the state folder.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use banger_core::doctor::Check;
use banger_core::size::Size;
use rustix::fs::{Access, OFlags, access};

use super::Scene;
use crate::HostError;
use crate::disk::free_space;

const NAME: &str = "state folder";
/// An image and a VM take less, but not much less.
const ENOUGH: Size = Size::gib(5);

/// What a file system offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// The folder, or the nearest one above it that is there.
    pub folder: PathBuf,
    /// What an ordinary user can still write.
    pub free: Size,
    /// Whether copies can share blocks; none if that could not be tried.
    pub reflink: Option<bool>,
    /// Whether we can write there.
    pub writable: bool,
}

/// Looks at the file system that `folder` is on, or will be.
///
/// # Errors
/// It cannot be looked at.
pub fn storage(folder: &Path) -> Result<Storage, HostError> {
    let there = folder.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    Ok(Storage {
        folder: there.to_owned(),
        free: free_space(there)?,
        reflink: try_reflink(there),
        writable: access(there, Access::WRITE_OK).is_ok(),
    })
}

/// Tries it with two files that have no name, so that nothing is left.
fn try_reflink(folder: &Path) -> Option<bool> {
    let unnamed = || {
        let flags = i32::try_from(OFlags::TMPFILE.bits()).ok()?;
        let mut options = File::options();
        options.read(true).write(true).mode(0o600).custom_flags(flags).open(folder).ok()
    };
    let (mut source, target) = (unnamed()?, unnamed()?);
    source.write_all(&[1; 4096]).ok()?;
    Some(crate::copy::reflink(&source, &target).is_ok())
}

impl Scene<'_> {
    pub(super) fn state_folder(&self) -> Check {
        let storage = match &self.storage {
            Ok(storage) => storage,
            Err(why) => return Check::missing(NAME, why),
        };
        let shown = self.dirs.state.display();
        if !storage.writable {
            let detail = format!("{shown}: {} cannot be written to", storage.folder.display());
            return Check::missing(NAME, detail).remedy("set XDG_STATE_HOME to a folder of yours");
        }
        let copies = match storage.reflink {
            Some(true) => "copies share blocks (reflink)",
            Some(false) => "copies share no blocks (no reflink)",
            None => "whether copies can share blocks (reflink) is not known",
        };
        let detail = format!("{shown}: {} free; {copies}", storage.free);
        if storage.free < ENOUGH {
            return Check::warning(NAME, detail).remedy(
                "delete VMs or images, or set XDG_STATE_HOME to a folder on a larger file system",
            );
        }
        Check::ok(NAME, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_yet_is_judged_by_its_parent() {
        let dir = tempfile::tempdir().unwrap();
        let found = storage(&dir.path().join("not/yet")).unwrap();
        assert_eq!(found.folder, dir.path());
        assert!(found.writable && found.free > Size::mib(1), "{found:?}");
        assert_eq!(dir.path().read_dir().unwrap().count(), 0, "something was left");
    }
}
