//! Making a VM: its folder, its disks, its identity; then a start.

use std::path::PathBuf;

use banger_core::dirs::vm_files;
use banger_core::image::files;
use banger_core::resource::ResourceSpec;
use banger_core::vm::{Transition, Vm, WaitFor};

use crate::engine::oplog::OpLog;
use crate::engine::resources::blocking;
use crate::engine::vm::VmCtx;
use crate::error::{OpError, chain};
use crate::ops::keys;
use crate::store::journal::Scope;

impl VmCtx {
    /// Makes the VM and starts it if asked to. If that is cancelled, or fails
    /// before the agent in the guest first answers, nothing of it stays.
    pub(crate) async fn create(&self, log: &OpLog, start: Option<WaitFor>) {
        let result = self.try_create(log, start).await;
        let (mut rollback, mut console) = (Vec::new(), String::new());
        if let Err(error) = &result {
            console = self.console_tail();
            let undone = if self.vm().complete && !error.is_cancelled() {
                self.abort_start(log, error).await
            } else {
                self.remove(Some(log)).await
            };
            rollback = undone.unwrap_or_else(|error| vec![chain(&error)]);
        }
        self.finish(log, result, rollback, console).await;
    }

    async fn try_create(&self, log: &OpLog, start: Option<WaitFor>) -> Result<(), OpError> {
        self.check_image(log).await?;
        let seed = self.seed(log).await?;
        log.stage("disks", self.provision(log, seed)).await?;
        match start {
            Some(wait) => self.start(log, wait).await,
            None => {
                self.change(Some(log), |vm| {
                    vm.complete = true;
                    Ok(())
                })
                .await
            }
        }
    }

    pub(super) async fn provision(&self, log: &OpLog, seed: PathBuf) -> Result<(), OpError> {
        let vm = self.vm();
        let (specs, scope) = (self.disks(&vm, seed), Scope::Life);
        let intended = self.transition_to_acquire(log, Transition::Provision, scope, specs);
        let [dir, overlay, work_disk] = intended.await?;
        let ensure = |intended| self.engine.ensure(intended, log.cancel());
        log.check()?;
        ensure(dir).await?;
        let (runner, dir) = (self.engine.runner.clone(), self.dir());
        let host_key = blocking(move || keys::make_host_key(runner.as_ref(), &dir, &vm.id));
        // Each waits for the disk or for a program most of the time. All are waited for, also
        // when one fails: an undoing must not meet one that is still being made.
        let (overlay, work_disk, host_key) =
            tokio::join!(ensure(overlay), ensure(work_disk), host_key);
        overlay?;
        work_disk?;
        host_key?;
        log.check()?;
        self.transition(Some(log), Transition::Provisioned).await
    }

    /// What a VM holds for life, in the order it is acquired.
    fn disks(&self, vm: &Vm, seed: PathBuf) -> [ResourceSpec; 3] {
        let dir = self.dir();
        let image = self.engine.dirs.image(vm.spec.image.as_str());
        [
            ResourceSpec::Dir { path: dir.clone() },
            ResourceSpec::Overlay {
                path: vm_files::overlay(&dir),
                base: image.join(files::ROOTFS),
                driver: vm.spec.root_disk,
            },
            ResourceSpec::WorkDisk { path: vm_files::work_disk(&dir), seed, size: vm.spec.disk },
        ]
    }
}
