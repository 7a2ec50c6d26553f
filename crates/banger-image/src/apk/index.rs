//! The index of a repository: `APKINDEX` in `APKINDEX.tar.gz` (apk-package(5), which names the
//! letters of its lines).

use std::io::Read;

use super::dependency::{Dependency, Provide};
use super::identity::Identity;
use super::keys::{KeyError, Keys};
use super::pkginfo::{arch, name, names, number, version};
use super::stream::{Stream, StreamError};
use super::version::Version;

/// What an index may have, in bytes, compressed or not. The largest of Alpine's have ten millions.
pub const LIMIT: usize = 128 << 20;
/// What a line may have, in bytes. The longest have some ten thousand.
const LINE: usize = 1 << 20;
/// The letters that are known.
const KNOWN: &[u8] = b"CPVASITULomtcDpirk";

/// A package in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// `C`: what the package is known by.
    pub identity: Identity,
    /// `P`: its name.
    pub name: String,
    /// `V`: its version.
    pub version: Version,
    /// `A`: the machines that it is for: `x86_64`, or `noarch`; empty if it does not say.
    pub arch: String,
    /// `S`: bytes of its file.
    pub size: u64,
    /// `I`: bytes that it takes when it is installed; about. One with 0 has nothing to unpack, and
    /// apk does not fetch it.
    pub installed_size: u64,
    /// `T`: what it is, in one line.
    pub description: String,
    /// `U`: where to read about it.
    pub url: String,
    /// `L`: its licence.
    pub license: String,
    /// `o`: the package that it was built from; empty if it does not say.
    pub origin: String,
    /// `m`: who cares for it.
    pub maintainer: String,
    /// `t`: when it was built, in seconds since 1970.
    pub build_time: u64,
    /// `c`: the commit that it was built from.
    pub commit: String,
    /// `D`: what it needs.
    pub depends: Vec<Dependency>,
    /// `p`: names that it provides beside its own.
    pub provides: Vec<Provide>,
    /// `i`: what makes it be installed without being asked for, when all of it is there.
    pub install_if: Vec<Dependency>,
    /// `r`: packages whose files it may replace.
    pub replaces: Vec<Dependency>,
    /// `k`: which package is chosen first of those that provide a name without a version; 0 is none.
    pub provider_priority: u32,
}

/// An index that is of no use.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Its file is damaged.
    #[error("the index of packages cannot be used")]
    Stream(#[from] StreamError),
    /// It is not signed by who is trusted.
    #[error("the index of packages is not to be trusted")]
    Signature(#[from] KeyError),
    /// It has no list.
    #[error("the index of packages has no file 'APKINDEX', or several")]
    NoList,
    /// A line is not of the format.
    #[error("line {line} of the index of packages is damaged: {reason}")]
    Line {
        /// Which one; the first is 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl Record {
    /// The name of its file, which lies beside the index.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}-{}.apk", self.name, self.version)
    }
}

/// Reads an `APKINDEX.tar.gz`, and checks that it was signed by one of the keys.
///
/// # Errors
///
/// It cannot be read, is damaged, or was not signed by one of the keys.
pub fn read<R: Read>(index: R, keys: &Keys) -> Result<Vec<Record>, IndexError> {
    let mut stream = Stream::new(index);
    let head = stream.head(LIMIT)?;
    stream.end()?;
    keys.verify(&head.compressed, &head.signatures)?;
    let mut lists = head.files.iter().filter(|(name, _)| name == "APKINDEX");
    match (lists.next(), lists.next()) {
        (Some((_, list)), None) => parse(list),
        _ => Err(IndexError::NoList),
    }
}

/// Reads an `APKINDEX`: packages with an empty line in between, each line a letter, a colon and a
/// value. Letters that are not known are ignored.
///
/// # Errors
///
/// A line is not of the format, or a package has no name, version or hash.
pub fn parse(list: &[u8]) -> Result<Vec<Record>, IndexError> {
    let mut records = Vec::new();
    let mut fields = Fields::default();
    let mut lines = 0;
    for line in list.split(|byte| *byte == b'\n') {
        lines += 1;
        let damaged = |reason| IndexError::Line { line: lines, reason };
        if line.is_empty() {
            records.extend(std::mem::take(&mut fields).record().map_err(damaged)?);
        } else {
            fields.set(line).map_err(damaged)?;
        }
    }
    let last = fields.record().map_err(|reason| IndexError::Line { line: lines, reason })?;
    records.extend(last);
    Ok(records)
}

#[derive(Default)]
struct Fields {
    /// The letters that were there, as bits.
    seen: u128,
    identity: Option<Identity>,
    name: Option<String>,
    version: Option<Version>,
    arch: String,
    size: u64,
    installed_size: u64,
    description: String,
    url: String,
    license: String,
    origin: String,
    maintainer: String,
    build_time: u64,
    commit: String,
    depends: Vec<Dependency>,
    provides: Vec<Provide>,
    install_if: Vec<Dependency>,
    replaces: Vec<Dependency>,
    provider_priority: u32,
}

impl Fields {
    fn set(&mut self, line: &[u8]) -> Result<(), String> {
        let [letter, b':', value @ ..] = line else {
            return Err("it does not begin with a letter and a colon".to_owned());
        };
        if value.len() > LINE {
            return Err(format!("it has more than {LINE} bytes"));
        }
        let bit = 1_u128.checked_shl(u32::from(*letter)).unwrap_or(0);
        if KNOWN.contains(letter) && self.seen & bit != 0 {
            return Err("the package has such a line already".to_owned());
        }
        self.seen |= bit;
        let value = &*String::from_utf8_lossy(value);
        match letter {
            b'C' => self.identity = Some(value.parse().map_err(|error| format!("{error}"))?),
            b'P' => self.name = Some(name(value)?),
            b'V' => self.version = Some(version(value)?),
            b'A' => self.arch = arch(value)?,
            b'S' => self.size = number(value)?,
            b'I' => self.installed_size = number(value)?,
            b'T' => self.description = value.to_owned(),
            b'U' => self.url = value.to_owned(),
            b'L' => self.license = value.to_owned(),
            b'o' => self.origin = value.to_owned(),
            b'm' => self.maintainer = value.to_owned(),
            b't' => self.build_time = number(value)?,
            b'c' => self.commit = value.to_owned(),
            b'D' => self.depends = names(value)?,
            b'p' => self.provides = names(value)?,
            b'i' => self.install_if = names(value)?,
            b'r' => self.replaces = names(value)?,
            b'k' => self.provider_priority = number(value)?,
            _ => {}
        }
        Ok(())
    }

    /// The package whose lines were read; none if there were none.
    fn record(self) -> Result<Option<Record>, String> {
        if self.seen == 0 {
            return Ok(None);
        }
        let missing = |letter| format!("the package that ends here has no line '{letter}:'");
        Ok(Some(Record {
            identity: self.identity.ok_or_else(|| missing('C'))?,
            name: self.name.ok_or_else(|| missing('P'))?,
            version: self.version.ok_or_else(|| missing('V'))?,
            arch: self.arch,
            size: self.size,
            installed_size: self.installed_size,
            description: self.description,
            url: self.url,
            license: self.license,
            origin: self.origin,
            maintainer: self.maintainer,
            build_time: self.build_time,
            commit: self.commit,
            depends: self.depends,
            provides: self.provides,
            install_if: self.install_if,
            replaces: self.replaces,
            provider_priority: self.provider_priority,
        }))
    }
}

#[cfg(test)]
mod tests;
