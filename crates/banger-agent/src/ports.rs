//! The listening TCP ports, from `/proc` (proc(5)).

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use banger_core::agent::Port;

/// `TCP_LISTEN` of the kernel's `net/tcp_states.h`, as `/proc` shows it.
const LISTEN: &str = "0A";

/// A socket that listens.
#[derive(Debug, PartialEq, Eq)]
struct Socket {
    address: IpAddr,
    port: u16,
    inode: u64,
}

/// Whether something listens on `port`.
#[must_use]
pub fn listens(proc: &Path, port: u16) -> bool {
    sockets(proc).iter().any(|socket| socket.port == port)
}

/// The ports that something listens on, each once, sorted.
#[must_use]
pub fn listening(proc: &Path) -> Vec<Port> {
    let sockets = sockets(proc);
    let names = if sockets.is_empty() { HashMap::new() } else { owners(proc, &sockets) };
    let port = |socket: &Socket| Port {
        port: socket.port,
        address: socket.address.to_string(),
        process: names.get(&socket.inode).cloned(),
    };
    let mut ports: Vec<_> = sockets.iter().map(port).collect();
    ports.sort();
    ports.dedup();
    ports
}

fn sockets(proc: &Path) -> Vec<Socket> {
    let read = |name| fs::read_to_string(proc.join("net").join(name)).unwrap_or_default();
    let tables = [read("tcp"), read("tcp6")];
    tables.iter().flat_map(|table| table.lines().filter_map(parse_line)).collect()
}

fn parse_line(line: &str) -> Option<Socket> {
    let mut fields = line.split_ascii_whitespace();
    let (address, port) = fields.nth(1)?.split_once(':')?;
    if fields.nth(1)? != LISTEN {
        return None;
    }
    let inode = fields.nth(5)?.parse().ok()?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(Socket { address: parse_address(address)?, port, inode })
}

/// Words of 32 bits, each in the machine's byte order.
fn parse_address(hex: &str) -> Option<IpAddr> {
    let word = |start| {
        let text = hex.get(start..start + 8)?;
        Some(u32::from_str_radix(text, 16).ok()?.to_ne_bytes())
    };
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

/// The names of the programs that hold the sockets, by inode.
fn owners(proc: &Path, sockets: &[Socket]) -> HashMap<u64, String> {
    let mut names = HashMap::new();
    for process in fs::read_dir(proc).into_iter().flatten().flatten() {
        let number = process.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit());
        // A process may end while we look at it.
        let (true, Ok(files)) = (number, fs::read_dir(process.path().join("fd"))) else { continue };
        for file in files.flatten() {
            let Some(inode) = socket_inode(&file.path()) else { continue };
            if sockets.iter().any(|socket| socket.inode == inode)
                && let Ok(name) = fs::read_to_string(process.path().join("comm"))
            {
                names.entry(inode).or_insert_with(|| name.trim_end().to_owned());
            }
        }
    }
    names
}

fn socket_inode(link: &Path) -> Option<u64> {
    let target = fs::read_link(link).ok()?;
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2001 1 0 100 0 0 10 0
   1: 0100007F:1000 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 2002 1 0 100 0 0 10 0
   2: 0F02000A:0016 0202000A:C2F4 01 00000000:00000000 00:00000000 00000000     0        0 2003 1 0 20 4 30 10 -1
 garbage
";
    const TCP6: &str = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2004 1 0 100 0 0 10 0
   1: 00000000000000000000000001000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2005 1 0 100 0 0 10 0
";

    #[test]
    fn listening_ports_come_with_their_programs() {
        let proc = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = proc.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("net/tcp", TCP);
        write("net/tcp6", TCP6);
        write("17/comm", "sshd\n");
        fs::create_dir(proc.path().join("17/fd")).unwrap();
        for (fd, inode) in [("3", 2001), ("4", 2004), ("5", 2003)] {
            symlink(format!("socket:[{inode}]"), proc.path().join("17/fd").join(fd)).unwrap();
        }
        let ports = listening(proc.path());
        let text = |p: &Port| format!("{} {} {:?}", p.port, p.address, p.process.as_deref());
        assert_eq!(
            ports.iter().map(text).collect::<Vec<_>>(),
            [
                r#"22 0.0.0.0 Some("sshd")"#,
                r#"22 :: Some("sshd")"#,
                "22 ::1 None",
                "4096 127.0.0.1 None",
            ]
        );
        assert!(listens(proc.path(), 4096) && !listens(proc.path(), 80));
    }

    #[test]
    fn nonsense_is_no_port() {
        for line in ["", "a b c d", "0: zz:0016 0 0A 0 0 0 0 0 1", "0: é:1 0 0A 0 0 0 0 0 1"] {
            assert_eq!(parse_line(line), None, "{line}");
        }
        assert_eq!(parse_address("é23456é"), None);
    }
}
