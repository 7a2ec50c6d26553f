//! Images of a distribution's packages, and of files that a person has.

use std::path::{Path, PathBuf};

use banger_core::api::{
    ApiError, BuildDebian, BuildSigned, BuildStep, CopyVm, ErrorKind, ImportImage, MakeImage,
    PullImage, RegisterImage,
};
use banger_core::id::{ImageId, OperationId};
use banger_core::image::Image;
use banger_core::name::Name;
use banger_core::operation::OperationKind;
use banger_core::size::Size;
use banger_image::alpine;
use banger_image::build::{BuildEnv, BuildError, Reporter};
use banger_image::container::{self, ContainerRequest, From};
use banger_image::debian::DebianRequest;
use banger_image::oci::{InvalidReference, auth};
use banger_image::register::{RegisterRequest, register};
use banger_image::signed::SignedRequest;
use banger_image::void;

use crate::clock::now;
use crate::engine::Engine;
use crate::engine::task::Wish;

/// Builds an image of signed packages.
type SignedBuild = fn(
    ImageId,
    &SignedRequest,
    &BuildEnv<'_>,
    &Path,
    &dyn Reporter,
) -> Result<Option<Image>, BuildError>;

impl Engine {
    /// Begins to make an image.
    ///
    /// # Errors
    /// The name is taken, or the request makes no sense.
    pub async fn make(&self, request: MakeImage) -> Result<OperationId, ApiError> {
        match request {
            MakeImage::Debian(request) => self.build_debian(request).await,
            MakeImage::Void(request) => {
                self.build_signed(request, ("void", void::DEFAULT_RELEASE), void::build).await
            }
            MakeImage::Alpine(request) => {
                let release = ("alpine", alpine::DEFAULT_RELEASE);
                self.build_signed(request, release, alpine::build).await
            }
            MakeImage::Files(request) => self.register(request).await,
            MakeImage::Image(request) => self.build_from(request).await,
            MakeImage::Registry(request) => {
                let PullImage { reference, name, size, boot_set, docker_config } = request;
                let invalid = |error| ApiError::new(ErrorKind::Invalid, format!("{error}"));
                let reference =
                    reference.parse().map_err(|error: InvalidReference| invalid(error))?;
                let docker = docker_config.map(absolute).transpose()?.or_else(auth::config_folder);
                let from = From::Registry { reference, docker };
                self.make_of_container(OperationKind::ImagePull, name, from, size, boot_set).await
            }
            MakeImage::Archive(ImportImage { path, reference, name, size, boot_set }) => {
                let from = From::File { path: absolute(path)?, name: reference };
                self.make_of_container(OperationKind::ImageImport, name, from, size, boot_set).await
            }
            MakeImage::Vm(CopyVm { vm, name }) => {
                let vm = self.vm(&vm).await?.vm;
                self.check_image_name(&name).await?;
                self.request(&vm.id, Wish::Copy(name)).await
            }
        }
    }

    async fn build_debian(&self, request: BuildDebian) -> Result<OperationId, ApiError> {
        check_root_size(request.size)?;
        let (name, build) = (request.name.clone(), self.build.clone());
        let make = move |id, env: &BuildEnv<'_>, staging: &Path, reporter: &dyn Reporter| {
            let request = DebianRequest {
                id,
                name: request.name,
                suite: request.suite,
                packages: request.packages,
                size: request.size,
                mirror: request.mirror,
                opencode: request.opencode,
                created_at: now(),
            };
            Ok(Some(build(&request, env, staging, reporter)?))
        };
        self.make_image(OperationKind::ImageBuild, &name, Box::new(make)).await
    }

    async fn build_signed(
        &self,
        request: BuildSigned,
        (distribution, release): (&str, &str),
        build: SignedBuild,
    ) -> Result<OperationId, ApiError> {
        request.size.map(check_root_size).transpose()?;
        check_step(&request)?;
        let parts = self.dirs.parts(distribution, request.name.as_str());
        let request = SignedRequest {
            name: request.name,
            release: request.release.unwrap_or_else(|| release.to_owned()),
            mirror: request.mirror,
            keys: request.keys.into_iter().map(absolute).collect::<Result<_, _>>()?,
            packages: request.packages,
            size: request.size,
            opencode: request.opencode.unwrap_or(true),
            created_at: now(),
            step: request.step,
            parts: parts.clone(),
            locks: self.dirs.locks(),
        };
        let name = request.name.clone();
        let make = move |id, env: &BuildEnv<'_>, staging: &Path, reporter: &dyn Reporter| {
            Ok(build(id, &request, env, staging, reporter)?)
        };
        self.make_provisioned(name, parts, Box::new(make)).await
    }

    async fn make_of_container(
        &self,
        kind: OperationKind,
        name: Name,
        from: From,
        size: Option<Size>,
        boot_set: Option<String>,
    ) -> Result<OperationId, ApiError> {
        size.map(check_root_size).transpose()?;
        self.check_image_name(&name).await?;
        let boot = self.image(boot_set.as_deref().unwrap_or(&self.config.image)).await;
        let boot = boot.map_err(|error| match error.kind {
            ErrorKind::NotFound => ApiError::new(
                ErrorKind::NotFound,
                format!("{}, whose kernel would boot the new one", error.message),
            )
            .remedy("'banger image build debian' makes one; '--boot-set' names another"),
            _ => error,
        })?;
        let boot_dir = self.dirs.image(boot.id.as_str());
        let request =
            ContainerRequest { name: name.clone(), from, size, boot, boot_dir, created_at: now() };
        let make = move |id, env: &BuildEnv<'_>, staging: &Path, reporter: &dyn Reporter| {
            Ok(Some(container::build(id, &request, env, staging, reporter)?))
        };
        self.make_image(kind, &name, Box::new(make)).await
    }

    async fn register(&self, request: RegisterImage) -> Result<OperationId, ApiError> {
        let request = RegisterRequest {
            name: request.name,
            rootfs: absolute(request.rootfs)?,
            kernel: absolute(request.kernel)?,
            initramfs: request.initramfs.map(absolute).transpose()?,
            modules: request.modules.map(absolute).transpose()?,
            boot_args: request.boot_args,
            work_seed: request.work_seed.map(absolute).transpose()?,
            created_at: now(),
        };
        let name = request.name.clone();
        let make = move |id, env: &BuildEnv<'_>, staging: &Path, reporter: &dyn Reporter| {
            Ok(Some(register(id, &request, env, staging, reporter)?))
        };
        self.make_image(OperationKind::ImageRegister, &name, Box::new(make)).await
    }
}

/// Fails if the last step is told anew what those before it were told.
fn check_step(request: &BuildSigned) -> Result<(), ApiError> {
    let BuildSigned { release, mirror, keys, packages, size, opencode, .. } = request;
    let told = release.is_some() || mirror.is_some() || size.is_some() || opencode.is_some();
    if request.step != Some(BuildStep::Register) || !told && keys.is_empty() && packages.is_empty()
    {
        return Ok(());
    }
    let message = "the step 'register' takes nothing but the image's name";
    let remedy = "tell the steps 'kernel' and 'rootfs' what the image is to be made of";
    Err(ApiError::new(ErrorKind::Invalid, message).remedy(remedy))
}

/// Fails if no root file system can have that size.
pub(super) fn check_root_size(size: Size) -> Result<(), ApiError> {
    banger_core::image::check_root_size(size)
        .map_err(|message| ApiError::new(ErrorKind::Invalid, message))
}

fn absolute(path: String) -> Result<PathBuf, ApiError> {
    let path = PathBuf::from(path);
    if path.is_absolute() {
        return Ok(path);
    }
    let message = format!("'{}' is not an absolute path", path.display());
    Err(ApiError::new(ErrorKind::Invalid, message))
}
