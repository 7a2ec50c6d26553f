//! One VM as its task sees it: its content, its state, its process.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use banger_core::dirs::vm_files;
use banger_core::operation::{EventKind, Object, Outcome};
use banger_core::resource::{ProcessId, ResourceSpec};
use banger_core::vm::{StopCause, Transition, Vm, VmState, Vmm};
use rusqlite::Transaction;

use crate::clock::now_ms;
use crate::engine::oplog::OpLog;
use crate::engine::resources::{Intended, intend};
use crate::engine::{Engine, lock};
use crate::error::OpError;
use crate::guest;
use crate::store::journal::Scope;
use crate::store::{StoreError, operations, vms};
use crate::vmm::Sockets;

/// How much later than its vsock process a VMM that ends too may be seen to end.
const VMM_ENDS_TOO: Duration = Duration::from_secs(1);

/// A VM's context. Clones share it; only the VM's task changes it.
#[derive(Clone)]
pub struct VmCtx {
    pub(crate) engine: Engine,
    shared: Arc<Mutex<Shared>>,
}

/// Tells of a VM. It holds no engine, so an engine may hold it.
pub(crate) struct Look(Arc<Mutex<Shared>>);

impl Look {
    /// Whether there is a VMM.
    pub(crate) fn runs(&self) -> bool {
        lock(&self.0).process.is_some()
    }

    /// Whether there may be a VMM, by the VM's state.
    pub(crate) fn is_active(&self) -> bool {
        lock(&self.0).vm.state.is_active()
    }

    /// Its VMM, while one runs.
    pub(crate) fn process(&self) -> Option<ProcessId> {
        lock(&self.0).process.clone()
    }

    /// The VM as it is now; nothing if it was deleted.
    pub(crate) fn vm(&self) -> Option<Vm> {
        let shared = lock(&self.0);
        (!shared.gone).then(|| shared.vm.clone())
    }
}

struct Shared {
    vm: Vm,
    process: Option<ProcessId>,
    vsock: Option<ProcessId>,
    gone: bool,
    console_from: u64,
    /// Whether it was told in this run that the overlay fills.
    warned: bool,
    /// Whether the VMM may stand still although the VM runs.
    held: bool,
    /// When the VMM was asked last whether it stands still by itself.
    asked: Option<Instant>,
}

impl VmCtx {
    /// The context of a VM that is in the database.
    #[must_use]
    pub fn new(engine: Engine, vm: Vm) -> Self {
        Self {
            engine,
            shared: Arc::new(Mutex::new(Shared {
                vm,
                process: None,
                vsock: None,
                gone: false,
                console_from: 0,
                warned: false,
                held: false,
                asked: None,
            })),
        }
    }

    /// The VM as it is now.
    #[must_use]
    pub fn vm(&self) -> Vm {
        lock(&self.shared).vm.clone()
    }

    /// Its VMM, while one runs.
    #[must_use]
    pub fn process(&self) -> Option<ProcessId> {
        lock(&self.shared).process.clone()
    }

    pub(crate) fn look(&self) -> Look {
        Look(self.shared.clone())
    }

    /// The vsock process beside it.
    #[must_use]
    pub fn vsock(&self) -> Option<ProcessId> {
        lock(&self.shared).vsock.clone()
    }

    pub(crate) fn set_processes(&self, vmm: Option<ProcessId>, vsock: Option<ProcessId>) {
        let mut shared = lock(&self.shared);
        (shared.process, shared.vsock) = (vmm, vsock);
    }

    /// Whether it was deleted.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        lock(&self.shared).gone
    }

    /// Whether its guest runs on KVM: that of Firecracker always does.
    pub(crate) fn has_kvm(&self) -> bool {
        self.engine.kvm || self.vm().spec.vmm == Vmm::Firecracker
    }

    /// Its folder.
    pub(crate) fn dir(&self) -> PathBuf {
        self.engine.dirs.vm(self.vm().id.as_str())
    }

    /// The folder of its run-time files.
    pub(crate) fn run_dir(&self) -> PathBuf {
        self.engine.dirs.vm_run(self.vm().id.short())
    }

    /// Its sockets while it runs: where the daemon that started it put them.
    pub(crate) fn sockets(&self) -> Sockets {
        match &self.vm().run {
            Some(run) => Sockets::of_run(run),
            None => Sockets::in_dir(&self.run_dir()),
        }
    }

    /// Fails if one of its disks was removed under it.
    pub(crate) fn check_disks(&self) -> Result<(), OpError> {
        let dir = self.dir();
        let mut disks = [vm_files::overlay(&dir), vm_files::work_disk(&dir)].into_iter();
        disks.find(|disk| !disk.exists()).map_or(Ok(()), |disk| Err(OpError::DiskGone(disk)))
    }

    /// Where its console's log ends now: what is said from here on is of this run.
    pub(crate) fn mark_console(&self) {
        let length = std::fs::metadata(vm_files::console(&self.dir())).map_or(0, |m| m.len());
        let mut shared = lock(&self.shared);
        (shared.console_from, shared.warned) = (length, false);
    }

    pub(crate) fn hold(&self, held: bool) {
        lock(&self.shared).held = held;
    }

    pub(crate) fn is_held(&self) -> bool {
        lock(&self.shared).held
    }

    /// Whether it was told in this run that the overlay fills; from now on it was.
    pub(crate) fn was_warned(&self) -> bool {
        std::mem::replace(&mut lock(&self.shared).warned, true)
    }

    /// Whether so much time has passed since this was last the case.
    pub(crate) fn is_due(&self, after: Duration) -> bool {
        let mut shared = lock(&self.shared);
        let due = shared.asked.is_none_or(|asked| asked.elapsed() >= after);
        if due {
            shared.asked = Some(Instant::now());
        }
        due
    }

    /// The end of what its console said in this run.
    pub(crate) fn console_tail(&self) -> String {
        let from = lock(&self.shared).console_from;
        guest::console_tail(&vm_files::console(&self.dir()), from)
    }

    /// What tells of its guest's boot on the console.
    pub(crate) fn signs(&self, silence: Option<Duration>) -> guest::Signs {
        let from = lock(&self.shared).console_from;
        guest::Signs { console: vm_files::console(&self.dir()), from, silence }
    }

    /// Changes the VM, in the database first.
    pub(crate) async fn change(
        &self,
        log: Option<&OpLog>,
        change: impl FnOnce(&mut Vm) -> Result<(), OpError>,
    ) -> Result<(), OpError> {
        self.change_and(log, change, |_| Ok(())).await
    }

    /// Changes the VM, in the database first and in one transaction with `also`.
    pub(crate) async fn change_and<T: Send + 'static>(
        &self,
        log: Option<&OpLog>,
        change: impl FnOnce(&mut Vm) -> Result<(), OpError>,
        also: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, OpError> {
        let before = self.vm();
        let mut after = before.clone();
        change(&mut after)?;
        let (row, at) = (after.clone(), now_ms());
        let operation = log.map(|log| log.id().clone());
        let shared = self.shared.clone();
        let work = move |db: &Transaction<'_>| {
            vms::update(db, &row)?;
            let append = |kind| operations::append(db, operation.as_ref(), at, &kind);
            let as_before = Vm { state: before.state.clone(), ..row.clone() };
            if as_before != before && !row.temporary {
                append(EventKind::VmChanged { vm: Box::new(row.clone()) })?;
            }
            if row.state != before.state {
                append(EventKind::StateChanged { vm: row.id, state: row.state })?;
            }
            also(db)
        };
        Ok(self.engine.store.run_then(work, move || lock(&shared).vm = after).await?)
    }

    /// Takes the VM to its next state.
    pub(crate) async fn transition(
        &self,
        log: Option<&OpLog>,
        transition: Transition,
    ) -> Result<(), OpError> {
        self.change(log, |vm| apply(vm, transition)).await
    }

    /// Takes the VM to its next state, and writes down in the same transaction
    /// what it acquires there.
    pub(crate) async fn transition_to_acquire<const N: usize>(
        &self,
        log: &OpLog,
        transition: Transition,
        scope: Scope,
        specs: [ResourceSpec; N],
    ) -> Result<[Intended; N], OpError> {
        let owner = self.vm().id;
        let intend = move |db: &Transaction<'_>| intend(db, owner.as_str(), scope, specs);
        self.change_and(Some(log), |vm| apply(vm, transition), intend).await
    }

    /// Releases what its run holds and takes it to stopped, or to failed if
    /// something cannot be released. Returns what could not.
    pub(crate) async fn end_run(
        &self,
        log: Option<&OpLog>,
        cause: StopCause,
    ) -> Result<Vec<String>, OpError> {
        let failures = self.engine.release(self.vm().id.as_str(), true).await?;
        let transition = if failures.is_empty() {
            self.set_processes(None, None);
            Transition::Ended(cause)
        } else {
            Transition::Fail { cause: failures.join("\n"), removing: false }
        };
        self.transition(log, transition).await?;
        Ok(failures)
    }

    /// Brings a VM whose last run could not be released to stopped, at last.
    pub(crate) async fn recover(&self, log: Option<&OpLog>) -> Result<(), OpError> {
        if matches!(self.vm().state, VmState::Failed { removing: false, .. }) {
            released(self.engine.release(self.vm().id.as_str(), true).await?)?;
            self.set_processes(None, None);
            self.transition(log, Transition::Recovered).await?;
        }
        Ok(())
    }

    /// Releases all that it holds, a VMM that runs first, and forgets it.
    /// Returns what could not be released; the VM is then kept as failed. From
    /// the first write on there is no way back: the next daemon goes on.
    pub(crate) async fn remove(&self, log: Option<&OpLog>) -> Result<Vec<String>, OpError> {
        self.transition(log, Transition::Delete).await?;
        let vm = self.vm();
        let failures = self.engine.release(vm.id.as_str(), false).await?;
        if failures.is_empty() {
            self.set_processes(None, None);
            let (operation, at) = (log.map(|log| log.id().clone()), now_ms());
            let delete = move |db: &Transaction<'_>| {
                vms::delete(db, &vm.id)?;
                let deleted = EventKind::VmDeleted { vm: vm.id };
                operations::append(db, operation.as_ref(), at, &deleted)
            };
            let shared = self.shared.clone();
            self.engine.store.run_then(delete, move || lock(&shared).gone = true).await?;
        } else {
            let cause = failures.join("\n");
            self.transition(log, Transition::Fail { cause, removing: true }).await?;
        }
        Ok(failures)
    }

    /// The VMM ended without being asked to by us; `how`, if it was our child.
    pub(crate) async fn vmm_ended(&self, how: Option<String>) {
        let console = self.console_tail();
        let cause = match how {
            _ if guest::panicked(&console) => {
                StopCause::Crashed { detail: "the guest's kernel panicked".to_owned() }
            }
            Some(how) if how != "exit status 0" => StopCause::Crashed { detail: how },
            // Not our child: the guest has said whether it went by itself.
            None if !guest::went(&console) => {
                StopCause::Crashed { detail: "its VMM ended, nobody saw how".to_owned() }
            }
            _ => StopCause::GuestShutdown,
        };
        tracing::info!(vm = %self.vm().id, ?cause, "the VMM ended");
        self.put_away(cause).await;
    }

    /// The vsock process ended by itself. Nothing can be said to the guest any
    /// more but by the VMM, and no other vsock process can take over.
    pub(crate) async fn vsock_ended(&self, how: Option<String>) {
        // It ends with its VMM too, whose end may be seen second.
        if let Some(process) = self.process() {
            let ended = self.engine.host.ended(&process);
            if let Ok(Ok(how)) = tokio::time::timeout(VMM_ENDS_TOO, ended).await {
                return self.vmm_ended(how).await;
            }
        }
        let how = how.map(|how| format!(" ({how})")).unwrap_or_default();
        let detail = format!("its vsock process, vhost-device-vsock, ended{how}");
        tracing::error!(vm = %self.vm().id, detail, "the VM is stopped");
        if let Err(error) = self.shut_down(None).await {
            tracing::error!(vm = %self.vm().id, %error, "it could not be stopped in an orderly way");
        }
        self.put_away(StopCause::Crashed { detail }).await;
    }

    async fn put_away(&self, cause: StopCause) {
        // Whatever comes of the release, this process is gone: do not see its end again.
        self.set_processes(None, None);
        if let Err(error) = self.end_run(None, cause).await {
            tracing::error!(vm = %self.vm().id, %error, "a VM that ended could not be put away");
        }
    }

    /// Ends an operation by its result.
    pub(crate) async fn finish(
        &self,
        log: &OpLog,
        result: Result<(), OpError>,
        rollback: Vec<String>,
        console: String,
    ) {
        log.finish(match result {
            Ok(()) => {
                let object = (!self.is_gone()).then(|| Box::new(Object::Vm(self.vm())));
                Outcome::Succeeded { object }
            }
            Err(error) if error.is_cancelled() && rollback.is_empty() => Outcome::Cancelled,
            Err(error) => Outcome::Failed { failure: error.failure(rollback, console) },
        })
        .await;
    }
}

/// Takes a VM to its next state.
pub(crate) fn apply(vm: &mut Vm, transition: Transition) -> Result<(), OpError> {
    vm.state = vm.state.apply(transition)?;
    if !vm.state.is_active() {
        vm.run = None;
    }
    Ok(())
}

/// A release that left something is a failure that lists what.
pub(crate) fn released(failures: Vec<String>) -> Result<(), OpError> {
    if failures.is_empty() { Ok(()) } else { Err(OpError::Release(failures.join("\n"))) }
}
