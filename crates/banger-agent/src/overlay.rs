//! Copying a tree over a root whose content is not trusted.
//!
//! Every path is resolved by the kernel inside the root (openat2(2),
//! `RESOLVE_IN_ROOT`), and a file takes its place by rename: a link at its
//! place is replaced, never followed.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, ResolveFlags, fchmod, fchown, mkdirat, openat, openat2, renameat,
    symlinkat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

/// The name that a file has until it is whole.
const TEMPORARY: &str = ".banger-new";

/// Why a file was not copied.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct CopyError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// An error's context.
fn at<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> CopyError {
    move |error| CopyError { action, path: path.to_owned(), source: error.into() }
}

/// The root of a file system, by descriptor.
#[derive(Debug)]
pub struct Root(OwnedFd);

impl Root {
    /// Opens it.
    ///
    /// # Errors
    /// It is not a folder.
    pub fn open(path: &Path) -> Result<Self, CopyError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(CWD, path, flags, Mode::empty()).map(Self).map_err(at("open", path))
    }

    /// Opens the folder at `path` within the root; it and its parents are made
    /// with mode 0755 if they are not there.
    ///
    /// # Errors
    /// Something else is in the way.
    pub fn folder(&self, path: &Path) -> Result<OwnedFd, CopyError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let inside = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let open = || openat2(&self.0, inside, flags, Mode::empty(), resolve);
        match (open(), path.parent(), path.file_name()) {
            (Err(Errno::NOENT), Some(parent), Some(name)) => {
                let parent = self.folder(parent)?;
                match mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
                    // A link to nowhere: opening it tells.
                    Ok(()) | Err(Errno::EXIST) => open().map_err(at("open", path)),
                    Err(error) => Err(error).map_err(at("make", path)),
                }
            }
            (opened, ..) => opened.map_err(at("open", path)),
        }
    }

    /// Copies the tree `source` over the root, with its modes; the files then
    /// belong to us. Returns how many there were.
    ///
    /// # Errors
    /// A file could not be read or written; those before it are in place.
    pub fn copy_tree(&self, source: &Path) -> Result<usize, CopyError> {
        self.copy_folder(source, Path::new(""))
    }

    fn copy_folder(&self, source: &Path, target: &Path) -> Result<usize, CopyError> {
        let mut count = 0;
        for entry in fs::read_dir(source).map_err(at("read", source))? {
            let entry = entry.map_err(at("read", source))?;
            let (from, to) = (entry.path(), target.join(entry.file_name()));
            let metadata = entry.metadata().map_err(at("read", &from))?;
            if metadata.is_dir() {
                self.folder(&to)?;
                count += self.copy_folder(&from, &to)?;
            } else {
                self.place(&from, &metadata, target, &entry.file_name(), &to)?;
                count += 1;
            }
        }
        Ok(count)
    }

    fn place(
        &self,
        from: &Path,
        metadata: &Metadata,
        parent: &Path,
        name: &OsStr,
        to: &Path,
    ) -> Result<(), CopyError> {
        let parent = self.folder(parent)?;
        match unlinkat(&parent, TEMPORARY, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error).map_err(at("replace", to)),
        }
        if metadata.is_symlink() {
            let link = fs::read_link(from).map_err(at("read", from))?;
            symlinkat(link, &parent, TEMPORARY).map_err(at("write", to))?;
        } else {
            let mut reader = File::open(from).map_err(at("read", from))?;
            write(&parent, &mut reader, metadata).map_err(at("write", to))?;
        }
        renameat(&parent, TEMPORARY, &parent, name).map_err(at("replace", to))
    }
}

fn write(parent: &OwnedFd, reader: &mut File, metadata: &Metadata) -> io::Result<()> {
    if !metadata.is_file() {
        return Err(io::Error::other("neither a file nor a link"));
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(parent, TEMPORARY, flags, Mode::from_raw_mode(0o600))?);
    io::copy(reader, &mut file)?;
    // The group may be the folder's (setgid); a change of owner clears bits of the mode.
    fchown(file.as_fd(), Some(geteuid()), Some(getegid()))?;
    fchmod(file.as_fd(), Mode::from_raw_mode(metadata.permissions().mode() & 0o7777))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    struct Lab(tempfile::TempDir);

    impl Lab {
        fn new() -> Self {
            let lab = Self(tempfile::tempdir().unwrap());
            fs::create_dir(lab.path("source")).unwrap();
            fs::create_dir(lab.path("root")).unwrap();
            lab
        }

        fn path(&self, path: &str) -> PathBuf {
            self.0.path().join(path)
        }

        fn file(&self, path: &str, mode: u32, text: &str) {
            fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
            fs::write(self.path(path), text).unwrap();
            fs::set_permissions(self.path(path), fs::Permissions::from_mode(mode)).unwrap();
        }

        fn link(&self, path: &str, target: impl AsRef<Path>) {
            fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
            symlink(target, self.path(path)).unwrap();
        }

        fn copy(&self) -> Result<usize, CopyError> {
            Root::open(&self.path("root"))?.copy_tree(&self.path("source"))
        }

        fn text(&self, path: &str) -> String {
            fs::read_to_string(self.path(path)).unwrap()
        }

        fn mode(&self, path: &str) -> u32 {
            fs::symlink_metadata(self.path(path)).unwrap().mode() & 0o7777
        }
    }

    #[test]
    fn files_come_with_their_modes_and_new_parents() {
        let lab = Lab::new();
        lab.file("source/usr/lib/banger/agent", 0o755, "elf");
        lab.file("source/etc/ssh/key", 0o600, "secret");
        lab.file("source/etc/id", 0o444, "id");
        lab.file("source/usr/bin/tool", 0o4755, "x");
        lab.link("source/etc/on", "../usr/lib/banger/agent");
        lab.file("root/etc/id", 0o644, "old");
        lab.file("root/etc/.banger-new", 0o644, "left behind");
        assert_eq!(lab.copy().unwrap(), 5);
        assert_eq!(lab.copy().unwrap(), 5, "a second start finds the files of the first");
        assert_eq!(lab.mode("root/usr/lib/banger/agent"), 0o755);
        assert_eq!(lab.mode("root/usr/lib/banger"), 0o755);
        assert_eq!(lab.mode("root/etc/ssh/key"), 0o600);
        assert_eq!(lab.mode("root/etc/id"), 0o444);
        assert_eq!(lab.mode("root/usr/bin/tool"), 0o4755);
        assert_eq!(lab.text("root/etc/id"), "id");
        assert_eq!(lab.text("root/etc/on"), "elf");
        assert!(!lab.path("root/etc/.banger-new").exists());
    }

    #[test]
    fn a_link_at_the_place_is_replaced() {
        let lab = Lab::new();
        lab.file("outside", 0o644, "untouched");
        lab.file("source/etc/resolv.conf", 0o644, "nameserver 10.0.2.3");
        lab.file("source/etc/hosts", 0o644, "localhost");
        lab.link("root/etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf");
        lab.link("root/etc/hosts", lab.path("outside"));
        lab.copy().unwrap();
        assert!(!lab.path("root/etc/resolv.conf").is_symlink());
        assert_eq!(lab.text("root/etc/hosts"), "localhost");
        assert_eq!(lab.text("outside"), "untouched");
    }

    #[test]
    fn a_parent_that_is_a_link_stays_inside() {
        let lab = Lab::new();
        fs::create_dir_all(lab.path("root/usr/lib")).unwrap();
        fs::create_dir_all(lab.path("etc")).unwrap();
        lab.link("root/lib", "/usr/lib");
        lab.link("root/etc", "../../../../usr/lib");
        lab.file("source/lib/banger/a", 0o644, "a");
        lab.file("source/etc/b", 0o644, "b");
        lab.copy().unwrap();
        assert_eq!(lab.text("root/usr/lib/banger/a"), "a");
        assert_eq!(lab.text("root/usr/lib/b"), "b");
        assert!(!lab.path("etc/b").exists());
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let lab = Lab::new();
        lab.link("root/etc", "nowhere");
        lab.file("source/etc/b", 0o644, "b");
        assert_eq!(lab.copy().unwrap_err().to_string(), "cannot open etc");
        let lab = Lab::new();
        lab.file("source/etc", 0o644, "b");
        fs::create_dir(lab.path("root/etc")).unwrap();
        assert_eq!(lab.copy().unwrap_err().to_string(), "cannot replace etc");
    }
}
