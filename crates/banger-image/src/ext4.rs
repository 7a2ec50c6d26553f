//! ext4 file systems in files, without mounting anything: making them here,
//! reading and changing them by [`Disk`].

mod copy_out;
mod debugfs;
mod error;
mod patch;
mod read;
mod recover;
mod walk;

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use banger_core::size::Size;
use banger_exec::{Cancel, Command, ExecError, Runner, Tool};

use crate::namespace::Namespace;

pub use copy_out::Copied;
pub use debugfs::Disk;
pub use error::PatchError;
pub use patch::Change;
pub use read::{Kind, Stat};
pub use recover::recover;

/// Label of an image's root file system.
pub const ROOT_LABEL: &str = "banger-root";
/// Label of a work disk.
pub const WORK_LABEL: &str = "banger-work";
/// The apparent size of a work seed, and so the least that a work disk has.
pub const WORK_SEED_SIZE: Size = Size::mib(256);

const TIMEOUT: Duration = Duration::from_secs(600);

/// A file system that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Ext4Error {
    /// A program failed.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The file could not be prepared.
    #[error("cannot prepare {}", path.display())]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The tree does not fit.
    #[error("the files do not fit into a root of {0}: ask for a larger size")]
    Full(Size),
    /// A change to the file system did not take.
    #[error("{} was not made right: {reason}", path.display())]
    Wrong {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Makes the root file system of an image in the new file `out`, from the tree
/// at `dir` with the owners that it has inside `namespace`.
///
/// # Errors
/// The tree does not fit, or mke2fs fails.
pub fn make_root(
    runner: &dyn Runner,
    namespace: Namespace,
    dir: &Path,
    out: &Path,
    size: Size,
    cancel: &Cancel,
) -> Result<(), Ext4Error> {
    sparse(out, size, 0o644)?;
    let args = common(ROOT_LABEL, "root_owner=0:0");
    let mke2fs = namespace.command(Tool::Mke2fs).args(args).arg("-d").arg(dir).arg(out);
    match runner.capture(&mke2fs.cancel(cancel).timeout(TIMEOUT)) {
        Err(ExecError::Failed { stderr, .. }) if stderr.contains("Could not allocate") => {
            Err(Ext4Error::Full(size))
        }
        result => Ok(result.map(drop)?),
    }
}

/// Makes the file system that work disks start from in the new file `out`, from
/// the tree at `tree` with the owners that it has inside `namespace`. Its root
/// is for root only, or sshd would refuse the keys in it.
///
/// # Errors
/// mke2fs or debugfs fails.
pub fn make_work_seed(
    runner: &dyn Runner,
    namespace: Namespace,
    tree: &Path,
    out: &Path,
    cancel: &Cancel,
) -> Result<(), Ext4Error> {
    // A home has secrets.
    sparse(out, WORK_SEED_SIZE, 0o600)?;
    // The seed is small but its disks are not: room in the block group
    // descriptors for 4 TiB, and the block size, inode size and journal that
    // mke2fs would choose for a large one.
    let blocks = Size::gib(4096).as_bytes() / 4096;
    let args = common(WORK_LABEL, &format!("root_owner=0:0,resize={blocks}"));
    let mke2fs = namespace.command(Tool::Mke2fs).args(args).args(["-J", "size=64"]);
    let mke2fs = mke2fs.arg("-d").arg(tree).arg(out);
    runner.capture(&mke2fs.cancel(cancel).timeout(TIMEOUT))?;
    let debugfs = |request: &str, write: &[&str]| {
        let command = Command::new(Tool::Debugfs).args(write).args(["-R", request]).arg(out);
        runner.capture(&command.cancel(cancel))
    };
    debugfs("set_inode_field / mode 040700", &["-w"])?;
    // debugfs exits with 0 whatever happens: read it back.
    let stat = debugfs("stat /", &[])?;
    let text = String::from_utf8_lossy(&stat.stdout).into_owned();
    if text.contains("Mode:  0700") {
        return Ok(());
    }
    let reason = text.lines().take(2).collect::<Vec<_>>().join(" ");
    Err(Ext4Error::Wrong { path: out.to_owned(), reason })
}

/// No blocks are reserved for root, who is the only user. The file is new, so the
/// journal is zero already; the inode tables are
/// written now, as holes, so that no guest zeroes them in its copy later.
fn common(label: &str, extended: &str) -> Vec<String> {
    let extended = format!("{extended},lazy_itable_init=0,lazy_journal_init=1,nodiscard");
    [
        "-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-i", "16384", "-m", "0", "-L", label,
        "-E", &extended,
    ]
    .map(str::to_owned)
    .to_vec()
}

/// A new file of a size without any data in it.
fn sparse(path: &Path, size: Size, mode: u32) -> Result<(), Ext4Error> {
    let make = || {
        let file = File::create_new(path)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.set_len(size.as_bytes())
    };
    make().map_err(|source| Ext4Error::Io { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_exec::{HostRunner, Tools};
    use std::os::unix::fs::MetadataExt as _;

    fn run(runner: &dyn Runner, command: &Command) -> String {
        String::from_utf8(runner.capture(command).unwrap().stdout).unwrap()
    }

    #[test]
    fn a_work_seed_is_small_private_and_grows() {
        let dir = tempfile::tempdir().unwrap();
        let (out, tree) = (dir.path().join("seed"), dir.path().join("tree"));
        std::fs::create_dir(&tree).unwrap();
        let runner = HostRunner::new(Tools::discover());
        let namespace = Namespace::current();
        make_work_seed(&runner, namespace, &tree, &out, &Cancel::default()).unwrap();
        let data = std::fs::metadata(&out).unwrap().blocks() * 512;
        assert!(data < 8 << 20, "{data} bytes");

        File::options().write(true).open(&out).unwrap().set_len(64 << 30).unwrap();
        run(&runner, &Command::new(Tool::Resize2fs).arg(&out));
        run(&runner, &Command::new(Tool::E2fsck).arg("-fn").arg(&out));
        let stat = run(&runner, &Command::new(Tool::Debugfs).args(["-R", "stat /"]).arg(&out));
        assert!(stat.contains("Mode:  0700") && stat.contains("User:     0"), "{stat}");
    }

    #[test]
    fn a_root_keeps_modes_and_says_when_it_is_full() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        std::fs::write(tree.join("tool"), vec![1; 3 << 20]).unwrap();
        std::fs::set_permissions(tree.join("tool"), Permissions::from_mode(0o751)).unwrap();
        let runner = HostRunner::new(Tools::discover());
        let make = |name: &str, size| {
            let out = dir.path().join(name);
            let namespace = Namespace::of(0);
            make_root(&runner, namespace, &tree, &out, size, &Cancel::default()).map(|()| out)
        };
        let out = make("root", Size::mib(64)).unwrap();
        run(&runner, &Command::new(Tool::E2fsck).arg("-fn").arg(&out));
        let stat = run(&runner, &Command::new(Tool::Debugfs).args(["-R", "stat /tool"]).arg(&out));
        assert!(stat.contains("Mode:  0751"), "{stat}");
        let error = make("small", Size::mib(2)).unwrap_err();
        insta::assert_snapshot!(error, @"the files do not fit into a root of 2 MiB: ask for a larger size");
    }
}
