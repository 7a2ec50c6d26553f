//! The network `nat`: one subnet and one bridge a user, a lease a VM.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a VM has of the network `nat` for as long as it lives. All of it follows from the
/// address, so one that is unique makes the others so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lease {
    /// The guest's address.
    #[schema(value_type = String)]
    pub address: Ipv4Addr,
    /// The hardware address of its network device.
    pub mac: String,
    /// The tap device on the host.
    pub tap: String,
}

impl Lease {
    /// That of an address.
    #[must_use]
    pub fn of(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        // Locally administered, for one machine (IEEE 802).
        let mac = format!("06:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}");
        Self { address, mac, tap: tap(address) }
    }
}

/// The tap device of the VM with an address: at most 15 characters, as the kernel takes
/// (`IFNAMSIZ`).
#[must_use]
pub fn tap(address: Ipv4Addr) -> String {
    format!("bgr-{:08x}", address.to_bits())
}

/// What the names of all bridges begin with.
pub const BRIDGE_PREFIX: &str = "bgrbr";

/// The most name servers that a guest can have (resolv.conf(5): `MAXNS`).
pub const DNS_MAX: usize = 3;
/// The most ports of the host that guests may reach.
pub const HOST_PORTS_MAX: usize = 64;

/// A user's bridge.
#[must_use]
pub fn bridge(uid: u32) -> String {
    format!("{BRIDGE_PREFIX}{uid}")
}

/// A user's table in nftables, of the family `inet`.
#[must_use]
pub fn table(uid: u32) -> String {
    format!("banger_{uid}")
}

/// The host's address in a subnet, which is the guests' gateway: the first.
#[must_use]
pub fn gateway(subnet: Ipv4Net) -> Ipv4Addr {
    subnet.hosts().next().unwrap_or(subnet.addr())
}

/// The first address of a subnet that a guest can have, and none has.
#[must_use]
pub fn free(subnet: Ipv4Net, taken: impl Fn(Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
    subnet.hosts().skip(1).find(|address| !taken(*address))
}

/// Whether a guest can have an address of a subnet.
#[must_use]
pub fn is_guests(subnet: Ipv4Net, address: Ipv4Addr) -> bool {
    let reserved = [subnet.network(), gateway(subnet), subnet.broadcast()];
    subnet.contains(&address) && !reserved.contains(&address)
}

/// Refuses what cannot be a subnet of guests: it must be of private addresses (RFC 1918), and
/// neither so large that it takes others' nor too small for a guest.
///
/// # Errors
/// What is wrong, for a person.
pub fn check_subnet(subnet: Ipv4Net) -> Result<(), String> {
    if subnet != subnet.trunc() {
        return Err(format!("{subnet} is not a subnet: write {}", subnet.trunc()));
    }
    if !(16..=29).contains(&subnet.prefix_len()) {
        return Err(format!("{subnet} has no fitting size: choose a prefix of 16 to 29"));
    }
    if !(subnet.network().is_private() && subnet.broadcast().is_private()) {
        return Err(format!(
            "{subnet} is not private: choose one in 10/8, 172.16/12 or 192.168/16"
        ));
    }
    Ok(())
}

/// A /24 that no other network here has: the first, begun at a place that depends on the user.
#[must_use]
pub fn choose_subnet(uid: u32, others: &[Ipv4Net]) -> Option<Ipv4Net> {
    // 172.16/12 is what container engines take from, from its beginning.
    let nth = |n: u32| Ipv4Net::new_assert(Ipv4Addr::from_bits(0xAC1C_0000 | (n % 1024) << 8), 24);
    (0..1024).map(|n| nth(uid.wrapping_add(n))).find(|subnet| conflict(*subnet, others).is_none())
}

/// The network that a subnet would take addresses from.
#[must_use]
pub fn conflict(subnet: Ipv4Net, others: &[Ipv4Net]) -> Option<Ipv4Net> {
    let overlaps = |other: &&Ipv4Net| subnet.contains(*other) || other.contains(&subnet);
    // A default route is everybody's, in two halves too.
    others.iter().filter(|other| other.prefix_len() > 1).find(overlaps).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn a_lease_follows_from_its_address() {
        let lease = serde_json::to_string(&Lease::of(Ipv4Addr::new(172, 28, 5, 2))).unwrap();
        insta::assert_snapshot!(lease, @r#"{"address":"172.28.5.2","mac":"06:00:ac:1c:05:02","tap":"bgr-ac1c0502"}"#);
        assert!(bridge(u32::MAX).len() <= 15);
    }

    #[test]
    fn a_subnet_is_private_and_of_a_fitting_size() {
        let refused: Vec<_> =
            ["10.0.0.1/24", "8.8.8.0/24", "10.0.0.0/8", "10.0.0.0/30", "172.16.0.0/11"]
                .map(|text| check_subnet(net(text)).unwrap_err())
                .into();
        insta::assert_snapshot!(refused.join("\n"), @r"
        10.0.0.1/24 is not a subnet: write 10.0.0.0/24
        8.8.8.0/24 is not private: choose one in 10/8, 172.16/12 or 192.168/16
        10.0.0.0/8 has no fitting size: choose a prefix of 16 to 29
        10.0.0.0/30 has no fitting size: choose a prefix of 16 to 29
        172.16.0.0/11 is not a subnet: write 172.0.0.0/11
        ");
    }

    #[test]
    fn what_another_network_has_is_left_to_it() {
        assert_eq!(choose_subnet(1000, &[net("0.0.0.0/0")]), Some(net("172.31.232.0/24")));
        let others = [net("172.31.232.0/24"), net("172.31.233.16/28")];
        assert_eq!(choose_subnet(1000, &others), Some(net("172.31.234.0/24")));
        assert_eq!(choose_subnet(1000, &[net("172.16.0.0/12")]), None);
        assert_eq!(conflict(net("10.1.0.0/16"), &[net("10.0.0.0/8")]), Some(net("10.0.0.0/8")));
    }

    proptest! {
        /// Every guest's address is its own, in the subnet, and not the gateway's.
        #[test]
        fn addresses_are_taken_once(uid: u32, taken in 0_usize..260) {
            let subnet = choose_subnet(uid, &[]).unwrap();
            prop_assert!(check_subnet(subnet).is_ok());
            let mut leased = Vec::new();
            while leased.len() < taken && let Some(address) = free(subnet, |address| leased.contains(&address)) {
                prop_assert!(is_guests(subnet, address));
                prop_assert!(!leased.contains(&address));
                leased.push(address);
            }
            prop_assert_eq!(leased.len(), taken.min(253));
        }
    }
}
