//! The work seed of a VM's image, refreshed when what it is made of has changed.

use std::path::PathBuf;

use banger_core::image::files;
use banger_image::seed;
use tokio::sync::Mutex;

use crate::engine::oplog::OpLog;
use crate::engine::resources::blocking;
use crate::engine::vm::VmCtx;
use crate::error::OpError;

impl VmCtx {
    /// The seed that the VM's work disk starts from. A stage makes it if there is
    /// none, or the home folder is not what it was made of.
    pub(crate) async fn seed(&self, log: &OpLog) -> Result<PathBuf, OpError> {
        let image = self.image(&self.vm()).await?;
        if image.parts.iter().any(|part| part.name == files::WORK_SEED) {
            // It was registered with one of its own.
            return Ok(self.engine.dirs.image(image.id.as_str()).join(files::WORK_SEED));
        }
        // Of several VMs that are made at once, the first makes the seed.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
        let _turn = ONE_AT_A_TIME.lock().await;
        let dirs = &self.engine.dirs;
        // In the image's folder, and gone with it.
        let dir = dirs.image(self.vm().spec.image.as_str());
        // The scripts of strangers' packages are to see nothing of the person's.
        let home = if image.temporary { dir.join("no-home") } else { dirs.home() };
        let image = dir;
        let seed = image.join(files::WORK_SEED);
        let (home_now, image_now) = (home.clone(), image.clone());
        if !blocking(move || Ok(seed::is_current(&home_now, &image_now)?)).await? {
            log.stage("seed", self.refresh_seed(log, home, image)).await?;
        }
        Ok(seed)
    }

    async fn refresh_seed(
        &self,
        log: &OpLog,
        home: PathBuf,
        image: PathBuf,
    ) -> Result<(), OpError> {
        let (runner, cancel) = (self.engine.runner.clone(), log.cancel().clone());
        let made = blocking(move || Ok(seed::refresh(runner.as_ref(), &home, &image, &cancel)?));
        let made = made.await;
        // What was stopped half-way is cancelled, whatever it says itself.
        log.check().and(made)
    }
}
