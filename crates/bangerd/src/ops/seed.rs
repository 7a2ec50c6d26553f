//! The work seed of a VM's image, refreshed when what it is made of has changed.

use std::path::{Path, PathBuf};

use banger_core::resource::ResourceSpec;
use banger_core::vm::Vm;
use banger_image::seed;
use tokio::sync::Mutex;

use crate::engine::oplog::OpLog;
use crate::engine::resources::blocking;
use crate::engine::vm::VmCtx;
use crate::error::OpError;
use crate::store::journal::{self, Scope};

impl VmCtx {
    /// The seed that the VM's work disk starts from. A stage makes it if there is
    /// none, or the home folder is not what it was made of.
    pub(crate) async fn seed(&self, log: &OpLog) -> Result<PathBuf, OpError> {
        // Of several VMs that are made at once, the first makes the seed.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
        let _turn = ONE_AT_A_TIME.lock().await;
        let vm = self.vm();
        let dirs = &self.engine.dirs;
        let (home, dir) = (dirs.home(), dirs.seed(vm.spec.image.as_str()));
        let seed = dir.join(seed::SEED);
        let (old_home, old_dir) = (home.clone(), dir.clone());
        if !blocking(move || Ok(seed::is_current(&old_home, &old_dir)?)).await? {
            log.stage("seed", self.refresh_seed(log, &vm, home, dir)).await?;
        }
        Ok(seed)
    }

    async fn refresh_seed(
        &self,
        log: &OpLog,
        vm: &Vm,
        home: PathBuf,
        dir: PathBuf,
    ) -> Result<(), OpError> {
        self.acquire_seed(log, vm, &dir).await?;
        let (runner, cancel) = (self.engine.runner.clone(), log.cancel().clone());
        let made = blocking(move || Ok(seed::refresh(runner.as_ref(), &home, &dir, &cancel)?));
        let made = made.await;
        // What was stopped half-way is cancelled, whatever it says itself.
        log.check().and(made)
    }

    /// The seed's folder is the image's, and goes with it.
    async fn acquire_seed(&self, log: &OpLog, vm: &Vm, dir: &Path) -> Result<(), OpError> {
        let image = vm.spec.image.to_string();
        let spec = ResourceSpec::Dir { path: dir.to_owned() };
        let owner = image.clone();
        let held = self.engine.store.run(move |db| journal::held(db, &owner, false)).await?;
        if held.iter().any(|entry| entry.spec == spec) {
            let (host, cancel) = (self.engine.host.clone(), log.cancel().clone());
            blocking(move || Ok(host.ensure(&spec, &cancel)?)).await?;
        } else {
            self.engine.acquire(&image, Scope::Life, spec, log.cancel()).await?;
        }
        Ok(())
    }
}
