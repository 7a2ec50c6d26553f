//! Whether a file system is clean, and making it so.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use banger_exec::{Cancel, ExecError, Runner, Tool};

use super::{Disk, PatchError};

/// What of a superblock counts here
/// (<https://docs.kernel.org/filesystems/ext4/super.html>).
pub(super) struct Super([u8; 1024]);

/// The features with which debugfs was seen to leave a sound file system. It does
/// not count quota, and leaks attributes in inodes of their own.
const INCOMPATIBLE: u32 = 0xa2c2;
const READ_ONLY: u32 = 0x47f;
const JOURNAL: u32 = 0x4;
const INLINE_DATA: u32 = 0x8000;
/// The journal is to be replayed; files are to be removed.
const RECOVER: u32 = 0x4;
const ORPHANS: u32 = 0x1_0000;

/// How e2fsck ends when something is still wrong.
const UNMENDED: &str = "exit status 4";

impl Super {
    fn read(disk: &Path) -> Result<Self, PatchError> {
        let mut bytes = [0; 1024];
        let read = File::open(disk).and_then(|file| file.read_exact_at(&mut bytes, 1024));
        match read {
            // Too short to be one.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {}
            other => other.map_err(PatchError::io("read", disk))?,
        }
        let this = Self(bytes);
        match this.u32(56) & 0xffff {
            0xef53 => Ok(this),
            _ => Err(PatchError::NotExt4(disk.to_owned())),
        }
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }

    /// The one of `disk`, if nothing is left to be replayed, removed or checked.
    pub fn clean(disk: &Path) -> Result<Self, PatchError> {
        let this = Self::read(disk)?;
        if this.is_clean() { Ok(this) } else { Err(PatchError::Unclean(disk.to_owned())) }
    }

    fn is_clean(&self) -> bool {
        let valid = self.u32(58) & 0xffff == 1;
        let orphans = self.u32(232) != 0 || self.u32(100) & ORPHANS != 0;
        valid && !orphans && self.u32(96) & RECOVER == 0
    }

    /// Marked as one to be checked by debugfs: kernels leave the mark of one
    /// with a journal, or tell of errors.
    fn was_interrupted(&self) -> bool {
        self.u32(58) & 3 == 0 && self.u32(92) & JOURNAL != 0
    }

    pub fn has_inline_data(&self) -> bool {
        self.u32(96) & INLINE_DATA != 0
    }

    /// Whether debugfs can change it.
    pub fn is_supported(&self) -> bool {
        self.u32(96) & !INCOMPATIBLE == 0 && self.u32(100) & !READ_ONLY == 0
    }
}

/// Makes a file system clean that was not unmounted, or of which a change was
/// interrupted: replays its journal, and mends what is safe to mend
/// (`e2fsck -p`, e2fsck(8)). One that is clean is left alone. What an interrupted
/// change leaves may take decisions (`e2fsck -y`): it is about what was being made.
///
/// # Errors
/// It is no ext4, it needs a decision ([`PatchError::Damaged`]), or e2fsck fails.
pub fn recover(runner: &dyn Runner, disk: &Path, cancel: &Cancel) -> Result<(), PatchError> {
    let before = Super::read(disk)?;
    if before.is_clean() {
        return Ok(());
    }
    let this = Disk { runner, path: disk, cancel };
    // Status 1: something was mended.
    let e2fsck = |how| {
        let command = this.command(Tool::E2fsck).arg(how).arg(disk).also_ok(1);
        runner.capture(&command.cancel(cancel))
    };
    let needs_more =
        |error: &ExecError| matches!(error, ExecError::Failed { status, .. } if status == UNMENDED);
    let mut result = e2fsck("-p");
    if result.as_ref().is_err_and(needs_more) && before.was_interrupted() {
        result = e2fsck("-fy");
    }
    let damaged =
        |words: &str| PatchError::Damaged { disk: disk.to_owned(), words: words.trim().to_owned() };
    match result {
        Err(ExecError::Failed { status, stdout, .. }) if status == UNMENDED => {
            Err(damaged(&stdout))
        }
        Err(error) => Err(error.into()),
        Ok(_) if Super::read(disk)?.is_clean() => Ok(()),
        Ok(output) => Err(damaged(&String::from_utf8_lossy(&output.stdout))),
    }
}
