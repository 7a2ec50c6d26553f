//! Where banger keeps its files (XDG Base Directory Specification).

use std::path::{Path, PathBuf};

use crate::agent::doorbell;

/// The longest path that a Unix socket can have, in bytes (unix(7), without
/// the terminating zero).
pub const SOCKET_PATH_MAX: usize = 107;

/// The folders could not be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirsError {
    /// Nothing says where the user's files are.
    #[error("HOME is not set to an absolute path; set it, or the XDG_* variables")]
    NoHome,
    /// A socket would not fit.
    #[error(
        "the path {} is too long for a Unix socket ({SOCKET_PATH_MAX} bytes at most); set XDG_RUNTIME_DIR to a shorter one",
        .0.display()
    )]
    TooLong(PathBuf),
}

/// banger's folders. All are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dirs {
    /// Configuration: `config.toml`, the SSH key, the home of new VMs.
    pub config: PathBuf,
    /// What is kept: database, images, disks, logs.
    pub state: PathBuf,
    /// What can be fetched again.
    pub cache: PathBuf,
    /// Sockets and locks: gone after a host reboot.
    pub run: PathBuf,
}

impl Dirs {
    /// Reads the environment through `var`. A value that is empty or relative
    /// counts as not set, as the specification says.
    ///
    /// # Errors
    /// The home folder is needed and not known, or a socket path is too long.
    pub fn from_env(var: impl Fn(&str) -> Option<PathBuf>) -> Result<Self, DirsError> {
        let absolute = |name: &str| var(name).filter(|path| path.is_absolute());
        let below_home =
            |rest: &str| absolute("HOME").map(|h| h.join(rest)).ok_or(DirsError::NoHome);
        let folder = |name: &str, rest: &str| {
            absolute(name).map_or_else(|| below_home(rest), Ok).map(|path| path.join("banger"))
        };
        let state = folder("XDG_STATE_HOME", ".local/state")?;
        // Unset under su, cron and in CI.
        let run =
            absolute("XDG_RUNTIME_DIR").map_or_else(|| state.join("run"), |p| p.join("banger"));
        let dirs = Self {
            config: folder("XDG_CONFIG_HOME", ".config")?,
            cache: folder("XDG_CACHE_HOME", ".cache")?,
            state,
            run,
        };
        let longest = doorbell(&dirs.vm_run("00000000").join("vsock.sock"));
        if longest.as_os_str().len() > SOCKET_PATH_MAX {
            return Err(DirsError::TooLong(longest));
        }
        Ok(dirs)
    }

    /// The configuration.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.config.join("config.toml")
    }

    /// What `/root` of a new VM starts with, if the person has such a folder.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.config.join("home")
    }

    /// Held by the state's only daemon; its content is the path of the daemon's socket.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.state.join("bangerd.lock")
    }

    /// What the daemon says where the command line starts it.
    #[must_use]
    pub fn daemon_log(&self) -> PathBuf {
        self.state.join("bangerd.log")
    }

    /// The daemon's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.run.join("bangerd.sock")
    }

    /// A page that leads a browser into the web console; a local file, as its URL is a secret.
    #[must_use]
    pub fn login_page(&self) -> PathBuf {
        self.run.join("login.html")
    }

    /// The folder of all images.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.state.join("images")
    }

    /// The folder of an image, by its id.
    #[must_use]
    pub fn image(&self, id: &str) -> PathBuf {
        self.images().join(id)
    }

    /// The folder of a VM that it keeps for life, by its id.
    #[must_use]
    pub fn vm(&self, id: &str) -> PathBuf {
        self.state.join("vms").join(id)
    }

    /// The folder of a VM's sockets while it runs, by its short id.
    #[must_use]
    pub fn vm_run(&self, short: &str) -> PathBuf {
        self.vm_runs().join(short)
    }

    /// Where those folders are.
    #[must_use]
    pub fn vm_runs(&self) -> PathBuf {
        self.run.join("vms")
    }

    /// Where an image is put together, by the id of its operation.
    #[must_use]
    pub fn scratch(&self, operation: &str) -> PathBuf {
        self.state.join("scratch").join(operation)
    }

    /// What steps left of an image that is to be, by its distribution and its name.
    #[must_use]
    pub fn parts(&self, distribution: &str, name: &str) -> PathBuf {
        self.state.join("parts").join(format!("{distribution}-{name}"))
    }

    /// What builds know of earlier ones.
    #[must_use]
    pub fn locks(&self) -> PathBuf {
        self.state.join("locks")
    }

    /// The key that enters VMs, where the configuration names none.
    #[must_use]
    pub fn ssh_key(&self) -> PathBuf {
        self.config.join("id_ed25519")
    }
}

/// The path of a file in a VM's folder.
pub mod vm_files {
    use super::{Path, PathBuf};

    /// Its root overlay.
    #[must_use]
    pub fn overlay(dir: &Path) -> PathBuf {
        dir.join("root.overlay")
    }

    /// Its work disk.
    #[must_use]
    pub fn work_disk(dir: &Path) -> PathBuf {
        dir.join("work.ext4")
    }

    /// Its SSH host key.
    #[must_use]
    pub fn host_key(dir: &Path) -> PathBuf {
        dir.join("host_key")
    }

    /// The known_hosts file that pins its host key.
    #[must_use]
    pub fn known_hosts(dir: &Path) -> PathBuf {
        dir.join("known_hosts")
    }

    /// What its serial console said.
    #[must_use]
    pub fn console(dir: &Path) -> PathBuf {
        dir.join("console.log")
    }

    /// What its vsock process said.
    #[must_use]
    pub fn vsock_log(dir: &Path) -> PathBuf {
        dir.join("vsock.log")
    }

    /// What its VMM said.
    #[must_use]
    pub fn vmm_log(dir: &Path) -> PathBuf {
        dir.join("vmm.log")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dirs(vars: &[(&str, &str)]) -> Result<Dirs, DirsError> {
        Dirs::from_env(|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| v.into()))
    }

    #[test]
    fn the_home_folder_serves_where_nothing_is_set() {
        let dirs =
            dirs(&[("HOME", "/home/me"), ("XDG_RUNTIME_DIR", ""), ("XDG_CACHE_HOME", "rel")])
                .unwrap();
        assert_eq!(dirs.state, Path::new("/home/me/.local/state/banger"));
        assert_eq!(dirs.run, Path::new("/home/me/.local/state/banger/run"));
        assert_eq!(dirs.cache, Path::new("/home/me/.cache/banger"));
    }

    #[test]
    fn the_environment_wins() {
        let dirs =
            dirs(&[("HOME", "/h"), ("XDG_RUNTIME_DIR", "/run/user/7"), ("XDG_STATE_HOME", "/s")])
                .unwrap();
        assert_eq!(dirs.socket(), Path::new("/run/user/7/banger/bangerd.sock"));
        assert_eq!(dirs.vm("x"), Path::new("/s/banger/vms/x"));
    }

    #[test]
    fn what_cannot_work_says_why() {
        assert_eq!(dirs(&[]), Err(DirsError::NoHome));
        let long = format!("/{}", "x".repeat(90));
        let error = dirs(&[("HOME", "/h"), ("XDG_RUNTIME_DIR", &long)]).unwrap_err();
        assert!(error.to_string().contains("107 bytes"), "{error}");
    }
}
