//! Images of containers, as registries, `docker save` and tools of the OCI have them: where they
//! are, what is in them, and the one tree that their layers make.
//!
//! [`Root`] lays the layers over each other and writes them as one tar stream, without root and
//! without unpacking.
//!
//! Sources: OCI image-spec 1.1 and distribution-spec 1.1, and Docker's documents for what is older.

mod clean;
mod compress;
mod digest;
mod entries;
mod flatten;
mod inspect;
mod tree;
mod write;

use std::path::PathBuf;

pub use digest::{Digest, InvalidDigest};
pub use flatten::{FlattenError, Limits, Root};
pub use inspect::{Facts, Init, Packages};

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

#[cfg(test)]
pub(crate) mod testing;
