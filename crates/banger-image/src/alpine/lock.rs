//! What packages were when they were had first: a version of a package is never to be another.
//!
//! Alpine publishes no list of hashes that could be pinned here, so its signed index is what is
//! trusted; this holds the index to what it said before.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::AlpineError;
use crate::apk::index::Record;
use crate::build::BuildError;

/// The packages of a release that a mirror had: by `name version` their hashes, as an index has
/// them.
pub(super) struct Lock {
    path: PathBuf,
    known: BTreeMap<String, String>,
}

impl Lock {
    /// The one in a folder for a release's folder on a mirror, a URL; empty if there is none.
    pub(super) fn read(folder: &Path, url: &str) -> Result<Self, BuildError> {
        let digest = Sha256::digest(url);
        let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let path = folder.join(format!("alpine-{name}.lock"));
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            text => text.map_err(BuildError::io("read", &path))?,
        };
        let line = |line: &str| {
            let (package, hash) = line.rsplit_once(' ')?;
            (!line.starts_with('#')).then(|| (package.to_owned(), hash.to_owned()))
        };
        Ok(Self { known: text.lines().filter_map(line).collect(), path })
    }

    /// Fails if one of the packages had another hash before; notes it otherwise.
    pub(super) fn check<'a>(
        &mut self,
        packages: impl Iterator<Item = &'a Record>,
    ) -> Result<(), AlpineError> {
        for Record { name, version, identity, .. } in packages {
            let (package, now) = (format!("{name} {version}"), identity.to_string());
            let before = self.known.entry(package).or_insert_with(|| now.clone());
            if *before != now {
                let (before, lock) = (before.clone(), self.path.clone());
                return Err(AlpineError::Changed {
                    package: format!("{name}-{version}"),
                    before,
                    now,
                    lock,
                });
            }
        }
        Ok(())
    }

    /// Keeps it for later builds of that release.
    pub(super) fn keep(&self, url: &str) -> Result<(), BuildError> {
        let mut text =
            format!("# The packages of {url} that images were made of, and their hashes.\n");
        for (package, hash) in &self.known {
            text.push_str(&format!("{package} {hash}\n"));
        }
        let part = self.path.with_added_extension("part");
        let write = || -> io::Result<()> {
            self.path.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::write(&part, text)?;
            fs::rename(&part, &self.path)
        };
        write().map_err(BuildError::io("write", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apk::testing::record;

    #[test]
    fn a_version_stays_what_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let url = "https://mirror.example/alpine/v3.22";
        let package = |version: &str, hash: char| {
            let hash = format!("Q1{}=", String::from(hash).repeat(27));
            let identity = hash.parse().unwrap();
            Record { identity, ..record(&format!("P:a\nV:{version}")) }
        };
        let (old, new, other) = (package("1-r0", 'A'), package("1-r1", 'E'), package("1-r0", 'E'));
        let folder = dir.path().join("locks");
        let mut lock = Lock::read(&folder, url).unwrap();
        lock.check([&old].into_iter()).unwrap();
        lock.keep(url).unwrap();
        let mut lock = Lock::read(&folder, url).unwrap();
        lock.check([&old, &new].into_iter()).unwrap();
        lock.keep(url).unwrap();
        let error = Lock::read(&folder, url).unwrap().check([&other].into_iter()).unwrap_err();
        let said = error.to_string().replace(folder.to_str().unwrap(), "FOLDER");
        insta::assert_snapshot!(said, @"the package a-1-r0 has the hash Q1EEEEEEEEEEEEEEEEEEEEEEEEEEE=, and had Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA= when an image was made of it before");
        Lock::read(&folder, "https://other.example").unwrap().check([&other].into_iter()).unwrap();
        let text = fs::read_to_string(&lock.path).unwrap();
        insta::assert_snapshot!(text, @"
        # The packages of https://mirror.example/alpine/v3.22 that images were made of, and their hashes.
        a 1-r0 Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=
        a 1-r1 Q1EEEEEEEEEEEEEEEEEEEEEEEEEEE=
        ");
    }
}
