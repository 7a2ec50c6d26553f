//! What `vm forward` connects.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// A local address and a port of the guest, written `[HOST:]GUEST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// Where to listen; port 0 is a free one.
    pub local: SocketAddr,
    /// The port in the guest.
    pub guest: u16,
}

/// Ports that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' does not say what to forward: write the guest's port, PORT:GUEST or ADDRESS:PORT:GUEST, such as 4096, 8080:80 or 0.0.0.0:8080:80"
)]
pub struct InvalidPorts(String);

impl FromStr for Ports {
    type Err = InvalidPorts;

    fn from_str(text: &str) -> Result<Self, InvalidPorts> {
        let invalid = || InvalidPorts(text.to_owned());
        let (host, guest) =
            text.rsplit_once(':').map_or((None, text), |(host, guest)| (Some(host), guest));
        let guest = port(guest).filter(|port| *port != 0).ok_or_else(invalid)?;
        let local = match host {
            None => loopback(guest),
            Some(host) => local(host).ok_or_else(invalid)?,
        };
        Ok(Self { local, guest })
    }
}

fn local(host: &str) -> Option<SocketAddr> {
    if let Some(port) = port(host) {
        return Some(loopback(port));
    }
    let (address, number) = host.rsplit_once(':')?;
    if address == "localhost" { port(number).map(loopback) } else { host.parse().ok() }
}

fn loopback(port: u16) -> SocketAddr {
    (IpAddr::V4(Ipv4Addr::LOCALHOST), port).into()
}

/// Digits only: the standard library takes a sign, too.
fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        let ports = text.parse::<Ports>();
        ports.map_or_else(|_| "refused".to_owned(), |p| format!("{} -> {}", p.local, p.guest))
    }

    #[test]
    fn ports_read_as_people_write_them() {
        let all = ["4096", "8080:80", "0:22", "0.0.0.0:8080:80", "[::1]:8080:80", "localhost:0:80"];
        insta::assert_snapshot!(all.map(read).join("\n"), @r"
        127.0.0.1:4096 -> 4096
        127.0.0.1:8080 -> 80
        127.0.0.1:0 -> 22
        0.0.0.0:8080 -> 80
        [::1]:8080 -> 80
        127.0.0.1:0 -> 80
        ");
    }

    #[test]
    fn what_is_not_ports_is_refused() {
        let bad = ["", "0", "80:0", "x", "80:", ":80", "65536", "+80", "1.2.3.4:80", "::1:80:80"];
        for text in bad.into_iter().chain(["a.example:80:80", "80:80:80", "-1:80"]) {
            assert_eq!(read(text), "refused", "{text}");
        }
    }
}
