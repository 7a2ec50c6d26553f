//! What a daemon does first: make the journal and the host agree with what an
//! earlier daemon, however it ended, left behind.

use std::collections::HashSet;

use banger_core::operation::{Failure, Operation, OperationKind, Outcome};
use banger_core::resource::{Presence, ResourceSpec, Role};
use banger_core::vm::{StopCause, Transition, Vm, VmState};

use crate::clock::now_ms;
use crate::engine::Engine;
use crate::engine::vm::VmCtx;
use crate::error::OpError;
use crate::store::{images, journal, operations, vms};

const INTERRUPTED: &str = "the daemon ended while this was under way";

impl Engine {
    /// Unwinds what was under way, takes up the VMs that run, puts away those
    /// that do not, releases what has no owner, and starts a task for each VM.
    ///
    /// # Errors
    /// The database's. What the host refuses is kept as a failed VM, or logged.
    pub async fn reconcile(&self) -> Result<(), OpError> {
        let (rows, unfinished) =
            self.store.run(|db| Ok((vms::list(db)?, operations::list(db, true)?))).await?;
        for row in rows {
            let creating = |operation: &Operation| {
                operation.kind == OperationKind::VmCreate
                    && operation.vm.as_ref() == Some(&row.vm.id)
            };
            let in_create = unfinished.iter().any(creating);
            let ctx = VmCtx::new(self.clone(), row.vm);
            if let Err(error) = self.reconcile_vm(&ctx, in_create).await {
                tracing::error!(vm = %ctx.vm().id, %error, "a VM could not be reconciled");
            }
            if !ctx.is_gone() {
                self.spawn_task(ctx);
            }
        }
        self.release_ownerless().await?;
        for operation in unfinished {
            let failure = Failure { message: INTERRUPTED.to_owned(), ..Failure::default() };
            let (id, outcome) = (operation.id, Outcome::Failed { failure });
            self.store.run(move |db| operations::finish(db, &id, now_ms(), &outcome)).await?;
        }
        Ok(())
    }

    async fn reconcile_vm(&self, ctx: &VmCtx, in_create: bool) -> Result<(), OpError> {
        let vm = ctx.vm();
        let answered = vm.run.as_ref().is_some_and(|run| run.boot_id.is_some());
        match &vm.state {
            VmState::Defined | VmState::Provisioning => self.unwind(ctx).await,
            VmState::Deleting => self.unwind(ctx).await,
            // A create is undone whole unless the agent had answered.
            VmState::Starting if in_create && !answered => self.unwind(ctx).await,
            VmState::Starting => {
                let cause = StopCause::StartFailed { detail: INTERRUPTED.to_owned() };
                ctx.end_run(None, cause).await.map(drop)
            }
            VmState::Stopping => ctx.end_run(None, StopCause::Requested).await.map(drop),
            VmState::Running => self.take_up(ctx, &vm).await,
            VmState::Stopped(_) => {
                // Nothing of a run is held by a stopped VM; if it is, a daemon died between two writes.
                let failures = self.release(vm.id.as_str(), true).await?;
                if failures.is_empty() { Ok(()) } else { self.broken(ctx, failures).await }
            }
            VmState::Failed { .. } => Ok(()),
        }
    }

    async fn unwind(&self, ctx: &VmCtx) -> Result<(), OpError> {
        let vm = ctx.vm();
        let failures = self.release(vm.id.as_str(), false).await?;
        if !failures.is_empty() {
            return self.broken(ctx, failures).await;
        }
        tracing::info!(vm = %vm.id, state = vm.state.name(), "unwound");
        self.store.run(move |db| vms::delete(db, &vm.id)).await?;
        ctx.set_gone();
        Ok(())
    }

    async fn broken(&self, ctx: &VmCtx, failures: Vec<String>) -> Result<(), OpError> {
        let cause = failures.join("\n");
        ctx.transition(None, Transition::Fail { cause, cleanup_pending: true }).await
    }

    /// A VM that was running: its VMM runs on without a daemon.
    async fn take_up(&self, ctx: &VmCtx, vm: &Vm) -> Result<(), OpError> {
        let owner = vm.id.as_str().to_owned();
        let held = self.store.run(move |db| journal::held(db, &owner, true)).await?;
        let mut rebooted = false;
        for entry in &held {
            if !matches!(entry.spec, ResourceSpec::Process { role: Role::Vmm, .. }) {
                continue;
            }
            if let Presence::Held(observed) = self.host.probe(&entry.spec, entry.observed.as_ref())
            {
                tracing::info!(vm = %vm.id, "taken up");
                ctx.set_process(observed.process);
                return Ok(());
            }
            let boot = entry.observed.as_ref().and_then(|o| o.process.as_ref()).map(|p| &p.boot_id);
            rebooted = boot != banger_host::boot_id().ok().as_ref();
        }
        if rebooted {
            return ctx.end_run(None, StopCause::HostRebooted).await.map(drop);
        }
        ctx.vmm_ended("it ended while no daemon ran".to_owned()).await;
        Ok(())
    }

    /// Releases what belongs to neither a VM nor an image: builds that were under way.
    async fn release_ownerless(&self) -> Result<(), OpError> {
        let (owners, known) = self
            .store
            .run(|db| {
                let vms = vms::list(db)?.into_iter().map(|row| row.vm.id.to_string());
                let images = images::list(db)?.into_iter().map(|image| image.id.to_string());
                Ok((journal::owners(db)?, vms.chain(images).collect::<HashSet<String>>()))
            })
            .await?;
        for owner in owners.iter().filter(|owner| !known.contains(*owner)) {
            // What fails is logged there, and tried again by the next daemon.
            self.release(owner, false).await?;
        }
        Ok(())
    }
}
