//! What runs machines.

pub mod firecracker;
pub mod qemu;
pub mod qmp;

use std::path::{Path, PathBuf};

use banger_core::guest::GuestNetwork;
use banger_core::vm::Run;
use ipnet::Ipv4Net;

/// The guest's vsock CID. Each VM has its own hybrid vsock socket, so
/// all can have the same: the first that is free for guests (vsock(7)).
pub const GUEST_CID: u32 = 3;

/// The sockets of a running VM.
#[derive(Debug, Clone)]
pub struct Sockets {
    /// QEMU's monitor.
    pub qmp: PathBuf,
    /// Firecracker's API.
    pub api: PathBuf,
    /// The pipe of Firecracker's metrics.
    pub metrics: PathBuf,
    /// Between QEMU and its vsock process.
    pub vhost: PathBuf,
    /// The hybrid vsock socket: the way to the agent.
    pub vsock: PathBuf,
}

impl Sockets {
    /// Those of a run: where the daemon that started it put them.
    #[must_use]
    pub fn of_run(run: &Run) -> Self {
        let vsock = Path::new(&run.vsock);
        Self::in_dir(vsock.parent().unwrap_or(vsock))
    }

    /// Those in a VM's folder of run-time files.
    #[must_use]
    pub fn in_dir(run: &Path) -> Self {
        Self {
            qmp: run.join("qmp.sock"),
            api: run.join("api.sock"),
            metrics: run.join("metrics"),
            vhost: run.join("vhost.sock"),
            vsock: run.join("vsock.sock"),
        }
    }
}

/// What a machine is started with, beyond the VM itself.
#[derive(Debug, Clone)]
pub struct Boot {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initramfs, with the VM's segment if it takes one.
    pub initramfs: PathBuf,
    /// Whether it does: it is banger's.
    pub ours: bool,
    /// The root disk.
    pub root: PathBuf,
    /// The kernel's command line.
    pub boot_args: String,
    /// What the guest is told of its network, if it has one.
    pub network: Option<GuestNetwork>,
    /// The subnet of the network `nat`, if it has that.
    pub subnet: Option<Ipv4Net>,
    /// Whether KVM works here.
    pub kvm: bool,
}
