//! Starting a VM: its segment, its processes, its readiness.

use std::time::{Duration, Instant};

use banger_core::agent::Health;
use banger_core::image::Image;
use banger_core::operation::EventKind;
use banger_core::resource::ProcessId;
use banger_core::vm::{Readiness, Run, StopCause, Transition, Vm, VmState, WaitFor};
use banger_image::parts::{self, Damage};

use rusqlite::Transaction;

use crate::clock::{now, now_ms};
use crate::engine::oplog::OpLog;
use crate::engine::resources::blocking;
use crate::engine::vm::{VmCtx, apply};
use crate::error::{OpError, chain};
use crate::guest;
use crate::ops::boot::Booted;
use crate::store::{images, operations, vms};
use crate::vmm::Boot;

/// How often a guest is booted in one start before it is given up.
const BOOTS: u32 = 3;
/// The least time that the init of an emulated guest is given to say something.
const LEAST_SILENCE: Duration = Duration::from_secs(15);

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
                (VmState::Paused(_), Some(process)) if !restart => {
                    self.resume(Some(log)).await?;
                    return Ok(Some(process));
                }
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
                let waiting = Waiting { log, wait, started: Instant::now(), cold: false };
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
        self.check_room().await?;
        let subnet = self.take_lease(log).await?;
        let vm = self.vm();
        let cold = vm.state == VmState::Stopped(StopCause::New);
        let boot = self.boot(log, &vm, subnet).await?;
        let intend = self.intend_run(&vm, &boot);
        let run = self.change_and(Some(log), |vm| apply(vm, Transition::Start), intend).await?;
        self.check_image(log).await?;
        let mut booted = log.stage("prepare", self.prepare(log, &boot, run)).await?;
        log.stage("boot", self.runs(log, "boot", &boot, &booted)).await?;
        let run = Run {
            started_at: now(),
            pid: booted.process.pid,
            vsock: self.sockets().vsock.to_string_lossy().into_owned(),
            boot_id: None,
            ready: Vec::new(),
        };
        let waiting = Waiting { log, wait, started, cold };
        self.reached(&waiting, "boot", |vm| vm.run = Some(run)).await?;

        let health = log.stage("agent", self.first_answer(log, &boot, &mut booted)).await?;
        let process = booted.process;
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

    /// Waits for the agent.
    async fn first_answer(
        &self,
        log: &OpLog,
        boot: &Boot,
        booted: &mut Booted,
    ) -> Result<Health, OpError> {
        let mut boots = 1;
        loop {
            let signs = self.signs_of(boot, boots);
            let probe = self.probe(log, &booted.process);
            match self.unless_full(probe.agent(&booted.doorbell, &signs)).await {
                Err(OpError::Misbooted { why }) => {
                    self.boot_better(log, boot, booted, &mut boots, why).await?;
                }
                Err(OpError::Ended { .. }) if guest::panicked(&self.console_tail()) => {
                    return Err(OpError::Panicked);
                }
                answered => return answered,
            }
        }
    }

    /// What tells how the guest boots, for the how-manieth time.
    pub(super) fn signs_of(&self, boot: &Boot, boots: u32) -> guest::Signs {
        // A kernel hangs by emulation only. Each time more patience: a machine that is slow is not
        // to lose again and again what its guest has done.
        let silence = (self.ready_limit() / 4).max(LEAST_SILENCE) * boots;
        // Another's initramfs says nothing that is known.
        self.signs((!boot.kvm && boot.ours && boots < BOOTS).then_some(silence))
    }

    /// Boots a guest again that did not boot well; fails if it had its chances.
    pub(super) async fn boot_better(
        &self,
        log: &OpLog,
        boot: &Boot,
        booted: &mut Booted,
        boots: &mut u32,
        why: String,
    ) -> Result<(), OpError> {
        if *boots >= BOOTS {
            return Err(OpError::Misbooted { why });
        }
        *boots += 1;
        let message = format!("the guest did not boot well: {why}; it boots again");
        log.append(EventKind::Warning { message }).await?;
        *booted = self.boot_again(log, boot).await?;
        Ok(())
    }

    async fn wait_for_services(
        &self,
        waiting: &Waiting<'_>,
        process: &ProcessId,
    ) -> Result<(), OpError> {
        let (vm, log) = (self.vm(), waiting.log);
        let probe = self.probe(log, process);
        if waiting.wait >= WaitFor::Ssh {
            log.stage("ssh", self.unless_full(probe.ssh())).await?;
            self.reached(waiting, "ssh", |_| ()).await?;
        }
        if waiting.wait >= WaitFor::Ready && vm.spec.opencode {
            let row = self.engine.store.read(move |db| vms::get(db, &vm.id)).await?;
            let password = row.and_then(|row| row.opencode_password).unwrap_or_default();
            // It unpacks and compiles for itself what later starts find.
            let limit = if waiting.cold { probe.limit * 2 } else { probe.limit };
            let probe = guest::Probe { limit, ..probe };
            log.stage("opencode", self.unless_full(probe.opencode(&password))).await?;
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
    pub(super) fn ready_limit(&self) -> Duration {
        let default = if self.has_kvm() { 60 } else { 240 };
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

    /// Fails if something of the image is not as it was made: before anything is made of it. What
    /// was only touched, or never written down, is read once.
    pub(crate) async fn check_image(&self, log: &OpLog) -> Result<(), OpError> {
        let image = self.image(&self.vm()).await?;
        let dir = self.engine.dirs.image(image.id.as_str());
        let (checked, in_dir) = (image.clone(), dir.clone());
        let check = move || Ok(parts::check(&in_dir, &checked).err());
        match blocking(check).await? {
            None if !image.parts.is_empty() => return Ok(()),
            Some(damage) if !damage.is_touch() => return Err(damaged(&image, damage)),
            _ => {}
        }
        let read = image.clone();
        let renew = blocking(move || parts::renew(&dir, &read).map_err(|why| damaged(&read, why)));
        let parts = log.stage("fingerprint", renew).await?;
        // The rest of it may have changed meanwhile, by a promotion.
        let operation = log.id().clone();
        let update = move |db: &Transaction<'_>| match images::find(db, image.id.as_str())?.pop() {
            Some(now) if now.in_place == image.in_place => {
                let known = Image { parts, ..now };
                images::update(db, &known)?;
                operations::image_changed(db, Some(&operation), now_ms(), known)
            }
            _ => Ok(()),
        };
        Ok(self.engine.store.run(update).await?)
    }

    /// The image that the VM is made from.
    pub(crate) async fn image(&self, vm: &Vm) -> Result<Image, OpError> {
        let id = vm.spec.image.clone();
        let found = self.engine.store.read(move |db| images::find(db, id.as_str())).await?.pop();
        found.ok_or_else(|| OpError::Internal(format!("the image of '{}' is not known", vm.name)))
    }
}

/// What somebody waits for.
struct Waiting<'a> {
    log: &'a OpLog,
    wait: WaitFor,
    started: Instant,
    /// Whether it is the first start of all.
    cold: bool,
}

/// The stage after which nothing more is waited for.
fn last_stage(wait: WaitFor, opencode: bool) -> &'static str {
    match wait {
        WaitFor::Agent => "agent",
        WaitFor::Ready if opencode => "opencode",
        WaitFor::Ssh | WaitFor::Ready => "ssh",
    }
}

fn damaged(image: &Image, damage: Damage) -> OpError {
    OpError::Damaged { image: image.name.to_string(), damage }
}
