//! From disks to a guest that boots: its segment, its processes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use banger_core::agent;
use banger_core::bootargs::{self, Machine};
use banger_core::dirs::vm_files;
use banger_core::helper::root_device;
use banger_core::image::files;
use banger_core::resource::{ProcessId, ResourceSpec};
use banger_core::vm::{Network, RootDisk, Vm, Vmm};
use banger_exec::Tool;
use banger_host::{HostError, HostOps, listens, make_pipe, oldest, version};
use ipnet::Ipv4Net;
use rusqlite::Transaction;
use rustix::process::geteuid;
use tokio::net::UnixListener;

use crate::engine::oplog::OpLog;
use crate::engine::resources::{Intended, blocking, intend};
use crate::engine::vm::{VmCtx, released};
use crate::error::{OpError, chain};
use crate::guest;
use crate::store::StoreError;
use crate::store::journal::Scope;
use crate::vmm::Boot;
use crate::vmm::firecracker::{self, Firecracker};
use crate::vmm::qemu;
use crate::vmm::qmp::Qmp;

/// How long a program may take to make its socket.
const SOCKET_LIMIT: Duration = Duration::from_secs(20);

impl VmCtx {
    /// Writes down what a run acquires, in that order.
    pub(super) fn intend_run(
        &self,
        vm: &Vm,
        boot: &Boot,
    ) -> impl FnOnce(&Transaction<'_>) -> Result<RunRows, StoreError> + Send + 'static {
        let (id, dir, sockets) = (vm.id.clone(), self.dir(), self.sockets());
        let image = self.engine.dirs.image(vm.spec.image.as_str());
        let root = (vm.spec.root_disk == RootDisk::DmSnapshot).then(|| ResourceSpec::RootDevice {
            uid: geteuid().as_raw(),
            vm: vm.id.clone(),
            base: image.join(files::ROOTFS),
            overlay: vm_files::overlay(&dir),
        });
        let tap = vm
            .lease
            .as_ref()
            .filter(|_| vm.spec.network == Network::Nat)
            .map(|lease| ResourceSpec::Tap { uid: geteuid().as_raw(), address: lease.address });
        let run_dir = ResourceSpec::Dir { path: self.run_dir() };
        let (vsock, vmm) = match vm.spec.vmm {
            Vmm::Qemu => {
                let vsock = qemu::vsock_process(&sockets, &vm_files::vsock_log(&dir));
                (Some(vsock), qemu::vmm_process(vm, &dir, &sockets, boot))
            }
            Vmm::Firecracker => (None, firecracker::vmm_process(vm, &dir, &sockets)),
        };
        move |db| {
            let one = |spec| intend(db, id.as_str(), Scope::Run, [spec]).map(|[row]| row);
            Ok(RunRows {
                run_dir: one(run_dir)?,
                root: root.map(one).transpose()?,
                tap: tap.map(one).transpose()?,
                vsock: vsock.map(one).transpose()?,
                vmm: one(vmm)?,
            })
        }
    }

    /// All that comes before the guest: done when the VMM has been started.
    pub(super) async fn prepare(
        &self,
        log: &OpLog,
        boot: &Boot,
        RunRows { run_dir, root, tap, vsock, vmm }: RunRows,
    ) -> Result<Booted, OpError> {
        let (dir, sockets) = (self.dir(), self.sockets());
        let ensure = |intended| self.engine.ensure(intended, log.cancel());
        ensure(run_dir).await?;
        // In the run's folder, and gone with it.
        let doorbell = UnixListener::bind(agent::doorbell(&sockets.vsock))
            .map_err(OpError::file("listen for the guest's agent"))?;
        self.mark_console();
        let vmm_log = Words::from_now_on(match self.vm().spec.vmm {
            Vmm::Qemu => vm_files::vmm_log(&dir),
            Vmm::Firecracker => vm_files::console(&dir),
        });
        let vsock = async {
            let Some(vsock) = vsock else { return Ok(None) };
            let words = Words::from_now_on(vm_files::vsock_log(&dir));
            let vsock = ensure(vsock).await?.process;
            let (booting, tool) = (self.booting(log, "prepare"), Tool::VhostDeviceVsock);
            booting.socket(tool, vsock.as_ref(), &sockets.vhost, &words).await?;
            Ok::<_, OpError>(vsock)
        };
        self.engine.forget_traffic(&self.vm().id);
        if self.vm().spec.vmm == Vmm::Firecracker {
            make_pipe(&sockets.metrics)?;
            let log = vm_files::vmm_log(&dir);
            std::fs::File::options()
                .create(true)
                .append(true)
                .open(&log)
                .map_err(OpError::file(format!("write {}", log.display())))?;
        }
        // All are waited for, also when one fails: nothing is made behind an undoing's back.
        let root = async {
            let Some(root) = root else { return Ok(()) };
            ensure(root).await.map(drop)
        };
        let tap = async {
            let (Some(tap), Some(subnet)) = (tap, boot.subnet) else { return Ok(()) };
            self.engine.network_up(subnet, log.cancel()).await?;
            ensure(tap).await.map(drop)
        };
        let (vsock, root, tap, files) =
            tokio::join!(vsock, root, tap, self.write_segment(boot.clone()));
        files?;
        root?;
        tap?;
        self.patch_root(log, boot.clone()).await?;
        let vsock = vsock?;
        log.check()?;
        let process = self.unless_too_old(ensure(vmm).await).await?.process;
        let process =
            process.ok_or_else(|| OpError::Internal("the VMM has no process".to_owned()))?;
        self.set_apart(std::iter::once(process.clone()).chain(vsock.clone()).collect());
        self.set_processes(Some(process.clone()), vsock);
        Ok(Booted { process, doorbell, vmm_log })
    }

    /// Does not wait for it: a VM goes without, too.
    fn set_apart(&self, processes: Vec<ProcessId>) {
        let (host, id) = (self.engine.host.clone(), self.vm().id.clone());
        tokio::task::spawn_blocking(move || {
            if let Err(error) = host.set_apart(&id, &processes) {
                tracing::warn!(vm = %id, error = chain(&error), "not in a unit of its own");
            }
        });
    }

    /// Waits until the VMM says that the machine runs; tells it what that is, where it does not
    /// know yet.
    pub(super) async fn runs(
        &self,
        log: &OpLog,
        stage: &'static str,
        boot: &Boot,
        booted: &Booted,
    ) -> Result<(), OpError> {
        let (booting, sockets) = (self.booting(log, stage), self.sockets());
        let Booted { process, vmm_log, .. } = booted;
        match self.vm().spec.vmm {
            Vmm::Qemu => {
                let answered = booting.monitor(process, &sockets.qmp, vmm_log).await;
                self.unless_too_old(answered).await
            }
            Vmm::Firecracker => {
                let tool = Tool::Firecracker;
                booting.socket(tool, Some(process), &sockets.api, vmm_log).await?;
                let api = Firecracker::at(&sockets.api);
                let told = async {
                    for put in firecracker::configuration(&self.vm(), &self.dir(), &sockets, boot) {
                        api.put(&put).await?;
                    }
                    Ok(())
                };
                self.unless_too_old(told.await).await
            }
        }
    }

    /// Ends the run's processes and starts them anew.
    pub(super) async fn boot_again(&self, log: &OpLog, boot: &Boot) -> Result<Booted, OpError> {
        log.check()?;
        let vm = self.vm();
        released(self.engine.release(vm.id.as_str(), true).await?)?;
        let run = self.engine.store.run(self.intend_run(&vm, boot)).await?;
        let booted = self.prepare(log, boot, run).await?;
        self.runs(log, "agent", boot, &booted).await?;
        let pid = booted.process.pid;
        self.change(Some(log), |vm| {
            vm.run.iter_mut().for_each(|run| run.pid = pid);
            Ok(())
        })
        .await?;
        Ok(booted)
    }

    fn booting<'a>(&'a self, log: &'a OpLog, stage: &'static str) -> Booting<'a> {
        let limit = SOCKET_LIMIT.min(self.ready_limit());
        Booting { log, host: &*self.engine.host, stage, limit }
    }

    /// Tells of a VMM that is too old, where that may be why it does not run.
    async fn unless_too_old<T>(&self, result: Result<T, OpError>) -> Result<T, OpError> {
        let why = match result {
            Err(why) if !why.is_cancelled() => why,
            result => return result,
        };
        let (runner, tool) = (self.engine.runner.clone(), self.vmm_program());
        let found = blocking(move || Ok(version(runner.as_ref(), tool))).await;
        Err(match (found, oldest(tool)) {
            (Ok(Some(found)), Some(oldest)) if found < oldest => {
                OpError::TooOld { tool, found, oldest, why: Box::new(why) }
            }
            _ => why,
        })
    }

    fn vmm_program(&self) -> Tool {
        match self.vm().spec.vmm {
            Vmm::Qemu => Tool::QemuSystem,
            Vmm::Firecracker => Tool::Firecracker,
        }
    }

    /// What the VMM will be started with.
    pub(super) async fn boot(
        &self,
        log: &OpLog,
        vm: &Vm,
        subnet: Option<Ipv4Net>,
    ) -> Result<Boot, OpError> {
        let image = self.image(vm).await?;
        let kvm = self.has_kvm();
        let tsc_khz = blocking(move || Ok((!kvm).then(banger_host::tsc_khz))).await?;
        let network = self.guest_network(log, vm, subnet).await?;
        let (args, machine) = (&image.boot_set.boot_args, Machine { tsc_khz });
        let boot_args = match &network {
            // The root may have nothing that sets up a network.
            Some(network) if vm.temporary && !image.boot_set.is_ours() => {
                bootargs::image_build(args, &machine, &network.ip)
            }
            _ => bootargs::runtime(args, &machine),
        };
        Ok(Boot {
            kernel: self.engine.dirs.image(image.id.as_str()).join(files::KERNEL),
            initramfs: match image.boot_set.is_ours() {
                true => self.run_dir().join("initramfs.cpio"),
                false => self.engine.dirs.image(image.id.as_str()).join(files::INITRAMFS),
            },
            ours: image.boot_set.is_ours(),
            root: match vm.spec.root_disk {
                RootDisk::Qcow2 | RootDisk::Clone => vm_files::overlay(&self.dir()),
                RootDisk::DmSnapshot => {
                    Path::new("/dev/mapper").join(root_device(geteuid().as_raw(), &vm.id))
                }
            },
            boot_args,
            network,
            subnet,
            kvm,
        })
    }
}

/// What a run is about to acquire.
pub(super) struct RunRows {
    run_dir: Intended,
    root: Option<Intended>,
    tap: Option<Intended>,
    vsock: Option<Intended>,
    vmm: Intended,
}

/// What a start has made when its guest boots.
pub(super) struct Booted {
    pub(super) process: ProcessId,
    /// The agent rings at it.
    pub(super) doorbell: UnixListener,
    vmm_log: Words,
}

/// Waiting for programs that were just started.
struct Booting<'a> {
    /// The operation: its cancel ends the wait.
    log: &'a OpLog,
    /// The host that they run on.
    host: &'a dyn HostOps,
    /// What they are waited for in.
    stage: &'static str,
    /// How long each may take.
    limit: Duration,
}

impl Booting<'_> {
    /// Waits until a process listens at its socket.
    async fn socket(
        &self,
        tool: Tool,
        process: Option<&ProcessId>,
        socket: &Path,
        words: &Words,
    ) -> Result<(), OpError> {
        let deadline = Instant::now() + self.limit;
        while !listens(socket) {
            self.log.check()?;
            if !process.is_some_and(|process| self.host.is_alive(process)) {
                return Err(self.ended(tool, process, words).await);
            }
            if Instant::now() > deadline {
                let last = format!("nobody listens at {}", socket.display());
                return Err(OpError::NotReady { stage: self.stage, limit: self.limit, last });
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// Waits until QEMU's monitor says how the machine is.
    async fn monitor(
        &self,
        process: &ProcessId,
        socket: &Path,
        words: &Words,
    ) -> Result<(), OpError> {
        let deadline = Instant::now() + self.limit;
        loop {
            let answer = async { Qmp::connect(socket).await?.execute("query-status").await };
            // One that hangs holds its own limit, not the monitor's.
            let left = deadline.saturating_duration_since(Instant::now());
            let last = match tokio::time::timeout(left, answer).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => chain(&error),
                Err(_) => "the monitor of QEMU does not answer".to_owned(),
            };
            if !self.host.is_alive(process) {
                return Err(self.ended(Tool::QemuSystem, Some(process), words).await);
            }
            if Instant::now() > deadline {
                return Err(OpError::NotReady { stage: self.stage, limit: self.limit, last });
            }
            self.log.check()?;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// How a process ended that should have run on: its status and its last words.
    async fn ended(&self, tool: Tool, process: Option<&ProcessId>, words: &Words) -> OpError {
        let how = match process {
            Some(process) => self.host.ended(process).await.ok().flatten(),
            None => None,
        };
        let how = how.unwrap_or_else(|| "nobody saw how".to_owned());
        let log = guest::console_tail(&words.path, words.from);
        HostError::EndedAtOnce { what: tool.program().to_owned(), how, log }.into()
    }
}

/// What a program says from some moment on, in a log that it appends to.
struct Words {
    path: PathBuf,
    from: u64,
}

impl Words {
    fn from_now_on(path: PathBuf) -> Self {
        let from = std::fs::metadata(&path).map_or(0, |m| m.len());
        Self { path, from }
    }
}
