//! What every kind of image build shares: where it works, whom it tells, and
//! how it fails.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use banger_exec::{Cancel, ExecError, Runner, Tool};

use crate::elf::{ElfError, check_static};
use crate::ext4::Ext4Error;
use crate::initramfs::InitramfsError;
use crate::modules::UnknownModule;
use crate::namespace::Namespace;
use crate::opencode::OpencodeError;
use crate::vmlinux::VmlinuxError;

/// Where a build works, and with what.
pub struct BuildEnv<'a> {
    /// Runs its programs.
    pub runner: &'a dyn Runner,
    /// The agent's binary, static.
    pub agent: &'a Path,
    /// A folder for downloads, kept from build to build.
    pub cache: &'a Path,
    /// A folder on a disk with a few GiB free, in which the build makes one
    /// of its own and removes it.
    pub scratch: &'a Path,
    /// A folder that subordinate users of ours can enter and write in; the
    /// scratch folder will do for root.
    pub open: &'a Path,
    /// Stops the build.
    pub cancel: Cancel,
}

/// Who is told how a build goes.
pub trait Reporter {
    /// A stage begins, and the one before it is done.
    fn stage(&self, name: &str);
    /// How far the stage is; the unit is the stage's own.
    fn progress(&self, done: u64, total: Option<u64>);
    /// A line of what a program says.
    fn log(&self, line: &str);
}

/// An image that was not built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Something in the request makes no sense.
    #[error("'{value}' is not a {what}: {reason}")]
    Request {
        /// What it should be.
        what: &'static str,
        /// What was given.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A file that cannot be of an image.
    #[error(transparent)]
    Refused(#[from] crate::register::Refusal),
    /// The agent cannot run in a guest.
    #[error("{} cannot be the agent of an image: {source}; build it with 'cargo xtask agent'", path.display())]
    Agent {
        /// The binary.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ElfError,
    },
    /// The packages could not be installed.
    #[error("the packages of the image could not be installed{}", remedy.map(|r| format!(": {r}")).unwrap_or_default())]
    Bootstrap {
        /// What to do about it, where that can be told.
        remedy: Option<&'static str>,
        /// How the program failed.
        #[source]
        source: ExecError,
    },
    /// A program failed.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// A file could not be read or written.
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
    /// The root file system lacks something that every image needs.
    #[error("the unpacked packages have no {0}")]
    Missing(String),
    /// The opencode server could not be had.
    #[error(transparent)]
    Opencode(#[from] OpencodeError),
    /// The kernel is of no use.
    #[error(transparent)]
    Kernel(#[from] VmlinuxError),
    /// The kernel lacks a module.
    #[error(transparent)]
    Module(#[from] UnknownModule),
    /// A compressed module is damaged.
    #[error("the kernel's module {name} cannot be unpacked")]
    Compressed {
        /// The module.
        name: String,
        /// What is wrong.
        #[source]
        source: crate::decompress::DecompressError,
    },
    /// The initramfs could not be made.
    #[error(transparent)]
    Initramfs(#[from] InitramfsError),
    /// A file system could not be read or changed.
    #[error(transparent)]
    Patch(#[from] crate::ext4::PatchError),
    /// A file system could not be made.
    #[error(transparent)]
    Ext4(#[from] Ext4Error),
    /// The image's description cannot be written as JSON.
    #[error("cannot describe the image")]
    Describe(#[from] serde_json::Error),
    /// An image for containers cannot be one for VMs.
    #[error("no VM can be made of {reference}: {why}")]
    Container {
        /// What it is called.
        reference: String,
        /// What it lacks.
        why: String,
    },
    /// Packages of Alpine cannot be used.
    #[error(transparent)]
    Alpine(#[from] crate::alpine::AlpineError),
    /// Files belong to users that this one cannot act as.
    #[error(
        "files belong to users beyond the subordinate ids that you have (/etc/subuid, /etc/subgid): {0}"
    )]
    Owners(String),
    /// Docker's configuration cannot be used.
    #[error(transparent)]
    Auth(#[from] crate::oci::auth::AuthError),
    /// An image was not pulled.
    #[error(transparent)]
    Pull(#[from] crate::oci::PullError),
    /// An image was not imported.
    #[error(transparent)]
    Import(#[from] crate::oci::ImportError),
    /// The layers of an image make no tree.
    #[error(transparent)]
    Flatten(#[from] crate::oci::FlattenError),
    /// What steps left makes no image.
    #[error(transparent)]
    Steps(#[from] crate::steps::PartsError),
    /// What Void's mirrors have is of no use.
    #[error(transparent)]
    Void(Box<crate::void::VoidError>),
    /// The build was cancelled.
    #[error("the build was cancelled")]
    Cancelled,
    /// It failed, and what it left could not be removed.
    #[error("{cause}; {} could not be removed ({release})", left.display())]
    Unclean {
        /// Why it failed.
        #[source]
        cause: Box<BuildError>,
        /// What is still there.
        left: PathBuf,
        /// Why.
        release: Box<BuildError>,
    },
}

impl BuildError {
    /// Makes the error of a file operation.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

/// Reads the agent, and checks that it runs without anything else.
///
/// # Errors
/// It cannot be read, or needs libraries.
pub fn read_agent(path: &Path) -> Result<Vec<u8>, BuildError> {
    let agent = std::fs::read(path).map_err(BuildError::io("read the agent", path))?;
    check_static(&agent).map_err(|source| BuildError::Agent { path: path.to_owned(), source })?;
    Ok(agent)
}

/// Makes a finished file read-only, and durable.
pub(crate) fn seal(path: &Path) -> Result<(), BuildError> {
    let seal = || {
        let file = std::fs::File::open(path)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o444))?;
        file.sync_all()
    };
    seal().map_err(BuildError::io("write to disk", path))
}

/// Runs `work` in a new folder in the build's scratch folder, and removes the
/// folder with all that is in it, whoever owns it.
///
/// # Errors
/// Those of `work`; and the folder cannot be made or, after a failure, removed.
pub fn with_scratch<T>(
    env: &BuildEnv<'_>,
    reporter: &dyn Reporter,
    namespace: Namespace,
    work: impl FnOnce(&Path) -> Result<T, BuildError>,
) -> Result<T, BuildError> {
    let folder = tempfile::Builder::new()
        .prefix("image-build-")
        .tempdir_in(env.scratch)
        .map_err(BuildError::io("make a folder in", env.scratch))?
        .keep();
    let result = work(&folder);
    // A cancelled command says so itself; everything else that was stopped
    // half-way counts as cancelled, too.
    let result = result.map_err(|cause| match env.cancel.is_cancelled() {
        true => BuildError::Cancelled,
        false => cause,
    });
    let removed = remove_tree(env.runner, namespace, &folder);
    match (result, removed) {
        (Err(cause), Err(release)) => Err(BuildError::Unclean {
            cause: Box::new(cause),
            left: folder,
            release: Box::new(release),
        }),
        (Ok(made), Err(release)) => {
            reporter.log(&format!("{} was left behind: {release}", folder.display()));
            Ok(made)
        }
        (result, Ok(())) => result,
    }
}

/// Removes a tree of files that a build unpacked, whoever owns them. Not
/// stopped by a cancelled build.
///
/// # Errors
/// It cannot be removed.
pub fn remove_tree(
    runner: &dyn Runner,
    namespace: Namespace,
    tree: &Path,
) -> Result<(), BuildError> {
    let rm = namespace.command(Tool::Rm).args(["-rf", "--one-file-system", "--"]).arg(tree);
    runner.capture(&rm.timeout(Duration::from_secs(300)))?;
    Ok(())
}
