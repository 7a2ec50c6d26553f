use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use banger_exec::ExecError;

/// A file system that could not be read or changed. Paths are within it but for
/// `disk`.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// A program failed.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// A file of the host's failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// It is something else.
    #[error("{} holds no ext4 file system", .0.display())]
    NotExt4(PathBuf),
    /// It was not unmounted, or a change was interrupted: [`recover`](super::recover) comes first.
    #[error("the file system in {} is not clean: its journal must be replayed first", .0.display())]
    Unclean(PathBuf),
    /// What is wrong with it cannot be mended without a decision.
    #[error("the file system in {} is damaged; e2fsck says:\n{words}", disk.display())]
    Damaged {
        /// The file or device.
        disk: PathBuf,
        /// What e2fsck says.
        words: String,
    },
    /// It has features with which it cannot be changed.
    #[error("the file system in {} has features that debugfs does not keep right", .0.display())]
    Unsupported(PathBuf),
    /// debugfs does not answer as it should.
    #[error("cannot read the file system in {}: {words}", disk.display())]
    Unreadable {
        /// The file or device.
        disk: PathBuf,
        /// The last that debugfs says.
        words: String,
    },
    /// debugfs cannot be told of this path: it is not absolute, or has `..`, a line's end or a
    /// part that is too long. Or a change is about the root itself.
    #[error("cannot change or read {:?}: no such path is possible here", .0)]
    Name(PathBuf),
    /// A link leads to itself, or to nothing.
    #[error("the link {} leads nowhere", .0.display())]
    Nowhere(PathBuf),
    /// A folder is within itself, or in two places: the file system is damaged.
    #[error("the folder {} is in more than one place", .0.display())]
    Twice(PathBuf),
    /// It should be a folder and is not.
    #[error("{} is not a folder", .0.display())]
    NotAFolder(PathBuf),
    /// It should be a file and is not.
    #[error("{} is not a file", .0.display())]
    NotAFile(PathBuf),
    /// A folder is where a file or link should be.
    #[error("{} is a folder", .0.display())]
    Folder(PathBuf),
    /// The mode of a link means nothing.
    #[error("{} is a link, which has no mode", .0.display())]
    Link(PathBuf),
    /// What should change is not there.
    #[error("there is no {}", .0.display())]
    Missing(PathBuf),
    /// A file is larger than the reader wants.
    #[error("{} has more than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What was allowed, in bytes.
        limit: u64,
    },
    /// There is no room for a file, folder or link. Some of the other changes are done.
    #[error("the file system in {} has no {of} left for {}", disk.display(), path.display())]
    Full {
        /// The file or device.
        disk: PathBuf,
        /// What found no room.
        path: PathBuf,
        /// Space, or inodes.
        of: &'static str,
    },
    /// What was read back is not what was asked for.
    #[error("{} was not changed right: {reason} ({words})", path.display())]
    Wrong {
        /// What was to change.
        path: PathBuf,
        /// What is not right.
        reason: &'static str,
        /// The last that debugfs says.
        words: String,
    },
}

impl PatchError {
    /// Makes the error of a file operation.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    pub(super) fn name(place: &[u8]) -> Self {
        Self::Name(path(place))
    }
}

/// A place as a path.
pub(super) fn path(place: &[u8]) -> PathBuf {
    let place = if place.is_empty() { b"/" } else { place };
    std::ffi::OsStr::from_bytes(place).into()
}
