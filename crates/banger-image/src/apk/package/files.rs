//! The files in a package's data.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;

use sha1::{Digest as _, Sha1};

use super::super::identity::hex;
use super::PackageError;
use crate::oci::entries::{Entry, Reader, What};

/// What the kernel takes (path_resolution(7)): `NAME_MAX` and `PATH_MAX` without its zero.
const NAME: usize = 255;
const PATH: usize = 4095;
/// Bytes of all the names in a package. The largest of Alpine's have some millions.
const NAMES: usize = 64 << 20;
/// Files in a package. The largest of Alpine's have some hundred thousand.
const FILES: usize = 1 << 20;

/// A file or a folder of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path from the root, without a slash at either end.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// The number of its owner.
    pub uid: u32,
    /// The number of its group.
    pub gid: u32,
    /// The name of its owner, if it has one that is not root: who has that name in the root is its
    /// owner, if there is such a user (apk-tools, `apk_tar_parse`).
    pub user: Option<String>,
    /// The name of its group, likewise.
    pub group: Option<String>,
    /// Its permissions, with those beyond `rwx`.
    pub mode: u32,
    /// The SHA-1 of its content; of a link's target. As the package has it, or, of a hard link,
    /// that of the file.
    pub sha1: Option<[u8; 20]>,
    /// A SHA-1 of its extended attributes, as apk makes it; none if it has none.
    pub xattrs: Option<[u8; 20]>,
}

/// What a file is, for apk's database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Folder,
    /// Anything else.
    Other,
}

/// A path that a package may not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It leads elsewhere, or nowhere.
    #[error("'{0}' is not a path below the root")]
    Irregular(String),
    /// A package has it twice.
    #[error("'{0}' is there twice")]
    Twice(String),
    /// It lies below what is no folder.
    #[error("'{0}' lies below something that is not a folder")]
    NoFolder(String),
    /// It is a hard link to what is not in the package.
    #[error("'{0}' is a link to a file that is not in the package")]
    NoTarget(String),
    /// There are too many.
    #[error("it has more than {FILES} files, or their names have more than {NAMES} bytes")]
    TooMany,
}

/// Those that were read.
#[derive(Default)]
pub(super) struct Files {
    files: Vec<File>,
    places: HashMap<Vec<u8>, usize>,
    names: usize,
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().take(NAME).flat_map(char::escape_debug).collect()
}

/// A path without the slash of a folder; an error if it is no plain path below the root.
fn regular(path: &[u8], folder: bool) -> Result<Vec<u8>, PathError> {
    let plain = if folder { path.strip_suffix(b"/").unwrap_or(path) } else { path };
    let fits = |name: &[u8]| !matches!(name, b"" | b"." | b"..") && name.len() <= NAME;
    // The database has a line for each, and the last name behind its last slash.
    let control = |byte: &u8| byte.is_ascii_control();
    if plain.len() > PATH || plain.iter().any(control) || !plain.split(|b| *b == b'/').all(fits) {
        return Err(PathError::Irregular(shown(path)));
    }
    Ok(plain.to_vec())
}

/// A name that can be a user's (useradd(8)), but root's.
fn named(name: Vec<u8>) -> Option<String> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
    let name = String::from_utf8(name).ok().filter(|name| name.bytes().all(|b| plain(&b)))?;
    (!name.is_empty() && !name.starts_with('-') && name != "root").then_some(name)
}

/// The hash of extended attributes: those of all names and values in the order of the names, each
/// with its length in front (apk-tools, `apk_fileinfo_hash_xattr`).
fn xattrs(xattrs: &BTreeMap<Vec<u8>, Vec<u8>>) -> Option<[u8; 20]> {
    let mut sha1 = Sha1::new();
    for text in xattrs.iter().flat_map(|(name, value)| [name, value]) {
        sha1.update(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        sha1.update(text);
    }
    (!xattrs.is_empty()).then(|| sha1.finalize().into())
}

impl Files {
    /// Reads a tar file to its last byte, and tells whether it had the blocks that end one.
    pub(super) fn read<R: Read>(&mut self, data: R) -> Result<bool, PackageError> {
        let tar = |error: std::io::Error| PackageError::Tar(error.to_string());
        let mut reader = Reader::new(Counter { inner: data, bytes: 0, ended: false });
        while let Some(entry) = reader.next().map_err(tar)? {
            self.add(entry)?;
        }
        let mut counter = reader.into_inner();
        // The reader stops at a block of zeros, or where there is nothing.
        let blocks = !counter.ended;
        let mut rest = [0; 512];
        loop {
            match counter.read(&mut rest) {
                Ok(0) => break,
                Ok(n) if rest.iter().take(n).all(|byte| *byte == 0) => {}
                Ok(_) => {
                    let reason = "something follows the end of its tar file";
                    return Err(PackageError::Tar(reason.to_owned()));
                }
                Err(error) => return Err(tar(error)),
            }
        }
        if counter.bytes % 512 == 0 {
            Ok(blocks)
        } else {
            Err(PackageError::Tar("the tar file ends within a block".to_owned()))
        }
    }

    fn add(&mut self, entry: Entry) -> Result<(), PathError> {
        let kind = if entry.what == What::Dir { Kind::Folder } else { Kind::Other };
        let root = kind == Kind::Folder && matches!(&*entry.path, b"." | b"./" | b"/");
        // The root has its owner and mode from elsewhere.
        if root {
            return Ok(());
        }
        let path = regular(&entry.path, kind == Kind::Folder)?;
        self.names += path.len();
        if self.files.len() >= FILES || self.names > NAMES {
            return Err(PathError::TooMany);
        }
        for (n, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            if path.get(..n).and_then(|above| self.find(above)).is_some_and(File::is_other) {
                return Err(PathError::NoFolder(shown(&path)));
            }
        }
        if self.find(&path).is_some_and(|file| file.is_other() || kind == Kind::Other) {
            return Err(PathError::Twice(shown(&path)));
        }
        let sha1 = match &entry.what {
            What::Link(target) => match regular(target, false).ok().and_then(|t| self.find(&t)) {
                Some(target) if target.is_other() => target.sha1,
                _ => return Err(PathError::NoTarget(shown(&path))),
            },
            _ => entry.records.get(&b"APK-TOOLS.checksum.SHA1"[..]).and_then(|text| hex(text)),
        };
        let xattrs = xattrs(&entry.meta.xattrs);
        let (uid, gid, mode) = (entry.meta.uid, entry.meta.gid, entry.meta.mode);
        let [user, group] = entry.names.map(named);
        let file = File { path, kind, uid, gid, user, group, mode, sha1, xattrs };
        match self.places.get(&file.path) {
            // A folder that is there twice has its owner and mode from the last.
            Some(place) => {
                if let Some(before) = self.files.get_mut(*place) {
                    *before = file;
                }
            }
            None => {
                self.places.insert(file.path.clone(), self.files.len());
                self.files.push(file);
            }
        }
        Ok(())
    }

    fn find(&self, path: &[u8]) -> Option<&File> {
        self.files.get(*self.places.get(path)?)
    }

    pub(super) fn finish(self) -> Vec<File> {
        self.files
    }
}

impl File {
    fn is_other(&self) -> bool {
        self.kind == Kind::Other
    }
}

/// Counts bytes, and knows whether they came to an end.
struct Counter<R> {
    inner: R,
    bytes: u64,
    ended: bool,
}

impl<R: Read> Read for Counter<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.bytes += n as u64;
        self.ended |= n == 0 && !buffer.is_empty();
        Ok(n)
    }
}
