//! What a file begins as: an ext4 file system, or what it is instead.
//!
//! Source: kernel `Documentation/filesystems/ext4/super.rst`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use banger_core::size::Size;

const AT: u64 = 1024;
const MAGIC: u16 = 0xef53;
/// `s_state`: the kernel or e2fsck saw something wrong.
const ERRORS: u16 = 2;
/// `s_feature_incompat`: a journal without a file system.
const JOURNAL_DEVICE: u32 = 0x8;

/// An ext4 file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superblock {
    /// Its size.
    pub size: Size,
}

/// Why a file is no root file system.
#[derive(Debug, thiserror::Error)]
pub enum NotExt4 {
    /// It is something else.
    #[error("it is {0}, and not an ext4 file system")]
    Other(&'static str),
    /// Nothing that is known.
    #[error("it is not an ext4 file system")]
    Unknown,
    /// It ends before its file system does.
    #[error("it has {is}, and its file system {should}: it was not wholly copied")]
    Short {
        /// The file's size.
        is: Size,
        /// The file system's.
        should: Size,
    },
    /// It is damaged.
    #[error("its file system has errors: run 'e2fsck -f' on it")]
    Errors,
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Reads the superblock of a file.
///
/// # Errors
/// It has none, or one that tells of a file system that is not whole.
pub fn read(file: &File) -> Result<Superblock, NotExt4> {
    let length = file.metadata()?.len();
    let mut block = [0; 1024];
    match file.read_exact_at(&mut block, AT) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(other(file)?);
        }
        read => read?,
    }
    let u16_at = |at: usize| u16::from_le_bytes([block[at], block[at + 1]]);
    let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
    let incompat = u32_at(0x60);
    if u16_at(0x38) != MAGIC || incompat & JOURNAL_DEVICE != 0 {
        return Err(other(file)?);
    }
    // Only with `64bit` does the high half mean something.
    let high = if incompat & 0x80 != 0 { u32_at(0x150) } else { 0 };
    let blocks = u64::from(u32_at(0x4)) | u64::from(high) << 32;
    // 1 KiB to 64 KiB.
    let block_size = 1024_u64 << u32_at(0x18).min(6);
    let size = blocks.checked_mul(block_size).ok_or(NotExt4::Unknown)?;
    if size > length {
        return Err(NotExt4::Short { is: Size::bytes(length), should: Size::bytes(size) });
    }
    if u16_at(0x3a) & ERRORS != 0 {
        return Err(NotExt4::Errors);
    }
    Ok(Superblock { size: Size::bytes(size) })
}

/// What people have instead, by its magic: (where, what, name).
const OTHERS: [(u64, &[u8], &str); 9] = [
    (0, b"QFI\xfb", "a qcow2 image (convert it: 'qemu-img convert -O raw')"),
    (0, b"hsqs", "a squashfs"),
    (0, b"XFSB", "an XFS"),
    (0, b"KDMV", "a VMDK image (convert it: 'qemu-img convert -O raw')"),
    (0, b"\x1f\x8b", "compressed with gzip"),
    (0, b"\xfd7zXZ\0", "compressed with xz"),
    (0, b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (0x1_0040, b"_BHRfS_M", "a btrfs"),
    (510, b"\x55\xaa", "a disk with partitions (copy the root's partition out of it)"),
];

fn other(file: &File) -> io::Result<NotExt4> {
    for (at, magic, name) in OTHERS {
        let mut found = vec![0; magic.len()];
        match file.read_exact_at(&mut found, at) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(error),
            Ok(()) if found == magic => return Ok(NotExt4::Other(name)),
            Ok(()) => {}
        }
    }
    Ok(NotExt4::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_exec::{Command, HostRunner, Runner as _, Tool, Tools};

    fn said(content: &[u8]) -> String {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, content).unwrap();
        read(&file).unwrap_err().to_string()
    }

    #[test]
    fn a_file_system_is_known_and_what_it_is_instead_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fs");
        for (blocks, options) in [("2048", "-b1024"), ("4096", "-b4096")] {
            let _ = std::fs::remove_file(&path);
            let mke2fs = Command::new(Tool::Mke2fs).args(["-q", "-t", "ext4", options]);
            HostRunner::new(Tools::discover()).capture(&mke2fs.arg(&path).arg(blocks)).unwrap();
            let length = std::fs::metadata(&path).unwrap().len();
            let file = File::options().read(true).write(true).open(&path).unwrap();
            assert_eq!(read(&file).unwrap(), Superblock { size: Size::bytes(length) });
            file.set_len(length - 1).unwrap();
            assert!(matches!(read(&file), Err(NotExt4::Short { .. })));
            file.set_len(length).unwrap();
            file.write_all_at(&[ERRORS as u8], AT + 0x3a).unwrap();
            assert!(matches!(read(&file), Err(NotExt4::Errors)));
        }
        let mut disk = vec![0; 4096];
        disk[510..512].copy_from_slice(b"\x55\xaa");
        insta::assert_snapshot!(said(&disk), @"it is a disk with partitions (copy the root's partition out of it), and not an ext4 file system");
        insta::assert_snapshot!(said(b"QFI\xfb"), @"it is a qcow2 image (convert it: 'qemu-img convert -O raw'), and not an ext4 file system");
        insta::assert_snapshot!(said(b""), @"it is not an ext4 file system");
    }
}
