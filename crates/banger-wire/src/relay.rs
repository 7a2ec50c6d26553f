//! The bytes between a local connection and a port of the guest.
//!
//! Hybrid vsock knows no half-close: to close our way to the guest closes
//! both. So the end of the local input is not passed on before the guest has
//! ended too. And a stream that is closed with bytes unread stays open in the
//! guest, so at the end what still comes is read and dropped.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy, sink, split};

const BUFFER: usize = 64 << 10;
/// How long the guest may take to end a stream that is over.
const DRAIN: Duration = Duration::from_secs(5);

/// How long the guest may go on once the local input has ended.
pub enum Linger {
    /// Until it is silent for so long.
    Silence(Duration),
    /// Until this completes; it begins then.
    Until(Pin<Box<dyn Future<Output = ()> + Send>>),
}

/// Copies both ways until the guest ends, the local side is gone, `linger` is
/// over, or `stop` completes.
///
/// # Errors
/// The connection to the guest broke.
pub async fn relay(
    guest: impl AsyncRead + AsyncWrite,
    from_local: impl AsyncRead + Unpin,
    to_local: impl AsyncWrite + Unpin,
    linger: Linger,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let (mut from_guest, mut to_guest) = split(guest);
    let result = {
        let (sent, received) = (Steps::default(), Steps::default());
        let upload = pump(from_local, &mut to_guest, &sent);
        let download = pump(&mut from_guest, to_local, &received);
        tokio::pin!(upload, download, stop);
        let input = tokio::select! {
            end = &mut download => Input::Over(end),
            end = &mut upload => match end {
                Err(Broken::From(_)) => Input::Over(Ok(())),
                // The guest does not take it: it ends, or has something to say yet.
                Ok(()) | Err(Broken::To) => Input::Ended,
            },
            () = &mut stop => Input::Over(Ok(())),
        };
        match input {
            Input::Over(end) => end,
            Input::Ended => {
                let lingered = async {
                    match linger {
                        Linger::Silence(limit) => received.silence(limit).await,
                        Linger::Until(end) => end.await,
                    }
                };
                tokio::select! {
                    end = &mut download => end,
                    () = lingered => Ok(()),
                    () = &mut stop => Ok(()),
                }
            }
        }
    };
    let end = async {
        // It may be gone already.
        let _ = to_guest.shutdown().await;
        copy(&mut from_guest, &mut sink()).await
    };
    let _ = tokio::time::timeout(DRAIN, end).await;
    match result {
        Err(Broken::From(error)) => Err(error),
        // Nobody is left here to tell.
        Err(Broken::To) | Ok(()) => Ok(()),
    }
}

/// How the first of the two ways ended.
enum Input {
    /// There is nothing more to do.
    Over(Result<(), Broken>),
    /// Nothing more comes from here; the guest goes on.
    Ended,
}

/// Which side of a copy failed.
enum Broken {
    From(io::Error),
    To,
}

/// Counts reads and writes of a copy: even while it waits for something to read.
#[derive(Default)]
struct Steps(AtomicU64);

impl Steps {
    fn step(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Completes when nothing has come to be read for `limit`.
    async fn silence(&self, limit: Duration) {
        loop {
            let before = self.0.load(Ordering::Relaxed);
            tokio::time::sleep(limit).await;
            if before.is_multiple_of(2) && self.0.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    steps: &Steps,
) -> Result<(), Broken> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let n = from.read(&mut buffer).await.map_err(Broken::From)?;
        if n == 0 {
            return Ok(());
        }
        steps.step();
        to.write_all(&buffer[..n]).await.map_err(|_| Broken::To)?;
        to.flush().await.map_err(|_| Broken::To)?;
        steps.step();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{DuplexStream, duplex};

    const LONG: Linger = Linger::Silence(Duration::from_secs(60));

    /// The guest's end of a stream, the local client, and the relay between them.
    fn joined(
        linger: Linger,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> (DuplexStream, DuplexStream, tokio::task::JoinHandle<io::Result<()>>) {
        let (guest, far) = duplex(1000);
        let (local, client) = duplex(1000);
        let (from, to) = split(local);
        (far, client, tokio::spawn(relay(guest, from, to, linger, stop)))
    }

    async fn text(stream: &mut (impl AsyncRead + Unpin), n: usize) -> String {
        let mut bytes = vec![0; n];
        stream.read_exact(&mut bytes).await.unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[tokio::test]
    async fn the_end_of_the_input_waits_for_the_guest() {
        let (mut guest, mut client, relay) = joined(LONG, std::future::pending());
        client.write_all(b"request").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(text(&mut guest, 7).await, "request");
        let end = tokio::time::timeout(Duration::from_millis(50), guest.read_u8()).await;
        assert!(end.is_err(), "the half-close was passed on");
        guest.write_all(b"answer").await.unwrap();
        guest.shutdown().await.unwrap();
        assert_eq!(text(&mut client, 6).await, "answer");
        relay.await.unwrap().unwrap();
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_guest_that_stays_silent_after_the_input_is_ended() {
        let (mut guest, client, relay) =
            joined(Linger::Silence(Duration::from_millis(20)), std::future::pending());
        drop(client);
        assert_eq!(guest.read(&mut [0]).await.unwrap(), 0);
        drop(guest);
        relay.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_client_that_is_gone_ends_the_guest() {
        let gone = tokio::time::sleep(Duration::from_millis(20));
        let (mut guest, mut client, relay) =
            joined(Linger::Until(Box::pin(gone)), std::future::pending());
        client.shutdown().await.unwrap();
        assert_eq!(guest.read(&mut [0]).await.unwrap(), 0);
        drop(guest);
        relay.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_slow_reader_is_not_a_silent_guest() {
        let (mut guest, mut client, relay) =
            joined(Linger::Silence(Duration::from_millis(10)), std::future::pending());
        client.shutdown().await.unwrap();
        let sent = "x".repeat(4000);
        let writing = sent.clone();
        let sending = tokio::spawn(async move {
            guest.write_all(writing.as_bytes()).await.unwrap();
            guest.shutdown().await.unwrap();
            guest
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(text(&mut client, 4000).await, sent);
        drop(sending.await.unwrap());
        relay.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn when_told_to_stop_it_reads_what_still_comes() {
        let stop = std::sync::Arc::new(tokio::sync::Notify::new());
        let told = stop.clone();
        let (mut guest, _client, relay) = joined(LONG, async move { told.notified().await });
        stop.notify_one();
        // More than fits on the way: somebody must read it.
        guest.write_all(&[0; 5000]).await.unwrap();
        assert_eq!(guest.read(&mut [0]).await.unwrap(), 0);
        drop(guest);
        relay.await.unwrap().unwrap();
    }
}
