//! Reading a package, and checking it against its record in an index.
//!
//! The index is signed, and has the hash of the control member, which has the hash of the data. The
//! control member must be signed as well, which apk asks only of packages in files.

mod files;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use super::identity::Identity;
use super::index::Record;
use super::keys::{KeyError, Keys};
use super::pkginfo::{PkgInfo, PkgInfoError};
use super::stream::{Data, Stream, StreamError};
use files::Files;
pub use files::{File, Kind, PathError};

/// What a control member may have, in bytes, compressed or not. The largest of Alpine's have some
/// hundred thousand.
const CONTROL: usize = 16 << 20;
/// What the data may have, in bytes, decompressed. The largest of Alpine's have some thousand
/// millions.
const DATA: u64 = 64 << 30;

/// When a script is run (apk-package(5), "scripts").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Script {
    PreInstall,
    PostInstall,
    PreDeinstall,
    PostDeinstall,
    PreUpgrade,
    PostUpgrade,
    /// When something changed in a folder that a trigger names.
    Trigger,
}

impl Script {
    const ALL: [Self; 7] = [
        Self::PreInstall,
        Self::PostInstall,
        Self::PreDeinstall,
        Self::PostDeinstall,
        Self::PreUpgrade,
        Self::PostUpgrade,
        Self::Trigger,
    ];

    /// Its name in apk's files; in a package, with a dot in front.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PreInstall => "pre-install",
            Self::PostInstall => "post-install",
            Self::PreDeinstall => "pre-deinstall",
            Self::PostDeinstall => "post-deinstall",
            Self::PreUpgrade => "pre-upgrade",
            Self::PostUpgrade => "post-upgrade",
            Self::Trigger => "trigger",
        }
    }
}

/// A package that is what its record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// What it says of itself.
    pub info: PkgInfo,
    /// Its scripts.
    pub scripts: BTreeMap<Script, Vec<u8>>,
    /// Its files and folders, in the order of its data.
    pub files: Vec<File>,
}

/// Why a package is of no use. The name of the package is for the caller to add.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// Its file is damaged.
    #[error("the package cannot be used")]
    Stream(#[from] StreamError),
    /// It is not the one in the index.
    #[error(
        "the package is not the one in the index: its hash is {found}, and should be {expected}"
    )]
    Identity {
        /// What it is.
        found: Identity,
        /// What it should be.
        expected: Identity,
    },
    /// It is not signed by who is trusted.
    #[error("the package is not to be trusted")]
    Signature(#[from] KeyError),
    /// It has another size.
    #[error("the package has {found} bytes, and should have {expected}")]
    Size {
        /// Bytes that it has.
        found: u64,
        /// Bytes that it should have.
        expected: u64,
    },
    /// Its data is not what belongs to it.
    #[error("the data of the package is damaged: it does not have the hash in its .PKGINFO")]
    DataHash,
    /// Its `.PKGINFO` is damaged.
    #[error("the package cannot be used")]
    PkgInfo(#[from] PkgInfoError),
    /// It has no `.PKGINFO`, or something among its scripts that belongs elsewhere.
    #[error("the control member of the package is damaged: {0}")]
    Control(String),
    /// It says something else of itself than the index does.
    #[error("the package says that its {what} is '{found}', and the index that it is '{expected}'")]
    Mismatch {
        /// What it is about.
        what: &'static str,
        /// What the package says.
        found: String,
        /// What the index says.
        expected: String,
    },
    /// Its data is no tar file.
    #[error("the data of the package is damaged: {0}")]
    Tar(String),
    /// It has a file where none may be.
    #[error("the package has a file that it may not have")]
    Path(#[from] PathError),
    /// The data could not be written.
    #[error("the data of the package could not be written")]
    Write(#[source] io::Error),
}

/// Reads a package, and writes its data as a whole tar file. On an error, what was written is to be
/// thrown away: it is only checked as a whole.
///
/// # Errors
///
/// The package cannot be read, is damaged, is not what the record says, or was not signed by one of
/// the keys; or the data cannot be written.
pub fn read<R: Read>(
    apk: R,
    record: &Record,
    keys: &Keys,
    out: &mut dyn Write,
) -> Result<Package, PackageError> {
    // One byte more tells that there is more.
    let mut stream = Stream::new(apk.take(record.size.saturating_add(1)));
    let head = stream.head(CONTROL)?;
    let (found, expected) = (record.identity.of(&head.compressed), record.identity);
    if found != expected {
        return Err(PackageError::Identity { found, expected });
    }
    keys.verify(&head.compressed, &head.signatures)?;
    let (info, scripts) = control(head.files)?;
    agree(&info, record)?;
    let mut tee = Tee { data: stream.data(DATA), out, failed: None };
    let files = unpack(&mut tee)?;
    let (hash, size) = tee.data.finish()?;
    if hash != info.datahash {
        return Err(PackageError::DataHash);
    }
    if size != record.size {
        return Err(PackageError::Size { found: size, expected: record.size });
    }
    Ok(Package { info, scripts, files })
}

fn control(
    files: Vec<(String, Vec<u8>)>,
) -> Result<(PkgInfo, BTreeMap<Script, Vec<u8>>), PackageError> {
    let mut info = None;
    let mut scripts = BTreeMap::new();
    for (name, content) in files {
        let script = Script::ALL
            .into_iter()
            .find(|script| name.strip_prefix('.').is_some_and(|name| name == script.as_str()));
        let twice = match script {
            Some(script) => scripts.insert(script, content).is_some(),
            None if name == ".PKGINFO" => info.replace(PkgInfo::parse(&content)?).is_some(),
            // Others are for tools that are newer.
            None if name.starts_with('.') && !name.contains('/') => false,
            None => return Err(PackageError::Control(format!("it has '{}'", name.escape_debug()))),
        };
        if twice {
            return Err(PackageError::Control(format!("it has '{name}' twice")));
        }
    }
    let info = info.ok_or_else(|| PackageError::Control("it has no '.PKGINFO'".to_owned()))?;
    Ok((info, scripts))
}

/// Checks that a package is the one that was meant. Its arch may be `noarch` where the index has
/// that of the repository: apk-index(8) `--rewrite-arch`.
fn agree(info: &PkgInfo, record: &Record) -> Result<(), PackageError> {
    let pairs = [
        ("name", info.name.as_str(), record.name.as_str()),
        ("version", info.version.as_str(), record.version.as_str()),
        ("arch", info.arch.as_str(), record.arch.as_str()),
    ];
    match pairs
        .into_iter()
        .find(|(what, found, expected)| found != expected && (*what, *found) != ("arch", "noarch"))
    {
        None => Ok(()),
        Some((what, found, expected)) => {
            let (found, expected) = (found.to_owned(), expected.to_owned());
            Err(PackageError::Mismatch { what, found, expected })
        }
    }
}

/// Reads the data and copies it.
struct Tee<'a, R> {
    data: Data<R>,
    out: &'a mut dyn Write,
    failed: Option<io::Error>,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.data.read(buffer)?;
        self.out
            .write_all(buffer.get(..n).unwrap_or_default())
            .map_err(|error| {
                let kind = error.kind();
                self.failed = Some(error);
                // An interrupted read would be tried again.
                if kind == io::ErrorKind::Interrupted { io::ErrorKind::Other } else { kind }.into()
            })
            .map(|()| n)
    }
}

/// Reads the tar file of the data, to the last byte.
fn unpack<R: Read>(tee: &mut Tee<'_, R>) -> Result<Vec<File>, PackageError> {
    let mut files = Files::default();
    let read = files.read(&mut *tee);
    if let Some(error) = tee.failed.take() {
        return Err(PackageError::Write(error));
    }
    if let Some(error) = tee.data.trouble() {
        return Err(error.into());
    }
    let ended = read?;
    let end = [0; 1024];
    // The pieces of the tar file need not have the blocks that end one.
    if !ended {
        tee.out.write_all(&end).map_err(PackageError::Write)?;
    }
    Ok(files.finish())
}

#[cfg(test)]
mod tests;
