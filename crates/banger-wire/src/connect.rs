//! Opening a byte stream to the other side.

use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use crate::WireError;

/// How long a guest may take to end a connection that nobody wants any more.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Where the other side is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix socket.
    Unix(PathBuf),
    /// A port in a guest, behind a hybrid vsock socket: `CONNECT <port>\n`,
    /// then `OK <port>\n` (Firecracker's docs/vsock.md).
    HybridVsock {
        /// The socket on the host.
        socket: PathBuf,
        /// The port in the guest.
        port: u32,
    },
}

impl Endpoint {
    /// Connects. A guest whose vsock driver is not up yet may never answer,
    /// so the handshake has its own time-out.
    ///
    /// # Errors
    /// Nobody is there, or not in time.
    pub async fn connect(&self, timeout: Duration) -> Result<UnixStream, WireError> {
        match tokio::time::timeout(timeout, self.connect_to_the_end()).await {
            Ok(result) => result,
            Err(_) => Err(WireError::TimedOut(timeout)),
        }
    }

    /// Connects in a task of its own, which outlives a caller that gives up.
    /// To close a hybrid vsock before its `OK` has come kills the VM's vsock
    /// for good: vhost-device-vsock 0.3.0 panics when it cannot write the `OK`.
    async fn connect_to_the_end(&self) -> Result<UnixStream, WireError> {
        let (reply, answer) = oneshot::channel();
        let endpoint = self.clone();
        tokio::spawn(async move {
            if let Err(Ok(unwanted)) = reply.send(endpoint.connect_untimed().await) {
                let _ = tokio::time::timeout(END_LIMIT, end(unwanted)).await;
            }
        });
        answer.await.map_err(|_| std::io::Error::other("the connecting task ended"))?
    }

    async fn connect_untimed(&self) -> Result<UnixStream, WireError> {
        let (path, port) = match self {
            Self::Unix(path) => (path, None),
            Self::HybridVsock { socket, port } => (socket, Some(*port)),
        };
        let connected = UnixStream::connect(path).await;
        let mut stream =
            connected.map_err(|source| WireError::Connect { path: path.clone(), source })?;
        let Some(port) = port else { return Ok(stream) };
        let refused = || WireError::NoListener { path: path.clone(), port };
        stream.write_all(format!("CONNECT {port}\n").as_bytes()).await.map_err(|_| refused())?;
        // Byte by byte: what follows the line belongs to the guest's stream.
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            match stream.read_u8().await {
                Ok(byte) if line.len() < 32 => line.push(byte),
                _ => return Err(refused()),
            }
        }
        if line.starts_with(b"OK ") { Ok(stream) } else { Err(refused()) }
    }
}

/// Ends a connection: closed with bytes unread, it would stay open in the guest.
async fn end(mut stream: UnixStream) -> std::io::Result<()> {
    stream.shutdown().await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;

    async fn answer(reply: &'static [u8]) -> Result<(UnixStream, Vec<u8>), WireError> {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("v");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut got = vec![0; 11];
            stream.read_exact(&mut got).await.unwrap();
            stream.write_all(reply).await.unwrap();
            if reply.is_empty() {
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
            got
        });
        let endpoint = Endpoint::HybridVsock { socket, port: 22 };
        let stream = endpoint.connect(Duration::from_millis(300)).await?;
        Ok((stream, server.await.unwrap()))
    }

    #[tokio::test]
    async fn what_follows_the_handshake_is_not_swallowed() {
        let (mut stream, request) = answer(b"OK 1073741824\nSSH-2.0").await.unwrap();
        assert_eq!(request, b"CONNECT 22\n");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"SSH-2.0");
    }

    #[tokio::test]
    async fn a_guest_that_is_not_there_is_told_apart() {
        assert!(matches!(answer(b"NO\n").await, Err(WireError::NoListener { port: 22, .. })));
        assert!(matches!(answer(b"").await, Err(WireError::TimedOut(_))));
        let nowhere = Endpoint::Unix("/nonexistent/socket".into());
        let error = nowhere.connect(Duration::from_secs(1)).await.unwrap_err();
        assert!(matches!(error, WireError::Connect { .. }));
    }

    #[tokio::test]
    async fn who_gives_up_does_not_close_before_the_guest_has_answered() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("v");
        let listener = UnixListener::bind(&socket).unwrap();
        let endpoint = Endpoint::HybridVsock { socket, port: 22 };
        let error = endpoint.connect(Duration::from_millis(50)).await.unwrap_err();
        assert!(matches!(error, WireError::TimedOut(_)), "{error}");
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut got = vec![0; 11];
        stream.read_exact(&mut got).await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(50), stream.read_u8()).await;
        assert!(early.is_err(), "closed before the OK");
        stream.write_all(b"OK 1\nSSH-2.0").await.unwrap();
        assert_eq!(stream.read(&mut got).await.unwrap(), 0, "and not after it");
    }
}
