//! What a snapshot by the device mapper is made of.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use banger_core::helper::{device_uuid, root_device};
use banger_core::id::VmId;

use crate::helper::uuid_of;
use crate::{At as _, HostError};

/// What is changed at a time, and what it takes to know where it is, in bytes (kernel:
/// drivers/md/dm-snap-persistent.c).
const CHUNK: u64 = 4096;
const EXCEPTION: u64 = 16;

/// Makes an overlay that can hold all of an image changed: a file of holes, in which a snapshot
/// finds nothing written.
///
/// # Errors
/// Either file.
pub(crate) fn overlay(base: &Path, path: &Path) -> Result<(), HostError> {
    let chunks = fs::metadata(base).at("read", base)?.len().div_ceil(CHUNK);
    // Beside what it holds: the header, and an area of exceptions each so many chunks.
    let areas = chunks.div_ceil(CHUNK / EXCEPTION) + 1;
    let mut options = fs::File::options();
    let file = options.write(true).create_new(true).mode(0o600).open(path).at("create", path)?;
    file.set_len((1 + areas + chunks) * CHUNK).at("resize", path)
}

/// Makes a log that a program started as root may append to, if there is none.
pub(crate) fn touch(log: &Path) -> Result<(), HostError> {
    let mut options = fs::File::options();
    options.create(true).append(true).mode(0o600).open(log).at("create", log).map(drop)
}

/// Whether a device of the user's VM is there. It takes no root to see.
///
/// # Errors
/// One of that name is somebody else's.
pub(crate) fn is_there(uid: u32, vm: &VmId) -> Result<bool, HostError> {
    let name = root_device(uid, vm);
    match uuid_of(Path::new("/sys/block"), &name) {
        Ok(None) => Ok(false),
        Ok(Some(uuid)) if uuid == device_uuid(uid, vm) => Ok(true),
        Ok(Some(_)) => Err(HostError::Foreign { path: Path::new("/dev/mapper").join(name) }),
        // What cannot be looked at is left to who can.
        Err(_) => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn an_overlay_holds_a_whole_image_and_takes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (base, cow) = (dir.path().join("base"), dir.path().join("cow"));
        fs::File::create(&base).unwrap().set_len(4 << 30).unwrap();
        overlay(&base, &cow).unwrap();
        let length = fs::metadata(&cow).unwrap().len();
        // 1,048,576 chunks, and 256 of them known by one more.
        assert_eq!(length / CHUNK, 1_048_576 + 4096 + 2);
        assert_eq!(crate::allocated(&cow).unwrap(), 0);
        overlay(&base, &cow).unwrap_err();
    }
}
