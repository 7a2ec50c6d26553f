//! The Unix socket: one daemon a user, and only that user.

use std::fs;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use banger_core::dirs::Dirs;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};

/// How long a request's head may take to arrive, and a connection to bring another.
const HEADER_LIMIT: Duration = Duration::from_secs(10);

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
        /// The variable of the environment by which it can be put elsewhere.
        variable: &'static str,
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

const STATE: &str = "XDG_STATE_HOME";
const RUN: &str = "XDG_RUNTIME_DIR";

fn at(path: &Path, variable: &'static str) -> impl FnOnce(io::Error) -> SocketError {
    move |source| SocketError::File { path: path.to_owned(), variable, source }
}

/// Becomes the only daemon of the state folder, and writes down where its
/// socket is: a client with another run-time folder (under su, in cron) finds
/// it there.
///
/// # Errors
/// There is one already, or a folder cannot be used.
pub fn lock(dirs: &Dirs) -> Result<Lock, SocketError> {
    for (dir, variable) in [(&dirs.state, STATE), (&dirs.run, RUN)] {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .and_then(|()| fs::set_permissions(dir, fs::Permissions::from_mode(0o700)))
            .map_err(at(dir, variable))?;
    }
    let path = dirs.lock();
    let mut options = fs::File::options();
    options.write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(&path).map_err(at(&path, STATE))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Err(SocketError::Busy(path)),
        Err(fs::TryLockError::Error(error)) => return Err(at(&path, STATE)(error)),
    }
    let socket = dirs.socket();
    file.set_len(0)
        .and_then(|()| file.write_all(socket.as_os_str().as_encoded_bytes()))
        .map_err(at(&path, STATE))?;
    Ok(Lock { _file: file })
}

/// Binds the socket. The lock is held, so one that is there is stale.
///
/// # Errors
/// It cannot be bound.
pub fn bind(path: &Path, _lock: &Lock) -> Result<UnixListener, SocketError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(path, RUN)(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(at(path, RUN))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(at(path, RUN))?;
    Ok(listener)
}

/// Serves for ever.
pub async fn serve(listener: UnixListener, router: Router) {
    loop {
        let stream = accept(&listener).await;
        let service = TowerToHyperService::new(router.clone());
        let mut http = http1::Builder::new();
        // A connection that brings no request, or half of one, does not stay.
        http.timer(TokioTimer::new()).header_read_timeout(HEADER_LIMIT);
        let connection = http.serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke");
            }
        });
    }
}

/// The next connection of this user or root.
async fn accept(listener: &UnixListener) -> UnixStream {
    let own = rustix::process::getuid().as_raw();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => match stream.peer_cred().map(|peer| peer.uid()) {
                Ok(uid) if uid == own || uid == 0 => return stream,
                other => tracing::warn!(?other, "a connection of another user was refused"),
            },
            Err(error) => {
                // Out of descriptors, say: not a reason to end, nor to spin.
                tracing::error!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
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
