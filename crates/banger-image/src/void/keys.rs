//! Whom to trust: the keys of Void that banger has, and those that a person gives.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::VoidError;
use crate::build::BuildError;
use crate::minisign::PublicKey;
use crate::xbps::keys::RepositoryKey;
use crate::xbps::trust;

/// No key is longer.
const LIMIT: u64 = 64 << 10;

pub(super) struct Keys {
    /// Those that may sign the release.
    pub release: Vec<PublicKey>,
    /// Those that may sign packages.
    pub repository: Vec<RepositoryKey>,
}

impl Keys {
    /// The keys for the release of that date, with those in files of the person's.
    pub(super) fn read(date: &str, files: &[PathBuf]) -> Result<Self, BuildError> {
        let mut keys = Self {
            release: trust::release_key(date).into_iter().collect(),
            repository: trust::repository_keys(),
        };
        for path in files {
            let mut file = Vec::new();
            File::open(path)
                .and_then(|open| open.take(LIMIT).read_to_end(&mut file))
                .map_err(BuildError::io("read the key", path))?;
            keys.add(path, &file)?;
        }
        if keys.release.is_empty() {
            return Err(VoidError::UnknownRelease(date.to_owned()).into());
        }
        Ok(keys)
    }

    fn add(&mut self, path: &Path, file: &[u8]) -> Result<(), VoidError> {
        let text = String::from_utf8_lossy(file);
        let begin = |mark: &str| text.trim_start().starts_with(mark);
        let path = || path.to_owned();
        if begin("untrusted comment:") {
            let key = PublicKey::parse(&text)
                .map_err(|source| VoidError::ReleaseKey { path: path(), source })?;
            self.release.push(key);
            return Ok(());
        }
        let key = if begin("-----BEGIN PUBLIC KEY-----") {
            RepositoryKey::from_pem(file)
        } else if begin("<") {
            RepositoryKey::from_plist(file)
        } else {
            return Err(VoidError::NoKey(path()));
        };
        self.repository.push(key.map_err(|source| VoidError::Key { path: path(), source })?);
        Ok(())
    }

    /// Whether one of the keys signed a package.
    pub(super) fn vouch(&self, package: &[u8], signature: &[u8]) -> bool {
        self.repository.iter().any(|key| key.verify(package, signature).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_both_kinds_are_added_to_those_that_are_known() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let plist = include_bytes!("../xbps/keys/60ae0cd6f0951780bc93467a89afa32d.plist");
        let files = [
            file("a", include_bytes!("../xbps/testdata/minisign.pub")),
            file("b", include_bytes!("../xbps/testdata/public.pem")),
            file("c", plist),
        ];
        let count = |date, files: &[PathBuf]| {
            let keys = Keys::read(date, files).unwrap();
            (keys.release.len(), keys.repository.len())
        };
        assert_eq!(count(super::super::DEFAULT_RELEASE, &[]), (1, 2));
        assert_eq!(count("20991231", &files), (1, 4));
        let error = |date, files: &[PathBuf]| {
            let error = Keys::read(date, files).err().unwrap();
            error.to_string().replace(dir.path().to_str().unwrap(), "")
        };
        insta::assert_snapshot!(error("20991231", &[]), @"there is no key for the release 20991231 of Void");
        insta::assert_snapshot!(error("20250202", &[file("d", b"ssh-rsa AAAA")]), @"/d is neither a public key of minisign nor one of a repository, in PEM or as xbps keeps it");
        insta::assert_snapshot!(error("20250202", &[file("e", b"<plist/>")]), @"the key /e cannot be used");
    }
}
