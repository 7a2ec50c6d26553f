//! What can be wrong with what Void's mirrors have.

use std::io;
use std::path::PathBuf;

use crate::build::BuildError;
use crate::fetch::FetchError;
use crate::minisign::MinisignError;
use crate::xbps::PlistError;
use crate::xbps::keys::{Fingerprint, KeyError};
use crate::xbps::package::PackageError;
use crate::xbps::pkgdb::PkgdbError;
use crate::xbps::repodata::RepodataError;
use crate::xbps::resolve::ResolveError;

/// An image of Void that was not built.
#[derive(Debug, thiserror::Error)]
pub enum VoidError {
    /// A download failed.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The index says that a package is larger than any.
    #[error(
        "the package {package} should have {size} bytes, which none has: the index of the mirror is damaged or malicious"
    )]
    TooLarge {
        /// The package's file.
        package: String,
        /// What the index says, in bytes.
        size: u64,
    },
    /// A file that was given as a key is none.
    #[error(
        "{} is neither a public key of minisign nor one of a repository, in PEM or as xbps keeps it",
        .0.display()
    )]
    NoKey(PathBuf),
    /// A repository's key that was given cannot be used.
    #[error("the key {} cannot be used", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyError,
    },
    /// The public key of a release that was given cannot be used.
    #[error("the key {} cannot be used", path.display())]
    ReleaseKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: MinisignError,
    },
    /// banger has no key of that release, and none was given.
    #[error("there is no key for the release {0} of Void")]
    UnknownRelease(String),
    /// Nobody vouches for the checksums of a release.
    #[error("the checksums of the release {release} cannot be trusted")]
    Release {
        /// The release.
        release: String,
        /// What is wrong with their signature.
        source: MinisignError,
    },
    /// A release lacks its root file system.
    #[error("the release {release} has no {file}")]
    NotListed {
        /// The release.
        release: String,
        /// The file that its checksums do not have.
        file: String,
    },
    /// The root file system of a release is damaged.
    #[error("the root file system of the release cannot be unpacked")]
    Rootfs(#[source] io::Error),
    /// It does not know which packages it has.
    #[error("the root file system of the release has no database of its packages")]
    NoDatabase,
    /// What it knows of them cannot be read.
    #[error("the root file system of the release is of no use")]
    Database(#[from] PkgdbError),
    /// The list of a package's files cannot be read.
    #[error("the root file system of the release has a damaged list of the files of '{package}'")]
    List {
        /// The package.
        package: String,
        /// What is wrong with the list.
        source: PlistError,
    },
    /// An index cannot be read.
    #[error("{url} is of no use")]
    Index {
        /// The index.
        url: String,
        /// What is wrong with it.
        source: RepodataError,
    },
    /// A repository signs nothing.
    #[error("the packages of {0} are not signed")]
    Unsigned(String),
    /// A repository is somebody's who is not trusted.
    #[error("the packages of {url} are signed by the key {key}, which is not trusted")]
    UnknownKey {
        /// The index.
        url: String,
        /// The key that it names.
        key: Fingerprint,
    },
    /// There is no kernel.
    #[error("{0} has no package 'linux' that names a kernel")]
    NoKernel(String),
    /// Packages do not fit together.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// A package is not what a trusted key signed.
    #[error("no trusted key vouches for the package {0}; it was removed")]
    Untrusted(String),
    /// A package is not what it should be.
    #[error("the package {package} is refused, and was removed")]
    Package {
        /// The package.
        package: String,
        /// What is wrong with it.
        source: PackageError,
    },
}

impl From<VoidError> for BuildError {
    fn from(error: VoidError) -> Self {
        Self::Void(Box::new(error))
    }
}

impl VoidError {
    /// What to do about it, where that can be told.
    #[must_use]
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::UnknownRelease(_)
            | Self::Release { source: MinisignError::UnknownKey(_), .. } => {
                Some("give the public key that signs the release with '--key'")
            }
            Self::UnknownKey { .. } => {
                Some("if it is a repository of yours, give its public key with '--key'")
            }
            Self::Fetch(
                FetchError::Mismatch { .. }
                | FetchError::Status { status: 404, .. }
                | FetchError::TooLong { .. },
            ) => Some(
                "the mirror is damaged, or was updated meanwhile: try again, or another with \
                 '--mirror'",
            ),
            Self::Fetch(FetchError::Transport { .. } | FetchError::Status { .. }) => {
                Some("try again later, or use another mirror with '--mirror'")
            }
            Self::Release { .. } | Self::Untrusted(_) | Self::Package { .. } => {
                Some("the mirror is damaged or malicious: choose another with '--mirror'")
            }
            Self::Resolve(ResolveError::Library { .. } | ResolveError::Missing { .. }) => {
                Some("the mirror may be in the middle of an update: try again later, or another")
            }
            _ => None,
        }
    }
}
