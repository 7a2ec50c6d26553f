//! The networks that this host can reach.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use ipnet::Ipv4Net;

/// A route of the main table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The device that leads there.
    pub device: String,
    /// Where it leads.
    pub to: Ipv4Net,
}

/// The routes, as in the file `net/route` of the folder `proc` (proc_net(5)).
///
/// # Errors
/// It cannot be read. A kernel without it has no routes.
pub fn routes(proc: &Path) -> io::Result<Vec<Route>> {
    match fs::read_to_string(proc.join("net/route")) {
        Ok(text) => Ok(text.lines().skip(1).filter_map(parse).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn parse(line: &str) -> Option<Route> {
    let words: Vec<_> = line.split_whitespace().collect();
    // In the order of the network's bytes, read as a number of this machine.
    let address = |word: &str| {
        let bits = u32::from_str_radix(word, 16).ok()?;
        Some(Ipv4Addr::from(bits.to_ne_bytes()))
    };
    let [device, destination, .., mask, _, _, _] = words.as_slice() else { return None };
    let to = Ipv4Net::with_netmask(address(destination)?, address(mask)?).ok()?;
    Some(Route { device: (*device).to_owned(), to })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_networks() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(routes(dir.path()).unwrap(), []);
        fs::create_dir(dir.path().join("net")).unwrap();
        let text = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t0102000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        fs::write(dir.path().join("net/route"), text).unwrap();
        let found: Vec<_> = routes(dir.path())
            .unwrap()
            .into_iter()
            .map(|route| format!("{} {}", route.device, route.to))
            .collect();
        assert_eq!(found, ["eth0 0.0.0.0/0", "docker0 172.17.0.0/16"]);
    }
}
