//! The contract with Firecracker, held against the real program: it answers its
//! API up to the start without KVM.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use banger_core::dirs::vm_files;
use banger_core::id::{ImageId, VmId};
use banger_core::net::Lease;
use banger_core::resource::ResourceSpec;
use banger_core::size::Size;
use banger_core::vm::{Limits, Network, RootDisk, Vm, VmSpec, VmState, Vmm};
use banger_exec::{Cancel, HostRunner, Tool, Tools};
use banger_host::{Host, HostOps, Sudo, make_pipe};
use bangerd::vmm::firecracker::{
    Action, Cache, Firecracker, FirecrackerError, Put, configuration, vmm_process,
};
use bangerd::vmm::{Boot, Sockets};

fn vm() -> Vm {
    Vm {
        id: VmId::from_bits(1),
        name: "dev".parse().unwrap(),
        spec: VmSpec {
            image: ImageId::from_bits(2),
            image_name: "debian".parse().unwrap(),
            vcpus: 2,
            memory: Size::gib(1),
            disk: Size::gib(8),
            network: Network::Nat,
            opencode: false,
            vmm: Vmm::Firecracker,
            overlay: None,
            limits: Limits {
                disk_bandwidth: Some(Size::mib(100)),
                disk_ops: Some(1000),
                net_bandwidth: Some(Size::mib(10)),
                net_ops: None,
            },
            root_disk: RootDisk::Clone,
            root_disk_reason: String::new(),
        },
        state: VmState::Starting,
        created_at: 0,
        complete: false,
        temporary: false,
        lease: Some(Lease::of([172, 28, 0, 2].into())),
        run: None,
    }
}

/// A Firecracker as a VM in `dir` has it, gone with this.
struct Running {
    host: Host,
    spec: ResourceSpec,
    sockets: Sockets,
    api: Firecracker,
}

impl Running {
    async fn start(dir: &Path) -> Self {
        let tools = Tools::discover();
        let helper = Arc::new(Sudo::new(tools.clone(), dir.to_owned()));
        let host = Host::new(Arc::new(HostRunner::new(tools)), helper);
        let sockets = Sockets::in_dir(dir);
        let spec = vmm_process(&vm(), dir, &sockets);
        std::fs::write(vm_files::vmm_log(dir), "").unwrap();
        make_pipe(&sockets.metrics).unwrap();
        host.ensure(&spec, &Cancel::default()).unwrap();
        let api = Firecracker::at(&sockets.api);
        let deadline = Instant::now() + Duration::from_secs(20);
        while !sockets.api.exists() {
            let log = std::fs::read_to_string(vm_files::console(dir));
            assert!(Instant::now() < deadline, "{log:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Self { host, spec, sockets, api }
    }

    async fn refusal(&self, put: Put) -> String {
        match self.api.put(&put).await.unwrap_err() {
            FirecrackerError::Refused { request, reason } => format!("{request}: {reason}"),
            error @ FirecrackerError::Silent { .. } => panic!("{error:?}"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.host.release(&self.spec, None).unwrap();
    }
}

#[tokio::test]
async fn what_we_send_is_accepted_and_what_it_refuses_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    for disk in [vm_files::overlay(dir.path()), vm_files::work_disk(dir.path())] {
        std::fs::File::create(disk).unwrap().set_len(1 << 20).unwrap();
    }
    for part in ["vmlinux", "initramfs"] {
        std::fs::write(file(part), part).unwrap();
    }
    let boot = Boot {
        ours: true,
        root: vm_files::overlay(dir.path()),
        kernel: file("vmlinux"),
        initramfs: file("initramfs"),
        boot_args: "root=/dev/vda quiet".to_owned(),
        network: None,
        subnet: None,
        kvm: true,
    };
    let running = Running::start(dir.path()).await;
    println!("Firecracker {}", running.api.version().await.unwrap());
    let mut puts = configuration(&vm(), dir.path(), &running.sockets, &boot);
    let start = puts.pop().unwrap();
    assert_eq!(start, Put::Action { action_type: Action::InstanceStart });
    for put in &puts {
        match (put, running.api.put(put).await) {
            // There is no such tap here: it is made, if that may be done, and gone with the process.
            (Put::Interface { .. }, Err(FirecrackerError::Refused { reason, .. })) => {
                assert!(reason.contains("tap"), "{reason}");
            }
            (_, accepted) => accepted.unwrap(),
        }
    }

    let drive = |drive_id, path: &str| Put::Drive {
        drive_id,
        path_on_host: path.into(),
        is_root_device: false,
        is_read_only: false,
        cache_type: Cache::Writeback,
        rate_limiter: None,
    };
    let refused = [
        running.refusal(drive("root", "/none")).await,
        running.refusal(drive("root-fs", "/dev/null")).await,
        running.refusal(Put::Machine { vcpu_count: 33, mem_size_mib: 512 }).await,
        running.refusal(Put::Action { action_type: Action::SendCtrlAltDel }).await,
        running.refusal(Put::Action { action_type: Action::FlushMetrics }).await,
        running.api.stand_still(true).await.unwrap_err().to_string(),
    ];
    insta::assert_snapshot!(refused.join("\n"), @r"
    /drives/root: Drive config error: Unable to create the virtio block device: Virtio backend error: Error manipulating the backing file: No such file or directory (os error 2) /none
    /drives/root-fs: API Resource IDs can only contain alphanumeric characters and underscores.
    /machine-config: Machine config error: The number of vCPUs must be greater than 0, less than 32 and must be 1 or an even number if SMT is enabled.
    /actions: The requested operation is not supported before starting the microVM.
    /actions: The requested operation is not supported before starting the microVM.
    Firecracker refused /vm: The requested operation is not supported before starting the microVM.
    ");
    // The kernel is none; without KVM it does not get so far.
    let refused = running.refusal(start).await;
    assert!(refused.starts_with("/actions: "), "{refused}");
}

#[tokio::test]
async fn one_that_is_not_there_is_silent() {
    let api = Firecracker::at(Path::new("/none/api.sock"));
    let error = api.version().await.unwrap_err();
    assert!(matches!(error, FirecrackerError::Silent { .. }), "{error:?}");
    assert!(Tools::discover().path(Tool::Firecracker).is_ok(), "script/setup --for test gets it");
}
