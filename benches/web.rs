//! How long the daemon takes for a page of the web console: `cargo bench -p banger-benches web`.

use std::sync::Arc;

use banger_core::config::Config;
use banger_core::id::{ImageId, VmId};
use banger_core::image::{BootSet, Image, Init, Source};
use banger_core::size::Size;
use banger_core::vm::{Network, RootDisk, StopCause, Vm, VmSpec, VmState, Vmm};
use banger_image::build::BuildError;
use banger_testkit::{Faults, Host, Life, Programs, Root, World};
use bangerd::engine::{Engine, Parts};
use bangerd::serve::web::Console;
use bangerd::store::vms::VmRow;
use bangerd::store::{Store, images, vms};
use divan::Bencher;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

fn main() {
    divan::main();
}

fn row(i: u64) -> VmRow {
    let image_name = "debian".parse().unwrap();
    let spec = VmSpec {
        image: ImageId::from_bits(1),
        image_name,
        vcpus: 2,
        memory: Size::gib(1),
        disk: Size::gib(8),
        network: Network::User,
        opencode: true,
        vmm: Vmm::Qemu,
        overlay: None,
        limits: banger_core::vm::Limits::default(),
        root_disk: RootDisk::Qcow2,
        root_disk_reason: "asked for".to_owned(),
    };
    let vm = Vm {
        id: VmId::from_bits(i + 1),
        name: format!("vm-{i:03}").parse().unwrap(),
        spec,
        state: VmState::Stopped(StopCause::Requested),
        created_at: 0,
        complete: true,
        temporary: false,
        lease: None,
        run: None,
    };
    VmRow { vm, opencode_password: None }
}

fn image() -> Image {
    let boot_set = BootSet {
        kernel_release: "6.1".to_owned(),
        boot_args: "quiet".to_owned(),
        agent_version: Some("0.1.0".to_owned()),
    };
    Image {
        id: ImageId::from_bits(1),
        name: "debian".parse().unwrap(),
        source: Source::Debian { suite: "bookworm".to_owned() },
        parent: None,
        in_place: None,
        temporary: false,
        created_at: 0,
        boot_set,
        rootfs_size: Size::gib(1),
        opencode: None,
        companion: true,
        init: Init::Systemd,
        parts: Vec::new(),
    }
}

/// A daemon with so many VMs, on a host of files.
async fn engine(world: &World, count: u64) -> Engine {
    let dirs = world.dirs();
    std::fs::create_dir_all(&dirs.state).unwrap();
    let store = Store::open(&dirs.state.join("banger.db")).unwrap();
    let inserted = store.run(move |db| {
        images::insert(db, &image())?;
        (0..count).try_for_each(|i| vms::insert(db, &row(i)))
    });
    inserted.await.unwrap();
    let (life, faults) = (Life::default(), Faults::default());
    let engine = Engine::new(Parts {
        store,
        host: Arc::new(Host::new(world.clone(), life.clone(), faults.clone())),
        runner: Arc::new(Programs { life, faults }),
        helper: Arc::new(Root::NotReady),
        config: Config { web_listen: "127.0.0.1:0".parse().unwrap(), ..Config::default() },
        agent: dirs.state.join("agent"),
        build: Arc::new(|_, _, _, _| Err(BuildError::Cancelled)),
        kvm: true,
        dirs,
    });
    engine.reconcile().await.unwrap();
    engine
}

/// Asks for a page, and reads it to its end.
async fn get(port: u16, path: &str, cookie: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: banger.localhost:{port}\r\nConnection: close\r\n{cookie}\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    page
}

/// The dashboard, from the connection to its last byte.
#[divan::bench(args = [1, 500])]
fn dashboard(bencher: Bencher, count: u64) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let world = World::new().unwrap();
    let (port, cookie) = runtime.block_on(async {
        let engine = engine(&world, count).await;
        let (console, listener) = Console::open(&engine).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = console.invite().url;
        tokio::spawn(console.serve(listener));
        let login = get(port, url.split_once(&format!(":{port}")).unwrap().1, "").await;
        let cookie = login.split_once("set-cookie: ").unwrap().1.split(';').next().unwrap();
        (port, format!("Cookie: {cookie}\r\n"))
    });
    bencher.bench_local(|| {
        let page = runtime.block_on(get(port, "/", &cookie));
        assert!(page.contains("vm-000"));
    });
}

/// What more a page takes when all of 500 VMs run: their processes are looked at.
#[divan::bench]
fn use_of_500_processes(bencher: Bencher) {
    let own = banger_host::identify(std::process::id()).unwrap().unwrap();
    bencher.bench_local(|| (0..500).filter(|_| banger_host::usage(&own).is_some()).count());
}
