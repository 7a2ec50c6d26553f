//! Signatures of files by minisign and signify: minisign(1), signify(1).
//!
//! Both sign with Ed25519 and have the same public keys. minisign signs its comment too, and newer
//! ones sign a hash of the file; signify does neither, and may put the file behind the signature.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, UnparsedPublicKey};

const UNTRUSTED: &str = "untrusted comment: ";
const TRUSTED: &str = "trusted comment: ";
/// An algorithm of 2 bytes, an id of 8 and a key of 32.
const KEY: usize = 42;
/// The same with a signature of 64 bytes.
const SIGNATURE: usize = 74;
/// The algorithm without a hash, in keys too.
const LEGACY: &[u8] = b"Ed";

/// What tells keys apart; shown as minisign does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyId([u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", u64::from_le_bytes(self.0))
    }
}

/// Why a signature does not vouch for a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MinisignError {
    /// A file is not what it should be.
    #[error("the {what} is damaged: {reason}")]
    Damaged {
        /// What it should be.
        what: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No key is the one that signed.
    #[error("it is signed by the key {0}, which is not trusted")]
    UnknownKey(KeyId),
    /// It is not what the key signed.
    #[error("the signature by the key {0} is wrong: the file is not the one that was signed")]
    Wrong(KeyId),
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    id: KeyId,
    key: [u8; 32],
    /// What the library for minisign's signatures makes of it.
    minisign: minisign_verify::PublicKey,
}

impl PublicKey {
    /// Reads the file of a public key: a comment and a line of base64.
    ///
    /// # Errors
    /// [`MinisignError::Damaged`] if it is none.
    pub fn parse(file: &str) -> Result<Self, MinisignError> {
        let damaged = |reason| MinisignError::Damaged { what: "public key", reason };
        let (line, rest) = encoded(file).ok_or_else(|| damaged("it is not a comment and a key"))?;
        let bytes: [u8; KEY] = STANDARD
            .decode(line)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .filter(|_| rest.trim().is_empty())
            .ok_or_else(|| damaged("the key is not 42 bytes in base64"))?;
        let (algorithm, id, key) = parts(&bytes);
        if algorithm != LEGACY {
            return Err(damaged("it is not for Ed25519"));
        }
        let key = key.try_into().map_err(|_| damaged("the key is not 42 bytes in base64"))?;
        let minisign = minisign_verify::PublicKey::from_base64(line)
            .map_err(|_| damaged("the key is not 42 bytes in base64"))?;
        Ok(Self { id, key, minisign })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }
}

/// The line of base64 under the first comment, and what follows it.
fn encoded(file: &str) -> Option<(&str, &str)> {
    let (_, rest) = file.strip_prefix(UNTRUSTED)?.split_once('\n')?;
    let (line, rest) = rest.split_once('\n').unwrap_or((rest, ""));
    Some((line.trim_end_matches('\r'), rest))
}

/// The algorithm, the id of the key, and the rest.
fn parts<const N: usize>(bytes: &[u8; N]) -> (&[u8], KeyId, &[u8]) {
    let (algorithm, rest) = bytes.split_at(2.min(N));
    let (id, rest) = rest.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    (algorithm, KeyId(*id), rest)
}

/// Checks that one of `keys` signed `message`.
///
/// `signature` is the file of a detached signature, or signify's with the message in it.
///
/// # Errors
/// The signature is damaged, by none of the keys, or not of this message.
pub fn verify(keys: &[PublicKey], signature: &[u8], message: &[u8]) -> Result<(), MinisignError> {
    let damaged = |reason| MinisignError::Damaged { what: "signature", reason };
    let file = std::str::from_utf8(signature).map_err(|_| damaged("it is not text"))?;
    let (line, rest) = encoded(file).ok_or_else(|| damaged("it is not a comment and base64"))?;
    let bytes: [u8; SIGNATURE] = STANDARD
        .decode(line)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| damaged("it is not 74 bytes in base64"))?;
    let (algorithm, id, signed) = parts(&bytes);
    if algorithm != LEGACY && algorithm != b"ED" {
        return Err(damaged("it is not by Ed25519"));
    }
    let key = keys.iter().find(|key| key.id == id).ok_or(MinisignError::UnknownKey(id))?;
    if rest.starts_with(TRUSTED) {
        let signature = minisign_verify::Signature::decode(file)
            .map_err(|_| damaged("what follows its first two lines is not what minisign writes"))?;
        // Without a hash is what signify can check too, so Void writes that.
        return key
            .minisign
            .verify(message, &signature, true)
            .map_err(|_| MinisignError::Wrong(id));
    }
    if algorithm != LEGACY {
        return Err(damaged("its trusted comment is missing"));
    }
    if !rest.is_empty() && rest.as_bytes() != message {
        return Err(MinisignError::Wrong(id));
    }
    UnparsedPublicKey::new(&ED25519, &key.key)
        .verify(message, signed)
        .map_err(|_| MinisignError::Wrong(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MESSAGE: &[u8] = include_bytes!("xbps/testdata/sha256sum.txt");
    const MINISIGN: &str = include_str!("xbps/testdata/minisign.pub");
    const SIGNIFY: &str = include_str!("xbps/testdata/signify.pub");
    const SIGNATURES: [&str; 4] = [
        include_str!("xbps/testdata/prehashed.minisig"),
        include_str!("xbps/testdata/legacy.minisig"),
        include_str!("xbps/testdata/detached.sig"),
        include_str!("xbps/testdata/embedded.sig"),
    ];

    fn keys() -> [PublicKey; 2] {
        [MINISIGN, SIGNIFY].map(|file| PublicKey::parse(file).unwrap())
    }

    #[test]
    fn signatures_of_both_programs_are_checked() {
        for signature in SIGNATURES {
            assert_eq!(verify(&keys(), signature.as_bytes(), MESSAGE), Ok(()));
            let other = [MESSAGE, b"x"].concat();
            let error = verify(&keys(), signature.as_bytes(), &other).unwrap_err();
            assert!(matches!(error, MinisignError::Wrong(_)), "{signature}");
            assert!(matches!(
                verify(&[], signature.as_bytes(), MESSAGE),
                Err(MinisignError::UnknownKey(_))
            ));
        }
    }

    #[test]
    fn a_signature_with_another_comment_is_wrong() {
        let changed = SIGNATURES[0].replace("for tests", "for all");
        let error = verify(&keys(), changed.as_bytes(), MESSAGE).unwrap_err();
        insta::assert_snapshot!(error, @"the signature by the key FDE23EAA83F655A2 is wrong: the file is not the one that was signed");
    }

    #[test]
    fn what_is_damaged_is_told() {
        let lines: Vec<_> = SIGNATURES[0].lines().collect();
        let told: Vec<_> = [
            "",
            "untrusted comment: x\nAAAA\n",
            &lines[..2].join("\n"),
            &lines[..3].join("\n"),
            &SIGNATURES[2].replacen("\nRW", "\nRX", 1),
        ]
        .map(|file| verify(&keys(), file.as_bytes(), MESSAGE).unwrap_err().to_string())
        .into();
        insta::assert_snapshot!(told.join("\n"), @r"
        the signature is damaged: it is not a comment and base64
        the signature is damaged: it is not 74 bytes in base64
        the signature is damaged: its trusted comment is missing
        the signature is damaged: what follows its first two lines is not what minisign writes
        the signature is damaged: it is not by Ed25519
        ");
        insta::assert_snapshot!(PublicKey::parse("").unwrap_err(), @"the public key is damaged: it is not a comment and a key");
        insta::assert_snapshot!(PublicKey::parse("untrusted comment: x\nAAAA").unwrap_err(), @"the public key is damaged: the key is not 42 bytes in base64");
    }

    #[test]
    fn a_key_is_called_as_minisign_calls_it() {
        assert_eq!(keys()[0].id().to_string(), "FDE23EAA83F655A2");
    }

    proptest! {
        #[test]
        fn any_file_is_refused(
            file in proptest::collection::vec(any::<u8>(), 0..200),
            at in any::<proptest::sample::Index>(),
            value in any::<u8>(),
        ) {
            verify(&keys(), &file, MESSAGE).unwrap_err();
            let _ = PublicKey::parse(&String::from_utf8_lossy(&file));
            for signature in SIGNATURES {
                let mut changed = signature.as_bytes().to_vec();
                let at = at.index(changed.len());
                changed[at] = value;
                let _ = verify(&keys(), &changed, MESSAGE);
                let _ = verify(&keys(), &changed[..at], MESSAGE);
            }
        }
    }
}
