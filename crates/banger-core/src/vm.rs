//! VMs: what was asked for, what is there, and how one state leads to another.
//!
//! ```text
//! defined ─► provisioning ─► stopped ─► starting ─► running ◄─► stopping ─► stopped
//!                               ▲          │        ▲  │
//!                               │          │        ▼  │
//!                               │          │      paused (its overlay or the host's disk is full)
//!                               ├──────────┴───────────┘  (failed start, crash, guest power-off)
//!                            failed  (a run that cannot be released)
//!
//! any ─► deleting ─► (gone)
//!           ▲ ▼
//!          failed  (a VM that cannot be released)
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::id::{ImageId, VmId};
use crate::name::Name;
use crate::net::Lease;
use crate::size::Size;

/// The guest port of the opencode server.
pub const OPENCODE_PORT: u16 = 4096;
/// The guest port of the SSH server.
pub const SSH_PORT: u16 = 22;

/// What runs the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Vmm {
    /// QEMU's microvm machine: emulated where KVM does not work.
    Qemu,
    /// Firecracker, which needs KVM.
    Firecracker,
}

impl fmt::Display for Vmm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Qemu => "qemu",
            Self::Firecracker => "firecracker",
        })
    }
}

/// How the root overlay lies on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RootDisk {
    /// A qcow2 file with the image as its backing file.
    Qcow2,
    /// A copy of the image: by reflink, else sparse.
    Clone,
    /// A snapshot of the image by the device mapper, over a file that grows.
    #[serde(rename = "dm-snapshot")]
    DmSnapshot,
}

/// The network of a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// QEMU's user network: outbound only, no privilege.
    User,
    /// A tap on the user's bridge, with an address that the host can reach, and outbound by
    /// address translation.
    Nat,
    /// No network; SSH and guest ports work all the same.
    None,
}

/// How fast a VM may be; what is not said is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// What each disk may move, in bytes a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_bandwidth: Option<Size>,
    /// What each disk may do, in operations a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_ops: Option<u64>,
    /// What the network may move each way, in bytes a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net_bandwidth: Option<Size>,
    /// What the network may do each way, in packets a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net_ops: Option<u64>,
}

impl Limits {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the network has one.
    #[must_use]
    pub fn of_network(&self) -> bool {
        self.net_bandwidth.is_some() || self.net_ops.is_some()
    }

    /// Refuses what would let nothing pass.
    ///
    /// # Errors
    /// What is wrong, for a person.
    pub fn check(&self) -> Result<(), String> {
        let least = Size::bytes(64 << 10);
        if [self.disk_bandwidth, self.net_bandwidth].iter().flatten().any(|rate| *rate < least) {
            return Err(format!("a bandwidth below {least} a second is not possible"));
        }
        if [self.disk_ops, self.net_ops].iter().flatten().any(|rate| *rate < 10) {
            return Err("fewer than 10 operations a second are not possible".to_owned());
        }
        Ok(())
    }
}

/// How far a start waits before it counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitFor {
    /// The agent answers.
    Agent,
    /// The SSH server answers too.
    Ssh,
    /// The opencode server, if it is on, answers too.
    Ready,
}

/// What a VM is made of. Fixed at create but for what `vm set` changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VmSpec {
    /// The image its root comes from.
    pub image: ImageId,
    /// That image's name when the VM was made.
    pub image_name: Name,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory, in bytes.
    pub memory: Size,
    /// The work disk, in bytes.
    pub disk: Size,
    /// Its network.
    pub network: Network,
    /// Whether the opencode server runs in it.
    pub opencode: bool,
    /// What runs it.
    pub vmm: Vmm,
    /// How much its root overlay may take of the host's disk, in bytes: it is paused when that is
    /// reached. None is as much as the image has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlay: Option<Size>,
    /// How fast it may be.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// How its root overlay lies on the host.
    pub root_disk: RootDisk,
    /// Why that way was chosen.
    pub root_disk_reason: String,
}

/// A VM, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Vm {
    /// Its id.
    pub id: VmId,
    /// Its name, unique among VMs.
    pub name: Name,
    /// What it is made of.
    pub spec: VmSpec,
    /// Where it stands.
    pub state: VmState,
    /// When it was made, seconds since 1970-01-01 00:00 UTC.
    pub created_at: u64,
    /// Whether its making is complete: it was made not to be started, or its
    /// agent has answered once. Until then a failure undoes all of it.
    pub complete: bool,
    /// Whether an image is built in it: it is shown to nobody, and goes with the build.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub temporary: bool,
    /// What it has of the network `nat`, from its first start on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// Its current run, while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
}

/// One run of a VM, from its start to its stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Run {
    /// When it began, seconds since 1970-01-01 00:00 UTC.
    pub started_at: u64,
    /// The process id of the VMM.
    pub pid: u32,
    /// The hybrid vsock socket on the host.
    pub vsock: String,
    /// The guest kernel's id of this boot, once the agent has answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// How long each readiness stage took to be reached, from the start, in milliseconds.
    #[serde(default)]
    pub ready: Vec<Readiness>,
}

/// A readiness stage that was reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// `boot`, `agent`, `ssh` or `opencode`.
    pub stage: String,
    /// Milliseconds since the start.
    pub ms: u64,
}

/// Why a VM is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum StopCause {
    /// It was never started.
    New,
    /// It was asked to stop.
    Requested,
    /// It was killed on request.
    Killed,
    /// The guest shut itself down.
    GuestShutdown,
    /// The VMM ended by itself.
    Crashed {
        /// What is known of it.
        detail: String,
    },
    /// A start failed.
    StartFailed {
        /// Why.
        detail: String,
    },
    /// The host was restarted under it.
    HostRebooted,
}

/// Why a VM is paused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum PauseCause {
    /// Its root overlay takes as much as it may.
    OverlayFull {
        /// What it takes, in bytes.
        used: Size,
        /// What it may, in bytes.
        limit: Size,
    },
    /// The host's disk is full, or about to be, and with it a snapshot would be lost.
    DiskFull {
        /// What is free, in bytes.
        free: Size,
    },
}

impl fmt::Display for PauseCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OverlayFull { used, limit } => {
                write!(f, "its root overlay takes {used} and may take {limit}")
            }
            Self::DiskFull { free } => write!(f, "the host's disk has only {free} left"),
        }
    }
}

/// Where a VM stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum VmState {
    /// Written down, nothing made yet.
    Defined,
    /// Its disks are being made.
    Provisioning,
    /// No VMM runs.
    Stopped(StopCause),
    /// The VMM is being started, or runs and is not ready.
    Starting,
    /// Ready.
    Running,
    /// Its VMM stands still, and goes on when there is room.
    Paused(PauseCause),
    /// Being stopped.
    Stopping,
    /// Something of it could not be released.
    Failed {
        /// What, and why.
        cause: String,
        /// Whether it was being removed: then only a delete is left. Otherwise
        /// it is its last run that is held, and its disks are whole.
        removing: bool,
    },
    /// Being deleted.
    Deleting,
}

impl VmState {
    /// The state's name, as in JSON.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Defined => "defined",
            Self::Provisioning => "provisioning",
            Self::Stopped(_) => "stopped",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused(_) => "paused",
            Self::Stopping => "stopping",
            Self::Failed { .. } => "failed",
            Self::Deleting => "deleting",
        }
    }

    /// Whether a VMM may be running.
    #[must_use]
    pub fn is_active(&self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Paused(_) | Self::Stopping)
    }

    /// The state that `transition` leads to.
    ///
    /// # Errors
    /// The transition does not leave from this state.
    pub fn apply(&self, transition: Transition) -> Result<Self, IllegalTransition> {
        use Transition as T;
        let next = match (self, transition) {
            (Self::Defined, T::Provision) => Self::Provisioning,
            (Self::Provisioning, T::Provisioned) => Self::Stopped(StopCause::New),
            (Self::Stopped(_), T::Start) => Self::Starting,
            (Self::Starting, T::Ready) => Self::Running,
            (Self::Running | Self::Paused(_), T::Pause(cause)) => Self::Paused(cause),
            (Self::Paused(_), T::Resume) => Self::Running,
            (Self::Starting | Self::Running | Self::Paused(_), T::Stop) => Self::Stopping,
            (state, T::Ended(cause)) if state.is_active() => Self::Stopped(cause),
            (Self::Deleting | Self::Failed { removing: true, .. }, T::Fail { cause, .. }) => {
                Self::Failed { cause, removing: true }
            }
            (_, T::Fail { cause, removing }) => Self::Failed { cause, removing },
            (_, T::Delete) => Self::Deleting,
            (Self::Stopping, T::StopAborted) => Self::Running,
            (Self::Failed { removing: false, .. }, T::Recovered) => {
                Self::Stopped(StopCause::Killed)
            }
            (state, transition) => {
                return Err(IllegalTransition { state: state.name(), transition });
            }
        };
        Ok(next)
    }
}

/// What changes a VM's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// Its disks begin to be made.
    Provision,
    /// Its disks are there.
    Provisioned,
    /// A start begins.
    Start,
    /// The readiness that was asked for is reached.
    Ready,
    /// Its VMM stands still.
    Pause(PauseCause),
    /// It goes on.
    Resume,
    /// A stop begins.
    Stop,
    /// A stop was given up; the VMM runs on.
    StopAborted,
    /// No VMM runs any more.
    Ended(StopCause),
    /// What its last run held is released after all.
    Recovered,
    /// Something could not be released.
    Fail {
        /// What, and why.
        cause: String,
        /// Whether it was being removed.
        removing: bool,
    },
    /// A delete begins; from here on there is no way back.
    Delete,
}

/// A transition that does not leave from the state the VM is in: a bug of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a VM that is {state} cannot take {transition:?}")]
pub struct IllegalTransition {
    /// The state's name.
    pub state: &'static str,
    /// What was tried.
    pub transition: Transition,
}

/// The most virtual CPUs of a VM: Firecracker's limit.
pub const MAX_VCPUS: u32 = 32;
/// The least memory that a guest of ours boots with.
pub const MIN_MEMORY: Size = Size::mib(256);
/// The least work disk: the seed's size.
pub const MIN_DISK: Size = Size::mib(256);

/// Refuses what cannot be a VM anywhere.
///
/// # Errors
/// What is wrong, for a person.
pub fn check_size(vcpus: u32, memory: Size, disk: Size) -> Result<(), String> {
    if !(1..=MAX_VCPUS).contains(&vcpus) {
        return Err(format!("{vcpus} vcpus is not possible: choose 1 to {MAX_VCPUS}"));
    }
    if !(MIN_MEMORY..=Size::gib(1024)).contains(&memory) {
        return Err(format!("{memory} of memory is not possible: choose {MIN_MEMORY} to 1 TiB"));
    }
    if !(MIN_DISK..=Size::gib(64 * 1024)).contains(&disk) {
        return Err(format!("a work disk of {disk} is not possible: choose {MIN_DISK} to 64 TiB"));
    }
    Ok(())
}

/// The least that a root overlay may take: a boot writes a part of it.
pub const MIN_OVERLAY: Size = Size::mib(64);

/// Refuses what cannot be the limit of a root overlay.
///
/// # Errors
/// What is wrong, for a person.
pub fn check_overlay(limit: Size, root_disk: RootDisk) -> Result<(), String> {
    if limit < MIN_OVERLAY {
        return Err(format!("an overlay of {limit} is not possible: choose {MIN_OVERLAY} or more"));
    }
    if root_disk == RootDisk::Clone {
        return Err("a root disk that is a copy has no limit: it has its full size".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn transitions() -> impl Strategy<Value = Transition> {
        let fail = |removing| Transition::Fail { cause: "x".into(), removing };
        prop_oneof![
            Just(Transition::Provision),
            Just(Transition::Provisioned),
            Just(Transition::Start),
            Just(Transition::Ready),
            Just(Transition::Stop),
            Just(Transition::Pause(PauseCause::DiskFull { free: Size::mib(1) })),
            Just(Transition::Resume),
            Just(Transition::Ended(StopCause::Requested)),
            Just(Transition::StopAborted),
            Just(Transition::Recovered),
            any::<bool>().prop_map(fail),
            Just(Transition::Delete),
        ]
    }

    proptest! {
        #[test]
        fn a_running_vm_was_started_and_a_delete_is_never_taken_back(
            path in prop::collection::vec(transitions(), 0..30)
        ) {
            let mut state = VmState::Defined;
            for transition in path {
                let Ok(next) = state.apply(transition) else { continue };
                if next == VmState::Running {
                    prop_assert!(state.is_active(), "runs after {}", state.name());
                }
                if matches!(state, VmState::Deleting | VmState::Failed { removing: true, .. }) {
                    let gone = matches!(next, VmState::Deleting | VmState::Failed { removing: true, .. });
                    prop_assert!(gone, "{} after a delete", next.name());
                }
                state = next;
            }
        }
    }

    #[test]
    fn states_have_one_name_everywhere() {
        let state = VmState::Stopped(StopCause::Crashed { detail: "signal 9".into() });
        let json = serde_json::to_string(&state).unwrap();
        insta::assert_snapshot!(json, @r#"{"state":"stopped","cause":"crashed","detail":"signal 9"}"#);
        assert_eq!(serde_json::from_str::<VmState>(&json).unwrap(), state);
        assert_eq!(state.name(), "stopped");
    }
}
