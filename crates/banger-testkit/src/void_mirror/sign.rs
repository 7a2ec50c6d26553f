//! The keys of a mirror, and what they sign.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};

/// The key of repositories, which the tests of the readers have too.
const PRIVATE: &[u8] = include_bytes!("../../../banger-image/src/xbps/testdata/private.der");
pub(super) const PUBLIC: &[u8] =
    include_bytes!("../../../banger-image/src/xbps/testdata/public.pem");

/// What the key of releases is made of.
const SEED: [u8; 32] = *b"a key for tests that all may see";
const ID: &[u8] = b"for-test";

fn damaged(error: impl ToString) -> io::Error {
    io::Error::other(error.to_string())
}

/// The signature of a package (xbps-rindex(1), `--sign-pkg`).
pub(super) fn package(file: &[u8]) -> io::Result<Vec<u8>> {
    let pair = RsaKeyPair::from_der(PRIVATE).map_err(damaged)?;
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), file, &mut signature).map_err(damaged)?;
    Ok(signature)
}

/// The public key of releases, as minisign writes it.
pub(super) fn release_key() -> io::Result<String> {
    let pair = Ed25519KeyPair::from_seed_unchecked(&SEED).map_err(damaged)?;
    let key = [b"Ed", ID, pair.public_key().as_ref()].concat();
    Ok(format!("untrusted comment: for tests\n{}\n", STANDARD.encode(key)))
}

/// The signature of the checksums of a release, as `minisign -S -l` writes it.
pub(super) fn release(sums: &[u8]) -> io::Result<String> {
    let pair = Ed25519KeyPair::from_seed_unchecked(&SEED).map_err(damaged)?;
    let signature = pair.sign(sums);
    let comment = "for tests";
    let whole = pair.sign(&[signature.as_ref(), comment.as_bytes()].concat());
    let line = [b"Ed", ID, signature.as_ref()].concat();
    Ok(format!(
        "untrusted comment: {comment}\n{}\ntrusted comment: {comment}\n{}\n",
        STANDARD.encode(line),
        STANDARD.encode(whole)
    ))
}
