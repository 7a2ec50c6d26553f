//! Keys of repositories, and what they vouch for: packages (xbps-rindex(1), `--sign-pkg`).
//!
//! A repository's index is not signed: only each package is, in a file of its own behind whose name
//! is `.sig2`. It is an RSA signature (PKCS #1 v1.5) of the SHA-256 of the whole package file.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

use super::plist;
use crate::der;

const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";

/// What a key is told by, as xbps and `ssh-keygen -E md5` show it: `60:ae:0c:…`.
///
/// It is an MD5, so it identifies keys that are trusted already, and no more: trust the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint([u8; 16]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if index == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

/// Why a key cannot be used, or does not vouch for a package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is no public key.
    #[error("the key of the repository is not a public key of RSA in PEM")]
    NoKey,
    /// The file that it is in is not what it should be.
    #[error("the file of the repository's key cannot be read: {0}")]
    File(#[from] plist::PlistError),
    /// The signature is not of this package by this key.
    #[error(
        "the package is not the one that the key {0} signed, or the signature is by another key"
    )]
    Wrong(Fingerprint),
}

/// The public key of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryKey {
    /// A DER `RSAPublicKey`, which is what ring takes.
    der: Vec<u8>,
    fingerprint: Fingerprint,
}

impl RepositoryKey {
    /// Reads a key in PEM (RFC 7468, section 13), as an index has it.
    ///
    /// # Errors
    /// [`KeyError::NoKey`] if it is none of RSA.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let decode = || {
            let text = std::str::from_utf8(pem).ok()?.trim();
            let inner = text.strip_prefix(BEGIN)?.strip_suffix(END)?;
            let packed: String = inner.split_ascii_whitespace().collect();
            STANDARD.decode(packed).ok()
        };
        let spki = decode().ok_or(KeyError::NoKey)?;
        let rsa = der::rsa(&spki).ok_or(KeyError::NoKey)?;
        // The key as of SSH (RFC 4253, section 6.6), whose numbers are as those of DER.
        let mut md5 = Md5::new();
        for part in [b"ssh-rsa", rsa.exponent, rsa.modulus] {
            md5.update((part.len() as u32).to_be_bytes());
            md5.update(part);
        }
        Ok(Self { der: rsa.key.to_vec(), fingerprint: Fingerprint(md5.finalize().into()) })
    }

    /// Reads the file in which xbps keeps a key: `var/db/xbps/keys/FINGERPRINT.plist`.
    ///
    /// # Errors
    /// It is no property list with a key.
    pub fn from_plist(file: &[u8]) -> Result<Self, KeyError> {
        match plist::parse(file)?.get("public-key") {
            Some(plist::Value::Data(pem)) => Self::from_pem(pem),
            _ => Err(KeyError::NoKey),
        }
    }

    /// What it is told by.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Checks that this key signed a package: `package` is the file, `signature` that with `.sig2`.
    ///
    /// # Errors
    /// [`KeyError::Wrong`] if it did not, or the key has not 2048 to 8192 bits.
    pub fn verify(&self, package: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.der)
            .verify(package, signature)
            .map_err(|_| KeyError::Wrong(self.fingerprint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xbps::testing::{PUBLIC, sign};
    use proptest::prelude::*;

    #[test]
    fn a_package_that_was_signed_is_told_from_others() {
        let key = RepositoryKey::from_pem(PUBLIC).unwrap();
        let signature = sign(b"a package");
        assert_eq!(key.verify(b"a package", &signature), Ok(()));
        // As `openssl dgst -sha256 -sign` made it, which is what xbps has OpenSSL do.
        assert_eq!(key.verify(b"a package", include_bytes!("testdata/package.sig2")), Ok(()));
        insta::assert_snapshot!(key.verify(b"another", &signature).unwrap_err(), @"the package is not the one that the key 89:e5:c3:83:4e:80:2c:14:8c:c0:cd:73:3c:e5:cd:90 signed, or the signature is by another key");
        assert!(key.verify(b"a package", b"").is_err());
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for wrong in
            [&b""[..], b"\xff", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"]
        {
            assert_eq!(RepositoryKey::from_pem(wrong), Err(KeyError::NoKey));
        }
        insta::assert_snapshot!(KeyError::NoKey, @"the key of the repository is not a public key of RSA in PEM");
        assert!(RepositoryKey::from_plist(b"").is_err());
        let empty = plist::write(&plist::Dict::new());
        assert_eq!(RepositoryKey::from_plist(&empty), Err(KeyError::NoKey));
    }

    proptest! {
        #[test]
        fn a_damaged_key_never_panics(at in any::<proptest::sample::Index>(), value in any::<u8>()) {
            let text = std::str::from_utf8(PUBLIC).unwrap().trim();
            let inner = text.strip_prefix(BEGIN).unwrap().strip_suffix(END).unwrap();
            let mut der = STANDARD.decode(inner.replace('\n', "")).unwrap();
            let at = at.index(der.len());
            der[at] = value;
            for der in [&der[..], &der[..at]] {
                let pem = format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(der));
                if let Ok(key) = RepositoryKey::from_pem(pem.as_bytes()) {
                    let _ = key.verify(b"", b"");
                }
            }
        }
    }
}
