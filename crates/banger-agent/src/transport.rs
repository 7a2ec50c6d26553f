//! How bytes come from the host. Only this file knows of vsock.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use banger_core::agent::{DOORBELL_PORT, HOST_CID, PORT};
use vsock::{VMADDR_CID_ANY, VsockListener, VsockStream};

/// A connection: bytes both ways.
pub trait Stream: Read + Write + Send {
    /// A second handle of the same connection.
    ///
    /// # Errors
    /// No descriptor is left.
    fn duplicate(&self) -> io::Result<Box<dyn Stream>>;

    /// Tells the peer that all is written.
    ///
    /// # Errors
    /// The connection is gone.
    fn finish(&self) -> io::Result<()>;

    /// Ends both ways.
    ///
    /// # Errors
    /// The connection is gone.
    fn end(&self) -> io::Result<()>;

    /// How long a read and a write may wait; none for as long as it takes.
    ///
    /// # Errors
    /// The limit is zero.
    fn set_limits(&self, read: Option<Duration>, write: Option<Duration>) -> io::Result<()>;
}

macro_rules! stream {
    ($socket:ty, $finish:expr) => {
        impl Stream for $socket {
            fn duplicate(&self) -> io::Result<Box<dyn Stream>> {
                Ok(Box::new(self.try_clone()?))
            }

            fn finish(&self) -> io::Result<()> {
                self.shutdown($finish)
            }

            fn end(&self) -> io::Result<()> {
                self.shutdown(Shutdown::Both)
            }

            fn set_limits(
                &self,
                read: Option<Duration>,
                write: Option<Duration>,
            ) -> io::Result<()> {
                self.set_read_timeout(read)?;
                self.set_write_timeout(write)
            }
        }
    };
}

stream!(TcpStream, Shutdown::Write);
stream!(UnixStream, Shutdown::Write);
// The host's side of hybrid vsock (Firecracker, vhost-device-vsock) is a Unix
// socket that sees no end until both ways are closed: a peer that waits for the
// end would wait for ever. What was written before still arrives.
stream!(VsockStream, Shutdown::Both);

/// Where connections of the host arrive.
pub trait Listener {
    /// Waits for the next one.
    ///
    /// # Errors
    /// It ended before it was accepted, or no descriptor is left.
    fn accept(&self) -> io::Result<Box<dyn Stream>>;
}

impl Listener for UnixListener {
    fn accept(&self) -> io::Result<Box<dyn Stream>> {
        let (stream, _) = Self::accept(self)?;
        Ok(Box::new(stream))
    }
}

/// vsock, for the host only.
#[derive(Debug)]
pub struct Vsock(VsockListener);

impl Vsock {
    /// How long the vsock module may take to be loaded.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Listens on the agent's port.
    ///
    /// # Errors
    /// The guest has no vsock, even after a minute, or another agent has the port.
    pub fn listen() -> io::Result<Self> {
        let deadline = Instant::now() + Self::PATIENCE;
        loop {
            match VsockListener::bind_with_cid_port(VMADDR_CID_ANY, PORT) {
                Ok(listener) => return Ok(Self(listener)),
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => sleep(Duration::from_millis(20)),
            }
        }
    }
}

impl Vsock {
    /// Tells the host that the agent answers. A host that does not listen does
    /// not want to know.
    pub fn ring() {
        drop(VsockStream::connect_with_cid_port(HOST_CID, DOORBELL_PORT));
    }
}

impl Listener for Vsock {
    fn accept(&self) -> io::Result<Box<dyn Stream>> {
        loop {
            let (stream, peer) = self.0.accept()?;
            if peer.cid() == HOST_CID {
                return Ok(Box::new(stream));
            }
        }
    }
}
