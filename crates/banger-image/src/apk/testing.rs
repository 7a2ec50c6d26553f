//! Packages and indexes to order, signed with a key that is for the tests alone.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::identity::Identity;
use super::index::Record;
use super::keys::Keys;
use crate::oci::testing::{Item, file, layer};

/// The name of the key.
pub const KEY: &str = "test@example.org-1.rsa.pub";
/// Its public half.
pub const PUBLIC: &[u8] = include_bytes!("testdata/test.rsa.pub");
const PRIVATE: &[u8] = include_bytes!("testdata/test.rsa");

pub fn keys() -> Keys {
    let mut keys = Keys::new();
    keys.add(KEY, PUBLIC).unwrap();
    keys
}

/// A signature by RSA with SHA-256.
pub fn sign(bytes: &[u8]) -> Vec<u8> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(PRIVATE).unwrap();
    let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), bytes, &mut signature).unwrap();
    signature
}

pub fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A tar file without the blocks that end it.
pub fn cut(items: &[Item]) -> Vec<u8> {
    let mut bytes = layer(items);
    bytes.truncate(bytes.len() - 1024);
    bytes
}

/// A member with a signature of another.
pub fn signature(member: &[u8]) -> Vec<u8> {
    gz(&cut(&[file(&format!(".SIGN.RSA256.{KEY}"), sign(member))]))
}

/// A member with a file for the data's hash.
pub fn control(info: &str, data: &[u8], others: &[Item]) -> Vec<u8> {
    let hash: String = Sha256::digest(data).iter().map(|byte| format!("{byte:02x}")).collect();
    let info = file(".PKGINFO", format!("{info}datahash = {hash}\n"));
    gz(&cut(&[&[info], others].concat()))
}

/// A package, signed.
pub fn apk(info: &str, scripts: &[Item], data: &[Item]) -> Vec<u8> {
    let data = gz(&layer(data));
    let control = control(info, &data, scripts);
    [signature(&control), control, data].concat()
}

/// An `APKINDEX.tar.gz`, signed.
pub fn apkindex(list: &str) -> Vec<u8> {
    let member = gz(&layer(&[file("DESCRIPTION", "test"), file("APKINDEX", list)]));
    [signature(&member), member].concat()
}

/// What an error and its causes say.
pub fn said(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// A record with some lines of an index, and others that it has to have.
pub fn record(lines: &str) -> Record {
    let list = format!("C:{}\n{lines}\n", Identity::Sha1([0; 20]));
    super::index::parse(list.as_bytes()).unwrap().remove(0)
}

/// The record of a package, with some lines of an index.
pub fn record_of(apk: &[u8], lines: &str) -> Record {
    let head = super::stream::Stream::new(apk).head(1 << 20).unwrap();
    let identity = Identity::Sha1(Sha1::digest(&head.compressed).into());
    Record { identity, size: apk.len() as u64, ..record(lines) }
}
