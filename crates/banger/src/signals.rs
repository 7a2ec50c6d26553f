//! Being told to end.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that end a command in an orderly way. They are caught from when
/// this is made.
pub struct End(Vec<Signal>);

impl End {
    /// Ctrl-C and SIGTERM.
    ///
    /// # Errors
    /// They cannot be caught.
    pub fn catch() -> io::Result<Self> {
        Self::of(&[SignalKind::interrupt(), SignalKind::terminate()])
    }

    /// The hang-up too, with which `ssh` ends its proxy.
    ///
    /// # Errors
    /// They cannot be caught.
    pub fn catch_hang_up_too() -> io::Result<Self> {
        Self::of(&[SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()])
    }

    fn of(kinds: &[SignalKind]) -> io::Result<Self> {
        kinds.iter().map(|kind| signal(*kind)).collect::<io::Result<_>>().map(Self)
    }

    /// Completes when one of them comes.
    pub async fn told(&mut self) {
        std::future::poll_fn(|context| {
            let came = self.0.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
            if came { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    }
}
