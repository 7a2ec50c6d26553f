//! What packages were when they were had first: a version of a package is never to be another.
//!
//! Alpine publishes no list of hashes that could be pinned here, so its signed index is what is
//! trusted; this holds the index to what it said before.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::AlpineError;
use crate::apk::index::Record;
use crate::build::BuildError;
use crate::durable;

/// The packages of a release that a mirror had: by `name version` their hashes, as an index has
/// them.
pub(super) struct Lock {
    path: PathBuf,
    /// Those of this build.
    packages: BTreeMap<String, String>,
}

impl Lock {
    /// That of some packages, from a release's folder on a mirror, a URL; it is kept in `folder`.
    pub(super) fn of<'a>(
        packages: impl Iterator<Item = &'a Record>,
        folder: &Path,
        url: &str,
    ) -> Self {
        let digest = Sha256::digest(url);
        let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let package = |Record { name, version, identity, .. }: &Record| {
            (format!("{name} {version}"), identity.to_string())
        };
        let path = folder.join(format!("alpine-{name}.lock"));
        Self { path, packages: packages.map(package).collect() }
    }

    /// Fails if one of the packages had another hash before.
    pub(super) fn check(&self) -> Result<(), BuildError> {
        self.known().map(drop)
    }

    /// The packages that are known, and these.
    fn known(&self) -> Result<BTreeMap<String, String>, BuildError> {
        let text = match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            text => text.map_err(BuildError::io("read", &self.path))?,
        };
        let line = |line: &str| {
            let (package, hash) = line.rsplit_once(' ')?;
            (!line.starts_with('#')).then(|| (package.to_owned(), hash.to_owned()))
        };
        let mut known: BTreeMap<_, _> = text.lines().filter_map(line).collect();
        for (package, now) in &self.packages {
            let before = known.entry(package.clone()).or_insert_with(|| now.clone());
            if before != now {
                let (package, before) = (package.replacen(' ', "-", 1), before.clone());
                let (now, lock) = (now.clone(), self.path.clone());
                return Err(AlpineError::Changed { package, before, now, lock }.into());
            }
        }
        Ok(known)
    }

    /// Keeps it for later builds of that release, with what others have kept meanwhile.
    pub(super) fn keep(&self, url: &str) -> Result<(), BuildError> {
        let write = BuildError::io("write", &self.path);
        let folder = self.path.parent().unwrap_or(&self.path);
        fs::create_dir_all(folder).map_err(&write)?;
        // Of several builds, one after the other.
        let turn = File::open(folder).map_err(&write)?;
        turn.lock().map_err(&write)?;
        let mut text = format!("# Packages of {url} that were used, and their hashes.\n");
        for (package, hash) in &self.known()? {
            text.push_str(&format!("{package} {hash}\n"));
        }
        durable::write(&self.path, text.as_bytes()).map_err(write)
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
        let lock = |packages: &[&Record], url| Lock::of(packages.iter().copied(), &folder, url);
        lock(&[&old], url).check().unwrap();
        lock(&[&old], url).keep(url).unwrap();
        lock(&[&old, &new], url).check().unwrap();
        lock(&[&new], url).keep(url).unwrap();
        let error = lock(&[&other], url).check().unwrap_err();
        let said = error.to_string().replace(folder.to_str().unwrap(), "FOLDER");
        insta::assert_snapshot!(said, @"the package a-1-r0 has the hash Q1EEEEEEEEEEEEEEEEEEEEEEEEEEE=, and had Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA= in an earlier build");
        lock(&[&other], "https://other.example").check().unwrap();
        let text = fs::read_to_string(lock(&[], url).path).unwrap();
        insta::assert_snapshot!(text, @"
        # Packages of https://mirror.example/alpine/v3.22 that were used, and their hashes.
        a 1-r0 Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=
        a 1-r1 Q1EEEEEEEEEEEEEEEEEEEEEEEEEEE=
        ");
    }
}
