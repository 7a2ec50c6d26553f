//! One VM as its task sees it: its content, its state, its process.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use banger_core::dirs::vm_files;
use banger_core::operation::{EventKind, Object, Outcome};
use banger_core::resource::ProcessId;
use banger_core::vm::{StopCause, Transition, Vm};

use crate::clock::now_ms;
use crate::engine::oplog::OpLog;
use crate::engine::{Engine, lock};
use crate::error::OpError;
use crate::guest;
use crate::store::{operations, vms};
use crate::vmm::qemu::Sockets;

/// A VM's context. Clones share it; only the VM's task changes it.
#[derive(Clone)]
pub struct VmCtx {
    pub(crate) engine: Engine,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    vm: Vm,
    process: Option<ProcessId>,
    gone: bool,
}

impl VmCtx {
    /// The context of a VM that is in the database.
    #[must_use]
    pub fn new(engine: Engine, vm: Vm) -> Self {
        Self { engine, shared: Arc::new(Mutex::new(Shared { vm, process: None, gone: false })) }
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

    pub(crate) fn set_process(&self, process: Option<ProcessId>) {
        lock(&self.shared).process = process;
    }

    /// Whether it was deleted.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        lock(&self.shared).gone
    }

    pub(crate) fn set_gone(&self) {
        lock(&self.shared).gone = true;
    }

    /// Its folder.
    pub(crate) fn dir(&self) -> PathBuf {
        self.engine.dirs.vm(self.vm().id.as_str())
    }

    /// The folder of its run-time files.
    pub(crate) fn run_dir(&self) -> PathBuf {
        self.engine.dirs.vm_run(self.vm().id.short())
    }

    /// Its sockets while it runs.
    pub(crate) fn sockets(&self) -> Sockets {
        Sockets::in_dir(&self.run_dir())
    }

    /// The end of what its console said.
    pub(crate) fn console_tail(&self) -> String {
        guest::console_tail(&vm_files::console(&self.dir()))
    }

    /// Changes the VM, in the database first.
    pub(crate) async fn change(
        &self,
        log: Option<&OpLog>,
        change: impl FnOnce(&mut Vm) -> Result<(), OpError>,
    ) -> Result<(), OpError> {
        let before = self.vm();
        let mut after = before.clone();
        change(&mut after)?;
        let (row, at) = (after.clone(), now_ms());
        let operation = log.map(|log| log.id().clone());
        self.engine
            .store
            .run(move |db| {
                vms::update(db, &row)?;
                if row.state == before.state {
                    return Ok(());
                }
                let kind = EventKind::StateChanged { vm: row.id, state: row.state };
                operations::append(db, operation.as_ref(), at, &kind)
            })
            .await?;
        lock(&self.shared).vm = after;
        Ok(())
    }

    /// Takes the VM to its next state.
    pub(crate) async fn transition(
        &self,
        log: Option<&OpLog>,
        transition: Transition,
    ) -> Result<(), OpError> {
        self.change(log, |vm| {
            vm.state = vm.state.apply(transition)?;
            if !vm.state.is_active() {
                vm.run = None;
            }
            Ok(())
        })
        .await
    }

    /// Releases what its run holds and takes it to stopped, or to failed if
    /// something cannot be released. Returns what could not.
    pub(crate) async fn end_run(
        &self,
        log: Option<&OpLog>,
        cause: StopCause,
    ) -> Result<Vec<String>, OpError> {
        let failures = self.engine.release(self.vm().id.as_str(), true).await?;
        self.set_process(None);
        let transition = if failures.is_empty() {
            Transition::Ended(cause)
        } else {
            Transition::Fail { cause: failures.join("\n"), cleanup_pending: true }
        };
        self.transition(log, transition).await?;
        Ok(failures)
    }

    /// Releases all that it holds and forgets it. Returns what could not be
    /// released; the VM is then kept as failed.
    pub(crate) async fn remove(&self, log: &OpLog) -> Result<Vec<String>, OpError> {
        let vm = self.vm();
        let failures = self.engine.release(vm.id.as_str(), false).await?;
        self.set_process(None);
        if failures.is_empty() {
            self.engine.store.run(move |db| vms::delete(db, &vm.id)).await?;
            self.set_gone();
        } else {
            let cause = failures.join("\n");
            self.transition(Some(log), Transition::Fail { cause, cleanup_pending: true }).await?;
        }
        Ok(failures)
    }

    /// The VMM ended without being asked to by us.
    pub(crate) async fn vmm_ended(&self, how: String) {
        let console = self.console_tail();
        let cause = if console.contains("Kernel panic") {
            StopCause::Crashed { detail: "the guest's kernel panicked".to_owned() }
        } else if how == "exit status 0" || how == "it ended" {
            StopCause::GuestShutdown
        } else {
            StopCause::Crashed { detail: how }
        };
        tracing::info!(vm = %self.vm().id, ?cause, "the VMM ended");
        if let Err(error) = self.end_run(None, cause).await {
            tracing::error!(vm = %self.vm().id, %error, "a VM that ended could not be put away");
            // Without this the task would see the same end again at once.
            self.set_process(None);
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
        let outcome = match result {
            Ok(()) => {
                let object = (!self.is_gone()).then(|| Box::new(Object::Vm(self.vm())));
                Outcome::Succeeded { object }
            }
            Err(error) if error.is_cancelled() && rollback.is_empty() => Outcome::Cancelled,
            Err(error) => Outcome::Failed { failure: error.failure(rollback, console) },
        };
        if let Err(error) = log.finish(outcome).await {
            tracing::error!(operation = %log.id(), %error, "an operation could not be ended");
        }
    }
}
