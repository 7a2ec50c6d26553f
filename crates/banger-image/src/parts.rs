//! The files of an image as they were made, and whether they still are so.

use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use banger_core::image::{Image, Part, Stamp, files};
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
    Touched,
    Unreadable(io::Error),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is missing"),
            Self::Length { is, was } => write!(f, "has {is} bytes and was made with {was}"),
            Self::Content => f.write_str("does not hold what it was made with"),
            Self::Touched => f.write_str("was touched since it was read"),
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

impl Damage {
    /// Whether nothing but a [`Stamp`] tells of it: [`renew`] finds out.
    #[must_use]
    pub fn is_touch(&self) -> bool {
        matches!(self.what, What::Touched)
    }
}

/// Writes the files `names` of an image down. One that lies elsewhere, where a link in the folder
/// leads to, gets a stamp.
///
/// # Errors
/// One cannot be read.
pub fn record(dir: &Path, names: &[&str]) -> io::Result<Vec<Part>> {
    let part = |name: &&str| {
        let path = dir.join(name);
        let file = File::open(&path)?;
        let metadata = file.metadata()?;
        let stamp = path.is_symlink().then(|| stamp(&metadata));
        let bytes = metadata.len();
        Ok(Part { name: (*name).to_owned(), bytes, digest: digest(&file, bytes)?, stamp })
    };
    names.iter().map(part).collect()
}

/// What an image's list of files is now, where one was touched or no list was made: that takes a
/// second or so.
///
/// # Errors
/// A file is not as it was made.
pub fn renew(dir: &Path, image: &Image) -> Result<Vec<Part>, Damage> {
    verify(dir, image)?;
    let names: Vec<_> = match image.parts.as_slice() {
        [] => NEEDED.to_vec(),
        parts => parts.iter().map(|part| part.name.as_str()).collect(),
    };
    record(dir, &names).map_err(|error| Damage { path: dir.to_owned(), what: error.into() })
}

/// Reads copies of some of an image's files, in a folder of their own, whole.
///
/// # Errors
/// The first that is not as the image's was made.
pub fn verify_copies(dir: &Path, image: &Image) -> Result<(), Damage> {
    for part in &image.parts {
        let path = dir.join(&part.name);
        let same = || -> Result<bool, What> {
            let file = File::open(&path)?;
            let length = file.metadata()?.len();
            Ok(length == part.bytes && digest(&file, length)? == part.digest)
        };
        match same() {
            Ok(true) | Err(What::Missing) => {}
            Ok(false) => return Err(Damage { path, what: What::Content }),
            Err(what) => return Err(Damage { path, what }),
        }
    }
    Ok(())
}

fn stamp(metadata: &Metadata) -> Stamp {
    let nanoseconds = |seconds: i64, more: i64| seconds.saturating_mul(1_000_000_000) + more;
    Stamp {
        inode: metadata.ino(),
        mtime_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
        ctime_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
    }
}

/// Looks whether an image's files are all there with their lengths, and whether those that lie
/// elsewhere were touched: what may be asked each time they are used.
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
        let metadata = std::fs::metadata(&path)?;
        let is = metadata.len();
        let Some(part) = part else { return Ok(()) };
        if is != part.bytes {
            return Err(What::Length { is, was: part.bytes });
        }
        if !whole && part.stamp.is_some_and(|was| was != stamp(&metadata)) {
            return Err(What::Touched);
        }
        if whole && digest(&File::open(&path)?, is)? != part.digest {
            return Err(What::Content);
        }
        Ok(())
    };
    let recorded = image.parts.iter().map(|part| (part.name.as_str(), Some(part)));
    for (name, part) in NEEDED.map(|name| (name, None)).into_iter().chain(recorded) {
        one(name, part).map_err(|what| {
            let path = dir.join(name);
            Damage { path: std::fs::read_link(&path).unwrap_or(path), what }
        })?;
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
        assert!(renew(dir.path(), &image).is_err());
        std::fs::remove_file(dir.path().join(files::ROOTFS)).unwrap();
        insta::assert_snapshot!(said(check(dir.path(), &image)), @"/rootfs.ext4 is missing");
    }

    #[test]
    fn a_file_elsewhere_is_read_again_when_it_was_touched() {
        let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let rootfs = elsewhere.path().join("root");
        std::fs::write(&rootfs, "ROOT").unwrap();
        std::os::unix::fs::symlink(&rootfs, dir.path().join(files::ROOTFS)).unwrap();
        for name in [files::KERNEL, files::INITRAMFS] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        let mut image = image();
        image.parts = renew(dir.path(), &image).unwrap();
        assert_eq!(image.parts.iter().filter(|part| part.stamp.is_some()).count(), 1);
        check(dir.path(), &image).unwrap();
        // The same again, in another inode.
        std::fs::remove_file(&rootfs).unwrap();
        std::fs::write(elsewhere.path().join("other"), "ROOT").unwrap();
        std::fs::rename(elsewhere.path().join("other"), &rootfs).unwrap();
        let touched = check(dir.path(), &image).unwrap_err();
        assert!(touched.is_touch(), "{touched}");
        image.parts = renew(dir.path(), &image).unwrap();
        check(dir.path(), &image).unwrap();
        std::fs::write(&rootfs, "ruin").unwrap();
        assert!(check(dir.path(), &image).unwrap_err().is_touch());
        assert!(!renew(dir.path(), &image).unwrap_err().is_touch());
    }
}
