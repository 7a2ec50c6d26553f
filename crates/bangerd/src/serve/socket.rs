//! The Unix socket: one daemon a user, and only that user.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use axum::Router;
use rustix::fs::{FlockOperation, flock};
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

/// Becomes the only daemon of `dir`.
///
/// # Errors
/// There is one already, or the folder cannot be used.
pub fn lock(dir: &Path) -> Result<Lock, SocketError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at(dir))?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(at(dir))?;
    let path = dir.join("bangerd.lock");
    let mut options = fs::File::options();
    let file = options.write(true).create(true).truncate(false).open(&path).map_err(at(&path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock { _file: file }),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(SocketError::Busy(path)),
        Err(error) => Err(at(&path)(error.into())),
    }
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

/// Serves until `stop` completes; requests under way then have a moment to end.
///
/// # Errors
/// The server's.
pub async fn serve(
    listener: UnixListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(OwnUserOnly(listener), router).with_graceful_shutdown(stop).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn there_is_one_daemon_and_a_stale_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        let held = lock(&run).unwrap();
        assert!(matches!(lock(&run), Err(SocketError::Busy(_))));
        let path = run.join("s");
        drop(bind(&path, &held).unwrap());
        assert!(path.exists());
        let _listener = bind(&path, &held).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(held);
        lock(&run).unwrap();
    }
}
