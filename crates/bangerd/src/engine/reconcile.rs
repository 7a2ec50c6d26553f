//! What a daemon does first: make the journal and the host agree with what an
//! earlier daemon, however it ended, left behind.

use std::collections::HashSet;

use banger_core::operation::{Failure, Object, Operation, OperationKind, Outcome};
use banger_core::resource::{ResourceSpec, Role};
use banger_core::vm::{StopCause, Vm, VmState, Vmm};

use crate::clock::now_ms;
use crate::engine::Engine;
use crate::engine::network::OWNER;
use crate::engine::task::Wish;
use crate::engine::vm::{VmCtx, released};
use crate::error::OpError;
use crate::store::{images, journal, operations, vms};

const INTERRUPTED: &str = "the daemon ended while this was under way";

/// What is left to do for a VM once it has a task.
enum Then {
    Nothing,
    /// Its guest is up, and was being stopped, or was being waited for by
    /// nobody any more: it gets an orderly end.
    Stop,
}

impl Engine {
    /// Unwinds what was under way, takes up the VMs that run, puts away those
    /// that do not, releases what has no owner, and starts a task for each VM.
    ///
    /// # Errors
    /// The database's. What the host refuses is kept as a failed VM, or logged.
    pub async fn reconcile(&self) -> Result<(), OpError> {
        let (rows, unfinished) =
            self.store.read(|db| Ok((vms::list(db)?, operations::list(db, true)?))).await?;
        let mut kept = Vec::new();
        for row in rows {
            let ctx = VmCtx::new(self.clone(), row.vm);
            let then = self.reconcile_vm(&ctx).await.unwrap_or_else(|error| {
                tracing::error!(vm = %ctx.vm().id, %error, "a VM could not be reconciled");
                Then::Nothing
            });
            if !ctx.is_gone() {
                kept.push((ctx, then));
            }
        }
        self.remove_temporary_images().await?;
        self.release_ownerless().await?;
        for operation in unfinished {
            let (id, outcome) = (operation.id.clone(), outcome_of(&operation, &kept));
            self.store.run(move |db| operations::finish(db, &id, now_ms(), &outcome)).await?;
        }
        for (ctx, then) in kept {
            let vm = ctx.vm().id;
            self.spawn_task(ctx);
            if matches!(then, Then::Stop)
                && let Err(error) = self.request(&vm, Wish::Stop).await
            {
                tracing::error!(%vm, %error, "a VM that was being stopped runs on");
            }
        }
        Ok(())
    }

    async fn reconcile_vm(&self, ctx: &VmCtx) -> Result<Then, OpError> {
        let vm = ctx.vm();
        let answered = vm.run.as_ref().is_some_and(|run| run.boot_id.is_some());
        match &vm.state {
            VmState::Deleting | VmState::Failed { removing: true, .. } => {
                ctx.remove(None).await?;
            }
            _ if !vm.complete || vm.temporary => {
                tracing::info!(vm = %vm.id, state = vm.state.name(), "never completed: undone");
                ctx.remove(None).await?;
            }
            VmState::Running | VmState::Paused(_) => {
                if self.take_up(ctx, &vm).await? {
                    ctx.settle_pause().await?;
                }
            }
            VmState::Stopping => {
                if self.take_up(ctx, &vm).await? {
                    return Ok(Then::Stop);
                }
            }
            VmState::Starting if answered => {
                if self.take_up(ctx, &vm).await? {
                    return Ok(Then::Stop);
                }
            }
            VmState::Starting => {
                let cause = StopCause::StartFailed { detail: INTERRUPTED.to_owned() };
                ctx.end_run(None, cause).await?;
            }
            VmState::Failed { removing: false, .. } => ctx.recover(None).await?,
            VmState::Stopped(_) => {
                // What a row says that got lost when it was to go.
                released(self.release(vm.id.as_str(), true).await?)?;
                ctx.check_disks()?;
                ctx.settle_disk().await?;
            }
            VmState::Defined | VmState::Provisioning => {}
        }
        Ok(Then::Nothing)
    }

    /// A VM whose VMM may run on without a daemon. Returns whether it does; it
    /// is stopped otherwise.
    async fn take_up(&self, ctx: &VmCtx, vm: &Vm) -> Result<bool, OpError> {
        let owner = vm.id.as_str().to_owned();
        let held = self.store.read(move |db| journal::held(db, &owner, true)).await?;
        let (mut vsock, mut rebooted) = (None, false);
        for entry in held {
            let ResourceSpec::Process { role, .. } = &entry.spec else { continue };
            let process = self.host.process(&entry.spec, entry.observed.as_ref())?;
            match (role, process) {
                (Role::Vsock, process) => vsock = process,
                (_, Some(process)) => {
                    tracing::info!(vm = %vm.id, pid = process.pid, "taken up");
                    ctx.set_processes(Some(process), None);
                }
                (_, None) => {
                    let known = entry.observed.as_ref().and_then(|o| o.process.as_ref());
                    rebooted |= known
                        .is_some_and(|p| banger_host::boot_id().is_ok_and(|id| id != p.boot_id));
                }
            }
        }
        match (ctx.process(), vsock) {
            (Some(process), Some(vsock)) => {
                ctx.set_processes(Some(process), Some(vsock));
                return Ok(true);
            }
            (Some(_), None) if vm.spec.vmm == Vmm::Firecracker => return Ok(true),
            (Some(_), None) => {
                ctx.vsock_ended(None).await;
                return Ok(false);
            }
            _ => {}
        }
        if rebooted {
            ctx.end_run(None, StopCause::HostRebooted).await?;
        } else {
            ctx.vmm_ended(None).await;
        }
        Ok(false)
    }

    /// Removes what was there only for an image that was being made: its VM is gone by now.
    async fn remove_temporary_images(&self) -> Result<(), OpError> {
        for image in self.store.read(|db| images::list(db)).await? {
            if image.temporary
                && let Err(error) = self.delete_image(&image.id).await
            {
                tracing::error!(image = %image.id, error = error.message, "not removed");
            }
        }
        Ok(())
    }

    /// Releases what belongs to neither a VM nor an image: builds that were under way.
    async fn release_ownerless(&self) -> Result<(), OpError> {
        let (owners, known) = self
            .store
            .read(|db| {
                let vms = vms::list(db)?.into_iter().map(|row| row.vm.id.to_string());
                let images = images::list(db)?.into_iter().map(|image| image.id.to_string());
                Ok((journal::owners(db)?, vms.chain(images).collect::<HashSet<String>>()))
            })
            .await?;
        for owner in owners.iter().filter(|owner| !known.contains(*owner) && *owner != OWNER) {
            // What fails is logged there, and tried again by the next daemon.
            self.release(owner, false).await?;
        }
        Ok(self.network_idle().await?)
    }
}

/// How an operation ended that no daemon saw the end of.
fn outcome_of(operation: &Operation, kept: &[(VmCtx, Then)]) -> Outcome {
    let vm = kept.iter().map(|(ctx, _)| ctx.vm()).find(|vm| Some(&vm.id) == operation.vm.as_ref());
    match (operation.kind, vm) {
        (OperationKind::VmDelete, None) => Outcome::Succeeded { object: None },
        (OperationKind::VmStart | OperationKind::VmCreate, Some(vm))
            if vm.state == VmState::Running =>
        {
            Outcome::Succeeded { object: Some(Box::new(Object::Vm(vm))) }
        }
        _ => Outcome::Failed {
            failure: Failure { message: INTERRUPTED.to_owned(), ..Failure::default() },
        },
    }
}
