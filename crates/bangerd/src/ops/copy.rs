//! Making an image of a VM's root.

use std::path::Path;

use banger_core::dirs::vm_files;
use banger_core::image::{Parent, Source, files};
use banger_core::name::Name;
use banger_image::build::{BuildEnv, Reporter};
use banger_image::from_root::{RootRequest, finish};

use crate::clock::now;
use crate::engine::oplog::OpLog;
use crate::engine::vm::VmCtx;

impl VmCtx {
    /// Makes the image `name` of the root of the VM, which is stopped.
    pub(crate) async fn copy_op(&self, log: &OpLog, name: Name) {
        let vm = self.vm();
        let checked = async {
            self.check_image(log).await?;
            self.image(&vm).await
        };
        let parent = match checked.await {
            Ok(image) => image,
            Err(error) => return self.finish(log, Err(error), Vec::new(), String::new()).await,
        };
        let base_dir = self.engine.dirs.image(parent.id.as_str());
        let (host, driver) = (self.engine.host.clone(), vm.spec.root_disk);
        let (base, overlay) = (base_dir.join(files::ROOTFS), vm_files::overlay(&self.dir()));
        let request = RootRequest {
            name,
            source: Source::Vm { vm: vm.name },
            parent: Some(Parent::from(&parent)),
            base: parent,
            base_dir,
            created_at: now(),
        };
        let make = move |id, env: &BuildEnv<'_>, staging: &Path, reporter: &dyn Reporter| {
            reporter.stage("copy");
            let rootfs = staging.join(files::ROOTFS);
            host.flatten(driver, [&base, &overlay, &rootfs], &env.cancel)?;
            Ok(Some(finish(id, &request, env, staging, reporter)?))
        };
        let outcome = self.engine.run_make(log, Box::new(make)).await;
        log.finish(outcome).await;
    }
}
