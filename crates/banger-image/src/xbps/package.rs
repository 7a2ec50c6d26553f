//! Packages: `NAME-VERSION_REVISION.ARCHITECTURE.xbps` (xbps-create(1)).
//!
//! A package is a tar file, compressed. First in it are the scripts `INSTALL` and `REMOVE`, where
//! it has them, then `props.plist` about the package, `files.plist` about its files, and the files.
//! It has no folders but those that its files are in, which xbps makes as root's with mode 0755.

mod payload;

use std::io::{self, Write};

use sha2::{Digest as _, Sha256};

use super::archive::{self, Archive};
use super::files;
use super::plist::{self, Dict, PlistError};
use super::repodata;
use super::version::PkgVer;
use crate::fetch::Checksum;

/// The largest package of Void unpacks to some 3 GiB.
const LIMIT: u64 = 16 << 30;
/// The largest list of files has some 20 MiB.
const LIST: u64 = 128 << 20;
/// A script has some KiB.
const SCRIPT: u64 = 1 << 20;

/// What ends a tar file, after whatever [`unpack`] wrote: two empty blocks (tar(5)).
pub const END: [u8; 1024] = [0; 1024];

/// Why a package is refused.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// It is not as long as the index says.
    #[error("the package has {found} bytes, and the index of the repository says {expected}")]
    Size {
        /// Bytes that it should have.
        expected: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// It is not what the index says.
    #[error("the package is not what it should be: expected {expected}, got {found}")]
    Checksum {
        /// What the index says.
        expected: Checksum,
        /// What it has.
        found: Checksum,
    },
    /// The archive is damaged.
    #[error("the package cannot be unpacked")]
    Archive(#[source] io::Error),
    /// One of its property lists is missing, or not before the files.
    #[error("the package has no {0} before its files")]
    Missing(&'static str),
    /// One of its property lists cannot be read.
    #[error("the {file} of the package cannot be read")]
    Plist {
        /// The property list.
        file: &'static str,
        /// What is wrong with it.
        source: PlistError,
    },
    /// It is another package than its name says.
    #[error("the package says that its {what} is '{found}', and the index says '{expected}'")]
    Props {
        /// What differs.
        what: &'static str,
        /// What the index says.
        expected: String,
        /// What it says itself; empty if it does not.
        found: String,
    },
    /// A file would be outside of the root, or has a name that xbps cannot have.
    #[error("the package has the file '{0}', which has no place in a root file system")]
    Path(String),
    /// A file is neither file nor link.
    #[error("the package has '{0}', which is neither a file nor a link")]
    Kind(String),
    /// A file is there twice, or below something that is no folder.
    #[error("the package has '{0}' in the place of another of its files")]
    Place(String),
    /// A hard link is to nothing that came before it.
    #[error("the package has '{path}' as another name of '{target}', which is not before it")]
    Link {
        /// The link.
        path: String,
        /// What it should be another name of.
        target: String,
    },
    /// A file is not in the list of its files.
    #[error("the package has the file '{0}', which is not in its list of files")]
    NotListed(String),
    /// A file of the list is not there.
    #[error("the package lacks the file '{0}' of its list of files")]
    Absent(String),
    /// A file is not what the list says.
    #[error("the file '{0}' of the package is not what its list of files says")]
    Changed(String),
    /// What is unpacked cannot be written.
    #[error("the files of the package cannot be written")]
    Write(#[source] io::Error),
}

/// What a package has besides its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// Its name and version.
    pub pkgver: PkgVer,
    /// The script that xbps runs before and after it installs the package, with the argument `pre`
    /// or `post`.
    pub install: Option<Vec<u8>>,
    /// The script that xbps runs when it removes the package.
    pub remove: Option<Vec<u8>>,
    /// What its repository says of its file, for the database.
    pub(super) checksum: Checksum,
    pub(super) size: u64,
    /// What it says of itself, for the database.
    pub(super) props: Dict,
    /// The list of its files, for the database.
    pub(super) files: Dict,
}

impl Unpacked {
    /// Its files.
    #[must_use]
    pub fn files(&self) -> Vec<files::Entry> {
        files::entries(&self.files)
    }
}

/// Checks a package, and writes its files to `out` as entries of a tar file, without [`END`], so
/// that those of several packages may follow each other.
///
/// `file` is the package file, and `package` what the index of its repository says of it. The names
/// of the files have no `./` before them; their folders are not in it.
///
/// # Errors
/// The package is not what the index says, one of its files is not what its list says or is not
/// within the root, or `out` failed. What was written until then is of no use.
pub fn unpack(
    file: &[u8],
    package: &repodata::Package,
    out: &mut dyn Write,
) -> Result<Unpacked, PackageError> {
    let found = file.len() as u64;
    if found != package.size {
        return Err(PackageError::Size { expected: package.size, found });
    }
    let found = Checksum::Sha256(Sha256::digest(file).into());
    if found != package.checksum {
        return Err(PackageError::Checksum { expected: package.checksum.clone(), found });
    }
    let mut archive = archive::open(file, LIMIT).map_err(PackageError::Archive)?;
    let mut about = About::default();
    let mut next = archive.next().map_err(PackageError::Archive)?;
    while let Some(entry) = &next {
        if !about.take(&entry.path, entry.size, &mut archive)? {
            break;
        }
        next = archive.next().map_err(PackageError::Archive)?;
    }
    let props = about.props.ok_or(PackageError::Missing("props.plist"))?;
    let files = about.files.ok_or(PackageError::Missing("files.plist"))?;
    // An index may give an old package a newer version, to go back to its bugs.
    same("version", package.pkgver.as_str(), plist::string(&props, "pkgver"))?;
    same("name", package.pkgver.name(), plist::string(&props, "pkgname"))?;
    same("architecture", &package.architecture, plist::string(&props, "architecture"))?;
    payload::write(&mut archive, next, files::entries(&files), out)?;
    Ok(Unpacked {
        pkgver: package.pkgver.clone(),
        install: about.install,
        remove: about.remove,
        checksum: found,
        size: package.size,
        props,
        files,
    })
}

fn same(what: &'static str, expected: &str, found: Option<&str>) -> Result<(), PackageError> {
    let found = found.unwrap_or_default().to_owned();
    if found == expected {
        return Ok(());
    }
    Err(PackageError::Props { what, expected: expected.to_owned(), found })
}

/// What comes before the files.
#[derive(Default)]
struct About {
    install: Option<Vec<u8>>,
    remove: Option<Vec<u8>>,
    props: Option<Dict>,
    files: Option<Dict>,
}

impl About {
    /// Takes an entry, unless it is a file of the package.
    fn take(
        &mut self,
        path: &[u8],
        size: u64,
        archive: &mut Archive<'_>,
    ) -> Result<bool, PackageError> {
        let mut content =
            |limit| archive::content(archive, size, limit).map_err(PackageError::Archive);
        let read = |file, bytes: &[u8]| {
            plist::parse(bytes).map_err(|source| PackageError::Plist { file, source })
        };
        match path {
            b"./INSTALL" if self.install.is_none() => {
                self.install = Some(content(SCRIPT)?).filter(|script| !script.is_empty());
            }
            b"./REMOVE" if self.remove.is_none() => {
                self.remove = Some(content(SCRIPT)?).filter(|script| !script.is_empty());
            }
            b"./props.plist" if self.props.is_none() => {
                self.props = Some(read("props.plist", &content(LIST)?)?);
            }
            b"./files.plist" if self.files.is_none() => {
                self.files = Some(read("files.plist", &content(LIST)?)?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
