//! Disk files: what they take, and growing them.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use banger_core::size::Size;
use banger_exec::{Cancel, Command, Runner, Tool};
use rustix::fs::statvfs;

use crate::{At as _, HostError};

/// How long a file system may take to be checked, and to be resized.
const LIMIT: Duration = Duration::from_secs(600);
/// `e2fsck` has put right what it found (e2fsck(8)): a journal, mostly.
const CORRECTED: i32 = 1;

/// What a file takes of its file system, in bytes: less than its length where
/// it has holes. Nothing if it is not there.
///
/// # Errors
/// It cannot be looked at.
pub fn allocated(path: &Path) -> Result<u64, HostError> {
    match fs::metadata(path) {
        // In units of 512 bytes, whatever the file system's blocks are (stat(2)).
        Ok(metadata) => Ok(metadata.blocks() * 512),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error).at("read", path),
    }
}

/// What an ordinary user can still write to the file system that a folder is on.
///
/// # Errors
/// It cannot be looked at.
pub fn free_space(folder: &Path) -> Result<Size, HostError> {
    let stat = statvfs(folder).at("look at", folder)?;
    Ok(Size::bytes(stat.f_bavail.saturating_mul(stat.f_frsize)))
}

/// Grows an ext4 file system that nobody uses, with its file. One that is as
/// large already is checked, and stays.
///
/// # Errors
/// It has errors that only a person can decide on, or the host refuses.
pub(crate) fn grow(
    runner: &dyn Runner,
    path: &Path,
    size: Size,
    cancel: &Cancel,
) -> Result<(), HostError> {
    let command = |tool| Command::new(tool).timeout(LIMIT).cancel(cancel);
    // resize2fs wants this first. It also recovers the journal of a VM that was killed.
    let check = command(Tool::E2fsck).args(["-f", "-p"]).arg(path).also_ok(CORRECTED);
    runner.capture(&check)?;
    let file = fs::File::options().write(true).open(path).at("open", path)?;
    let length = file.metadata().at("read", path)?.len();
    file.set_len(length.max(size.as_bytes())).at("resize", path)?;
    runner.capture(&command(Tool::Resize2fs).arg(path))?;
    file.sync_all().at("write", path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_exec::{ExecError, HostRunner, Tools};

    #[test]
    fn a_disk_grows_never_shrinks_and_stays_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let runner = HostRunner::new(Tools::discover());
        assert_eq!(allocated(&path).unwrap(), 0);
        fs::File::create(&path).unwrap().set_len(64 << 20).unwrap();
        runner.capture(&Command::new(Tool::Mke2fs).args(["-q", "-t", "ext4"]).arg(&path)).unwrap();
        for (ask, is) in [(64, 64), (512, 512), (128, 512)] {
            grow(&runner, &path, Size::mib(ask), &Cancel::default()).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().len(), is << 20);
            let shown = Command::new(Tool::Debugfs).args(["-R", "show_super_stats -h"]).arg(&path);
            let shown = String::from_utf8(runner.capture(&shown).unwrap().stdout).unwrap();
            let count = |name: &str| {
                let line = shown.lines().find(|line| line.starts_with(name)).unwrap();
                line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
            };
            assert_eq!(count("Block count:") * count("Block size:"), is << 20, "{shown}");
        }
        let taken = allocated(&path).unwrap();
        assert!((1 << 16..64 << 20).contains(&taken), "{taken}");
        runner.capture(&Command::new(Tool::E2fsck).args(["-f", "-n"]).arg(&path)).unwrap();
    }

    #[test]
    fn what_is_no_file_system_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        fs::write(&path, vec![7; 1 << 20]).unwrap();
        let runner = HostRunner::new(Tools::discover());
        let error = grow(&runner, &path, Size::mib(64), &Cancel::default()).unwrap_err();
        assert!(matches!(error, HostError::Exec(ExecError::Failed { .. })), "{error}");
        assert_eq!(fs::read(&path).unwrap(), vec![7; 1 << 20]);
    }
}
