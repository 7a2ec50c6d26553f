//! The documents of an image: index, manifest, configuration (OCI image-spec; Docker's "Image
//! Manifest Version 2, Schema 2" has the same fields).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::digest::Digest;

/// What a manifest may be long (distribution-spec, "Pushing Manifests"), and here any document.
pub(super) const LIMIT: u64 = 4 << 20;
/// No image has more: overlayfs takes 500 lower layers (kernel, `fs/overlayfs`).
const LAYERS: usize = 500;
/// What banger runs.
const OS: &str = "linux";
const ARCHITECTURE: &str = "amd64";

/// What a registry may answer with, as an `Accept` header.
pub(super) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// The types of layers that are tar files, plain or compressed, and may be passed on.
const LAYER_TYPES: [&str; 6] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
];

/// A document that is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// It is not what it should be.
    #[error("the {what} is not one: {reason}")]
    Syntax {
        /// What it should be.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// It is of the format of 2015.
    #[error(
        "the image has a manifest of schema 1, which names no configuration and is long deprecated: push it again with a newer tool"
    )]
    Schema1,
    /// It is not for this kind of machine.
    #[error("the image is not for {OS}/{ARCHITECTURE}, only for {}", list(found))]
    Platform {
        /// What it is for.
        found: Vec<String>,
    },
    /// It is something else than layers of files.
    #[error(
        "the image has a layer of type '{0}', which is not a tar file: it is no image of a system"
    )]
    LayerType(String),
    /// There are several images, and none was chosen.
    #[error("there are several images: choose one of {}", list(.0))]
    Several(Vec<String>),
    /// There is no image of that name.
    #[error("there is no image '{name}', only {}", list(found))]
    NoSuchName {
        /// The name.
        name: String,
        /// Those that there are.
        found: Vec<String>,
    },
    /// It is too long.
    #[error("the {what} has more than {} MiB", LIMIT >> 20)]
    TooLong {
        /// What it is.
        what: &'static str,
    },
    /// It is not what its digest says.
    #[error("the {what} is not what it should be: expected {expected}, got {found}")]
    Mismatch {
        /// What it is.
        what: &'static str,
        /// The digest that it should have.
        expected: Digest,
        /// The one that it has.
        found: Digest,
    },
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "unnamed ones".to_owned() } else { names.join(", ") }
}

/// What points to content (image-spec, "Content Descriptors").
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    pub platform: Option<Platform>,
    #[serde(default, deserialize_with = "nullable")]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Platform {
    os: String,
    architecture: String,
    #[serde(default)]
    variant: String,
}

impl Platform {
    fn name(&self) -> String {
        let variant = if self.variant.is_empty() { "" } else { "/" };
        format!("{}/{}{variant}{}", self.os, self.architecture, self.variant)
    }
}

impl Descriptor {
    /// The name of the image in a layout: the full one that containerd writes, else the tag
    /// (image-spec, "Pre-Defined Annotation Keys").
    pub(super) fn name(&self) -> Option<&String> {
        let key = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];
        key.iter().find_map(|key| self.annotations.get(*key))
    }
}

/// An index or a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Document {
    /// Manifests to choose from.
    Index(Vec<Descriptor>),
    /// An image.
    Manifest(Manifest),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
}

/// How an image says that it is run (image-spec, "Image Configuration").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// The processor, in Go's words.
    pub architecture: String,
    /// The operating system, in Go's words.
    pub os: String,
    /// `NAME=VALUE` of its environment.
    pub env: Vec<String>,
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// More arguments; the program, if there is no entry point.
    pub cmd: Vec<String>,
    /// The folder that it runs in; the root if empty.
    pub working_dir: String,
    /// The user, with or without a group, that it runs as; root if empty.
    pub user: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The digests of the layers' tar files, the lowest first.
    pub diff_ids: Vec<Digest>,
}

/// Go writes an empty list or map as null.
fn nullable<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

fn read<'a, T: Deserialize<'a>>(what: &'static str, json: &'a [u8]) -> Result<T, DocumentError> {
    serde_json::from_slice(json)
        .map_err(|error| DocumentError::Syntax { what, reason: error.to_string() })
}

/// Checks a document against what points to it.
pub(super) fn check(
    what: &'static str,
    json: &[u8],
    expected: Digest,
) -> Result<(), DocumentError> {
    let found = Digest::of(json);
    if found == expected { Ok(()) } else { Err(DocumentError::Mismatch { what, expected, found }) }
}

impl Document {
    /// Reads an index or manifest. What it is, it says itself: a `Content-Type` is not covered by
    /// the digest.
    pub(super) fn parse(json: &[u8]) -> Result<Self, DocumentError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Any {
            schema_version: u32,
            manifests: Option<Vec<Descriptor>>,
            config: Option<Descriptor>,
            layers: Option<Vec<Descriptor>>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Version {
            schema_version: u32,
        }
        let what = "manifest";
        if read::<Version>(what, json)?.schema_version == 1 {
            return Err(DocumentError::Schema1);
        }
        let any: Any = read(what, json)?;
        let syntax = |reason: &str| DocumentError::Syntax { what, reason: reason.to_owned() };
        match (any.manifests, any.config, any.layers) {
            _ if any.schema_version != 2 => Err(syntax("its schema is not version 2")),
            (Some(manifests), None, None) => Ok(Self::Index(manifests)),
            (None, Some(config), Some(layers)) => {
                if let Some(wrong) = layers.iter().find(|l| !LAYER_TYPES.contains(&&*l.media_type))
                {
                    return Err(DocumentError::LayerType(wrong.media_type.clone()));
                }
                match layers.len() {
                    0 => Err(syntax("it has no layers")),
                    1..=LAYERS => Ok(Self::Manifest(Manifest { config, layers })),
                    _ => Err(syntax("it has more layers than any image")),
                }
            }
            // CVE-2021-41190: two readers of the same bytes would see two images.
            (Some(_), ..) => Err(syntax("it is an index and a manifest at once")),
            _ => Err(syntax("it has no configuration or no layers")),
        }
    }
}

/// Chooses the image for this kind of machine.
pub(super) fn choose(manifests: &[Descriptor]) -> Result<&Descriptor, DocumentError> {
    let fits = |platform: &Platform| platform.os == OS && platform.architecture == ARCHITECTURE;
    let plain = |d: &&Descriptor| d.platform.as_ref().is_some_and(|p| p.variant.is_empty());
    let fit = |d: &&Descriptor| d.platform.as_ref().is_some_and(fits);
    let mut candidates = manifests.iter().filter(fit);
    // A variant such as v3 needs more than any amd64 has.
    if let Some(found) = candidates.clone().find(plain).or_else(|| candidates.next()) {
        return Ok(found);
    }
    match manifests {
        // Tools that make an image for one platform may leave it to the configuration.
        [only] if only.platform.is_none() => Ok(only),
        _ => {
            // BuildKit lists what attests the images as for 'unknown'.
            let platforms = manifests.iter().filter_map(|d| Some(d.platform.as_ref()?.name()));
            let found = platforms.filter(|name| !name.starts_with("unknown/")).collect();
            Err(DocumentError::Platform { found })
        }
    }
}

impl Config {
    /// Reads a configuration, and checks that it is for this kind of machine and of so many layers.
    pub(super) fn parse(json: &[u8], layers: usize) -> Result<Self, DocumentError> {
        #[derive(Deserialize)]
        struct Outer {
            architecture: String,
            os: String,
            #[serde(default, deserialize_with = "nullable")]
            config: Inner,
            rootfs: RootFs,
        }
        #[derive(Deserialize)]
        struct RootFs {
            diff_ids: Vec<Digest>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "PascalCase")]
        struct Inner {
            #[serde(deserialize_with = "nullable")]
            env: Vec<String>,
            #[serde(deserialize_with = "nullable")]
            entrypoint: Vec<String>,
            #[serde(deserialize_with = "nullable")]
            cmd: Vec<String>,
            working_dir: String,
            user: String,
            #[serde(deserialize_with = "nullable")]
            labels: BTreeMap<String, String>,
        }
        let what = "configuration of the image";
        let Outer { architecture, os, config, rootfs: RootFs { diff_ids } } = read(what, json)?;
        if os != OS || architecture != ARCHITECTURE {
            return Err(DocumentError::Platform { found: vec![format!("{os}/{architecture}")] });
        }
        if diff_ids.len() != layers {
            let reason = format!("it names {} layers, and the manifest {layers}", diff_ids.len());
            return Err(DocumentError::Syntax { what, reason });
        }
        let Inner { env, entrypoint, cmd, working_dir, user, labels } = config;
        Ok(Self { architecture, os, env, entrypoint, cmd, working_dir, user, labels, diff_ids })
    }
}

#[cfg(test)]
mod tests;
