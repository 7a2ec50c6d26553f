//! Which package a file belongs to that several have (apk-package(5), "replaces" and
//! "replaces-priority"; apk-tools, `apk_pkg_replaces_file`).

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::super::index::Record;
use super::super::package::{File, Kind, Package};
use super::Installed;

/// Two packages have a file, and neither says that it may replace the other's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{first} and {second} both have '{path}', and neither replaces the other")]
pub struct Clash {
    /// The package that is installed first.
    pub first: String,
    /// The other one.
    pub second: String,
    /// The file.
    pub path: String,
}

/// The owners of all files, as places in the list of packages.
pub(super) struct Owners<'a> {
    owners: HashMap<&'a [u8], usize>,
    superseded: Vec<(usize, &'a [u8])>,
}

impl<'a> Owners<'a> {
    pub(super) fn new(packages: &[Installed<'a>]) -> Result<Self, Clash> {
        let mut owners: HashMap<&[u8], usize> = HashMap::new();
        let mut superseded = Vec::new();
        for (n, new) in packages.iter().enumerate() {
            let files = new.package.into_iter().flat_map(|package| &package.files);
            for file in files.filter(|file| file.kind == Kind::Other) {
                match owners.entry(&file.path) {
                    Entry::Vacant(free) => drop(free.insert(n)),
                    Entry::Occupied(mut taken) => match packages.get(*taken.get()) {
                        Some(old) if !replaces(old, new, file)? => {
                            superseded.push((n, file.path.as_slice()));
                        }
                        _ => drop(taken.insert(n)),
                    },
                }
            }
        }
        Ok(Self { owners, superseded })
    }

    /// Whether a file of a package is still that package's.
    pub(super) fn has(&self, n: usize, file: &File) -> bool {
        file.kind == Kind::Folder || self.owners.get(file.path.as_slice()) == Some(&n)
    }

    pub(super) fn superseded(self) -> Vec<(usize, Vec<u8>)> {
        self.superseded.into_iter().map(|(n, path)| (n, path.to_vec())).collect()
    }
}

/// Whether the file of a new package replaces that of an old one.
fn replaces(old: &Installed<'_>, new: &Installed<'_>, file: &File) -> Result<bool, Clash> {
    let origin = &old.record.origin;
    if !origin.is_empty() && *origin == new.record.origin {
        return Ok(true);
    }
    let (before, after) = (priority(old.package, new.record), priority(new.package, old.record));
    if before > after {
        return Ok(false);
    }
    if after.is_some() {
        return Ok(true);
    }
    let shown = |record: &Record| format!("{}-{}", record.name, record.version);
    Err(Clash {
        first: shown(old.record),
        second: shown(new.record),
        path: String::from_utf8_lossy(&file.path).into_owned(),
    })
}

/// With which priority a package replaces the files of another; none if it does not.
fn priority(package: Option<&Package>, other: &Record) -> Option<u32> {
    let info = &package?.info;
    let fits = info
        .replaces
        .iter()
        .any(|rule| rule.name == other.name && rule.allows(Some(&other.version)));
    fits.then_some(info.replaces_priority)
}
