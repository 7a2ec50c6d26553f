//! What this host has, and what VMs take of it: `GET /v1/dashboard` and `GET /v1/stats`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::{DaemonStatus, Stats};
use crate::doctor::Check;
use crate::id::VmId;
use crate::size::Size;
use crate::vm::Vm;

/// What this host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = HostCapacity)]
pub struct Capacity {
    /// CPUs that VMs can run on.
    pub cpus: u64,
    /// Memory, in bytes.
    pub memory: Size,
    /// The file system that holds the state folder, in bytes.
    pub disk: Size,
    /// What an ordinary user can still write to it, in bytes.
    pub disk_free: Size,
}

/// How near something is to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pressure {
    /// There is enough.
    Green,
    /// It gets scarce.
    Yellow,
    /// It is all but gone.
    Red,
}

impl Pressure {
    /// That of what is shared in turns: `taken` may be more than the host has, which makes VMs
    /// slow, and no more than that. Yellow above what there is, red above twice that.
    #[must_use]
    pub fn of_turns(taken: u64, of: u64) -> Self {
        Self::by(taken, [of, of.saturating_mul(2)])
    }

    /// That of what is gone once it is taken: yellow above three quarters, red above nine tenths.
    #[must_use]
    pub fn of_room(taken: Size, of: Size) -> Self {
        let part = |tenths| of.as_bytes() / 100 * tenths;
        Self::by(taken.as_bytes(), [part(75), part(90)])
    }

    fn by(taken: u64, [yellow, red]: [u64; 2]) -> Self {
        match taken {
            _ if taken > red => Self::Red,
            _ if taken > yellow => Self::Yellow,
            _ => Self::Green,
        }
    }
}

/// How near this host is to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = HostPressure)]
pub struct Pressures {
    /// Its CPUs, by what running VMs have of them.
    pub cpu: Pressure,
    /// Its memory, likewise.
    pub memory: Pressure,
    /// Its file system, by all that is on it.
    pub disk: Pressure,
}

/// What VMs take of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = HostUse)]
pub struct HostUse {
    /// What there is.
    pub capacity: Capacity,
    /// VMs that are there.
    pub vms: u64,
    /// Those of them that run.
    pub running: u64,
    /// The virtual CPUs of those that run.
    pub vcpus: u64,
    /// The memory of those that run, in bytes.
    pub memory: Size,
    /// What the root overlays and work disks of all VMs take on the disk, in bytes.
    pub disk: Size,
    /// How near it all is to its end.
    pub pressure: Pressures,
}

impl HostUse {
    /// What `vms` take, whose disks take `disk`.
    #[must_use]
    pub fn of<'a>(capacity: Capacity, vms: impl IntoIterator<Item = &'a Vm>, disk: Size) -> Self {
        let (mut all, mut running, mut vcpus, mut memory) = (0, 0, 0_u64, 0_u64);
        for vm in vms {
            all += 1;
            if vm.state.is_active() {
                running += 1;
                vcpus += u64::from(vm.spec.vcpus);
                memory = memory.saturating_add(vm.spec.memory.as_bytes());
            }
        }
        let memory = Size::bytes(memory);
        let full = capacity.disk.as_bytes().saturating_sub(capacity.disk_free.as_bytes());
        let pressure = Pressures {
            cpu: Pressure::of_turns(vcpus, capacity.cpus),
            memory: Pressure::of_room(memory, capacity.memory),
            disk: Pressure::of_room(Size::bytes(full), capacity.disk),
        };
        Self { capacity, vms: all, running, vcpus, memory, disk, pressure }
    }
}

/// `GET /v1/dashboard`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Dashboard {
    /// The daemon; whether sudo is ready was tried.
    pub daemon: DaemonStatus,
    /// Whether KVM works, and what to do if not.
    pub kvm: Check,
    /// Whether what needs root can be done, and what to do if not.
    pub sudo: Check,
    /// What VMs take of the host.
    pub host: HostUse,
}

/// One event of `GET /v1/stats`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Tick {
    /// When, milliseconds since 1970-01-01 00:00 UTC.
    pub at_ms: u64,
    /// What VMs take of the host.
    pub host: HostUse,
    /// What each takes; of those that do not run, their disks.
    pub vms: Vec<VmStats>,
}

/// What a VM takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VmStats {
    /// The VM.
    pub vm: VmId,
    /// What it takes; its share of CPUs is that since the event before.
    #[serde(flatten)]
    pub stats: Stats,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::{StopCause, VmState};
    use proptest::prelude::*;
    use serde_json::json;

    const HOST: Capacity =
        Capacity { cpus: 4, memory: Size::gib(16), disk: Size::gib(100), disk_free: Size::gib(40) };

    fn vm(state: VmState, vcpus: u32, memory: Size) -> Vm {
        let spec = json!({
            "image": "0000000000000001", "image_name": "debian", "vcpus": vcpus, "memory": memory,
            "disk": 0, "network": "user", "opencode": false, "vmm": "qemu", "root_disk": "qcow2",
            "root_disk_reason": "asked for",
        });
        let vm = json!({
            "id": "0000000000000001", "name": "dev", "spec": spec, "state": state,
            "created_at": 0, "complete": true,
        });
        serde_json::from_value(vm).unwrap()
    }

    #[test]
    fn only_vms_that_run_have_cpus_and_memory() {
        let vms = [
            vm(VmState::Running, 2, Size::gib(4)),
            vm(VmState::Starting, 3, Size::gib(9)),
            vm(VmState::Stopped(StopCause::New), 32, Size::gib(64)),
        ];
        let used = HostUse::of(HOST, &vms, Size::gib(7));
        assert_eq!((used.vms, used.running, used.vcpus), (3, 2, 5));
        assert_eq!((used.memory, used.disk), (Size::gib(13), Size::gib(7)));
        let Pressures { cpu, memory, disk } = used.pressure;
        assert_eq!([cpu, memory, disk], [Pressure::Yellow, Pressure::Yellow, Pressure::Green]);
        let none = HostUse::of(Capacity { disk_free: Size::gib(9), ..HOST }, [], Size::bytes(0));
        let Pressures { cpu, memory, disk } = none.pressure;
        assert_eq!([cpu, memory, disk], [Pressure::Green, Pressure::Green, Pressure::Red]);
    }

    #[test]
    fn pressure_rises_at_its_thresholds() {
        let turns = [4, 5, 8, 9].map(|taken| Pressure::of_turns(taken, 4));
        assert_eq!(turns, [Pressure::Green, Pressure::Yellow, Pressure::Yellow, Pressure::Red]);
        let room = [75, 76, 90, 91].map(|n| Pressure::of_room(Size::gib(n), Size::gib(100)));
        assert_eq!(room, [Pressure::Green, Pressure::Yellow, Pressure::Yellow, Pressure::Red]);
    }

    proptest! {
        #[test]
        fn more_is_never_less_pressure(taken: u64, more: u64, of: u64) {
            let sum = taken.saturating_add(more);
            prop_assert!(Pressure::of_turns(sum, of) >= Pressure::of_turns(taken, of));
            let room = |taken| Pressure::of_room(Size::bytes(taken), Size::bytes(of));
            prop_assert!(room(sum) >= room(taken));
        }
    }
}
