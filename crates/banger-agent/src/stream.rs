//! `/stream/PORT`: the bytes of a connection to a TCP port of the guest.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::thread::Builder;
use std::time::Duration;

use crate::transport::Stream;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const BUFFER: usize = 32 << 10;
/// Enough for a thread whose buffers are on the heap.
pub(crate) const STACK: usize = 256 << 10;

/// Connects to a port of this machine, by IPv4, then by IPv6.
///
/// # Errors
/// Nobody listens there.
pub fn connect(port: u16) -> io::Result<TcpStream> {
    let to = |address| TcpStream::connect_timeout(&address, CONNECT_LIMIT);
    let v4 = to(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let stream = v4.or_else(|first| {
        // The first refusal is the one to tell of.
        to(SocketAddr::from((Ipv6Addr::LOCALHOST, port))).map_err(|_| first)
    })?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Copies both ways until both are closed. `early` goes to `server` first.
///
/// # Errors
/// No descriptor or thread is left for it.
pub fn relay(client: Box<dyn Stream>, server: Box<dyn Stream>, early: Vec<u8>) -> io::Result<()> {
    let (client_in, server_out) = (client.duplicate()?, server.duplicate()?);
    let up = Builder::new()
        .stack_size(STACK)
        .spawn(move || pump(client_in, server_out, &early))
        .inspect_err(|_| drop(client.end()))?;
    pump(server, client, &[]);
    // Its handles are closed even if it panicked.
    let _ = up.join();
    Ok(())
}

/// Copies one way. The end of `from` is passed on; a failure ends both ways.
fn pump(mut from: Box<dyn Stream>, mut to: Box<dyn Stream>, early: &[u8]) {
    let copied = copy(&mut *from, &mut *to, early);
    // An error here means that the connection is already gone.
    let _ = match copied {
        Ok(()) => to.finish(),
        Err(_) => from.end().and(to.end()),
    };
}

fn copy(from: &mut dyn Stream, to: &mut dyn Stream, early: &[u8]) -> io::Result<()> {
    to.write_all(early)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => to.write_all(&buffer[..n])?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
