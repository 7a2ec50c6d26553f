//! Host resources: what is written down before it is acquired, and released
//! in reverse order.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::helper::root_device;
use crate::id::VmId;
use crate::net::{bridge, tap};
use crate::size::Size;
use crate::vm::RootDisk;

/// A process's part in a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The VMM, QEMU.
    Vmm,
    /// The VMM, Firecracker.
    Firecracker,
    /// The vsock device beside it.
    Vsock,
}

impl Role {
    /// Whether it is what runs the machine.
    #[must_use]
    pub fn is_vmm(self) -> bool {
        matches!(self, Self::Vmm | Self::Firecracker)
    }
}

/// A resource to acquire on the host. All paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ResourceSpec {
    /// A folder (mode 0700) that goes with everything in it.
    Dir {
        /// Its path.
        path: PathBuf,
    },
    /// A folder in which other users may write, as in `/tmp` (mode 1777).
    SharedDir {
        /// Its path.
        path: PathBuf,
    },
    /// A root overlay.
    Overlay {
        /// Its path.
        path: PathBuf,
        /// The image's root file system.
        base: PathBuf,
        /// How it is made.
        driver: RootDisk,
    },
    /// What a VM with a [`RootDisk::DmSnapshot`] has as its root while it runs: a device of the
    /// image's root file system and of the overlay.
    RootDevice {
        /// Whose it is.
        uid: u32,
        /// The VM.
        vm: VmId,
        /// The image's root file system.
        base: PathBuf,
        /// The root overlay.
        overlay: PathBuf,
    },
    /// A user's side of the network `nat`: a bridge, and what the kernel does with its packets.
    Network {
        /// Whose it is.
        uid: u32,
        /// Its addresses.
        subnet: Ipv4Net,
        /// The name servers that guests may ask.
        dns: Vec<Ipv4Addr>,
        /// The host's TCP ports that guests may reach.
        host_ports: Vec<u16>,
    },
    /// A VM's tap device on that bridge.
    Tap {
        /// Whose it is.
        uid: u32,
        /// The guest's address, which names it.
        address: Ipv4Addr,
    },
    /// A work disk: the seed, copied and grown. One that is there is grown.
    WorkDisk {
        /// Its path.
        path: PathBuf,
        /// The image's work seed.
        seed: PathBuf,
        /// Its size.
        size: Size,
    },
    /// A process that outlives the daemon.
    Process {
        /// Its part.
        role: Role,
        /// Its arguments; they name the VM's paths, so no other process has them all.
        args: Vec<String>,
        /// Where its output goes.
        log: PathBuf,
    },
}

impl std::fmt::Display for ResourceSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dir { path } | Self::SharedDir { path } => write!(f, "folder {}", path.display()),
            Self::Overlay { path, .. } => write!(f, "root overlay {}", path.display()),
            Self::RootDevice { uid, vm, .. } => {
                write!(f, "root device {}", root_device(*uid, vm))
            }
            Self::Network { uid, .. } => write!(f, "network {}", bridge(*uid)),
            Self::Tap { address, .. } => write!(f, "tap {}", tap(*address)),
            Self::WorkDisk { path, .. } => write!(f, "work disk {}", path.display()),
            Self::Process { role: Role::Vsock, .. } => f.write_str("vsock process"),
            Self::Process { .. } => f.write_str("VMM process"),
        }
    }
}

/// A process that cannot be mistaken for another: ids are reused, start times
/// and boots are not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The process id.
    pub pid: u32,
    /// Its start, in clock ticks since boot (proc(5), `stat` field 22).
    pub start_ticks: u64,
    /// The host's boot (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
}

/// What was seen when a resource was acquired.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// The process, for a [`ResourceSpec::Process`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessId>,
}
