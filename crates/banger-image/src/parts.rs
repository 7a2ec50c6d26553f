//! The files of an image as they were made, and whether they still are so.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use banger_core::image::{Image, Part, files};
use rustix::fs::{SeekFrom, seek};
use sha2::{Digest as _, Sha256};

/// What a digest is made over at a time, see [`Part::digest`].
const BLOCK: usize = 64 << 10;
/// What a VM needs of its image. The work seed is made anew where it is missing.
const NEEDED: [&str; 3] = [files::KERNEL, files::INITRAMFS, files::ROOTFS];

/// What is wrong with an image on the disk.
#[derive(Debug, thiserror::Error)]
#[error("{} {what}", path.display())]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    what: What,
}

#[derive(Debug)]
enum What {
    Missing,
    Length { is: u64, was: u64 },
    Content,
    Unreadable(io::Error),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is missing"),
            Self::Length { is, was } => write!(f, "has {is} bytes and was made with {was}"),
            Self::Content => f.write_str("does not hold what it was made with"),
            Self::Unreadable(error) => write!(f, "cannot be read: {error}"),
        }
    }
}

impl From<io::Error> for What {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            _ => Self::Unreadable(error),
        }
    }
}

/// Writes the files `names` of a new image down.
///
/// # Errors
/// One cannot be read.
pub fn record(dir: &Path, names: &[&str]) -> io::Result<Vec<Part>> {
    let part = |name: &&str| {
        let file = File::open(dir.join(name))?;
        let bytes = file.metadata()?.len();
        Ok(Part { name: (*name).to_owned(), bytes, digest: digest(&file, bytes)? })
    };
    names.iter().map(part).collect()
}

/// Looks whether an image's files are all there with their lengths: what may be
/// asked each time they are used.
///
/// # Errors
/// The first file that is not as it was made.
pub fn check(dir: &Path, image: &Image) -> Result<(), Damage> {
    look(dir, image, false)
}

/// Reads an image's files whole as well. That takes a second or so.
///
/// # Errors
/// The first file that is not as it was made.
pub fn verify(dir: &Path, image: &Image) -> Result<(), Damage> {
    look(dir, image, true)
}

fn look(dir: &Path, image: &Image, whole: bool) -> Result<(), Damage> {
    let one = |name: &str, part: Option<&Part>| -> Result<(), What> {
        let path = dir.join(name);
        let is = std::fs::metadata(&path)?.len();
        let Some(part) = part else { return Ok(()) };
        if is != part.bytes {
            return Err(What::Length { is, was: part.bytes });
        }
        if whole && digest(&File::open(&path)?, is)? != part.digest {
            return Err(What::Content);
        }
        Ok(())
    };
    let recorded = image.parts.iter().map(|part| (part.name.as_str(), Some(part)));
    for (name, part) in NEEDED.map(|name| (name, None)).into_iter().chain(recorded) {
        one(name, part).map_err(|what| Damage { path: dir.join(name), what })?;
    }
    Ok(())
}

/// See [`Part::digest`].
fn digest(file: &File, length: u64) -> io::Result<String> {
    let mut sum = Sha256::new();
    let (mut block, zeros) = (vec![0; BLOCK], vec![0; BLOCK]);
    let mut at = 0;
    while at < length {
        match seek(file, SeekFrom::Data(at)) {
            // Whole blocks: where a hole begins is the file system's business.
            Ok(data) => at = data / BLOCK as u64 * BLOCK as u64,
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        }
        let size = usize::try_from(length - at).unwrap_or(BLOCK).min(BLOCK);
        let block = &mut block[..size];
        file.read_exact_at(block, at)?;
        if *block != zeros[..size] {
            sum.update((at / BLOCK as u64).to_le_bytes());
            sum.update(&*block);
        }
        at += BLOCK as u64;
    }
    Ok(sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debian::tests::image;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn a_digest_does_not_depend_on_holes_and_sees_every_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let length = (3 * BLOCK + 5) as u64;
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        file.set_len(length).unwrap();
        file.write_all_at(b"x", BLOCK as u64 + 7).unwrap();
        let sparse = digest(&file, length).unwrap();
        let full = std::fs::read(&path).unwrap();
        let copy = dir.path().join("copy");
        std::fs::write(&copy, &full).unwrap();
        let of_copy = || digest(&File::open(&copy).unwrap(), length).unwrap();
        assert_eq!(of_copy(), sparse);
        assert!(copy.metadata().unwrap().blocks() >= path.metadata().unwrap().blocks());
        for at in [0, BLOCK + 6, BLOCK + 7, 2 * BLOCK + 7, full.len() - 1] {
            let mut changed = full.clone();
            changed[at] ^= 0x40;
            std::fs::write(&copy, changed).unwrap();
            assert_ne!(of_copy(), sparse, "{at}");
        }
        // The same data in another place is another file.
        let mut moved = full.clone();
        moved.rotate_right(BLOCK);
        std::fs::write(&copy, moved).unwrap();
        assert_ne!(of_copy(), sparse);
    }

    #[test]
    fn what_is_missing_short_or_changed_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for name in NEEDED {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        let mut image = image();
        check(dir.path(), &image).unwrap();
        image.parts = record(dir.path(), &NEEDED).unwrap();
        verify(dir.path(), &image).unwrap();
        let said = |result: Result<(), Damage>| {
            let text = result.unwrap_err().to_string();
            text.replace(dir.path().to_str().unwrap(), "")
        };
        std::fs::write(dir.path().join(files::KERNEL), "VMLINUX").unwrap();
        check(dir.path(), &image).unwrap();
        insta::assert_snapshot!(said(verify(dir.path(), &image)), @"/vmlinux does not hold what it was made with");
        std::fs::write(dir.path().join(files::KERNEL), "vm").unwrap();
        insta::assert_snapshot!(said(check(dir.path(), &image)), @"/vmlinux has 2 bytes and was made with 7");
        std::fs::remove_file(dir.path().join(files::ROOTFS)).unwrap();
        insta::assert_snapshot!(said(check(dir.path(), &image)), @"/rootfs.ext4 is missing");
    }
}
