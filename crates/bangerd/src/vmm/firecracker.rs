//! Firecracker, by its API over a Unix socket.
//!
//! Sources: Firecracker's `src/firecracker/swagger/firecracker.yaml` and its
//! docs (`vsock.md`, `device-api.md`, `prod-host-setup.md`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use banger_core::dirs::vm_files;
use banger_core::resource::{ResourceSpec, Role};
use banger_core::size::Size;
use banger_core::vm::{Network, Vm};
use banger_wire::{Client, Endpoint, Method, WireError};
use serde::{Deserialize, Serialize};

use crate::vmm::{Boot, GUEST_CID, Sockets};

/// The most virtual CPUs of a machine (the API's description).
pub const MAX_VCPUS: u32 = 32;
/// How long a request may take: a start reads the kernel and the initramfs, on a
/// machine that may have much else to do.
const LIMIT: Duration = Duration::from_secs(60);

/// Firecracker did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum FirecrackerError {
    /// It said no, or what it said was not understood.
    #[error("Firecracker refused {request}: {reason}")]
    Refused {
        /// The request's path.
        request: String,
        /// What it said.
        reason: String,
    },
    /// No answer.
    #[error("Firecracker does not answer {request}")]
    Silent {
        /// The request's path.
        request: String,
        /// Why not.
        #[source]
        source: WireError,
    },
}

/// What Firecracker can be told, each the body of a `PUT`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Put {
    /// `/boot-source`: what is booted.
    BootSource {
        /// The kernel, an ELF with a PVH note.
        kernel_image_path: PathBuf,
        /// The initramfs.
        initrd_path: PathBuf,
        /// The kernel's command line; Firecracker adds devices to it.
        boot_args: String,
    },
    /// `/machine-config`.
    Machine {
        /// Virtual CPUs, at most [`MAX_VCPUS`].
        vcpu_count: u32,
        /// Memory in MiB.
        mem_size_mib: u64,
    },
    /// `/drives/ID`: a raw disk. Its order among drives is the guest's.
    Drive {
        /// Letters, digits and `_`.
        drive_id: &'static str,
        /// The disk.
        path_on_host: PathBuf,
        /// Whether Firecracker puts it on the kernel's command line as the root.
        is_root_device: bool,
        /// Whether the guest can only read it.
        is_read_only: bool,
        /// How it treats the guest's flushes.
        cache_type: Cache,
        /// How fast it may be.
        #[serde(skip_serializing_if = "Option::is_none")]
        rate_limiter: Option<RateLimiter>,
    },
    /// `/vsock`: the device, as hybrid vsock on the host.
    Vsock {
        /// The guest's CID.
        guest_cid: u32,
        /// The socket.
        uds_path: PathBuf,
    },
    /// `/network-interfaces/ID`: a network device on a tap that is there.
    Interface {
        /// Letters, digits and `_`.
        iface_id: &'static str,
        /// The tap.
        host_dev_name: String,
        /// The guest's hardware address.
        guest_mac: String,
        /// How fast the guest may receive.
        #[serde(skip_serializing_if = "Option::is_none")]
        rx_rate_limiter: Option<RateLimiter>,
        /// How fast the guest may send.
        #[serde(skip_serializing_if = "Option::is_none")]
        tx_rate_limiter: Option<RateLimiter>,
    },
    /// `/entropy`: a source of randomness.
    Entropy {},
    /// `/metrics`: where lines of what it counts go, which must be there.
    Metrics {
        /// The file or pipe.
        metrics_path: PathBuf,
    },
    /// `/actions`.
    Action {
        /// Which.
        action_type: Action,
    },
}

/// How fast a device may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RateLimiter {
    /// In bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    bandwidth: Option<TokenBucket>,
    /// In operations.
    #[serde(skip_serializing_if = "Option::is_none")]
    ops: Option<TokenBucket>,
}

/// What may pass at once, and the time in which as much comes anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct TokenBucket {
    size: u64,
    /// In milliseconds.
    refill_time: u64,
}

impl RateLimiter {
    /// That of rates a second.
    fn of(bandwidth: Option<Size>, ops: Option<u64>) -> Option<Self> {
        let bucket = |size| TokenBucket { size, refill_time: 1000 };
        let bandwidth = bandwidth.map(|rate| bucket(rate.as_bytes()));
        let ops = ops.map(bucket);
        (bandwidth.is_some() || ops.is_some()).then_some(Self { bandwidth, ops })
    }
}

/// How a drive treats the guest's flushes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Cache {
    /// They reach the disk. Firecracker's default ignores them.
    Writeback,
}

/// What a machine can be made to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Action {
    /// Boot.
    InstanceStart,
    /// Write down what was counted since the last time.
    FlushMetrics,
    /// The keys that make a guest restart, which ends the VM.
    SendCtrlAltDel,
}

impl Put {
    fn path(&self) -> String {
        match self {
            Self::BootSource { .. } => "/boot-source".to_owned(),
            Self::Machine { .. } => "/machine-config".to_owned(),
            Self::Drive { drive_id, .. } => format!("/drives/{drive_id}"),
            Self::Vsock { .. } => "/vsock".to_owned(),
            Self::Interface { iface_id, .. } => format!("/network-interfaces/{iface_id}"),
            Self::Metrics { .. } => "/metrics".to_owned(),
            Self::Entropy {} => "/entropy".to_owned(),
            Self::Action { .. } => "/actions".to_owned(),
        }
    }
}

/// The API of a Firecracker process.
#[derive(Debug, Clone)]
pub struct Firecracker {
    client: Client,
}

impl Firecracker {
    /// That at a socket.
    #[must_use]
    pub fn at(socket: &Path) -> Self {
        Self { client: Client::new(Endpoint::Unix(socket.to_owned()), LIMIT) }
    }

    /// Tells it something.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub async fn put(&self, put: &Put) -> Result<(), FirecrackerError> {
        let path = put.path();
        let sent = self.client.send(Method::PUT, &path, Some(put)).await;
        sent.map(drop).map_err(|error| failure(path, error))
    }

    /// Makes its machine stand still, or go on.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub async fn stand_still(&self, still: bool) -> Result<(), FirecrackerError> {
        #[derive(Serialize)]
        struct Vm {
            state: &'static str,
        }
        let state = Vm { state: if still { "Paused" } else { "Resumed" } };
        let sent = self.client.send(Method::PATCH, "/vm", Some(&state)).await;
        sent.map(drop).map_err(|error| failure("/vm".to_owned(), error))
    }

    /// Its version, such as `1.12.1`.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn version(&self) -> Result<String, FirecrackerError> {
        #[derive(Deserialize)]
        struct Version {
            firecracker_version: String,
        }
        let version = self.client.get::<Version>("/version").await;
        Ok(version.map_err(|error| failure("/version".to_owned(), error))?.firecracker_version)
    }
}

fn failure(request: String, error: WireError) -> FirecrackerError {
    match error {
        WireError::Refused { message, .. } => {
            FirecrackerError::Refused { request, reason: message }
        }
        source => FirecrackerError::Silent { request, source },
    }
}

/// The VMM process. It waits for its configuration. What the guest says on its
/// console goes where its own output goes. The log must be there already.
#[must_use]
pub fn vmm_process(vm: &Vm, dir: &Path, sockets: &Sockets) -> ResourceSpec {
    let args = vec![
        "--id".to_owned(),
        format!("bgr-{}", vm.id.short()),
        "--api-sock".to_owned(),
        sockets.api.to_string_lossy().into_owned(),
        "--log-path".to_owned(),
        vm_files::vmm_log(dir).to_string_lossy().into_owned(),
        "--level".to_owned(),
        "Warn".to_owned(),
    ];
    ResourceSpec::Process { role: Role::Firecracker, args, log: vm_files::console(dir) }
}

/// What the process is told, in this order; it boots with the last.
#[must_use]
pub fn configuration(vm: &Vm, dir: &Path, sockets: &Sockets, boot: &Boot) -> Vec<Put> {
    // The boot args name the root: the guest finds its disks in this order.
    let limits = vm.spec.limits;
    let drive = |drive_id, path_on_host| Put::Drive {
        drive_id,
        path_on_host,
        is_root_device: false,
        is_read_only: false,
        cache_type: Cache::Writeback,
        rate_limiter: RateLimiter::of(limits.disk_bandwidth, limits.disk_ops),
    };
    let network = RateLimiter::of(limits.net_bandwidth, limits.net_ops);
    let interface =
        vm.lease.as_ref().filter(|_| vm.spec.network == Network::Nat).map(|lease| Put::Interface {
            iface_id: "eth0",
            host_dev_name: lease.tap.clone(),
            guest_mac: lease.mac.clone(),
            rx_rate_limiter: network,
            tx_rate_limiter: network,
        });
    let mut puts = vec![
        Put::Machine { vcpu_count: vm.spec.vcpus, mem_size_mib: vm.spec.memory.as_mib() },
        Put::BootSource {
            kernel_image_path: boot.kernel.clone(),
            initrd_path: boot.initramfs.clone(),
            boot_args: boot.boot_args.clone(),
        },
        drive("root", boot.root.clone()),
        drive("work", vm_files::work_disk(dir)),
        Put::Vsock { guest_cid: GUEST_CID, uds_path: sockets.vsock.clone() },
        Put::Entropy {},
        Put::Metrics { metrics_path: sockets.metrics.clone() },
    ];
    puts.extend(interface);
    puts.push(Put::Action { action_type: Action::InstanceStart });
    puts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_what_the_api_describes() {
        let drive = Put::Drive {
            drive_id: "root",
            path_on_host: "/d/root".into(),
            is_root_device: false,
            is_read_only: false,
            cache_type: Cache::Writeback,
            rate_limiter: RateLimiter::of(Some(Size::mib(1)), Some(100)),
        };
        let told = [drive, Put::Entropy {}, Put::Action { action_type: Action::InstanceStart }];
        let told: Vec<_> = told
            .iter()
            .map(|put| format!("{} {}", put.path(), serde_json::to_string(put).unwrap()))
            .collect();
        insta::assert_snapshot!(told.join("\n"), @r#"
        /drives/root {"drive_id":"root","path_on_host":"/d/root","is_root_device":false,"is_read_only":false,"cache_type":"Writeback","rate_limiter":{"bandwidth":{"size":1048576,"refill_time":1000},"ops":{"size":100,"refill_time":1000}}}
        /entropy {}
        /actions {"action_type":"InstanceStart"}
        "#);
    }
}
