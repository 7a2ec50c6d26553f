//! Unix sockets of other processes.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// `__SO_ACCEPTCON` (kernel: include/linux/net.h): the socket listens.
const LISTENS: u32 = 1 << 16;

/// Whether somebody listens at a socket. Its file is there a moment before that, in which who
/// connects is refused. To look takes no connection, of which there may be one only.
#[must_use]
pub fn listens(socket: &Path) -> bool {
    let sockets = std::fs::read("/proc/net/unix").unwrap_or_default();
    sockets.split(|byte| *byte == b'\n').any(|line| listens_at(line, socket.as_os_str().as_bytes()))
}

/// A line: `Num RefCount Protocol Flags Type St Inode Path` (proc_net(5)).
fn listens_at(line: &[u8], path: &[u8]) -> bool {
    let Some(rest) = line.strip_suffix(path) else { return false };
    let Ok(rest) = std::str::from_utf8(rest) else { return false };
    let [_, _, _, flags, _, _, _] = rest.split_whitespace().collect::<Vec<_>>()[..] else {
        return false;
    };
    let flags = u32::from_str_radix(flags, 16);
    rest.ends_with(' ') && flags.is_ok_and(|flags| flags & LISTENS != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_is_only_bound_does_not_listen() {
        use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a socket");
        let bound = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        assert!(!listens(&path));
        bind(&bound, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        assert!(path.exists() && !listens(&path));
        listen(&bound, 1).unwrap();
        assert!(listens(&path) && !listens(Path::new("socket")));
        drop(bound);
        assert!(path.exists() && !listens(&path));
    }
}
