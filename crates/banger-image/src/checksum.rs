//! Checksums of downloads.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256, Sha512};

/// What a file must be. Read and shown as `sha256:<hex>` (bare hex is read,
/// too) or, as npm has it, `sha512-<base64>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checksum {
    /// A SHA-256.
    Sha256([u8; 32]),
    /// A SHA-512.
    Sha512(Box<[u8; 64]>),
}

/// Text that is not a checksum.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a checksum: write sha256:<64 hexadecimal digits> or sha512-<base64>")]
pub struct InvalidChecksum(pub String);

impl FromStr for Checksum {
    type Err = InvalidChecksum;

    fn from_str(text: &str) -> Result<Self, InvalidChecksum> {
        let parse = || {
            if let Some(base64) = text.strip_prefix("sha512-") {
                let bytes: [u8; 64] = STANDARD.decode(base64).ok()?.try_into().ok()?;
                return Some(Self::Sha512(Box::new(bytes)));
            }
            let hex = text.strip_prefix("sha256:").unwrap_or(text);
            if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
                return None;
            }
            let mut bytes = [0; 32];
            for (index, byte) in bytes.iter_mut().enumerate() {
                *byte = u8::from_str_radix(&hex[index * 2..index * 2 + 2], 16).ok()?;
            }
            Some(Self::Sha256(bytes))
        };
        parse().ok_or_else(|| InvalidChecksum(text.to_owned()))
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(bytes) => {
                f.write_str("sha256:")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Self::Sha512(bytes) => write!(f, "sha512-{}", STANDARD.encode(bytes.as_slice())),
        }
    }
}

impl Checksum {
    /// Begins the sum of some bytes, to compare with this one.
    pub(crate) fn start(&self) -> Running {
        match self {
            Self::Sha256(_) => Running::Sha256(Sha256::new()),
            Self::Sha512(_) => Running::Sha512(Sha512::new()),
        }
    }
}

/// A checksum that is being computed.
pub(crate) enum Running {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Running {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(digest) => digest.update(bytes),
            Self::Sha512(digest) => digest.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Checksum {
        match self {
            Self::Sha256(digest) => Checksum::Sha256(digest.finalize().into()),
            Self::Sha512(digest) => Checksum::Sha512(Box::new(digest.finalize().into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_sum_of_nothing() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let sum: Checksum = hex.parse().unwrap();
        assert_eq!(sum.start().finish(), sum);
        assert_eq!(sum.to_string(), format!("sha256:{hex}"));
        assert!("sha512-AAAA".parse::<Checksum>().is_err());
    }

    proptest! {
        #[test]
        fn a_sum_survives_a_round_trip(short in any::<[u8; 32]>(), long in proptest::collection::vec(any::<u8>(), 64)) {
            for sum in [Checksum::Sha256(short), Checksum::Sha512(Box::new(long.clone().try_into().unwrap()))] {
                prop_assert_eq!(sum.to_string().parse(), Ok(sum));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(sha256:|sha512-)?(\\PC{64}|\\PC{0,90})") {
            let _ = text.parse::<Checksum>();
        }
    }
}
