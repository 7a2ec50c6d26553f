//! Whether the client at the other end of a connection of this machine is
//! still there. One that has closed and one that has only said that it is done
//! send the same; the kernel's table tells them apart.

use std::net::SocketAddr;
use std::time::Duration;

use banger_core::sockets::owner;

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
        if !tables.iter().flatten().any(|table| owner(table, of, to).is_some()) {
            return;
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream};

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
}
