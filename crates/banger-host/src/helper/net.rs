//! A user's bridge and taps, by `ip` (ip-link(8), ip-tuntap(8)).

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use banger_core::net::{
    BRIDGE_PREFIX, DNS_MAX, HOST_PORTS_MAX, Lease, bridge, check_subnet, conflict, gateway,
    is_guests, tap,
};
use banger_exec::{Command, Runner, Tool};
use ipnet::Ipv4Net;
use rustix::fs::{FlockOperation, flock};

use super::firewall::{self, Policy};
use super::{Caller, HelperError};
use crate::resolver::name_servers;
use crate::routes::routes;

/// How long a program may take: all of a verb's together less than whoever asked waits.
const LIMIT: Duration = Duration::from_secs(5);
/// The taps that a user may have at a time.
const TAPS_MAX: usize = 256;

/// The network of one caller.
pub struct Net<'a> {
    pub runner: &'a dyn Runner,
    pub caller: Caller,
    /// `/sys/class/net`.
    pub devices: &'a Path,
    /// The root of the file system.
    pub root: &'a Path,
    /// `/proc`.
    pub proc: &'a Path,
    /// Root's folder until the next boot, in which it is kept that this host forwarded nothing.
    pub keep: &'a Path,
}

impl Net<'_> {
    /// Makes the bridge, its rules, and the kernel forward. What is there is brought up to date.
    pub fn up(
        &self,
        subnet: Ipv4Net,
        dns: &[Ipv4Addr],
        host_ports: &[u16],
    ) -> Result<(), HelperError> {
        let _alone = self.alone()?;
        check_subnet(subnet).map_err(HelperError::Refused)?;
        if dns.len() > DNS_MAX || host_ports.len() > HOST_PORTS_MAX {
            return Err(HelperError::refused("too many name servers or ports"));
        }
        let bridge = self.bridge();
        self.check_conflict(subnet, &bridge)?;
        if let Some(server) = name_servers(self.root).iter().find(|server| subnet.contains(*server))
        {
            let why = format!("{subnet} would take the place of the name server {server}");
            return Err(HelperError::Refused(why));
        }
        if !self.is_there(&bridge) {
            let mac = Lease::of(gateway(subnet)).mac;
            self.ip(["link", "add", "name", &bridge, "address", &mac, "type", "bridge"])?;
        }
        self.without_ipv6(&bridge)?;
        let address = format!("{}/{}", gateway(subnet), subnet.prefix_len());
        self.ip(["address", "replace", &address, "dev", &bridge])?;
        // Before anything can pass.
        let policy = Policy { uid: self.caller.uid, subnet, dns, host_ports };
        firewall::load(self.runner, &policy)?;
        self.ip(["link", "set", "dev", &bridge, "up"])?;
        self.forward()
    }

    /// Removes it all. The bridge goes last: as long as it is there, so may be the rest.
    pub fn down(&self) -> Result<(), HelperError> {
        let _alone = self.alone()?;
        if self.has_ports() {
            return Err(HelperError::refused("guests still use the network"));
        }
        firewall::unload(self.runner, self.caller.uid)?;
        self.forward_no_more()?;
        let bridge = self.bridge();
        if self.is_there(&bridge) {
            self.ip(["link", "delete", "dev", &bridge, "type", "bridge"])?;
        }
        Ok(())
    }

    /// Makes a tap on the bridge, which no other port of it can reach. Removed if that fails.
    pub fn add_tap(&self, address: Ipv4Addr) -> Result<(), HelperError> {
        let _alone = self.alone()?;
        let (name, bridge, uid) = (tap(address), self.bridge(), self.caller.uid.to_string());
        let routes = routes(self.proc).map_err(HelperError::host("read the routes"))?;
        let own = routes.iter().find(|route| route.device == bridge).map(|route| route.to);
        if !own.is_some_and(|subnet| is_guests(subnet, address)) {
            let why = format!("{address} is no guest's of the caller's network, which comes first");
            return Err(HelperError::Refused(why));
        }
        let there = self.owner(&name)?.is_some();
        self.check_unused(&name)?;
        if !there {
            if self.taps()? >= TAPS_MAX {
                return Err(HelperError::refused("too many taps of one user"));
            }
            self.ip(["tuntap", "add", "dev", &name, "mode", "tap", "user", &uid])?;
        }
        let attach = || {
            self.without_ipv6(&name)?;
            self.ip(["link", "set", "dev", &name, "master", &bridge])?;
            // Whose an address is, is not for guests to say: not to each other, nor to the host.
            let port = ["isolated", "on", "learning", "off"];
            let set = ["link", "set", "dev", &name, "type", "bridge_slave"];
            self.run(Tool::Ip, &[&set[..], &port].concat())?;
            let mac = Lease::of(address).mac;
            self.run(Tool::Bridge, &["fdb", "replace", &mac, "dev", &name, "master", "static"])?;
            let address = address.to_string();
            let neighbour = ["neighbour", "replace", &address, "lladdr", &mac, "dev", &bridge];
            self.run(Tool::Ip, &[&neighbour[..], &["nud", "permanent"]].concat())?;
            self.ip(["link", "set", "dev", &name, "up"])
        };
        attach().map_err(|cause| match self.delete_tap(&name) {
            Ok(()) => cause,
            Err(rollback) => {
                HelperError::Rollback { cause: cause.to_string(), rollback: rollback.to_string() }
            }
        })
    }

    /// Removes a tap. Fine if it is gone.
    pub fn remove_tap(&self, address: Ipv4Addr) -> Result<(), HelperError> {
        let _alone = self.alone()?;
        let name = tap(address);
        self.owner(&name)?;
        self.check_unused(&name)?;
        self.delete_tap(&name)
    }

    fn delete_tap(&self, name: &str) -> Result<(), HelperError> {
        match self.owner(name)? {
            Some(()) => self.ip(["link", "delete", "dev", name]),
            None => Ok(()),
        }
    }

    /// One session at a time, whoever's: what was looked at stays so until it is done. Who can open
    /// the file could hold all of them up: root alone can.
    fn alone(&self) -> Result<fs::File, HelperError> {
        let lock = || {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(self.keep)?;
            let mut options = fs::File::options();
            options.create(true).truncate(false).write(true).mode(0o600);
            let file = options.open(self.keep.join("lock"))?;
            flock(&file, FlockOperation::LockExclusive)?;
            Ok(file)
        };
        lock().map_err(HelperError::host(format!("lock {}", self.keep.display())))
    }

    /// A tap that a VMM has open is another daemon's.
    fn check_unused(&self, name: &str) -> Result<(), HelperError> {
        let why = || HelperError::Refused(format!("a VM uses {name}"));
        if is_used(&self.devices.join(name)) { Err(why()) } else { Ok(()) }
    }

    fn has_ports(&self) -> bool {
        has_ports(&self.devices.join(self.bridge()))
    }

    fn bridge(&self) -> String {
        bridge(self.caller.uid)
    }

    fn is_there(&self, device: &str) -> bool {
        self.devices.join(device).exists()
    }

    /// Whether there is a tap of that name, which must be the caller's.
    fn owner(&self, name: &str) -> Result<Option<()>, HelperError> {
        if !self.is_there(name) {
            return Ok(None);
        }
        match owner(&self.devices.join(name)) {
            Some(uid) if uid == self.caller.uid => Ok(Some(())),
            _ => Err(HelperError::Refused(format!("{name} is not a tap of the caller's"))),
        }
    }

    fn taps(&self) -> Result<usize, HelperError> {
        let look = HelperError::host("look for network devices");
        let entries = fs::read_dir(self.devices).map_err(look)?.flatten();
        Ok(entries.filter(|entry| owner(&entry.path()) == Some(self.caller.uid)).count())
    }

    /// A subnet takes nothing from another network, and a bridge that is there keeps its own.
    fn check_conflict(&self, subnet: Ipv4Net, bridge: &str) -> Result<(), HelperError> {
        let routes = routes(self.proc).map_err(HelperError::host("read the routes"))?;
        let (own, others): (Vec<_>, Vec<_>) =
            routes.into_iter().partition(|route| route.device == bridge);
        let other = own.iter().find(|route| route.to != subnet);
        if other.is_some() && !self.has_ports() {
            // Left by a network that nobody uses any more.
            self.ip(["address", "flush", "dev", bridge])?;
        } else if let Some(other) = other {
            let why = format!("guests still use {}, so they cannot use {subnet}", other.to);
            return Err(HelperError::Refused(why));
        }
        let others: Vec<_> = others.into_iter().map(|route| route.to).collect();
        match conflict(subnet, &others) {
            Some(other) => {
                let why = format!("{subnet} is part of another network here, {other}");
                Err(HelperError::Refused(why))
            }
            None => Ok(()),
        }
    }

    /// A device gets no IPv6 address, by which guests could reach what nobody thought of.
    fn without_ipv6(&self, device: &str) -> Result<(), HelperError> {
        let path = self.proc.join("sys/net/ipv6/conf").join(device).join("disable_ipv6");
        match fs::write(&path, "1") {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(HelperError::host(format!("write {}", path.display()))(error))
            }
            // Without it there is no IPv6 at all.
            _ => Ok(()),
        }
    }

    /// Lets the kernel forward, and remembers if it did not.
    fn forward(&self) -> Result<(), HelperError> {
        let switch = self.switch();
        let was = fs::read_to_string(&switch).map_err(HelperError::host("read ip_forward"))?;
        if was.trim() == "0" {
            let remember = HelperError::host(format!("write {}", self.keep.display()));
            // What the kernel changes along with the switch.
            let redirects = fs::read(self.redirects()).unwrap_or_default();
            fs::write(self.keep.join(FORWARDED_NOTHING), redirects).map_err(remember)?;
            fs::write(&switch, "1").map_err(HelperError::host("write ip_forward"))?;
        }
        Ok(())
    }

    /// Lets it forward no more if it did not before, and nobody else may rely on it by now.
    fn forward_no_more(&self) -> Result<(), HelperError> {
        let kept = self.keep.join(FORWARDED_NOTHING);
        if !kept.exists() {
            return Ok(());
        }
        let own = self.bridge();
        let look = HelperError::host("look for network devices");
        let entries = fs::read_dir(self.devices).map_err(look)?.flatten();
        let others: Vec<_> = entries
            .filter(|entry| may_forward(&entry.path()))
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| *name != own)
            .collect();
        // Another user's network goes on, and is the one to end it.
        if others.iter().any(|name| name.starts_with(BRIDGE_PREFIX)) {
            return Ok(());
        }
        if others.is_empty() {
            let redirects = fs::read(&kept).unwrap_or_default();
            fs::write(self.switch(), "0").map_err(HelperError::host("write ip_forward"))?;
            if !redirects.is_empty() {
                let write = HelperError::host("write accept_redirects");
                fs::write(self.redirects(), redirects).map_err(write)?;
            }
        }
        fs::remove_file(&kept).map_err(HelperError::host(format!("remove {}", kept.display())))
    }

    fn switch(&self) -> std::path::PathBuf {
        self.proc.join("sys/net/ipv4/ip_forward")
    }

    fn redirects(&self) -> std::path::PathBuf {
        self.proc.join("sys/net/ipv4/conf/all/accept_redirects")
    }

    fn ip<const N: usize>(&self, args: [&str; N]) -> Result<(), HelperError> {
        self.run(Tool::Ip, &args)
    }

    fn run(&self, tool: Tool, args: &[&str]) -> Result<(), HelperError> {
        self.runner.capture(&Command::new(tool).args(args).timeout(LIMIT))?;
        Ok(())
    }
}

/// Whether a device is of something that is likely to need the kernel to forward: container engines
/// have bridges, VPNs devices without a hardware address (`ARPHRD_NONE`).
fn may_forward(device: &Path) -> bool {
    let kind = fs::read_to_string(device.join("type")).unwrap_or_default();
    device.join("bridge").exists() || kind.trim() == "65534"
}

/// Whether a VMM has a tap open.
#[must_use]
pub fn is_used(device: &Path) -> bool {
    // One that is down does not say; nobody has it then.
    fs::read_to_string(device.join("carrier")).is_ok_and(|carrier| carrier.trim() == "1")
}

/// Whether anything is attached to a bridge.
fn has_ports(device: &Path) -> bool {
    fs::read_dir(device.join("brif")).is_ok_and(|mut ports| ports.next().is_some())
}

/// The file that says that the kernel did not forward.
const FORWARDED_NOTHING: &str = "forwarded-nothing";

/// Whose a tap is (kernel: Documentation/ABI/testing/sysfs-class-net, drivers/net/tun.c).
#[must_use]
pub fn owner(device: &Path) -> Option<u32> {
    fs::read_to_string(device.join("owner")).ok()?.trim().parse().ok()
}

/// What of the host drops guests' packets.
///
/// # Errors
/// Why there can be no network here.
pub fn survey(runner: &dyn Runner) -> Result<Vec<String>, String> {
    if !Path::new("/dev/net/tun").exists() {
        return Err("this kernel has no taps".to_owned());
    }
    firewall::drops(runner)
}
