//! Named pipes (fifo(7)).

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

use crate::{At as _, HostError};

/// Makes a pipe that only we can open.
///
/// # Errors
/// There is something, or it cannot be made.
pub fn make_pipe(path: &Path) -> Result<(), HostError> {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).at("create", path)
}

/// What is in a pipe now. Somebody else must have it open, or nothing stays in it.
///
/// # Errors
/// It is not there, or cannot be read.
pub fn drain(path: &Path) -> Result<String, HostError> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let mut options = File::options();
    let mut pipe = options.read(true).custom_flags(flags).open(path).at("open", path)?;
    let mut bytes = Vec::new();
    match pipe.read_to_end(&mut bytes) {
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error).at("read", path),
        _ => Ok(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn what_is_in_a_pipe_is_read_once_and_nobody_waits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        make_pipe(&path).unwrap();
        make_pipe(&path).unwrap_err();
        let mut holder = File::options().read(true).write(true).open(&path).unwrap();
        assert_eq!(drain(&path).unwrap(), "");
        holder.write_all(b"one\ntwo\n").unwrap();
        assert_eq!(drain(&path).unwrap(), "one\ntwo\n");
        assert_eq!(drain(&path).unwrap(), "");
    }
}
