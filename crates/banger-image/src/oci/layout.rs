//! Images in files: a layout of the OCI (image-spec, "Image Layout"), as a folder or tar file, and
//! what `docker save` writes (moby, "Image Specification v1.2"), which since Docker 25 is both.

use std::io;
use std::path::{Path, PathBuf};

use banger_exec::Cancel;
use serde::Deserialize;

use super::blobs::{Blob, Source, place};
use super::digest::Digest;
use super::document::{Config, Descriptor, Document, DocumentError, Manifest, check, choose};
use super::pull::{DEPTH, too_deep};
use super::{Image, Layer, Reference};

/// An image to import.
pub struct Import<'a> {
    /// The folder or archive, plain or compressed with gzip or zstd.
    pub path: &'a Path,
    /// The name of the image in it; needed if there are several.
    pub name: Option<&'a str>,
    /// A folder for layers, kept. Those of a layout that is a folder stay where they are.
    pub cache: &'a Path,
    /// Bytes that all files of an archive may have together.
    pub limit: u64,
    /// Stops it.
    pub cancel: &'a Cancel,
    /// Gets the bytes that were read of a layer or, of an archive, of all that was unpacked.
    pub progress: &'a dyn Fn(u64),
}

/// An image that was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file cannot be read or written, or is damaged.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
    /// It is neither.
    #[error("{} is neither an OCI layout nor an archive of 'docker save': it has no index.json and no manifest.json", .0.display())]
    NotAnImage(PathBuf),
    /// Something that a document names is not there.
    #[error("the image lacks its file '{0}'")]
    Missing(String),
    /// A file in the archive would lie outside of it.
    #[error("the archive has a file '{0}', which would lie outside of it: it is malicious")]
    Outside(String),
    /// A document is of no use.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A layer is not what its digest says.
    #[error("the layer {expected} of the image has other content: {found}")]
    Mismatch {
        /// What it should be.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// It is larger than was allowed.
    #[error(
        "the archive has more than {0} bytes: it is damaged or malicious, or the limit is too low"
    )]
    TooLarge(u64),
    /// It has too many files.
    #[error("the archive has more than {0} files: it is no image")]
    TooMany(usize),
    /// It was cancelled.
    #[error("the import was cancelled")]
    Cancelled,
}

/// Imports an image for `linux/amd64`.
///
/// # Errors
/// There is none in it or none of that name, something is missing, not what its digest says or too
/// large, or it was cancelled.
pub fn import(request: &Import<'_>) -> Result<Image, ImportError> {
    let source = Source::open(request)?;
    // Who wrote both wants to be read by what knows only one: the index says more.
    if let Some(json) = source.document("index.json")? {
        return oci(request, &source, &json);
    }
    match source.document("manifest.json")? {
        Some(json) => docker(request, &source, &json),
        None => Err(ImportError::NotAnImage(request.path.to_owned())),
    }
}

/// The path of a blob in a layout.
fn blob(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn oci(request: &Import<'_>, source: &Source<'_>, json: &[u8]) -> Result<Image, ImportError> {
    let document = |what, digest| {
        let json =
            source.document(&blob(digest))?.ok_or_else(|| ImportError::Missing(blob(digest)))?;
        check(what, &json, digest)?;
        Ok::<_, ImportError>(json)
    };
    let (mut list, name) = match Document::parse(json)? {
        Document::Index(manifests) => select(manifests, request.name)?,
        Document::Manifest(_) => return Err(ImportError::NotAnImage(request.path.to_owned())),
    };
    for _ in 0..DEPTH {
        let digest = choose(&list)?.digest;
        match Document::parse(&document("manifest", digest)?)? {
            Document::Index(manifests) => list = manifests,
            Document::Manifest(Manifest { config, layers }) => {
                let json = document("configuration of the image", config.digest)?;
                let config = Config::parse(&json, layers.len())?;
                let layers = layers.into_iter().zip(&config.diff_ids);
                let layers = layers.map(|(layer, diff_id)| {
                    let file = source.file(&blob(layer.digest))?;
                    keep(request, file, Some(layer.digest), layer.media_type, *diff_id)
                });
                let layers = layers.collect::<Result<_, _>>()?;
                return Ok(Image { digest, name, config, layers });
            }
        }
    }
    Err(too_deep().into())
}

/// Whether two names are the same to a registry: `a:1` is `docker.io/library/a:1`.
fn is_named(one: &str, other: &str) -> bool {
    let full = |name: &str| name.parse::<Reference>().ok();
    one == other || full(one).is_some_and(|one| Some(one) == full(other))
}

/// The manifests of one image, which may be for several platforms, and its name.
fn select(
    mut manifests: Vec<Descriptor>,
    name: Option<&str>,
) -> Result<(Vec<Descriptor>, Option<String>), DocumentError> {
    let mut names: Vec<String> = manifests.iter().filter_map(Descriptor::name).cloned().collect();
    names.sort();
    names.dedup();
    if let Some(name) = name {
        manifests
            .retain(|manifest| manifest.annotations.values().any(|value| is_named(value, name)));
        if manifests.is_empty() {
            return Err(DocumentError::NoSuchName { name: name.to_owned(), found: names });
        }
        return Ok((manifests, Some(name.to_owned())));
    }
    let same = |pair: &[Descriptor]| pair[0].digest == pair[1].digest;
    if names.len() > 1 && !manifests.windows(2).all(same) {
        return Err(DocumentError::Several(names));
    }
    Ok((manifests, names.into_iter().next()))
}

fn docker(request: &Import<'_>, source: &Source<'_>, json: &[u8]) -> Result<Image, ImportError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Saved {
        config: String,
        #[serde(default)]
        repo_tags: Option<Vec<String>>,
        layers: Vec<String>,
    }
    let what = "manifest.json";
    let syntax =
        |error: serde_json::Error| DocumentError::Syntax { what, reason: error.to_string() };
    let mut saved: Vec<Saved> = serde_json::from_slice(json).map_err(syntax)?;
    let tags = |saved: &Saved| saved.repo_tags.clone().unwrap_or_default();
    let all = saved.iter().flat_map(tags).collect();
    if let Some(name) = request.name {
        saved.retain(|saved| tags(saved).iter().any(|tag| is_named(tag, name)));
    }
    let chosen = match (saved.pop(), request.name) {
        (Some(chosen), None) if saved.is_empty() => chosen,
        (Some(chosen), Some(_)) => chosen,
        (Some(_), None) => return Err(DocumentError::Several(all).into()),
        (None, name) => {
            let name = name.unwrap_or_default().to_owned();
            return Err(DocumentError::NoSuchName { name, found: all }.into());
        }
    };
    let json = source.document(&chosen.config)?;
    let json = json.ok_or_else(|| ImportError::Missing(chosen.config.clone()))?;
    let digest = Digest::of(&json);
    // The file is named by its digest; older ones end in '.json'.
    let stem = chosen.config.trim_end_matches(".json").rsplit('/').next().unwrap_or_default();
    if let Ok(named) = format!("sha256:{stem}").parse() {
        check("configuration of the image", &json, named)?;
    }
    let config = Config::parse(&json, chosen.layers.len())?;
    let layers = chosen.layers.iter().zip(&config.diff_ids).map(|(layer, diff_id)| {
        let media_type = "application/vnd.docker.image.rootfs.diff.tar".to_owned();
        // What it must be is the diff id, which is looked at when it is read.
        keep(request, source.file(layer)?, None, media_type, *diff_id)
    });
    let layers = layers.collect::<Result<_, _>>()?;
    let name = request.name.map(str::to_owned).or_else(|| tags(&chosen).into_iter().next());
    Ok(Image { digest, name, config, layers })
}

/// Checks a layer, and moves it to where it stays.
fn keep(
    request: &Import<'_>,
    blob: Blob,
    expected: Option<Digest>,
    media_type: String,
    diff_id: Digest,
) -> Result<Layer, ImportError> {
    let Blob { mut path, digest, size, temporary } = blob;
    if let Some(expected) = expected.filter(|expected| *expected != digest) {
        return Err(ImportError::Mismatch { expected, found: digest });
    }
    if temporary {
        let kept = place(request.cache, digest)
            .map_err(ImportError::io("use the cache", request.cache))?;
        // A layer may be there twice.
        if path.exists() {
            std::fs::rename(&path, &kept).map_err(ImportError::io("write", &kept))?;
        }
        path = kept;
    }
    Ok(Layer { path, media_type, digest, size, diff_id })
}

impl ImportError {
    /// Makes the error of a file operation.
    pub(super) fn io(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| match source
            .get_ref()
            .is_some_and(|error| error.is::<super::compress::Cancelled>())
        {
            true => Self::Cancelled,
            false => Self::Io { action, path: path.to_owned(), source },
        }
    }
}

#[cfg(test)]
mod tests;
