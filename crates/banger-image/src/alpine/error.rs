//! Why there is no Alpine image, beyond what any build can fail of.

use std::path::PathBuf;

use crate::apk::index::IndexError;
use crate::apk::installed::DatabaseError;
use crate::apk::keys::KeyError;
use crate::apk::package::PackageError;
use crate::apk::resolve::ResolveError;
use crate::fetch::FetchError;

/// What is wrong with packages, or with where they come from.
#[derive(Debug, thiserror::Error)]
pub enum AlpineError {
    /// A file could not be downloaded.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// What is to be trusted cannot be.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// An index is of no use.
    #[error("cannot use {url}")]
    Index {
        /// Where it came from.
        url: String,
        /// What is wrong with it.
        #[source]
        source: IndexError,
    },
    /// The packages do not go together.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// A package is of no use.
    #[error("cannot use {url}, which was removed from the cache")]
    Package {
        /// Where it came from.
        url: String,
        /// What is wrong with it.
        #[source]
        source: PackageError,
    },
    /// A package is not what it was in an earlier build.
    #[error("the package {package} has the hash {now}, and had {before} in an earlier build")]
    Changed {
        /// Its name and version.
        package: String,
        /// What it was.
        before: String,
        /// What it is.
        now: String,
        /// Where that is written down.
        lock: PathBuf,
    },
    /// The packages have files that are in each other's way.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl AlpineError {
    /// What to do about it, where that can be told.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        if let Self::Changed { lock, .. } = self {
            return Some(format!(
                "a version is published once: ask whoever runs the mirror; if it is right, remove its line from {}",
                lock.display()
            ));
        }
        let remedy = match self {
            Self::Index { source: IndexError::Signature(KeyError::Unknown(_)), .. } => Some(
                "if that key is of whoever runs your mirror, trust it with '--key FILE', a file of the same name",
            ),
            Self::Fetch(FetchError::Status { status: 404, .. }) => Some(
                "look whether the mirror has the release; a package that is gone from it comes back as a newer one soon: try again later",
            ),
            Self::Index { .. }
            | Self::Package { .. }
            | Self::Fetch(FetchError::Transport { .. } | FetchError::Status { .. }) => {
                Some("try again later, or use another mirror with '--mirror URL'")
            }
            _ => None,
        };
        remedy.map(str::to_owned)
    }
}
