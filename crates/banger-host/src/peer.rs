//! Who has the other end of a TCP connection within this machine.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use banger_core::sockets::{Owner, owner};

/// How often, and how long between two times, a process that is ending is looked at.
const LOOKS: u32 = 40;
const PAUSE: Duration = Duration::from_millis(50);

/// Whether the socket `of`, which is connected to `to`, is this user's and no guest's. One that is
/// not found is nobody's.
///
/// # Errors
/// `/proc` cannot be read, or what a QEMU of this user has open.
pub fn is_own(of: SocketAddr, to: SocketAddr) -> io::Result<bool> {
    is_own_beside(of, to, guests()?)
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

/// This user's QEMUs: connections of guests with `-netdev user` are sockets of theirs. By what can
/// be read until the last: one that is ending shows no program, but has its sockets yet.
fn guests() -> io::Result<Vec<u32>> {
    let uid = rustix::process::getuid().as_raw();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // Nothing can be read of one that is gone.
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        if is_guest(&status, uid) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Whether a `/proc/PID/status` is that of a QEMU of this user.
fn is_guest(status: &str, uid: u32) -> bool {
    let field = |name| status.lines().find_map(|line| line.strip_prefix(name));
    let user = field("Uid:").and_then(|ids| ids.split_whitespace().next()?.parse().ok());
    user == Some(uid) && field("Name:").is_some_and(|name| name.contains("qemu"))
}

/// Whether a process has that socket open. One that is gone has nothing; one that is ending cannot
/// be looked at, and is soon gone.
fn has_open(pid: u32, inode: u64) -> io::Result<bool> {
    let mut looks = 0;
    let entries = loop {
        match fs::read_dir(format!("/proc/{pid}/fd")) {
            Ok(entries) => break entries,
            Err(_) if crate::identify(pid)?.is_none() => return Ok(false),
            Err(error) if looks == LOOKS => return Err(error),
            Err(_) => looks += 1,
        }
        std::thread::sleep(PAUSE);
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
    fn a_guest_is_a_qemu_of_this_user() {
        let status = "Name:\tqemu-system-x86\nState:\tS (sleeping)\nUid:\t1000\t1000\t1000\t1000\n";
        assert!(is_guest(status, 1000) && !is_guest(status, 100));
        assert!(!is_guest(&status.replace("qemu-system-x86", "sshd"), 1000));
        assert!(!is_guest("", 1000));
        let own =
            fs::read_to_string("/proc/self/status").unwrap().replace("Name:\t", "Name:\tqemu");
        assert!(is_guest(&own, rustix::process::getuid().as_raw()));
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
