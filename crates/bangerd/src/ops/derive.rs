//! Building an image from another: in a VM of its own, which is never seen.

use std::path::{Path, PathBuf};

use banger_core::api::{ApiError, BuildFrom, CreateVm, ErrorKind};
use banger_core::dirs::vm_files;
use banger_core::id::OperationId;
use banger_core::image::{Image, Parent, Source, files};
use banger_core::name::Name;
use banger_core::operation::{OperationKind, Outcome};
use banger_core::resource::ResourceSpec;
use banger_core::vm::{MIN_DISK, RootDisk, Vm, WaitFor};
use banger_host::dig_holes;
use banger_image::from_root::{RootRequest, finish};

use crate::clock::now;
use crate::engine::oplog::OpLog;
use crate::engine::resources::blocking;
use crate::engine::vm::VmCtx;
use crate::engine::{BUILDS, Engine, store_error};
use crate::error::{OpError, chain};
use crate::ops::build::check_root_size;
use crate::ops::images::Make;
use crate::ops::provision::{Provisioning, check_packages};
use crate::store::vms::{self, VmRow};

impl Engine {
    /// Begins to build an image from another.
    ///
    /// # Errors
    /// The request makes no sense here, or the name is taken.
    pub(super) async fn build_from(&self, request: BuildFrom) -> Result<OperationId, ApiError> {
        let parent = self.image(&request.image).await?;
        self.check_image_name(&request.name).await?;
        check_packages(&request.packages)?;
        check_paths(&request)?;
        if let Some(size) = request.size {
            check_root_size(size)?;
            if size < parent.rootfs_size {
                let message = format!(
                    "the root of '{}' has {}, and cannot shrink to {size}",
                    parent.name, parent.rootfs_size
                );
                return Err(ApiError::new(ErrorKind::Invalid, message));
            }
        }
        let spec = CreateVm { vcpus: request.vcpus, memory: request.memory, ..CreateVm::default() };
        let vm = self.builder(spec, &parent).await?;
        let row = VmRow { vm: vm.clone(), opencode_password: None };
        let (kind, target) = (OperationKind::ImageBuild, request.name.to_string());
        // Together: a VM without the operation that it is for would stay until the next daemon.
        let begun =
            self.begin_with(kind, &target, None, move |db, _| vms::insert(db, &row), || {}).await;
        let log = begun.map_err(store_error)?;
        let (id, engine) = (log.id().clone(), self.clone());
        tokio::spawn(async move {
            let ctx = VmCtx::new(engine.clone(), vm);
            let outcome = engine.run_build_from(&log, &ctx, request, parent).await;
            log.finish(outcome).await;
            engine.ended(log.id());
        });
        Ok(id)
    }

    /// A VM that an image is built in. Its root is the image's file to be.
    pub(super) async fn builder(&self, spec: CreateVm, base: &Image) -> Result<Vm, ApiError> {
        let spec = CreateVm {
            disk: Some(MIN_DISK),
            root_disk: Some(RootDisk::Clone),
            opencode: Some(false),
            ..spec
        };
        let mut vm = self.define(&spec, base).await?;
        vm.name = self.hidden_name(vm.id.short())?;
        vm.temporary = true;
        Ok(vm)
    }

    /// The name of what is there only for a build.
    pub(super) fn hidden_name(&self, short: &str) -> Result<Name, ApiError> {
        let internal = |_| ApiError::new(ErrorKind::Internal, "an unusable name was made");
        format!("{BUILDS}{short}").parse().map_err(internal)
    }

    async fn run_build_from(
        &self,
        log: &OpLog,
        ctx: &VmCtx,
        request: BuildFrom,
        parent: Image,
    ) -> Outcome {
        let provisioned = self.provision_image(log, ctx, &request).await;
        let outcome = match provisioned {
            Ok(()) => {
                let request = RootRequest {
                    name: request.name,
                    source: Source::Image,
                    parent: Some(Parent::from(&parent)),
                    base_dir: self.dirs.image(parent.id.as_str()),
                    base: parent,
                    created_at: now(),
                };
                self.run_make(log, of_root(ctx, request)).await
            }
            Err(error) => ctx.not_built(&error),
        };
        let removed = ctx.remove(None).await;
        let left = removed.unwrap_or_else(|error| vec![chain(&error)]);
        with_rollback(outcome, left)
    }

    async fn provision_image(
        &self,
        log: &OpLog,
        ctx: &VmCtx,
        request: &BuildFrom,
    ) -> Result<(), OpError> {
        ctx.check_image(log).await?;
        let seed = ctx.seed(log).await?;
        log.stage("disks", ctx.provision(log, seed)).await?;
        if let Some(size) = request.size {
            let (host, cancel) = (self.host.clone(), log.cancel().clone());
            let path = vm_files::overlay(&ctx.dir());
            // It is there, so it is grown, and the seed is not looked at.
            let disk = ResourceSpec::WorkDisk { path, seed: PathBuf::new(), size };
            let grow = blocking(move || Ok(host.ensure(&disk, &cancel).map(drop)?));
            log.stage("resize", grow).await?;
        }
        ctx.start(log, WaitFor::Ssh).await?;
        Provisioning { log, ctx, request }.run().await?;
        log.check()?;
        ctx.stop(log).await
    }
}

impl VmCtx {
    /// How a build ended that its VM could not do.
    pub(super) fn not_built(&self, error: &OpError) -> Outcome {
        if error.is_cancelled() {
            return Outcome::Cancelled;
        }
        // Who has heard the guest itself needs its console no more.
        let heard = matches!(error, OpError::Guest { .. });
        let console = if heard { String::new() } else { self.console_tail() };
        Outcome::Failed { failure: error.failure(Vec::new(), console) }
    }
}

/// Makes an image of the root of a VM that is gone after it.
pub(super) fn of_root(ctx: &VmCtx, request: RootRequest) -> Make {
    let root = vm_files::overlay(&ctx.dir());
    Box::new(move |id, env, staging, told| {
        let rootfs = staging.join(files::ROOTFS);
        // Both are in the state folder.
        std::fs::rename(&root, &rootfs)
            .map_err(OpError::file(format!("move {}", root.display())))?;
        dig_holes(&rootfs)?;
        Ok(Some(finish(id, &request, env, staging, told)?))
    })
}

/// Fails if a path is not absolute, or leads to nothing: before a VM is booted for it.
fn check_paths(request: &BuildFrom) -> Result<(), ApiError> {
    let invalid = |message| ApiError::new(ErrorKind::Invalid, message);
    let froms = request.copies.iter().map(|copy| &copy.from);
    for path in froms.chain(&request.modules).chain(&request.scripts).map(Path::new) {
        if !path.is_absolute() || !path.exists() {
            return Err(invalid(format!("there is no {}", path.display())));
        }
    }
    match request.copies.iter().find(|copy| !copy.to.starts_with('/')) {
        Some(copy) => Err(invalid(format!("'{}' is not an absolute path", copy.to))),
        None => Ok(()),
    }
}

/// An outcome, and what was not undone after it.
pub(super) fn with_rollback(outcome: Outcome, left: Vec<String>) -> Outcome {
    match outcome {
        Outcome::Failed { mut failure } => {
            failure.rollback.extend(left);
            Outcome::Failed { failure }
        }
        Outcome::Cancelled if !left.is_empty() => Outcome::Failed {
            failure: OpError::Release(left.join("\n")).failure(left, String::new()),
        },
        other => {
            if !left.is_empty() {
                tracing::error!(left = left.join("\n"), "an image's VM could not be removed");
            }
            other
        }
    }
}
