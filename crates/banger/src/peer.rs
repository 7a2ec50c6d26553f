//! Whether the client at the other end of a connection of this machine is
//! still there. One that has closed and one that has only said that it is done
//! send the same; the kernel's table tells them apart.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// A close is two steps in the kernel, and seen after the first.
const MOMENT: Duration = Duration::from_millis(10);
const POLL: Duration = Duration::from_millis(500);
/// How long to go on where the table cannot be read.
const BLIND: Duration = Duration::from_secs(30);

/// Completes when the socket `of`, which is connected to `to`, has no owner
/// any more.
pub async fn closed(of: SocketAddr, to: SocketAddr) {
    tokio::time::sleep(MOMENT).await;
    loop {
        let read = |name| std::fs::read_to_string(format!("/proc/self/net/{name}"));
        let tables = [read("tcp"), read("tcp6")];
        if tables.iter().all(Result::is_err) {
            return tokio::time::sleep(BLIND).await;
        }
        if !tables.iter().flatten().any(|table| is_owned(table, of, to)) {
            return;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Whether a table of sockets (proc(5), `/proc/net/tcp`) has that one with an owner.
fn is_owned(table: &str, of: SocketAddr, to: SocketAddr) -> bool {
    let wanted = [canonical(of), canonical(to)].map(Some);
    table.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let ends = [fields.next().and_then(parse), fields.next().and_then(parse)];
        // Without an owner it has no inode.
        ends == wanted && fields.nth(6).is_some_and(|inode| inode != "0")
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
    use std::io::Read as _;
    use std::net::{Shutdown, TcpListener, TcpStream};

    async fn of_a_client(bind: &str, connect: IpAddr) {
        let listener = TcpListener::bind(bind).unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect((connect, port)).unwrap();
        let (mut stream, far) = listener.accept().unwrap();
        let near = stream.local_addr().unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        let early = tokio::time::timeout(Duration::from_millis(50), closed(far, near)).await;
        assert!(early.is_err(), "a half-close was taken for a close");
        drop(client);
        closed(far, near).await;
    }

    #[tokio::test]
    async fn a_close_and_a_half_close_are_told_apart() {
        of_a_client("127.0.0.1:0", Ipv4Addr::LOCALHOST.into()).await;
        if TcpListener::bind("[::1]:0").is_ok() {
            of_a_client("[::1]:0", Ipv6Addr::LOCALHOST.into()).await;
            of_a_client("[::]:0", Ipv4Addr::LOCALHOST.into()).await;
        }
    }

    #[test]
    fn nonsense_is_no_address() {
        for text in ["", "0100007F", "é:1", "0100007F:x", "01:1"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse("0100007F:1F90"), Some((Ipv4Addr::LOCALHOST.into(), 8080)));
    }
}
