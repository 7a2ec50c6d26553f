//! A host with one image, on which daemons live one after the other.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use banger_core::api::{ApiError, ChangeVm, CreateVm, MakeImage};
use banger_core::config::Config;
use banger_core::dirs::vm_files;
use banger_core::helper::root_device;
use banger_core::id::{ImageId, OperationId};
use banger_core::image::{BootSet, Image, InPlace, Source, files};
use banger_core::net::bridge;
use banger_core::operation::Outcome;
use banger_core::resource::ResourceSpec;
use banger_core::size::Size;
use banger_core::vm::{Vm, VmState, Vmm, WaitFor};
use banger_exec::Cancel;
use banger_image::build::{BuildEnv, BuildError, Reporter};
use banger_testkit::{Faults, Host, Life, Programs, Root, World};
use bangerd::engine::task::Wish;
use bangerd::engine::{Build, Engine, Parts};
use bangerd::store::{Store, images, journal, operations, vms};
use std::time::Duration;

/// A host, its image `debian`, and what fails on it.
pub struct Scene {
    pub world: World,
    pub faults: Faults,
    /// What runs its VMs.
    vmm: Vmm,
}

impl Scene {
    /// One with QEMU, and without root.
    pub fn new() -> Self {
        Self::with(Vmm::Qemu)
    }

    /// One with that VMM; where it is Firecracker, with root, so that disks are snapshots.
    pub fn with(vmm: Vmm) -> Self {
        let scene = Self { world: World::new().unwrap(), faults: Faults::default(), vmm };
        let image = image(ImageId::from_bits(1), "debian");
        let dir = scene.world.dirs().image(image.id.as_str());
        fs::create_dir_all(&dir).unwrap();
        write_image(&dir);
        let programs = Programs { life: Life::default(), faults: Faults::default() };
        let (home, cancel) = (scene.world.dirs().home(), Cancel::default());
        banger_image::seed::refresh(&programs, &home, &dir, &cancel).unwrap();
        fs::create_dir_all(scene.world.dirs().state).unwrap();
        let life = Life::default();
        scene.live(&life, async |engine| {
            engine.store.run(move |db| images::insert(db, &image)).await.unwrap();
        });
        scene
    }

    /// A daemon takes up what it finds and does `work`; nothing if it dies.
    pub fn live<T>(&self, life: &Life, work: impl AsyncFnOnce(&Engine) -> T) -> Option<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let open = Arc::new(());
        let lived = runtime.block_on(async {
            let lives = async {
                let engine = self.engine(life, open.clone());
                engine.reconcile().await.unwrap();
                work(&engine).await
            };
            tokio::select! {
                biased;
                () = life.died() => None,
                value = lives => Some(value),
            }
        });
        life.bury();
        runtime.shutdown_timeout(Duration::from_secs(10));
        // The thread of the database outlives the runtime for a moment.
        while Arc::strong_count(&open) > 1 {
            std::thread::sleep(Duration::from_micros(100));
        }
        lived
    }

    /// A daemon lives until nothing is under way any more.
    pub fn settle(&self, life: &Life) -> bool {
        let settled = self.live(life, async |engine| {
            while engine.active_operations() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        settled.is_some()
    }

    /// `open` is held for as long as the database is.
    fn engine(&self, life: &Life, open: Arc<()>) -> Engine {
        let dirs = self.world.dirs();
        let step = life.clone();
        let gate = move || {
            let _open = &open;
            step.step()
        };
        let store = Store::open_gated(&dirs.state.join("banger.db"), Arc::new(gate));
        Engine::new(Parts {
            store: store.unwrap(),
            host: Arc::new(Host::new(self.world.clone(), life.clone(), self.faults.clone())),
            runner: Arc::new(Programs { life: life.clone(), faults: self.faults.clone() }),
            helper: Arc::new(match self.vmm {
                Vmm::Qemu => Root::NotReady,
                Vmm::Firecracker => Root::Ready,
            }),
            config: Config {
                ready_seconds: Some(20),
                vmm: self.vmm,
                web_listen: "127.0.0.1:0".parse().unwrap(),
                ..Config::default()
            },
            agent: dirs.state.join("agent"),
            build: build(life),
            kvm: true,
            dirs,
        })
    }

    /// What must hold whenever a daemon has settled: all that the host holds
    /// is written down, and each VM is wholly there. Returns the VMs.
    pub fn check(&self) -> Vec<Vm> {
        let dirs = self.world.dirs();
        let (running, mut expected) = (self.world.running(), BTreeSet::new());
        let checked = self.live(&Life::default(), async |engine| {
            let read = engine.store.run(|db| {
                let mut held = Vec::new();
                for owner in journal::owners(db)? {
                    let entries = journal::held(db, &owner, false)?;
                    held.push((owner, entries));
                }
                Ok((vms::list(db)?, images::list(db)?, held, operations::list(db, true)?))
            });
            read.await.unwrap()
        });
        let (rows, images, held, unfinished) = checked.unwrap();
        assert_eq!(unfinished, [], "operations without an end");
        assert!(images.iter().all(|image| !image.temporary), "{images:?}");
        let vms: Vec<Vm> = rows.into_iter().map(|row| row.vm).collect();
        let (mut processes, mut devices, mut links) = (0, Vec::new(), BTreeSet::new());
        let uid = rustix::process::geteuid().as_raw();
        // A folder, a VMM; and a vsock process, or a root device and a tap.
        let of_run = match self.vmm {
            Vmm::Qemu => 3,
            Vmm::Firecracker => 4,
        };
        for vm in &vms {
            assert!(vm.complete, "{vm:?}");
            expected.insert(dirs.vm(vm.id.as_str()));
            match vm.state {
                VmState::Stopped(_) => assert_eq!(vm.run, None),
                VmState::Running | VmState::Paused(_) => {
                    match vm.spec.vmm {
                        Vmm::Qemu => processes += 2,
                        Vmm::Firecracker => {
                            processes += 1;
                            devices.push(root_device(uid, &vm.id));
                            let lease = vm.lease.clone().unwrap();
                            links.extend([bridge(uid), lease.tap]);
                        }
                    }
                    expected.insert(dirs.vm_run(vm.id.short()));
                }
                _ => panic!("not settled: {:?}", vm.state),
            }
        }
        assert_eq!(running.len(), processes, "{running:#?}\n{vms:#?}");
        assert_eq!(self.world.devices(), devices);
        assert_eq!(self.world.links(), Vec::from_iter(links.clone()));
        assert_eq!(self.world.files().into_iter().collect::<BTreeSet<_>>(), expected);
        for (owner, entries) in held {
            let vm = vms.iter().find(|vm| vm.id.as_str() == owner);
            let network = owner == "network" && !links.is_empty();
            let known =
                network || vm.is_some() || images.iter().any(|image| image.id.as_str() == owner);
            assert!(known, "rows of nobody: {entries:#?}");
            for entry in &entries {
                assert!(entry.observed.is_some(), "intended for ever: {entry:?}");
                if let ResourceSpec::Overlay { path, .. } | ResourceSpec::WorkDisk { path, .. } =
                    &entry.spec
                {
                    assert!(path.is_file(), "{entry:?}");
                }
            }
            let runs = vm.is_some_and(|vm| vm.state.is_active());
            let expected = if vm.is_none() { 1 } else { 3 + if runs { of_run } else { 0 } };
            assert_eq!(entries.len(), expected, "{entries:#?}");
        }
        let known: BTreeSet<_> = images.iter().map(|image| dirs.image(image.id.as_str())).collect();
        let there = fs::read_dir(dirs.state.join("images")).unwrap();
        assert_eq!(there.map(|entry| entry.unwrap().path()).collect::<BTreeSet<_>>(), known);
        vms
    }

    /// Each VM can be started and deleted, and then nothing is left of it.
    pub fn use_and_delete(&self, vms: &[Vm]) {
        self.live(&Life::default(), async |engine| {
            for vm in vms {
                if vm.spec.overlay.is_some() {
                    give_more(engine).await;
                }
                for request in [Wish::Start(WaitFor::Agent), Wish::Delete] {
                    let outcome = ask(engine, vm.name.as_str(), request).await;
                    assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");
                }
            }
        })
        .unwrap();
        assert_eq!(self.check(), []);
    }
}

/// Makes the VM `dev`.
pub async fn create(engine: &Engine, start: bool) -> Outcome {
    create_named(engine, "dev", start).await
}

/// Makes a VM.
pub async fn create_named(engine: &Engine, name: &str, start: bool) -> Outcome {
    let request = CreateVm {
        name: Some(name.parse().unwrap()),
        start: start.then_some(WaitFor::Agent),
        opencode: Some(false),
        ..serde_json::from_str("{}").unwrap()
    };
    outcome(engine, engine.create(request).await).await
}

/// Makes the VM `dev`, whose root overlay may take 64 MiB, and starts it.
pub async fn create_limited(engine: &Engine) -> Outcome {
    let request = CreateVm {
        name: Some("dev".parse().unwrap()),
        start: Some(WaitFor::Agent),
        opencode: Some(false),
        overlay: Some(Size::mib(64)),
        ..serde_json::from_str("{}").unwrap()
    };
    outcome(engine, engine.create(request).await).await
}

/// Fills its root overlay, as a guest would, and waits until it is paused.
pub async fn fill(engine: &Engine) {
    let vm = engine.vm("dev").await.unwrap().vm;
    let overlay = vm_files::overlay(&engine.dirs.vm(vm.id.as_str()));
    fs::write(overlay, vec![1; 64 << 20]).unwrap();
    while engine.vms()[0].state == VmState::Running {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Lets its root overlay take more.
pub async fn give_more(engine: &Engine) {
    let vm = engine.vm("dev").await.unwrap().vm;
    let change = ChangeVm { overlay: Some(Size::gib(1)), ..ChangeVm::default() };
    engine.change(&vm.id, change).await.unwrap();
}

/// Gives the person a home folder, so that the next VM needs a new seed.
pub async fn change_home(engine: &Engine) {
    let home = engine.dirs.home();
    fs::create_dir_all(&home).unwrap();
    fs::write(home.join(".bashrc"), "alias x=y\n").unwrap();
}

/// Asks for something of a VM.
pub async fn ask(engine: &Engine, name: &str, request: Wish) -> Outcome {
    let id = engine.vm(name).await.unwrap().vm.id;
    outcome(engine, engine.request(&id, request).await).await
}

/// Builds the image `new`.
pub async fn build_image(engine: &Engine) -> Outcome {
    let request: MakeImage = serde_json::from_value(serde_json::json!({ "debian": { "name": "new", "suite": "bookworm", "packages": [], "size": Size::gib(1), "opencode": false } }))
    .unwrap();
    outcome(engine, engine.make(request).await).await
}

/// Takes the files of the image `debian` to where a person would have them.
pub async fn elsewhere(engine: &Engine) {
    let image = engine.image("debian").await.unwrap();
    let (dir, aside) = (engine.dirs.image(image.id.as_str()), engine.dirs.state.join("elsewhere"));
    fs::create_dir(&aside).unwrap();
    let names = [files::KERNEL, files::INITRAMFS, files::ROOTFS];
    for name in names {
        fs::rename(dir.join(name), aside.join(name)).unwrap();
        std::os::unix::fs::symlink(aside.join(name), dir.join(name)).unwrap();
    }
    let rootfs = aside.join(files::ROOTFS).to_str().unwrap().to_owned();
    let in_place = Some(InPlace { rootfs, kernel: None, initramfs: None });
    let parts = banger_image::parts::record(&dir, &names).unwrap();
    let image = Image { in_place, parts, ..image };
    engine.store.run(move |db| images::update(db, &image)).await.unwrap();
}

/// Promotes the image `debian`.
pub async fn promote(engine: &Engine) -> Outcome {
    let image = engine.image("debian").await.unwrap();
    outcome(engine, engine.promote_image(image).await).await
}

/// Makes the image `new` of the VM `dev`. Its root is no file system, which is the last to be seen.
pub async fn copy(engine: &Engine) -> Outcome {
    let request = serde_json::json!({ "vm": { "vm": "dev", "name": "new" } });
    let request = serde_json::from_value(request).unwrap();
    let outcome = outcome(engine, engine.make(request).await).await;
    assert!(format!("{outcome:?}").contains("holds no ext4 file system"), "{outcome:?}");
    outcome
}

/// Builds the image `new` from `debian`, as far as in [`copy`].
pub async fn build_from(engine: &Engine) -> Outcome {
    let request = serde_json::json!({
        "image": { "image": "debian", "name": "new", "packages": ["hello"] },
    });
    let request = serde_json::from_value(request).unwrap();
    let outcome = outcome(engine, engine.make(request).await).await;
    assert!(format!("{outcome:?}").contains("holds no ext4 file system"), "{outcome:?}");
    outcome
}

/// Makes an image whose root is finished in a boot of its own, as far as in [`copy`].
pub async fn build_provisioned(engine: &Engine) -> Outcome {
    let make = |id, _: &BuildEnv<'_>, staging: &Path, _: &dyn Reporter| {
        write_image(staging);
        let names = [files::KERNEL, files::INITRAMFS, files::ROOTFS];
        let parts = banger_image::parts::record(staging, &names).unwrap();
        Ok(Some(Image { parts, ..image(id, "new") }))
    };
    let (name, parts) = ("new".parse().unwrap(), engine.dirs.parts("test", "new"));
    let begun = engine.make_provisioned(name, parts, Box::new(make)).await;
    outcome(engine, begun).await
}

async fn outcome(engine: &Engine, begun: Result<OperationId, ApiError>) -> Outcome {
    end_of(engine, begun.unwrap()).await
}

/// Waits for the end of an operation.
pub async fn end_of(engine: &Engine, id: OperationId) -> Outcome {
    let mut changes = engine.store.watch();
    loop {
        let wanted = id.clone();
        let operation = engine.store.run(move |db| operations::get(db, &wanted)).await.unwrap();
        if let Some(outcome) = operation.unwrap().outcome {
            return outcome;
        }
        changes.changed().await.unwrap();
    }
}

fn image(id: ImageId, name: &str) -> Image {
    Image {
        id,
        name: name.parse().unwrap(),
        source: Source::Debian { suite: "bookworm".to_owned() },
        parent: None,
        in_place: None,
        temporary: false,
        created_at: 0,
        boot_set: BootSet {
            kernel_release: "6.1".to_owned(),
            boot_args: "quiet".to_owned(),
            agent_version: Some("0.1.0".to_owned()),
        },
        rootfs_size: Size::gib(1),
        opencode: None,
        companion: true,
        init: banger_core::image::Init::Systemd,
        parts: Vec::new(),
    }
}

fn write_image(dir: &Path) {
    for name in [files::KERNEL, files::INITRAMFS, files::ROOTFS] {
        fs::write(dir.join(name), name).unwrap();
    }
}

/// Writes an image's files in two stages, as long as the daemon lives.
fn build(life: &Life) -> Arc<Build> {
    let life = life.clone();
    Arc::new(move |request, env, staging, reporter| {
        for stage in ["bootstrap", "rootfs"] {
            reporter.stage(stage);
            if life.is_dead() || env.cancel.is_cancelled() {
                return Err(BuildError::Cancelled);
            }
            fs::write(env.scratch.join(stage), stage).unwrap();
        }
        write_image(staging);
        Ok(image(request.id.clone(), request.name.as_str()))
    })
}
