//! The index of a repository: `ARCHITECTURE-repodata` (xbps-rindex(1)).
//!
//! It is a tar file, compressed, of `index.plist` with the packages, `index-meta.plist` with the
//! repository's key, and in newer ones `stage.plist` with packages that are not for everybody yet
//! (xbps-install(1), `--staging`). Nothing signs it: what it says of a package holds once the key that is trusted vouches for the package.

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use super::archive;
use super::keys::{KeyError, RepositoryKey};
use super::plist::{self, Dict, PlistError, Value};
use super::version::PkgVer;
use crate::fetch::Checksum;

/// The index of Void has some 20 MiB for 15000 packages.
const LIMIT: u64 = 128 << 20;
/// What stands for a missing key in an index.
const UNSIGNED: &[u8] = b"DEADBEEF";

/// Why an index cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RepodataError {
    /// The archive is damaged.
    #[error("the index of the repository cannot be unpacked")]
    Archive(#[from] io::Error),
    /// A file in it is missing.
    #[error("the index of the repository has no {0}")]
    Missing(&'static str),
    /// A file in it is no property list.
    #[error("the {file} of the repository cannot be read")]
    Plist {
        /// The file.
        file: &'static str,
        /// What is wrong with it.
        source: PlistError,
    },
    /// The record of a package lacks something.
    #[error("the index of the repository has a wrong record of '{package}': {reason}")]
    Record {
        /// The package.
        package: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The record of the key lacks something.
    #[error("the repository says that it is signed, but {0} is missing")]
    Meta(&'static str),
    /// The key cannot be used.
    #[error("the repository has a key that is of no use")]
    Key(#[from] KeyError),
}

/// A package, as an index has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name and version.
    pub pkgver: PkgVer,
    /// The machines that it is for, as `uname -m` calls them, with `-musl` behind it for those of
    /// musl; or `noarch`.
    pub architecture: String,
    /// The SHA-256 of its file.
    pub checksum: Checksum,
    /// Bytes of its file.
    pub size: u64,
    /// Bytes of the files in it.
    pub installed_size: u64,
    /// Patterns of the packages that it needs.
    pub run_depends: Vec<String>,
    /// Virtual packages that it is, `NAME-VERSION`.
    pub provides: Vec<String>,
    /// Patterns of the packages whose place it takes.
    pub replaces: Vec<String>,
    /// Patterns of the packages that cannot be beside it.
    pub conflicts: Vec<String>,
    /// Versions of itself that it is to replace although they are later.
    pub reverts: Vec<String>,
    /// Libraries that it has, by their names (`libc.so.6`).
    pub shlib_provides: Vec<String>,
    /// Libraries that it needs.
    pub shlib_requires: Vec<String>,
    /// Symlinks that packages take turns to make: groups of `LINK:TARGET` (xbps-alternatives(1)).
    pub alternatives: BTreeMap<String, Vec<String>>,
}

impl Package {
    /// The name of its file in the repository; that of its signature has `.sig2` behind it.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}.{}.xbps", self.pkgver, self.architecture)
    }

    fn parse(name: &str, record: &Dict) -> Result<Self, RepodataError> {
        let wrong = |reason| RepodataError::Record { package: name.to_owned(), reason };
        let pkgver: PkgVer = plist::string(record, "pkgver")
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| wrong("it has no version"))?;
        if pkgver.name() != name {
            return Err(wrong("it is of another package"));
        }
        // It becomes part of a file's name.
        let plain = |text: &&str| {
            !text.is_empty()
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        };
        let architecture = plist::string(record, "architecture")
            .filter(plain)
            .ok_or_else(|| wrong("it has no architecture"))?
            .to_owned();
        let checksum = plist::string(record, "filename-sha256")
            .and_then(|hex| hex.parse().ok())
            .filter(|sum| matches!(sum, Checksum::Sha256(_)))
            .ok_or_else(|| wrong("it has no checksum"))?;
        let size = plist::number(record, "filename-size").ok_or_else(|| wrong("it has no size"))?;
        Ok(Self {
            pkgver,
            architecture,
            checksum,
            size,
            installed_size: plist::number(record, "installed_size").unwrap_or(0),
            run_depends: plist::strings(record, "run_depends"),
            provides: plist::strings(record, "provides"),
            replaces: plist::strings(record, "replaces"),
            conflicts: plist::strings(record, "conflicts"),
            reverts: plist::strings(record, "reverts"),
            shlib_provides: plist::strings(record, "shlib-provides"),
            shlib_requires: plist::strings(record, "shlib-requires"),
            alternatives: alternatives(record),
        })
    }
}

/// The alternatives that a package says it has.
pub(super) fn alternatives(record: &Dict) -> BTreeMap<String, Vec<String>> {
    let Some(Value::Dict(groups)) = record.get("alternatives") else { return BTreeMap::new() };
    groups.keys().map(|name| (name.clone(), plist::strings(groups, name))).collect()
}

/// The key of a repository, and who says that it is theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// The key. That it is in the index makes it no key to trust.
    pub key: RepositoryKey,
    /// Bits of its modulus.
    pub key_size: u64,
    /// Who signs.
    pub signed_by: String,
    /// How: `rsa`. Older indexes do not say it.
    pub signature_type: Option<String>,
}

impl Meta {
    fn parse(dict: &Dict) -> Result<Self, RepodataError> {
        let missing = RepodataError::Meta;
        let Some(Value::Data(pem)) = dict.get("public-key") else {
            return Err(missing("its key"));
        };
        let text = |key| plist::string(dict, key).map(str::to_owned);
        Ok(Self {
            key: RepositoryKey::from_pem(pem)?,
            key_size: plist::number(dict, "public-key-size")
                .ok_or(missing("the size of its key"))?,
            signed_by: text("signature-by").ok_or(missing("who signs it"))?,
            signature_type: text("signature-type"),
        })
    }
}

/// The index of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repodata {
    /// The packages by their names.
    pub packages: BTreeMap<String, Package>,
    /// The key; none if the packages are not signed.
    pub meta: Option<Meta>,
}

/// Reads an index, compressed as it is.
///
/// # Errors
/// It is damaged, unpacks to more than 128 MiB, or lacks something.
pub fn parse(file: impl BufRead) -> Result<Repodata, RepodataError> {
    let mut archive = archive::open(file, LIMIT)?;
    let mut packages = None;
    let mut meta = None;
    while let Some(entry) = archive.next()? {
        let read = |bytes: &[u8], file| {
            plist::parse(bytes).map_err(|source| RepodataError::Plist { file, source })
        };
        match entry.path.strip_prefix(b"./").unwrap_or(&entry.path) {
            b"index.plist" if packages.is_none() => {
                let bytes = archive::content(&mut archive, entry.size, LIMIT)?;
                // An empty dictionary is an empty file.
                let dict =
                    if bytes.is_empty() { Dict::new() } else { read(&bytes, "index.plist")? };
                packages = Some(index(&dict)?);
            }
            b"index-meta.plist" if meta.is_none() => {
                let bytes = archive::content(&mut archive, entry.size, LIMIT)?;
                let empty = bytes.is_empty() || bytes.trim_ascii() == UNSIGNED;
                let dict = if empty { Dict::new() } else { read(&bytes, "index-meta.plist")? };
                meta = Some(if dict.is_empty() { None } else { Some(Meta::parse(&dict)?) });
            }
            _ => {}
        }
    }
    let packages = packages.ok_or(RepodataError::Missing("index.plist"))?;
    Ok(Repodata { packages, meta: meta.flatten() })
}

fn index(dict: &Dict) -> Result<BTreeMap<String, Package>, RepodataError> {
    let package = |(name, record): (&String, &Value)| match record {
        Value::Dict(record) => Ok((name.clone(), Package::parse(name, record)?)),
        _ => Err(RepodataError::Record { package: name.clone(), reason: "it is no dictionary" }),
    };
    dict.iter().map(package).collect()
}

#[cfg(test)]
mod tests;
