//! The kernel's tables of TCP sockets, `/proc/net/tcp` and `tcp6` (proc(5)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Whose a socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// Its inode, which the descriptors of a process name.
    pub inode: u64,
}

/// Whose the socket `of` is that is connected to `to`, by such a table; nobody's if it is not
/// there, or closed.
#[must_use]
pub fn owner(table: &str, of: SocketAddr, to: SocketAddr) -> Option<Owner> {
    let wanted = [canonical(of), canonical(to)].map(Some);
    table.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let ends = [fields.next().and_then(parse), fields.next().and_then(parse)];
        let uid = fields.nth(4)?.parse().ok()?;
        let inode = fields.nth(1)?.parse().ok()?;
        // Without an owner it has no inode.
        (ends == wanted && inode != 0).then_some(Owner { uid, inode })
    })
}

/// A client may have an IPv6 socket for an IPv4 connection, and so may we.
fn canonical(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip().to_canonical(), address.port())
}

/// `0100007F:1F90`: words of 32 bits, each in the machine's byte order.
fn parse(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let word = |start| {
        let hex = address.get(start..start + 8)?;
        Some(u32::from_str_radix(hex, 16).ok()?.to_ne_bytes())
    };
    let address: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let bytes: [u8; 16] =
                [word(0)?, word(8)?, word(16)?, word(24)?].concat().try_into().ok()?;
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some((address, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_found_with_its_owner() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1E61 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 11 1
   1: 0100007F:9C40 0100007F:1E61 01 00000000:00000000 00:00000000 00000000  1001        0 22 1
   2: 0100007F:9C41 0100007F:1E61 06 00000000:00000000 00:00000000 00000000     0        0 0 1
";
        let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let found = |port| owner(table, at(port), at(7777));
        assert_eq!(found(40000), Some(Owner { uid: 1001, inode: 22 }));
        assert_eq!(found(40001), None, "it is closed");
        assert_eq!(found(40002), None);
        assert_eq!(owner(table, at(7777), at(40000)), None, "the other end is another socket");
        let mapped = SocketAddr::from((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), 40000));
        assert_eq!(owner(table, mapped, at(7777)), found(40000));
    }

    #[test]
    fn nonsense_is_no_address() {
        for text in ["", "0100007F", "é:1", "0100007F:x", "01:1"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse("0100007F:1F90"), Some((Ipv4Addr::LOCALHOST.into(), 8080)));
        let v6 = parse("00000000000000000000000001000000:0050");
        assert_eq!(v6, Some((Ipv6Addr::LOCALHOST.into(), 80)));
    }
}
