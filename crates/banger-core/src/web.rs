//! Where the web console is: its address, and the host names of guest ports.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::vm::SSH_PORT;

/// The host name of the console itself. It is not that of any other local server, so its cookie
/// goes to none of them: a cookie is not bound to a port.
pub const CONSOLE_HOST: &str = "banger.localhost";

/// Between the name of a VM, which does not have it, and the number of its port.
const SEPARATOR: &str = "--";

/// Where the web console listens: at 127.0.0.1:7777, unless told otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum WebListen {
    /// Nowhere.
    Off,
    /// At an address of loopback; port 0 is any that is free.
    At(SocketAddr),
}

/// Somewhere that the console must not listen, or nowhere at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the web console cannot listen at '{0}': write an address of loopback with a port, such as \
     127.0.0.1:7777 or [::1]:7777, or off; from elsewhere, reach it by 'ssh -L'"
)]
pub struct InvalidWebListen(String);

impl Default for WebListen {
    fn default() -> Self {
        Self::At((Ipv4Addr::LOCALHOST, 7777).into())
    }
}

impl FromStr for WebListen {
    type Err = InvalidWebListen;

    fn from_str(text: &str) -> Result<Self, InvalidWebListen> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let loopback = |address: &SocketAddr| address.ip().is_loopback();
        let address = text.parse().ok().filter(loopback);
        address.map(Self::At).ok_or_else(|| InvalidWebListen(text.to_owned()))
    }
}

impl TryFrom<String> for WebListen {
    type Error = InvalidWebListen;
    fn try_from(text: String) -> Result<Self, InvalidWebListen> {
        text.parse()
    }
}

impl fmt::Display for WebListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

impl From<WebListen> for String {
    fn from(listen: WebListen) -> Self {
        listen.to_string()
    }
}

/// A port of a guest, by the label of its host name: `dev--4096`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GuestPort {
    /// The VM: its name, or its id.
    pub vm: String,
    /// The port.
    pub port: u16,
}

impl GuestPort {
    /// The one that a label means. SSH's port is none: there is nothing for a browser.
    #[must_use]
    pub fn of_label(label: &str) -> Option<Self> {
        let (vm, port) = label.rsplit_once(SEPARATOR)?;
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let fine = !vm.is_empty() && vm.bytes().all(plain) && !port.starts_with('0');
        let digits = port.bytes().all(|b| b.is_ascii_digit());
        let number: u16 = port.parse().ok().filter(|_| fine && digits)?;
        (number != SSH_PORT).then(|| Self { vm: vm.to_owned(), port: number })
    }

    /// The label.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}{SEPARATOR}{}", self.vm, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_console_listens_on_loopback_or_not_at_all() {
        for fine in ["127.0.0.1:7777", "127.9.9.9:1", "[::1]:0", "off"] {
            assert_eq!(fine.parse::<WebListen>().unwrap().to_string(), fine);
        }
        for bad in ["0.0.0.0:7777", "[::]:7777", "192.168.1.2:80", "localhost:1", "7777", "", "on"]
        {
            assert!(bad.parse::<WebListen>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_label_names_one_port() {
        let port = |label| GuestPort::of_label(label).map(|port| (port.vm, port.port));
        assert_eq!(port("dev--4096"), Some(("dev".to_owned(), 4096)));
        assert_eq!(port("a-b--1"), Some(("a-b".to_owned(), 1)));
        for none in ["dev", "dev--", "--80", "dev--0", "dev--080", "dev--+80", "dev--65536"] {
            assert_eq!(port(none), None, "{none}");
        }
        for none in ["dev--22", "Dev--80", "a.b--80", "banger", ""] {
            assert_eq!(port(none), None, "{none}");
        }
        assert_eq!(GuestPort::of_label("dev--80").unwrap().label(), "dev--80");
    }
}
