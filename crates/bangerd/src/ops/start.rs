//! Starting a VM: its segment, its processes, its readiness.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use banger_core::agent;
use banger_core::bootargs::{self, Machine};
use banger_core::dirs::vm_files;
use banger_core::guest::{BootConfig, GuestNetwork, Identity};
use banger_core::image::{Image, files};
use banger_core::operation::EventKind;
use banger_core::resource::{ProcessId, ResourceSpec};
use banger_core::vm::{Network, Readiness, Run, StopCause, Transition, Vm, VmState, WaitFor};
use banger_exec::Tool;
use banger_host::{HostError, HostOps, OLDEST_QEMU, qemu_version};
use banger_image::parts;
use tokio::net::UnixListener;

use crate::clock::now;
use crate::engine::oplog::OpLog;
use crate::engine::resources::{Intended, blocking};
use crate::engine::vm::{VmCtx, apply};
use crate::error::{OpError, chain};
use crate::guest;
use crate::ops::keys;
use crate::store::journal::Scope;
use crate::store::vms;
use crate::vmm::qemu::{Boot, vmm_process, vsock_process};
use crate::vmm::qmp::Qmp;

/// How long a program may take to make its socket.
const SOCKET_LIMIT: Duration = Duration::from_secs(20);

impl VmCtx {
    /// Starts the VM; on failure it is stopped again.
    pub(crate) async fn start_op(&self, log: &OpLog, wait: WaitFor) {
        self.start_anew(log, wait, false).await;
    }

    /// Stops the VM if it runs, then starts it.
    pub(crate) async fn restart_op(&self, log: &OpLog, wait: WaitFor) {
        self.start_anew(log, wait, true).await;
    }

    async fn start_anew(&self, log: &OpLog, wait: WaitFor, restart: bool) {
        let stopped = async {
            self.recover(Some(log)).await?;
            log.check()?;
            match (self.vm().state, self.process()) {
                (VmState::Running, Some(process)) if !restart => return Ok(Some(process)),
                (state, _) if state.is_active() => self.stop(log).await?,
                _ => {}
            }
            Ok(None)
        };
        let (mut rollback, mut console) = (Vec::new(), String::new());
        let result = match stopped.await {
            Ok(None) => {
                let started = self.start(log, wait).await;
                if let Err(error) = &started {
                    console = self.console_tail();
                    let undone = self.abort_start(log, error).await;
                    rollback = undone.unwrap_or_else(|error| vec![chain(&error)]);
                }
                started
            }
            // It runs already, but may be less ready than is asked for now.
            Ok(Some(process)) => {
                let waiting = Waiting { log, wait, started: Instant::now() };
                self.wait_for_services(&waiting, &process).await
            }
            Err(error) => Err(error),
        };
        self.finish(log, result, rollback, console).await;
    }

    /// Stops a VM whose start failed: in an orderly way if its guest had come up.
    pub(crate) async fn abort_start(
        &self,
        log: &OpLog,
        error: &OpError,
    ) -> Result<Vec<String>, OpError> {
        if !self.vm().state.is_active() {
            return Ok(Vec::new());
        }
        if self.vm().run.is_some_and(|run| run.boot_id.is_some()) {
            self.shut_down(None).await?;
        }
        let cause = match error.is_cancelled() {
            true => StopCause::Requested,
            false => StopCause::StartFailed { detail: chain(error) },
        };
        self.end_run(Some(log), cause).await
    }

    /// Starts the VM and waits until it is as ready as asked. On failure the
    /// run's resources are still held: the caller knows how much to undo.
    pub(crate) async fn start(&self, log: &OpLog, wait: WaitFor) -> Result<(), OpError> {
        let started = Instant::now();
        log.check()?;
        self.check_disks()?;
        let vm = self.vm();
        let boot = self.boot(&vm).await?;
        let (scope, specs) = (Scope::Run, self.run_resources(&vm, &boot));
        let run = self.transition_to_acquire(log, Transition::Start, scope, specs).await?;
        let prepared = log.stage("prepare", self.prepare(log, boot, run)).await?;
        let Prepared { process, doorbell, vmm_log } = prepared;
        let runs = async {
            let qmp = self.sockets().qmp;
            let answered = self.booting(log, "boot").monitor(&process, &qmp, &vmm_log).await;
            self.unless_too_old(answered).await
        };
        log.stage("boot", runs).await?;
        let run = Run {
            started_at: now(),
            pid: process.pid,
            vsock: self.sockets().vsock.to_string_lossy().into_owned(),
            boot_id: None,
            ready: Vec::new(),
        };
        let waiting = Waiting { log, wait, started };
        self.reached(&waiting, "boot", |vm| vm.run = Some(run)).await?;

        let probe = self.probe(log, &process);
        let answered = log.stage("agent", probe.agent(&doorbell)).await;
        let health = answered.map_err(|error| match error {
            OpError::Ended { .. } if guest::panicked(&self.console_tail()) => OpError::Panicked,
            error => error,
        })?;
        if let Some(message) = health.mismatch() {
            log.append(EventKind::Warning { message }).await?;
        }
        self.reached(&waiting, "agent", |vm| {
            vm.complete = true;
            if let Some(run) = &mut vm.run {
                run.boot_id = Some(health.boot_id);
            }
        })
        .await?;
        self.wait_for_services(&waiting, &process).await
    }

    async fn wait_for_services(
        &self,
        waiting: &Waiting<'_>,
        process: &ProcessId,
    ) -> Result<(), OpError> {
        let (vm, log) = (self.vm(), waiting.log);
        let probe = self.probe(log, process);
        if waiting.wait >= WaitFor::Ssh {
            log.stage("ssh", probe.ssh()).await?;
            self.reached(waiting, "ssh", |_| ()).await?;
        }
        if waiting.wait >= WaitFor::Ready && vm.spec.opencode {
            let row = self.engine.store.read(move |db| vms::get(db, &vm.id)).await?;
            let password = row.and_then(|row| row.opencode_password).unwrap_or_default();
            log.stage("opencode", probe.opencode(&password)).await?;
            self.reached(waiting, "opencode", |_| ()).await?;
        }
        Ok(())
    }

    fn probe<'a>(&self, log: &'a OpLog, process: &'a ProcessId) -> guest::Probe<'a> {
        let (host, vsock) = (self.engine.host.clone(), self.sockets().vsock);
        let limit = self.ready_limit();
        guest::Probe { log, host, process, vsock_process: self.vsock(), limit, vsock }
    }

    /// How long each readiness stage may take.
    fn ready_limit(&self) -> Duration {
        let default = if self.engine.kvm { 60 } else { 240 };
        Duration::from_secs(self.engine.config.ready_seconds.unwrap_or(default))
    }

    /// Writes down that a stage was reached, and what it told; that the VM
    /// runs too, if no more was asked for.
    async fn reached(
        &self,
        waiting: &Waiting<'_>,
        stage: &'static str,
        told: impl FnOnce(&mut Vm),
    ) -> Result<(), OpError> {
        let ms = u64::try_from(waiting.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.change(Some(waiting.log), |vm| {
            told(vm);
            if let Some(run) = &mut vm.run
                && run.ready.iter().all(|reached| reached.stage != stage)
            {
                run.ready.push(Readiness { stage: stage.to_owned(), ms });
            }
            let last = last_stage(waiting.wait, vm.spec.opencode) == stage;
            if last && vm.state == VmState::Starting {
                apply(vm, Transition::Ready)
            } else {
                Ok(())
            }
        })
        .await
    }

    /// What a run acquires, in that order.
    fn run_resources(&self, vm: &Vm, boot: &Boot) -> [ResourceSpec; 3] {
        let (dir, sockets) = (self.dir(), self.sockets());
        [
            ResourceSpec::Dir { path: self.run_dir() },
            vsock_process(&sockets, &vm_files::vsock_log(&dir)),
            vmm_process(vm, &dir, &sockets, boot),
        ]
    }

    /// All that comes before the guest: done when the VMM has been started.
    async fn prepare(
        &self,
        log: &OpLog,
        boot: Boot,
        [run_dir, vsock, vmm]: [Intended; 3],
    ) -> Result<Prepared, OpError> {
        let (dir, sockets) = (self.dir(), self.sockets());
        let ensure = |intended| self.engine.ensure(intended, log.cancel());
        ensure(run_dir).await?;
        // In the run's folder, and gone with it.
        let doorbell = UnixListener::bind(agent::doorbell(&sockets.vsock))
            .map_err(OpError::file("listen for the guest's agent"))?;
        self.mark_console();
        let vmm_log = Words::from_now_on(vm_files::vmm_log(&dir));
        let vsock = async {
            let words = Words::from_now_on(vm_files::vsock_log(&dir));
            let vsock = ensure(vsock).await?.process;
            let booting = self.booting(log, "prepare");
            booting.socket(vsock.as_ref(), &sockets.vhost, &words).await?;
            Ok::<_, OpError>(vsock)
        };
        // Both are waited for, also when one fails: nothing is made behind an undoing's back.
        let (vsock, files) = tokio::join!(vsock, self.boot_files(boot));
        files?;
        let vsock = vsock?;
        log.check()?;
        let process = self.unless_too_old(ensure(vmm).await).await?.process;
        let process =
            process.ok_or_else(|| OpError::Internal("the VMM has no process".to_owned()))?;
        self.set_processes(Some(process.clone()), vsock);
        Ok(Prepared { process, doorbell, vmm_log })
    }

    fn booting<'a>(&'a self, log: &'a OpLog, stage: &'static str) -> Booting<'a> {
        let limit = SOCKET_LIMIT.min(self.ready_limit());
        Booting { log, host: &*self.engine.host, stage, limit }
    }

    /// Tells of a QEMU that is too old, where that is why it does not run.
    async fn unless_too_old<T>(&self, result: Result<T, OpError>) -> Result<T, OpError> {
        let why = match result {
            Err(why) if !why.is_cancelled() => why,
            result => return result,
        };
        let runner = self.engine.runner.clone();
        Err(match blocking(move || Ok(qemu_version(runner.as_ref()))).await {
            Ok(Some(found)) if found < OLDEST_QEMU => OpError::TooOld { found, why: Box::new(why) },
            _ => why,
        })
    }

    /// What the VMM will be started with.
    async fn boot(&self, vm: &Vm) -> Result<Boot, OpError> {
        let image = self.image(vm).await?;
        let kvm = self.engine.kvm;
        let tsc_khz = blocking(move || Ok((!kvm).then(banger_host::tsc_khz))).await?;
        Ok(Boot {
            kernel: self.engine.dirs.image(image.id.as_str()).join(files::KERNEL),
            initramfs: self.run_dir().join("initramfs.cpio"),
            boot_args: bootargs::runtime(&image.boot_set.boot_args, &Machine { tsc_khz }),
            kvm,
        })
    }

    /// The image that the VM is made from.
    pub(crate) async fn image(&self, vm: &Vm) -> Result<Image, OpError> {
        let image = self.engine.image(vm.spec.image.as_str()).await;
        image.map_err(|error| OpError::Internal(error.message))
    }

    /// Puts the VM's segment behind the image's initramfs.
    async fn boot_files(&self, boot: Boot) -> Result<(), OpError> {
        let (vm, dir, engine) = (self.vm(), self.dir(), self.engine.clone());
        let image = self.image(&vm).await?;
        let id = vm.id.clone();
        let row = engine.store.read(move |db| vms::get(db, &id)).await?;
        let password = row.and_then(|row| row.opencode_password).filter(|_| vm.spec.opencode);
        blocking(move || {
            let image_dir = engine.dirs.image(image.id.as_str());
            whole(&image_dir, &image)?;
            let (_, public) =
                keys::client_key(engine.runner.as_ref(), &engine.dirs, &engine.config)?;
            let key = vm_files::host_key(&dir);
            let host_key = read(&key)?;
            let host_key_pub = read(&key.with_added_extension("pub"))?;
            let identity = Identity {
                id: &vm.id,
                name: &vm.name,
                network: (vm.spec.network == Network::User).then_some(GuestNetwork::USER),
                host_key: &host_key,
                host_key_pub: &host_key_pub,
                authorized_keys: &public,
                opencode_password: password.as_deref(),
            };
            let config = BootConfig { work: Some("/dev/vdb".to_owned()), ..BootConfig::default() };
            let segment =
                banger_image::initramfs::segment(&config, &banger_core::guest::files(&identity))?;
            write_initramfs(&image_dir.join(files::INITRAMFS), &segment, &boot.initramfs)
        })
        .await
    }
}

/// What a start has made before its guest boots.
struct Prepared {
    process: ProcessId,
    /// The agent rings at it.
    doorbell: UnixListener,
    vmm_log: Words,
}

/// What somebody waits for.
struct Waiting<'a> {
    log: &'a OpLog,
    wait: WaitFor,
    started: Instant,
}

/// The stage after which nothing more is waited for.
fn last_stage(wait: WaitFor, opencode: bool) -> &'static str {
    match wait {
        WaitFor::Agent => "agent",
        WaitFor::Ready if opencode => "opencode",
        WaitFor::Ssh | WaitFor::Ready => "ssh",
    }
}

/// Fails if something of an image is missing or has another length than it was made with.
pub(crate) fn whole(dir: &Path, image: &Image) -> Result<(), OpError> {
    parts::check(dir, image)
        .map_err(|damage| OpError::Damaged { image: image.name.to_string(), damage })
}

fn read(path: &Path) -> Result<String, OpError> {
    std::fs::read_to_string(path).map_err(OpError::file(format!("read {}", path.display())))
}

/// Writes the image's initramfs and the segment, which holds secrets.
fn write_initramfs(base: &Path, segment: &[u8], to: &Path) -> Result<(), OpError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let write = || {
        let mut options = std::fs::File::options();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(to)?;
        std::io::copy(&mut std::fs::File::open(base)?, &mut file)?;
        file.write_all(segment)
    };
    write().map_err(OpError::file(format!("write {}", to.display())))
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
    /// Waits until a process has made its socket.
    async fn socket(
        &self,
        process: Option<&ProcessId>,
        socket: &Path,
        words: &Words,
    ) -> Result<(), OpError> {
        let deadline = Instant::now() + self.limit;
        while !socket.exists() {
            self.log.check()?;
            if !process.is_some_and(|process| self.host.is_alive(process)) {
                return Err(self.ended(Tool::VhostDeviceVsock, process, words).await);
            }
            if Instant::now() > deadline {
                let last = format!("there is no socket {}", socket.display());
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
