//! Kernel command lines, split by purpose.
//!
//! Shared arguments belong to the boot set of an image. The runtime adds none
//! that configure the network: the kernel's `ip=` runs before virtio_net is
//! loaded and stalls the boot. Only an image build from a base that knows
//! nothing of banger gets `ip=`.
//!
//! Source of the parameters: the kernel's
//! `Documentation/admin-guide/kernel-parameters.rst`.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// What every boot of one of our boot sets gets: the root's file system, names
/// of interfaces that do not depend on the machine type, a panic that ends the
/// VM instead of hanging it, and no probes for hardware that is not there.
pub const SHARED: &str = "root=/dev/vda rw rootfstype=ext4 net.ifnames=0 console=ttyS0 quiet loglevel=4 \
     panic=1 reboot=k 8250.nr_uarts=1 i8042.noaux i8042.nomux i8042.dumbkbd i8042.nopnp \
     random.trust_cpu=on";

/// The most that a driver may pass: Firecracker's limit.
pub const MAX_LEN: usize = 2048;

/// The static IPv4 configuration of a guest's first interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StaticIp {
    /// The guest's address.
    pub address: Ipv4Addr,
    /// Its gateway.
    pub gateway: Ipv4Addr,
    /// Length of the network prefix, 0 to 32.
    pub prefix: u8,
}

impl StaticIp {
    /// The netmask of [`Self::prefix`].
    #[must_use]
    pub fn netmask(&self) -> Ipv4Addr {
        let bits = u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0);
        Ipv4Addr::from_bits(bits)
    }
}

/// What the machine needs beyond the image's own arguments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// The frequency of the time stamp counter in kHz, where the guest has no
    /// timer to calibrate it by (software emulation).
    pub tsc_khz: Option<u64>,
}

/// The command line of a normal start: the image's arguments and the machine's.
#[must_use]
pub fn runtime(image_args: &str, machine: &Machine) -> String {
    let mut line = image_args.trim().to_owned();
    if let Some(khz) = machine.tsc_khz {
        // Writing to a String cannot fail.
        let _ = write!(line, " tsc_early_khz={khz} tsc=reliable no_timer_check");
    }
    line
}

/// The command line of an image build from a base that knows nothing of
/// banger: the runtime's, and the kernel's own network configuration.
#[must_use]
pub fn image_build(image_args: &str, machine: &Machine, ip: &StaticIp) -> String {
    let StaticIp { address, gateway, .. } = ip;
    format!("{} ip={address}::{gateway}:{}::eth0:off", runtime(image_args, machine), ip.netmask())
}

#[cfg(test)]
mod tests {
    use super::*;

    const IP: StaticIp = StaticIp {
        address: Ipv4Addr::new(10, 0, 2, 15),
        gateway: Ipv4Addr::new(10, 0, 2, 2),
        prefix: 24,
    };

    #[test]
    fn only_an_image_build_configures_the_network() {
        let machine = Machine { tsc_khz: Some(2_000_000) };
        let run = runtime(SHARED, &machine);
        assert!(!run.split(' ').any(|arg| arg.starts_with("ip=")), "{run}");
        assert!(run.contains("rootfstype=ext4") && run.contains("tsc_early_khz=2000000"));
        let build = image_build(SHARED, &machine, &IP);
        assert_eq!(
            build.strip_prefix(&run),
            Some(" ip=10.0.2.15::10.0.2.2:255.255.255.0::eth0:off")
        );
        assert!(build.len() < MAX_LEN);
    }

    #[test]
    fn a_machine_with_timers_adds_nothing() {
        assert_eq!(runtime(SHARED, &Machine::default()), SHARED);
    }

    #[test]
    fn netmasks() {
        let mask = |prefix| StaticIp { prefix, ..IP }.netmask().to_string();
        assert_eq!(mask(0), "0.0.0.0");
        assert_eq!(mask(20), "255.255.240.0");
        assert_eq!(mask(32), "255.255.255.255");
    }
}
