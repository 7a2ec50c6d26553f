//! The Unix socket: one daemon a user, and only that user.

use std::fs;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use axum::Router;
use banger_core::dirs::Dirs;
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};

/// The socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another daemon has the lock.
    #[error("another bangerd runs already (it holds {})", .0.display())]
    Busy(PathBuf),
    /// A file.
    #[error("cannot use {}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// Held for as long as this is the user's daemon. The kernel drops it with
/// the process, so a stale lock cannot be.
#[derive(Debug)]
pub struct Lock {
    _file: fs::File,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> SocketError {
    move |source| SocketError::File { path: path.to_owned(), source }
}

/// Becomes the only daemon of the state folder, and writes down where its
/// socket is: a client with another run-time folder (under su, in cron) finds
/// it there.
///
/// # Errors
/// There is one already, or a folder cannot be used.
pub fn lock(dirs: &Dirs) -> Result<Lock, SocketError> {
    for dir in [&dirs.state, &dirs.run] {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at(dir))?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(at(dir))?;
    }
    let path = dirs.lock();
    let mut options = fs::File::options();
    options.write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(&path).map_err(at(&path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Err(SocketError::Busy(path)),
        Err(fs::TryLockError::Error(error)) => return Err(at(&path)(error)),
    }
    let socket = dirs.socket();
    file.set_len(0)
        .and_then(|()| file.write_all(socket.as_os_str().as_encoded_bytes()))
        .map_err(at(&path))?;
    Ok(Lock { _file: file })
}

/// Binds the socket. The lock is held, so one that is there is stale.
///
/// # Errors
/// It cannot be bound.
pub fn bind(path: &Path, _lock: &Lock) -> Result<UnixListener, SocketError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(path)(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(at(path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(at(path))?;
    Ok(listener)
}

/// A listener that takes connections of this user (and root) only.
pub struct OwnUserOnly(pub UnixListener);

impl axum::serve::Listener for OwnUserOnly {
    type Io = UnixStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (UnixStream, SocketAddr) {
        let own = rustix::process::getuid().as_raw();
        loop {
            match self.0.accept().await {
                Ok((stream, address)) => match stream.peer_cred().map(|peer| peer.uid()) {
                    Ok(uid) if uid == own || uid == 0 => return (stream, address),
                    other => tracing::warn!(?other, "a connection of another user was refused"),
                },
                Err(error) => {
                    // Out of descriptors, say: not a reason to end, nor to spin.
                    tracing::error!(%error, "cannot accept a connection");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Serves for ever.
///
/// # Errors
/// The server's.
pub async fn serve(listener: UnixListener, router: Router) -> io::Result<()> {
    axum::serve(OwnUserOnly(listener), router).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn there_is_one_daemon_and_a_stale_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let home = |run: &str| {
            let root = dir.path().to_owned();
            let run = root.join(run);
            Dirs::from_env(move |name| match name {
                "HOME" => Some(root.clone()),
                "XDG_RUNTIME_DIR" => Some(run.clone()),
                _ => None,
            })
            .unwrap()
        };
        let dirs = home("run");
        let held = lock(&dirs).unwrap();
        assert!(matches!(lock(&dirs), Err(SocketError::Busy(_))));
        // Another run-time folder does not make another state.
        assert!(matches!(lock(&home("other")), Err(SocketError::Busy(_))));
        let path = dirs.socket();
        assert_eq!(fs::read_to_string(dirs.lock()).unwrap(), path.to_str().unwrap());
        drop(bind(&path, &held).unwrap());
        assert!(path.exists());
        let _listener = bind(&path, &held).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(held);
        lock(&dirs).unwrap();
    }
}
