//! How fast the code is that runs often: `cargo bench -p banger-benches`.
//! What it costs in front of a person is measured by `banger bench`.

use banger_core::fold::OperationView;
use banger_core::guest::{BootConfig, GuestNetwork, Identity, files};
use banger_core::id::{ImageId, VmId};
use banger_core::operation::{Event, EventKind, Outcome};
use banger_core::resource::{Observed, ResourceSpec};
use banger_core::size::Size;
use banger_core::vm::{Limits, Network, RootDisk, StopCause, Vm, VmSpec, VmState, Vmm};
use banger_image::initramfs::segment;
use bangerd::store::Store;
use bangerd::store::journal::{self, Scope};
use divan::{Bencher, black_box, counter::ItemsCount};

fn main() {
    divan::main();
}

/// Events to what a person sees of them.
#[divan::bench(args = [10, 1_000])]
fn fold(bencher: Bencher, progress: u64) {
    let stage = || "bootstrap".to_owned();
    let kinds = std::iter::once(EventKind::StageStarted { stage: stage() })
        .chain((0..progress).map(|done| EventKind::Progress {
            stage: stage(),
            done,
            total: Some(progress),
        }))
        .chain([
            EventKind::StageDone { stage: stage(), ms: 1 },
            EventKind::Finished { outcome: Outcome::Cancelled },
        ]);
    let events: Vec<Event> = (1..)
        .zip(kinds)
        .map(|(seq, kind)| Event { seq, operation: None, at_ms: 0, kind })
        .collect();
    bencher.counter(ItemsCount::new(events.len())).bench_local(|| {
        let mut view = OperationView::default();
        black_box(&events).iter().for_each(|event| view.apply(event));
        view
    });
}

/// What a VM appends to its initramfs at a start.
#[divan::bench]
fn initramfs_segment(bencher: Bencher) {
    let (id, name) = (VmId::from_bits(1), "dev".parse().unwrap());
    let key = "k".repeat(400);
    let network = GuestNetwork::user();
    bencher.bench_local(|| {
        let guest = Identity {
            id: black_box(&id),
            name: &name,
            network: Some(&network),
            work: None,
            host_key: &key,
            host_key_pub: &key,
            authorized_keys: &key,
            opencode_password: Some(&key),
        };
        segment(&BootConfig::default(), &files(&guest)).unwrap()
    });
}

fn vms(count: u64) -> Vec<Vm> {
    let vm = |i| Vm {
        id: VmId::from_bits(i),
        name: format!("vm-{i}").parse().unwrap(),
        spec: VmSpec {
            image: ImageId::from_bits(1),
            image_name: "debian".parse().unwrap(),
            vcpus: 2,
            memory: Size::gib(1),
            disk: Size::gib(8),
            network: Network::User,
            opencode: true,
            vmm: Vmm::Qemu,
            overlay: None,
            limits: Limits::default(),
            root_disk: RootDisk::Qcow2,
            root_disk_reason: "instant on any file system, and QEMU can use it".to_owned(),
        },
        state: VmState::Stopped(StopCause::Requested),
        created_at: 1_700_000_000,
        complete: true,
        temporary: false,
        lease: None,
        run: None,
    };
    (0..count).map(vm).collect()
}

/// The reply to `GET /v1/vms`.
#[divan::bench(args = [10, 1_000])]
fn list_to_json(bencher: Bencher, count: u64) {
    let vms = vms(count);
    bencher.bench_local(|| serde_json::to_vec(black_box(&vms)).unwrap());
}

/// The same on the other side.
#[divan::bench(args = [10, 1_000])]
fn list_from_json(bencher: Bencher, count: u64) {
    let json = serde_json::to_vec(&vms(count)).unwrap();
    bencher.bench_local(|| serde_json::from_slice::<Vec<Vm>>(black_box(&json)).unwrap());
}

/// A row written down so that a power cut does not take it: mostly the disk's
/// flush. With others that nobody waits for it is still one.
#[divan::bench(args = [0, 10])]
fn durable_write(bencher: Bencher, company: i64) {
    // In the temporary folder: on the disk, where that is one.
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("db")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let intend = |db: &_| {
        let spec = ResourceSpec::Dir { path: "/run/user/1000/banger/vms/00000000".into() };
        journal::intend(db, "0000000000000001", Scope::Run, &spec)
    };
    bencher.bench_local(|| {
        for row in 1..=company {
            store.soon("a row", move |db| journal::acquired(db, row, &Observed::default()));
        }
        runtime.block_on(store.run(move |db| intend(db))).unwrap()
    });
}
