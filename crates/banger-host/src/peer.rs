//! Who has the other end of a TCP connection within this machine.

use std::fs;
use std::io;
use std::net::SocketAddr;

use banger_core::sockets::{Owner, owner};

/// Programs in which a guest's connections end: those of `-netdev user` are sockets of QEMU itself.
const GUESTS: &str = "qemu-";

/// Whether the socket `of`, which is connected to `to`, is this user's and no guest's. One that is
/// not found is nobody's.
///
/// # Errors
/// `/proc` cannot be read, or what a QEMU of this user has open.
pub fn is_own(of: SocketAddr, to: SocketAddr) -> io::Result<bool> {
    let guests = crate::find(GUESTS, &[])?;
    is_own_beside(of, to, guests.into_iter().map(|process| process.pid))
}

fn is_own_beside(
    of: SocketAddr,
    to: SocketAddr,
    guests: impl IntoIterator<Item = u32>,
) -> io::Result<bool> {
    let Some(found) = look_up(of, to)? else { return Ok(false) };
    if found.uid != rustix::process::getuid().as_raw() {
        return Ok(false);
    }
    for pid in guests {
        if has_open(pid, found.inode)? {
            return Ok(false);
        }
    }
    // A guest that closed it meanwhile was not seen to have it.
    Ok(look_up(of, to)? == Some(found))
}

fn look_up(of: SocketAddr, to: SocketAddr) -> io::Result<Option<Owner>> {
    let found = owner(&fs::read_to_string("/proc/self/net/tcp")?, of, to);
    if found.is_some() {
        return Ok(found);
    }
    match fs::read_to_string("/proc/self/net/tcp6") {
        Ok(table) => Ok(owner(&table, of, to)),
        // There is no IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a process has that socket open. One that is gone has nothing.
fn has_open(pid: u32, inode: u64) -> io::Result<bool> {
    let entries = match fs::read_dir(format!("/proc/{pid}/fd")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let name = format!("socket:[{inode}]");
    // A descriptor that is closed meanwhile cannot be read.
    Ok(entries
        .flatten()
        .any(|entry| fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str() == name.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    fn of_a_client(bind: &str, connect: &str) {
        let listener = TcpListener::bind(bind).unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect((connect, port)).unwrap();
        let (stream, of) = listener.accept().unwrap();
        let to = stream.local_addr().unwrap();
        assert!(is_own(of, to).unwrap());
        // What a guest's process has is the guest's. Here that is ourselves.
        assert!(!is_own_beside(of, to, [std::process::id()]).unwrap());
        // One that is gone has nothing.
        assert!(is_own_beside(of, to, [u32::MAX]).unwrap());
        let mut other = of;
        other.set_port(of.port() ^ 1);
        assert!(!is_own(other, to).unwrap());
        drop(client);
        assert!(!is_own(of, to).unwrap(), "it is closed");
    }

    #[test]
    fn a_connection_is_ours_unless_a_guest_or_nobody_has_it() {
        of_a_client("127.0.0.1:0", "127.0.0.1");
        if TcpListener::bind("[::1]:0").is_ok() {
            of_a_client("[::1]:0", "::1");
            of_a_client("[::]:0", "127.0.0.1");
        }
    }
}
