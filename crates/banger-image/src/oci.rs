//! Images of containers, as registries, `docker save` and tools of the OCI have them: where they
//! are, what is in them, and the one tree that their layers make.
//!
//! [`pull`] and [`import`] give the same [`Image`]: its files are checked and lie on the disk.
//! [`Root`] lays the layers over each other and writes them as one tar stream, without root and
//! without unpacking.
//!
//! Sources: OCI image-spec 1.1 and distribution-spec 1.1, and Docker's documents for what is older.

pub mod auth;
mod blobs;
mod challenge;
mod clean;
pub(crate) mod compress;
mod digest;
mod document;
pub(crate) mod entries;
mod flatten;
mod inspect;
mod layout;
mod pull;
mod reference;
mod registry;
mod tree;
pub(crate) mod write;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

pub(crate) use blobs::tidy;
pub use digest::{Digest, InvalidDigest};
pub use document::{Config, DocumentError};
pub use flatten::{FlattenError, Limits, Root};
pub use inspect::Facts;
pub use layout::{Import, ImportError, import};
pub use pull::{Pull, PullError, pull};
pub use reference::{InvalidReference, Reference};

/// An image whose files lie on this disk and are what their digests say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The digest of its manifest, by which it can be pulled again; of its configuration if it
    /// came from a `docker save` archive without manifests.
    pub digest: Digest,
    /// The name it goes by where it came from.
    pub name: Option<String>,
    /// What it is for, and how it is run.
    pub config: Config,
    /// Its layers, the lowest first.
    pub layers: Vec<Layer>,
}

/// A layer of an image: a tar file, plain or compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The file.
    pub path: PathBuf,
    /// What it is said to be (image-spec, "Media Types").
    pub media_type: String,
    /// The digest of the file.
    pub digest: Digest,
    /// Bytes of the file.
    pub size: u64,
    /// The digest of the tar file in it (image-spec, "Layer DiffID").
    pub diff_id: Digest,
}

impl Layer {
    /// A plain tar file of our own as a layer.
    pub(crate) fn of(path: PathBuf) -> io::Result<Self> {
        let (mut file, mut sum, mut size) = (File::open(&path)?, Sha256::new(), 0);
        let mut buffer = vec![0; 256 << 10];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                n => {
                    sum.update(&buffer[..n]);
                    size += n as u64;
                }
            }
        }
        let digest = Digest::finish(sum);
        let media_type = "application/vnd.oci.image.layer.v1.tar".to_owned();
        Ok(Self { path, media_type, digest, size, diff_id: digest })
    }
}

#[cfg(test)]
pub(crate) mod testing;
