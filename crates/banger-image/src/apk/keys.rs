//! The keys that are trusted, and signatures by them (apk-keys(5), apk-v2(5)).

use std::collections::BTreeMap;

use ring::signature::{
    RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY as RSA_SHA1,
    RSA_PKCS1_2048_8192_SHA256 as RSA_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;

use super::stream::{Algorithm, Signature};
use crate::der;

/// The keys by which Alpine signs for x86-64, by their names.
///
/// Source: the repository `alpinelinux/alpine-make-rootfs`, file `alpine-make-rootfs`, which has
/// them without the lines around them. They have the SHA-512 that the repository
/// `alpinelinux/aports` lists in `main/alpine-keys/APKBUILD`, which also says that they are those
/// for x86-64.
const ALPINE_X86_64: [(&str, &str); 3] = [
    (
        "alpine-devel@lists.alpinelinux.org-4a6a0840.rsa.pub",
        include_str!("keys/alpine-devel@lists.alpinelinux.org-4a6a0840.rsa.pub"),
    ),
    (
        "alpine-devel@lists.alpinelinux.org-5261cecb.rsa.pub",
        include_str!("keys/alpine-devel@lists.alpinelinux.org-5261cecb.rsa.pub"),
    ),
    (
        "alpine-devel@lists.alpinelinux.org-6165ee59.rsa.pub",
        include_str!("keys/alpine-devel@lists.alpinelinux.org-6165ee59.rsa.pub"),
    ),
];

/// Why a key or a signature does not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A file is no key.
    #[error(
        "'{0}' is not a public key for RSA: it has to be a PEM file that begins with 'BEGIN PUBLIC KEY'"
    )]
    NotAKey(String),
    /// Nobody signed it.
    #[error("it has no signature by RSA")]
    Unsigned,
    /// It was signed, but by nobody who is trusted.
    #[error("it is signed by '{}', which is not among the keys that are trusted", .0.join("', '"))]
    Unknown(Vec<String>),
    /// It is not what was signed.
    #[error("its signature by '{0}' is wrong: it was changed after it was signed")]
    Wrong(String),
}

/// Public keys that are trusted, by the names of their files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys(BTreeMap<String, Vec<u8>>);

impl Keys {
    /// No keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Those of Alpine for x86-64.
    ///
    /// # Errors
    ///
    /// None in practice: the keys are part of this program.
    pub fn alpine_x86_64() -> Result<Self, KeyError> {
        let mut keys = Self::new();
        for (name, pem) in ALPINE_X86_64 {
            keys.add(name, pem.as_bytes())?;
        }
        Ok(keys)
    }

    /// Trusts a key: a PEM file with a `SubjectPublicKeyInfo` (RFC 7468, 13).
    ///
    /// # Errors
    ///
    /// It is no RSA key.
    pub fn add(&mut self, name: &str, pem: &[u8]) -> Result<(), KeyError> {
        let info = SubjectPublicKeyInfoDer::from_pem_slice(pem).ok();
        let key = info.as_deref().and_then(der::rsa);
        let key = key.ok_or_else(|| KeyError::NotAKey(name.to_owned()))?;
        self.0.insert(name.to_owned(), key.key.to_vec());
        Ok(())
    }

    /// Checks what was signed against the first signature by a key that is trusted, as apk does,
    /// and gives that key's name.
    ///
    /// # Errors
    ///
    /// It was not signed by a key that is trusted, or is something else than what was signed.
    pub fn verify(&self, signed: &[u8], signatures: &[Signature]) -> Result<&str, KeyError> {
        let known = signatures
            .iter()
            .find_map(|signature| Some((signature, self.0.get_key_value(&signature.key)?)));
        let Some((signature, (name, key))) = known else {
            let names: Vec<_> = signatures.iter().map(|signature| signature.key.clone()).collect();
            return Err(if names.is_empty() {
                KeyError::Unsigned
            } else {
                KeyError::Unknown(names)
            });
        };
        let algorithm: &dyn VerificationAlgorithm = match signature.algorithm {
            Algorithm::RsaSha1 => &RSA_SHA1,
            Algorithm::RsaSha256 => &RSA_SHA256,
        };
        let verified = UnparsedPublicKey::new(algorithm, key).verify(signed, &signature.bytes);
        verified.map(|()| name.as_str()).map_err(|_| KeyError::Wrong(name.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{KEY, PUBLIC, sign};
    use super::*;
    use proptest::prelude::*;

    const OTHER: &[u8] = include_bytes!("testdata/other.rsa.pub");
    /// `openssl dgst -sha1 -sign test.rsa` of "signed".
    const SHA1: &[u8] = include_bytes!("testdata/signed.sha1");

    fn keys(pem: &[u8]) -> Keys {
        let mut keys = Keys::new();
        keys.add(KEY, pem).unwrap();
        keys
    }

    fn signature(algorithm: Algorithm, key: &str, bytes: &[u8]) -> Signature {
        Signature { algorithm, key: key.to_owned(), bytes: bytes.to_owned() }
    }

    #[test]
    fn the_keys_of_alpine_are_keys() {
        let keys = Keys::alpine_x86_64().unwrap();
        let sizes: Vec<_> = keys.0.values().map(Vec::len).collect();
        // 2048 and 4096 bits, and some bytes around them.
        assert_eq!(sizes, [270, 270, 526]);
    }

    #[test]
    fn what_was_signed_is_told_from_what_was_not() {
        let sha1 = signature(Algorithm::RsaSha1, KEY, SHA1);
        let sha256 = signature(Algorithm::RsaSha256, KEY, &sign(b"signed"));
        let stranger = signature(Algorithm::RsaSha256, "stranger", b"");
        for signatures in
            [vec![sha1.clone()], vec![sha256.clone()], vec![stranger.clone(), sha1.clone()]]
        {
            assert_eq!(keys(PUBLIC).verify(b"signed", &signatures), Ok(KEY));
            let wrong = KeyError::Wrong(KEY.to_owned());
            assert_eq!(keys(PUBLIC).verify(b"changed", &signatures), Err(wrong.clone()));
            assert_eq!(keys(OTHER).verify(b"signed", &signatures), Err(wrong));
        }
        let swapped = [signature(Algorithm::RsaSha256, KEY, SHA1)];
        assert!(matches!(keys(PUBLIC).verify(b"signed", &swapped), Err(KeyError::Wrong(_))));
        let error = keys(PUBLIC).verify(b"signed", &[stranger]).unwrap_err();
        insta::assert_snapshot!(error, @"it is signed by 'stranger', which is not among the keys that are trusted");
        assert_eq!(keys(PUBLIC).verify(b"signed", &[]), Err(KeyError::Unsigned));
        assert!(Keys::new().verify(b"signed", &[sha256]).is_err());
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let private = include_bytes!("testdata/test.rsa");
        for wrong in
            [&b""[..], b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", private]
        {
            let error = Keys::new().add("k", wrong).unwrap_err();
            assert_eq!(error, KeyError::NotAKey("k".to_owned()));
        }
    }

    proptest! {
        #[test]
        fn a_changed_key_never_panics(at in 0usize..294, byte: u8, cut in 0usize..294) {
            let info = SubjectPublicKeyInfoDer::from_pem_slice(PUBLIC).unwrap();
            let mut info = info.to_vec();
            info[at] = byte;
            let _ = der::rsa(&info);
            prop_assert!(der::rsa(&info[..cut]).is_none());
        }
    }
}
