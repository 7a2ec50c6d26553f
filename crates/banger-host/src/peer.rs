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
    is_own_beside(of, to, guests)
}

fn is_own_beside(
    of: SocketAddr,
    to: SocketAddr,
    guests: impl FnOnce() -> io::Result<Vec<u32>>,
) -> io::Result<bool> {
    let Some(found) = look_up(of, to)? else { return Ok(false) };
    if found.uid != rustix::process::getuid().as_raw() {
        return Ok(false);
    }
    for pid in guests()? {
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

/// This user's QEMUs: connections of guests with `-netdev user` are sockets of theirs. By the program,
/// and by the name that it goes by, which can be changed (`-name process=`), but be read until the last:
/// one that is ending shows no program, but has its sockets yet. passt and the like are not among
/// them: what they have open only root can see.
fn guests() -> io::Result<Vec<u32>> {
    let uid = rustix::process::getuid().as_raw();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // Nothing can be read of one that is gone.
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        if !is_of(&status, uid) {
            continue;
        }
        let name = field(&status, "Name:").unwrap_or_default();
        if is_qemu(name) || program(pid).is_some_and(|name| is_qemu(&name)) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// The name of the file that a process runs.
fn program(pid: u32) -> Option<String> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    Some(path.file_name()?.to_str()?.to_owned())
}

/// A line of a `/proc/PID/status`.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name))
}

fn is_of(status: &str, uid: u32) -> bool {
    let user = |ids: &str| ids.split_whitespace().next()?.parse().ok();
    field(status, "Uid:").and_then(user) == Some(uid)
}

fn is_qemu(name: &str) -> bool {
    name.contains("qemu")
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
        assert!(!is_own_beside(of, to, || Ok(vec![std::process::id()])).unwrap());
        // One that is gone has nothing.
        assert!(is_own_beside(of, to, || Ok(vec![u32::MAX])).unwrap());
        let mut other = of;
        other.set_port(of.port() ^ 1);
        assert!(!is_own(other, to).unwrap());
        drop(client);
        assert!(!is_own(of, to).unwrap(), "it is closed");
    }

    #[test]
    fn a_guest_is_told_by_its_qemu() {
        let status = "Name:\tqemu-system-x86\nState:\tS (sleeping)\nUid:\t1000\t1000\t1000\t1000\n";
        assert!(is_of(status, 1000) && !is_of(status, 100) && !is_of("", 1000));
        assert!(field(status, "Name:").is_some_and(is_qemu));
        assert!(!is_qemu("sshd"));
        // One that goes by another name, by the program that it is.
        let own = std::env::current_exe().unwrap();
        assert_eq!(program(std::process::id()).as_deref(), own.file_name().unwrap().to_str());
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
