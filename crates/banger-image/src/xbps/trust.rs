//! The keys of Void that banger trusts without asking.
//!
//! They are as its source repository has them on GitHub, `void-linux/void-packages`: those of
//! releases in `srcpkgs/void-release-keys/files`, those of repositories in `common/repo-keys`. What
//! is there of a single maintainer's repository is not here.

use super::keys::RepositoryKey;
use crate::minisign::PublicKey;

/// The date of a release, and the key that signs its checksums.
const RELEASES: [(&str, &str); 7] = [
    ("20191109", include_str!("keys/void-release-20191109.pub")),
    ("20210218", include_str!("keys/void-release-20210218.pub")),
    ("20210930", include_str!("keys/void-release-20210930.pub")),
    ("20221001", include_str!("keys/void-release-20221001.pub")),
    ("20230628", include_str!("keys/void-release-20230628.pub")),
    ("20240314", include_str!("keys/void-release-20240314.pub")),
    ("20250202", include_str!("keys/void-release-20250202.pub")),
];

/// The keys of Void's own repositories.
const REPOSITORIES: [&[u8]; 2] = [
    include_bytes!("keys/60ae0cd6f0951780bc93467a89afa32d.plist"),
    include_bytes!("keys/3db9c05041a7684c2e2ca9a25a04b73f.plist"),
];

/// The key of the release of that date (`YYYYMMDD`); none if it is not known here.
///
/// Void makes a key for each release, which is good for that alone.
#[must_use]
pub fn release_key(date: &str) -> Option<PublicKey> {
    let (_, file) = RELEASES.iter().find(|(release, _)| *release == date)?;
    PublicKey::parse(file).ok()
}

/// The keys that sign packages of Void's repositories.
#[must_use]
pub fn repository_keys() -> Vec<RepositoryKey> {
    REPOSITORIES.iter().filter_map(|file| RepositoryKey::from_plist(file).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_one() {
        let releases: Vec<_> = RELEASES
            .iter()
            .map(|(date, _)| format!("{date} {}", release_key(date).unwrap().id()))
            .collect();
        insta::assert_snapshot!(releases.join("\n"), @r"
        20191109 DC2099D0C9F79085
        20210218 D4F1B259F9713652
        20210930 2DDAD7D879020384
        20221001 A720061739470C34
        20230628 5D7153E025EC26B6
        20240314 A3FCFCCA9D356F86
        20250202 4D56E70F102AF9F9
        ");
        let repositories: Vec<_> =
            repository_keys().iter().map(|key| key.fingerprint().to_string()).collect();
        insta::assert_snapshot!(repositories.join("\n"), @r"
        60:ae:0c:d6:f0:95:17:80:bc:93:46:7a:89:af:a3:2d
        3d:b9:c0:50:41:a7:68:4c:2e:2c:a9:a2:5a:04:b7:3f
        ");
        assert!(release_key("20200101").is_none());
    }
}
