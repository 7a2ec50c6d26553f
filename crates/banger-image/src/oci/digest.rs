//! Digests of content (OCI image-spec, "Digests").

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::checksum::Checksum;

/// The SHA-256 of some content, as `sha256:<64 hexadecimal digits>`. No registry is known to use
/// another algorithm.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Digest([u8; 32]);

/// Text that is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a digest: write sha256:<64 hexadecimal digits, lower case>")]
pub struct InvalidDigest(pub String);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest that was computed.
    pub(super) fn finish(sum: Sha256) -> Self {
        Self(sum.finalize().into())
    }

    /// The 64 hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn checksum(&self) -> Checksum {
        Checksum::Sha256(self.0)
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        // One content has one name: a cache and a pin compare them as text.
        let lower =
            |hex: &&str| hex.len() == 64 && !hex.contains(|c| !matches!(c, '0'..='9' | 'a'..='f'));
        match text.strip_prefix("sha256:").filter(lower).map(Checksum::from_str) {
            Some(Ok(Checksum::Sha256(bytes))) => Ok(Self(bytes)),
            _ => Err(InvalidDigest(text.chars().take(200).collect())),
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;

    fn try_from(text: String) -> Result<Self, InvalidDigest> {
        text.parse()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.checksum().fmt(f)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_has_one_spelling() {
        let text = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(text.parse(), Ok(Digest::of(b"")));
        assert_eq!(Digest::of(b"").to_string(), text);
        for wrong in [&text[7..], &text[..70], &text.to_uppercase(), "sha256:", "sha512:00", ""] {
            assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
        }
    }
}
