//! Getting an image from a registry.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::thread;

use banger_exec::Cancel;

use super::auth::{AuthError, Known};
use super::blobs::place;
use super::digest::Digest;
use super::document::{
    ACCEPT, Config, Descriptor, Document, DocumentError, Manifest, check, choose,
};
use super::reference::Reference;
use super::registry::Registry;
use super::{Image, Layer};
use crate::cache;
use crate::fetch::{Download, FetchError, TICK, fetch_by};

/// Layers that come at once, as with Docker.
const THREADS: usize = 3;
/// Indexes in indexes that are followed.
pub(super) const DEPTH: usize = 4;

/// An image to pull.
pub struct Pull<'a> {
    /// Its name.
    pub reference: &'a Reference,
    /// What is known of its registry: [`super::auth::known`].
    pub known: &'a Known,
    /// A folder for layers, kept from pull to pull. What is there is not pulled again.
    pub cache: &'a Path,
    /// Bytes that the layers, compressed, may have together.
    pub limit: u64,
    /// Stops it. What is there of the layers is kept.
    pub cancel: &'a Cancel,
    /// Gets the bytes of all layers that are there, and how many there will be.
    pub progress: &'a dyn Fn(u64, u64),
}

/// An image that was not pulled.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// Docker's configuration cannot be used.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The connection failed, three times.
    #[error("cannot reach {url}: {reason}")]
    Transport {
        /// What was asked for.
        url: String,
        /// What failed.
        reason: String,
    },
    /// The registry does not let us.
    #[error("the registry does not let us pull {image}{reason}; {remedy}")]
    Denied {
        /// The image.
        image: String,
        /// What the registry said, as `: …`.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
    /// There is no such image.
    #[error("there is no image {0} in its registry")]
    NotFound(String),
    /// The registry failed.
    #[error("{url} answered {status}{reason}")]
    Status {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What it said, as `: …`.
        reason: String,
    },
    /// The registry has us ask for a token in a way that others could listen to.
    #[error(
        "{registry} wants us to get a token at '{realm}', which is no HTTPS address: our credentials do not go there"
    )]
    Realm {
        /// The registry.
        registry: String,
        /// The address.
        realm: String,
    },
    /// A document is of no use.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// It is larger than was allowed.
    #[error("the layers of the image have {size} bytes, more than the limit of {limit}")]
    TooLarge {
        /// What they have.
        size: u64,
        /// What they may have.
        limit: u64,
    },
    /// A layer could not be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The cache cannot be used.
    #[error("cannot make a folder in {}", path.display())]
    Io {
        /// The cache.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// It was cancelled.
    #[error("the pull was cancelled")]
    Cancelled,
}

/// Pulls the image for `linux/amd64` under a name.
///
/// # Errors
/// There is none, the registry cannot be reached or refuses, something is not what its digest says
/// or too large, or it was cancelled.
pub fn pull(request: &Pull<'_>) -> Result<Image, PullError> {
    let registry = Registry::new(request.reference, request.known);
    let (digest, manifest) = request.manifest(&registry)?;
    let what = "configuration of the image";
    let url = registry.url("blobs", &manifest.config.digest.to_string());
    let json = registry.document(what, &url, "*/*", request.cancel)?;
    check(what, &json, manifest.config.digest)?;
    let config = Config::parse(&json, manifest.layers.len())?;
    let size = manifest.layers.iter().try_fold(0_u64, |sum, layer| sum.checked_add(layer.size));
    let size = size.unwrap_or(u64::MAX);
    if size > request.limit {
        return Err(PullError::TooLarge { size, limit: request.limit });
    }
    let layers = request.layers(&registry, &manifest.layers, &config)?;
    Ok(Image { digest, name: Some(request.reference.to_string()), config, layers })
}

impl Pull<'_> {
    /// The image's manifest and its digest.
    fn manifest(&self, registry: &Registry<'_>) -> Result<(Digest, Manifest), PullError> {
        let mut wanted = self.reference.digest();
        for _ in 0..DEPTH {
            let tag = || self.reference.tag().unwrap_or("latest").to_owned();
            let url =
                registry.url("manifests", &wanted.map_or_else(tag, |digest| digest.to_string()));
            let json = registry.document("manifest", &url, ACCEPT, self.cancel)?;
            if let Some(digest) = wanted {
                check("manifest", &json, digest)?;
            }
            match Document::parse(&json)? {
                Document::Manifest(manifest) => return Ok((Digest::of(&json), manifest)),
                Document::Index(manifests) => wanted = Some(choose(&manifests)?.digest),
            }
        }
        Err(too_deep().into())
    }

    /// Gets the layers, a few at a time.
    fn layers(
        &self,
        registry: &Registry<'_>,
        descriptors: &[Descriptor],
        config: &Config,
    ) -> Result<Vec<Layer>, PullError> {
        let io = |source| PullError::Io { path: self.cache.to_owned(), source };
        let mut layers = Vec::new();
        for (descriptor, diff_id) in descriptors.iter().zip(&config.diff_ids) {
            let path = place(self.cache, descriptor.digest).map_err(io)?;
            // Else one that is there could be forgotten while others come.
            cache::touch(&path);
            layers.push(Layer {
                path,
                media_type: descriptor.media_type.clone(),
                digest: descriptor.digest,
                size: descriptor.size,
                diff_id: *diff_id,
            });
        }
        let total = layers.iter().map(|layer| layer.size).sum();
        let done: Vec<_> = layers.iter().map(|_| AtomicU64::new(0)).collect();
        let (next, stop, failure) = (AtomicUsize::new(0), Cancel::default(), Mutex::new(None));
        let take = || {
            let index = next.fetch_add(1, Relaxed);
            layers.get(index).zip(done.get(index))
        };
        let work = || {
            while let Some((layer, done)) = take() {
                let result = layer_of(registry, layer, &stop, &|have, _| done.store(have, Relaxed));
                if let Err(error) = result {
                    // The first that fails says why; it stops the others.
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    return stop.cancel();
                }
                done.store(layer.size, Relaxed);
            }
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
            while !threads.iter().all(thread::ScopedJoinHandle::is_finished) {
                thread::sleep(TICK);
                (self.progress)(done.iter().map(|done| done.load(Relaxed)).sum(), total);
                if self.cancel.is_cancelled() {
                    stop.cancel();
                }
            }
        });
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(_) if self.cancel.is_cancelled() => Err(PullError::Cancelled),
            Some(error) => Err(error.into()),
            None => {
                (self.progress)(total, total);
                Ok(layers)
            }
        }
    }
}

fn layer_of(
    registry: &Registry<'_>,
    layer: &Layer,
    stop: &Cancel,
    progress: &dyn Fn(u64, Option<u64>),
) -> Result<(), FetchError> {
    let url = registry.url("blobs", &layer.digest.to_string());
    let ask = |range: Option<String>| {
        let range = range.as_deref().map(|range| ("Range", range));
        registry.get(&url, range.as_slice()).map_err(|error| error.to_string())
    };
    let download = Download { url: &url, file: &layer.path, checksum: &layer.digest.checksum() };
    fetch_by(&download, Some(layer.size), &ask, stop, progress)
}

pub(super) fn too_deep() -> DocumentError {
    let reason = format!("there are more than {DEPTH} indexes in each other");
    DocumentError::Syntax { what: "manifest", reason }
}
