//! Who calls, and the files that are the caller's.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};

use super::HelperError;

/// Whom the helper works for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub uid: u32,
    /// The user's first group.
    pub gid: u32,
}

impl Caller {
    /// Who called `sudo`, as it says in its environment, which the caller cannot change;
    /// root, if root started us without it.
    ///
    /// # Errors
    /// We do not run as root, or what `sudo` says makes no sense.
    pub fn from_sudo(var: impl Fn(&str) -> Option<String>) -> Result<Self, HelperError> {
        let (real, effective) = (rustix::process::getuid(), rustix::process::geteuid());
        if !(real.is_root() && effective.is_root()) {
            return Err(HelperError::refused("run me with sudo"));
        }
        Self::from_vars(var)
    }

    fn from_vars(var: impl Fn(&str) -> Option<String>) -> Result<Self, HelperError> {
        match (var("SUDO_UID"), var("SUDO_GID")) {
            (None, None) => Ok(Self { uid: 0, gid: 0 }),
            (uid, gid) => {
                let number = |text: Option<String>| text.and_then(|text| text.parse().ok());
                let both = number(uid).zip(number(gid));
                let (uid, gid) =
                    both.ok_or_else(|| HelperError::refused("sudo does not say who called"))?;
                Ok(Self { uid, gid })
            }
        }
    }
}

/// The caller's state folder.
#[derive(Debug)]
pub struct StateDir {
    dir: File,
    caller: Caller,
}

impl StateDir {
    /// Opens it, wherever the path leads: a folder that is the caller's, and that nobody else
    /// can write to, is the caller's to use.
    ///
    /// # Errors
    /// It is not such a folder. Nothing else is told: the caller may not be able to look there.
    pub fn open(path: &Path, caller: Caller) -> Result<Self, HelperError> {
        let open = || {
            let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
            let resolve = ResolveFlags::NO_MAGICLINKS;
            let dir = File::from(openat2(CWD, path, flags, Mode::empty(), resolve).ok()?);
            let metadata = dir.metadata().ok()?;
            let own = metadata.uid() == caller.uid && metadata.mode() & 0o022 == 0;
            (path.is_absolute() && own).then_some(Self { dir, caller })
        };
        open().ok_or_else(|| {
            HelperError::refused(
                "the state folder cannot be used: it must be the caller's, and nobody else's to \
                 write to",
            )
        })
    }

    /// Opens a file below it that is the caller's. No link is followed, no folder left, no
    /// file system entered on the way. What is returned stays what it is, whatever becomes of
    /// the path.
    ///
    /// # Errors
    /// There is none, or it is not the caller's.
    pub fn file(&self, path: &Path, access: Access) -> Result<File, HelperError> {
        if !path.components().all(|part| matches!(part, Component::Normal(_))) {
            let why = format!("{} is not a path below the state folder", path.display());
            return Err(HelperError::Refused(why));
        }
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        // Not to wait for the other end of a pipe.
        let always = OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let flags = always
            | match access {
                Access::Read => OFlags::RDONLY,
                Access::Write => OFlags::RDWR,
                Access::Append => OFlags::WRONLY | OFlags::APPEND,
            };
        let opened = openat2(&self.dir, path, flags, Mode::empty(), resolve);
        let what = format!("open {} below the state folder", path.display());
        let opened = opened.map_err(io::Error::from).map_err(HelperError::host(what.clone()))?;
        let file = File::from(opened);
        let metadata = file.metadata().map_err(HelperError::host(what))?;
        if !metadata.is_file() || metadata.uid() != self.caller.uid {
            let why = format!("{} is not a file of the caller's", path.display());
            return Err(HelperError::Refused(why));
        }
        Ok(file)
    }
}

/// Whether a file or folder, and all that lead to it, are root's and writable to nobody else.
///
/// # Errors
/// Which is not.
pub fn roots_alone(path: &Path) -> Result<(), String> {
    for part in path.ancestors() {
        let metadata = std::fs::symlink_metadata(part)
            .map_err(|error| format!("cannot look at {}: {error}", part.display()))?;
        let writable = metadata.mode() & 0o022 != 0 && !metadata.is_symlink();
        if metadata.uid() != 0 || writable {
            return Err(format!("{} can be changed by others than root", part.display()));
        }
    }
    Ok(())
}

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To be read.
    Read,
    /// To be read and written.
    Write,
    /// To be written at its end.
    Append,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::PathBuf;

    fn me() -> Caller {
        let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
        Caller { uid: uid.as_raw(), gid: gid.as_raw() }
    }

    /// A state folder of ours, beside secrets that it must not lead to.
    fn scene() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        fs::create_dir_all(state.join("vms/a")).unwrap();
        fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        fs::write(state.join("vms/a/disk"), "disk").unwrap();
        (dir, state)
    }

    #[test]
    fn sudo_says_who_calls() {
        let vars = |uid: Option<&'static str>, gid: Option<&'static str>| {
            Caller::from_vars(move |name| {
                if name == "SUDO_UID" { uid } else { gid }.map(str::to_owned)
            })
        };
        assert_eq!(vars(Some("1000"), Some("100")).unwrap(), Caller { uid: 1000, gid: 100 });
        assert_eq!(vars(None, None).unwrap(), Caller { uid: 0, gid: 0 });
        for (uid, gid) in [(Some("1000"), None), (Some("x"), Some("1")), (Some("-1"), Some("1"))] {
            assert!(vars(uid, gid).is_err(), "{uid:?} {gid:?}");
        }
    }

    #[test]
    fn the_state_folder_must_be_the_callers_alone() {
        let (_dir, state) = scene();
        StateDir::open(&state, me()).unwrap();
        let other = Caller { uid: me().uid + 1, gid: 0 };
        StateDir::open(&state, other).unwrap_err();
        StateDir::open(Path::new("state"), me()).unwrap_err();
        StateDir::open(&state.join("vms/a/disk"), me()).unwrap_err();
        fs::set_permissions(&state, fs::Permissions::from_mode(0o770)).unwrap();
        StateDir::open(&state, me()).unwrap_err();
    }

    #[test]
    fn a_file_is_reached_by_no_detour() {
        let (dir, state) = scene();
        let opened = StateDir::open(&state, me()).unwrap();
        let file = |path: &str| opened.file(Path::new(path), Access::Read);
        file("vms/a/disk").unwrap();
        symlink(dir.path().join("secret"), state.join("vms/link")).unwrap();
        symlink("a", state.join("vms/folder")).unwrap();
        symlink("/proc/self/fd", state.join("vms/magic")).unwrap();
        for path in [
            "../secret",
            "vms/../../secret",
            "/etc/passwd",
            "vms/link",
            "vms/folder/disk",
            "vms/magic/0",
            "vms/a",
            "vms",
            "",
            ".",
            "vms/a/none",
        ] {
            assert!(file(path).is_err(), "{path}");
        }
    }

    /// A pipe, whose other end nobody opens, does not hold the helper up.
    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let (_dir, state) = scene();
        let opened = StateDir::open(&state, me()).unwrap();
        let pipe = state.join("pipe");
        let (kind, mode) = (rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600));
        rustix::fs::mknodat(CWD, &pipe, kind, mode, 0).unwrap();
        for access in [Access::Read, Access::Write, Access::Append] {
            opened.file(Path::new("pipe"), access).unwrap_err();
        }
    }

    /// Somebody who turns a folder into a link and back, for as long as we look, gets nothing
    /// opened that is not below the folder.
    #[test]
    fn a_race_for_a_link_is_lost() {
        let (dir, state) = scene();
        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/disk"), "secret").unwrap();
        let (link, folder) = (state.join("l"), state.join("f"));
        symlink(dir.path().join("outside"), &link).unwrap();
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("disk"), "disk").unwrap();
        let opened = StateDir::open(&state, me()).unwrap();
        let over = std::sync::atomic::AtomicBool::new(false);
        let flag = rustix::fs::RenameFlags::EXCHANGE;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    rustix::fs::renameat_with(CWD, &link, CWD, &folder, flag).unwrap();
                }
            });
            let mut found = 0;
            for _ in 0..20_000 {
                if let Ok(file) = opened.file(Path::new("f/disk"), Access::Read) {
                    assert_eq!(io::read_to_string(file).unwrap(), "disk");
                    found += 1;
                }
            }
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(found > 0, "it was never there: the race was none");
        });
    }

    #[test]
    fn what_others_can_change_is_not_roots_alone() {
        roots_alone(Path::new("/usr/bin")).unwrap();
        assert!(roots_alone(Path::new("/tmp")).unwrap_err().contains("/tmp"));
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("helper"), "").unwrap();
        roots_alone(&dir.path().join("helper")).unwrap_err();
        roots_alone(Path::new("/nowhere/helper")).unwrap_err();
    }

    proptest! {
        /// Whatever path is asked for: what is opened lies below the folder.
        #[test]
        fn no_path_leads_out(parts in proptest::collection::vec("(\\.\\.|\\.|vms|a|disk|secret|link|/)", 1..8)) {
            let (dir, state) = scene();
            symlink(dir.path(), state.join("link")).unwrap();
            let opened = StateDir::open(&state, me()).unwrap();
            if let Ok(file) = opened.file(Path::new(&parts.join("/")), Access::Read) {
                prop_assert_eq!(io::read_to_string(file).unwrap(), "disk");
            }
        }
    }
}
