//! The name servers that this host asks.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use banger_core::net::DNS_MAX;

/// Where they are found: what programs ask, then what a resolver of the host's own asks.
const FILES: [&str; 3] =
    ["etc/resolv.conf", "run/systemd/resolve/resolv.conf", "run/NetworkManager/resolv.conf"];

/// The IPv4 name servers of a host, in order (resolv.conf(5)). One that listens on the host's
/// loopback is of no use to guests: those that it asks itself are taken.
#[must_use]
pub fn name_servers(root: &Path) -> Vec<Ipv4Addr> {
    let servers = |file: &str| -> Vec<Ipv4Addr> {
        let text = fs::read_to_string(root.join(file)).unwrap_or_default();
        let words = text.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok())?
        });
        words.filter(|ip: &Ipv4Addr| !ip.is_loopback() && !ip.is_unspecified()).collect()
    };
    let mut found = FILES.into_iter().map(servers).find(|found| !found.is_empty());
    found.iter_mut().for_each(|found| found.truncate(DNS_MAX));
    found.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_on_the_loopback_is_passed_by() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(name_servers(dir.path()), [""; 0].map(|_| Ipv4Addr::LOCALHOST));
        let write = |file: &str, text: &str| {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("etc/resolv.conf", "# stub\nnameserver 127.0.0.53\noptions edns0\n");
        write(FILES[1], "nameserver fe80::1\nnameserver 192.168.1.1\nnameserver 9.9.9.9\n");
        assert_eq!(name_servers(dir.path()), [[192, 168, 1, 1], [9, 9, 9, 9]].map(Ipv4Addr::from));
        write("etc/resolv.conf", "nameserver 10.0.0.1\n");
        assert_eq!(name_servers(dir.path()), [Ipv4Addr::new(10, 0, 0, 1)]);
    }
}
