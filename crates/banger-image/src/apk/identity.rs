//! What a package is known by: a hash of its control member as it is in the file, compressed
//! (apk-package(5), "hashes").

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// The hash of a control member. Read and shown as in an index: `Q1` or `Q2`, and base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Identity {
    /// Its SHA-1, which all of Alpine's indexes have.
    Sha1([u8; 20]),
    /// Its SHA-256.
    Sha256([u8; 32]),
}

/// Text that is not the identity of a package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not the hash of a package, 'Q1' or 'Q2' and base64")]
pub struct InvalidIdentity(pub String);

impl Identity {
    /// The same hash of other bytes.
    #[must_use]
    pub fn of(self, control: &[u8]) -> Self {
        match self {
            Self::Sha1(_) => Self::Sha1(Sha1::digest(control).into()),
            Self::Sha256(_) => Self::Sha256(Sha256::digest(control).into()),
        }
    }

    /// The bytes by which apk finds a package in its database: it takes as many of a SHA-256 as a
    /// SHA-1 has.
    pub(super) fn key(&self) -> [u8; 20] {
        match self {
            Self::Sha1(bytes) => *bytes,
            Self::Sha256(bytes) => {
                let mut key = [0; 20];
                key.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
                key
            }
        }
    }

    /// The bytes of [`Self::key`] in hexadecimal digits.
    pub(crate) fn digits(&self) -> String {
        self.key().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A SHA-1 as apk's database has it.
pub(super) fn q1(sha1: &[u8; 20]) -> String {
    format!("Q1{}", STANDARD.encode(sha1))
}

/// Bytes of a hash that is written in hexadecimal digits.
pub(super) fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |digit: &u8| char::from(*digit).to_digit(16);
        let [high, low] = pair else { return None };
        *byte = (digit(high)? << 4 | digit(low)?) as u8;
    }
    Some(bytes)
}

impl FromStr for Identity {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, InvalidIdentity> {
        let parse = || {
            if let Some(base64) = text.strip_prefix("Q1") {
                return Some(Self::Sha1(STANDARD.decode(base64).ok()?.try_into().ok()?));
            }
            let base64 = text.strip_prefix("Q2")?;
            Some(Self::Sha256(STANDARD.decode(base64).ok()?.try_into().ok()?))
        };
        parse().ok_or_else(|| InvalidIdentity(text.chars().take(80).collect()))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha1(bytes) => f.write_str(&q1(bytes)),
            Self::Sha256(bytes) => write!(f, "Q2{}", STANDARD.encode(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_identity_of_nothing() {
        let sha1 = Identity::Sha1([0; 20]).of(b"");
        assert_eq!(sha1.to_string(), "Q12jmj7l5rSw0yVb/vlWAYkK/YBwk=");
        assert_eq!(
            hex(b"da39a3ee5e6b4b0d3255bfef95601890afd80709").map(Identity::Sha1),
            Some(sha1)
        );
        let sha256 = Identity::Sha256([0; 32]).of(b"");
        assert_eq!(sha256.to_string(), "Q247DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
        assert_eq!(q1(&sha256.key()), "Q147DEQpj8HBSa+/TImW+5JCeuQeQ=");
        assert_eq!((hex::<1>(b"f"), hex::<1>(b"fg"), hex(b"fF")), (None, None, Some([255])));
        for wrong in ["", "Q1", "Q3AA", "X1aa", "Q2AAAA", "Q1é"] {
            assert!(wrong.parse::<Identity>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn an_identity_is_read_back(short in any::<[u8; 20]>(), long in any::<[u8; 32]>(), text in "(Q1|Q2)?\\PC{0,50}") {
            for identity in [Identity::Sha1(short), Identity::Sha256(long)] {
                prop_assert_eq!(identity.to_string().parse(), Ok(identity));
            }
            let _ = text.parse::<Identity>();
        }
    }
}
