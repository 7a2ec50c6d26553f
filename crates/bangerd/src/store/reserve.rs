//! Room for the database on a disk that is full.
//!
//! A full disk is when the journal is needed most: what was half made is to be
//! undone, and each step of that is a write. SQLite writes to its log (the
//! `-wal` file) and begins that anew when it has been copied to the database,
//! so blocks that the log was given once stay its own.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};

/// Twice what SQLite lets the log grow to before it is copied (1000 pages of 4 KiB).
const RESERVE: u64 = 8 << 20;

/// Gives the log of the database at `path` its blocks; its length stays.
///
/// # Errors
/// There is no log, or no room for it; or the file system cannot do that.
pub(super) fn reserve(path: &Path) -> io::Result<()> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    // SQLite's locks are on the other files: to close this one drops none.
    let log = File::options().write(true).open(log)?;
    Ok(fallocate(log, FallocateFlags::KEEP_SIZE, 0, RESERVE)?)
}

#[cfg(test)]
mod tests {
    use crate::store::Store;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn the_log_has_its_blocks_from_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let _store = Store::open(&dir.path().join("db")).unwrap();
        let log = std::fs::metadata(dir.path().join("db-wal")).unwrap();
        assert!(log.blocks() * 512 >= super::RESERVE, "{} blocks", log.blocks());
    }
}
