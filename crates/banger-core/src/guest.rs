//! What banger puts into a guest at each start.
//!
//! One list of files, made here; how they reach the root (a segment appended
//! to the initramfs, or an ext4 patch) is not this module's business.

pub mod services;

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::bootargs::StaticIp;
use crate::id::VmId;
use crate::name::Name;

/// The folder of the initramfs whose tree is copied over the root.
pub const OVERLAY_DIR: &str = "banger/overlay";
/// The file of the initramfs that tells its init what to do.
pub const BOOT_CONFIG: &str = "banger/boot.json";
/// The file of the initramfs that lists the modules to load, in order.
pub const MODULE_LIST: &str = "banger/modules";
/// The agent's place in the guest.
pub const AGENT_PATH: &str = "usr/lib/banger/banger-agent";
/// The bootstrap script's place in the guest.
pub const BOOTSTRAP_PATH: &str = "usr/lib/banger/bootstrap";
/// The place in a root of the script that a boot for it alone runs ([`BootConfig::provision`]).
pub const PROVISION_PATH: &str = "usr/lib/banger/provision";
/// Where such a boot says how the script ended: a [`Provisioned`], as JSON.
pub const PROVISIONED: &str = "var/lib/banger/provisioned.json";
/// The environment of the opencode service; the service starts only if it is there.
pub const OPENCODE_ENV: &str = "etc/banger/opencode.env";

/// What the initramfs' init needs to know. Device names are the guest's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootConfig {
    /// The root's device.
    pub root: String,
    /// The work disk's device, mounted at `/root`; none for a VM without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<String>,
    /// The frequency in Hz of the APIC's timer, as the kernel divides it, where
    /// the kernel measures it and may be wrong: a guest that is emulated. One
    /// that is wrong is not booted further.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timer_hz: Option<u64>,
    /// Whether the script at [`PROVISION_PATH`] is run in place of the root's init. The machine
    /// restarts when it has ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub provision: bool,
}

/// How the script of a root ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provisioned {
    /// How it failed: `exit status 1`; none if it did not.
    pub failure: Option<String>,
    /// The end of what it said.
    pub said: String,
}

impl Default for BootConfig {
    fn default() -> Self {
        Self { root: "/dev/vda".to_owned(), work: None, timer_hz: None, provision: false }
    }
}

/// What the initramfs' init begins each of its lines on the console with.
pub const INIT_SAYS: &str = "banger-init: ";
/// What it says last before the script of a root is run: what follows is the script's.
pub const PROVISIONING: &str = "provisioning";
/// What it says of a timer that the kernel measured wrong, before it restarts.
pub const WRONG_TIMER: &str = "the kernel measured its timer wrong";

/// A file for the guest. Owner and group are root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestFile {
    /// Its path, relative to the root.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Its content.
    pub content: Vec<u8>,
}

impl GuestFile {
    /// A file of text.
    #[must_use]
    pub fn new(path: &str, mode: u32, content: impl Into<Vec<u8>>) -> Self {
        Self { path: path.to_owned(), mode, content: content.into() }
    }
}

/// The network of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestNetwork {
    /// The address of eth0.
    pub ip: StaticIp,
    /// The name servers.
    pub dns: Vec<Ipv4Addr>,
}

impl GuestNetwork {
    /// QEMU's user network, whose addresses are fixed (QEMU manual, `-netdev user`).
    #[must_use]
    pub fn user() -> Self {
        let ip = StaticIp {
            address: Ipv4Addr::new(10, 0, 2, 15),
            gateway: Ipv4Addr::new(10, 0, 2, 2),
            prefix: 24,
        };
        Self { ip, dns: vec![Ipv4Addr::new(10, 0, 2, 3)] }
    }
}

/// What makes one guest different from another.
#[derive(Debug, Clone)]
pub struct Identity<'a> {
    /// The VM's id; the guest's machine-id derives from it.
    pub id: &'a VmId,
    /// Its name, which is the guest's host name.
    pub name: &'a Name,
    /// Its network, if it has one.
    pub network: Option<&'a GuestNetwork>,
    /// The work disk's device, if the bootstrap is to mount it; an initramfs of banger's does.
    pub work: Option<&'a str>,
    /// The SSH host key, in OpenSSH's private format.
    pub host_key: &'a str,
    /// The same key's public line.
    pub host_key_pub: &'a str,
    /// The public keys that may log in as root, one a line.
    pub authorized_keys: &'a str,
    /// The password of the opencode server; none switches it off.
    pub opencode_password: Option<&'a str>,
}

/// The files that give a guest its identity and bring it up.
#[must_use]
pub fn files(guest: &Identity<'_>) -> Vec<GuestFile> {
    let name = guest.name;
    let mut files = vec![
        GuestFile::new("etc/hostname", 0o644, format!("{name}\n")),
        GuestFile::new(
            "etc/hosts",
            0o644,
            format!(
                "127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost ip6-localhost ip6-loopback\n"
            ),
        ),
        GuestFile::new("etc/machine-id", 0o444, format!("{0}{0}\n", guest.id)),
        GuestFile::new("etc/banger/network", 0o644, network_config(guest)),
        GuestFile::new(BOOTSTRAP_PATH, 0o755, BOOTSTRAP),
        GuestFile::new("etc/ssh/ssh_host_ed25519_key", 0o600, guest.host_key),
        GuestFile::new("etc/ssh/ssh_host_ed25519_key.pub", 0o644, guest.host_key_pub),
        GuestFile::new("etc/ssh/banger_authorized_keys", 0o644, guest.authorized_keys),
    ];
    if let Some(network) = guest.network {
        let dns: String = network.dns.iter().map(|ip| format!("nameserver {ip}\n")).collect();
        files.push(GuestFile::new("etc/resolv.conf", 0o644, dns));
    }
    // Without a password the file is written empty and unreadable, so that one of an earlier
    // start does not stay behind; the service starts only if the file is not empty.
    let env = guest.opencode_password.map_or_else(String::new, |password| {
        format!("OPENCODE_SERVER_PASSWORD={password}\nOPENCODE_DISABLE_AUTOUPDATE=1\n")
    });
    files.push(GuestFile::new(OPENCODE_ENV, 0o600, env));
    files
}

/// Shell assignments that the bootstrap script reads.
fn network_config(guest: &Identity<'_>) -> String {
    let mut text = String::from("# Written by banger at every start.\n");
    if let Some(work) = guest.work {
        text.push_str(&format!("WORK={work}\n"));
    }
    if let Some(GuestNetwork { ip, .. }) = guest.network {
        // Writing to a String cannot fail.
        let _ = write!(text, "ADDRESS={}/{}\nGATEWAY={}\n", ip.address, ip.prefix, ip.gateway);
    }
    text
}

/// Brings up the network under any init: it needs a shell and an `ip` of
/// iproute2 or busybox. The init system's own service calls it once; runit's
/// again, if it failed.
const BOOTSTRAP: &str = "\
#!/bin/sh
# Written by banger at every start: changes are lost.
. /etc/banger/network
hostname \"$(cat /etc/hostname)\" 2>/dev/null
[ -z \"$WORK\" ] || grep -q ' /root ' /proc/mounts || mount -t ext4 \"$WORK\" /root || {
    echo 'banger: the work disk cannot be mounted at /root' > /dev/console
    exit 1
}
# Not all systems that were made for containers do that themselves.
[ -e /dev/pts/ptmx ] || {
    mkdir -p /dev/pts && mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
}
grep -q ' /dev/shm ' /proc/mounts || {
    mkdir -p /dev/shm && mount -t tmpfs -o mode=1777,nosuid,nodev shm /dev/shm
}
ip link set lo up
[ -n \"$ADDRESS\" ] || exit 0
[ -e /sys/class/net/eth0 ] || modprobe virtio_net
ip link set eth0 up
ip addr replace \"$ADDRESS\" dev eth0
ip route replace default via \"$GATEWAY\" dev eth0
";

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(
        id: &VmId,
        name: &Name,
        network: Option<GuestNetwork>,
        password: Option<&'static str>,
    ) -> Vec<GuestFile> {
        files(&Identity {
            id,
            name,
            network: network.as_ref(),
            work: None,
            host_key: "KEY\n",
            host_key_pub: "ssh-ed25519 AAAA\n",
            authorized_keys: "ssh-ed25519 BBBB me\n",
            opencode_password: password,
        })
    }

    fn text<'a>(files: &'a [GuestFile], path: &str) -> &'a str {
        let file = files.iter().find(|f| f.path == path).unwrap();
        std::str::from_utf8(&file.content).unwrap()
    }

    #[test]
    fn a_guest_gets_its_identity_with_the_right_modes() {
        let (id, name) = (VmId::from_bits(1), "dev".parse().unwrap());
        let files = identity(&id, &name, Some(GuestNetwork::user()), Some("secret"));
        let list: Vec<_> = files.iter().map(|f| format!("{:o} {}", f.mode, f.path)).collect();
        insta::assert_snapshot!(list.join("\n"), @r"
        644 etc/hostname
        644 etc/hosts
        444 etc/machine-id
        644 etc/banger/network
        755 usr/lib/banger/bootstrap
        600 etc/ssh/ssh_host_ed25519_key
        644 etc/ssh/ssh_host_ed25519_key.pub
        644 etc/ssh/banger_authorized_keys
        644 etc/resolv.conf
        600 etc/banger/opencode.env
        ");
        insta::assert_snapshot!(text(&files, "etc/banger/network"), @r"
        # Written by banger at every start.
        ADDRESS=10.0.2.15/24
        GATEWAY=10.0.2.2
        ");
        insta::assert_snapshot!(text(&files, "etc/machine-id"), @"00000000000000010000000000000001");
        assert!(text(&files, OPENCODE_ENV).contains("OPENCODE_SERVER_PASSWORD=secret\n"));
    }

    #[test]
    fn without_network_and_password_nothing_of_them_stays() {
        let (id, name) = (VmId::from_bits(1), "dev".parse().unwrap());
        let files = identity(&id, &name, None, None);
        assert!(!text(&files, "etc/banger/network").contains("ADDRESS"));
        assert_eq!(text(&files, OPENCODE_ENV), "");
        assert!(!files.iter().any(|f| f.path == "etc/resolv.conf"));
    }
}
