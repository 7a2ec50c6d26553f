//! Images of what was made for containers: the tree of its layers, a kernel of an image of ours,
//! and what a VM needs beyond that.

use std::fs;
use std::path::{Path, PathBuf};

use banger_core::bootargs;
use banger_core::id::ImageId;
use banger_core::image::{Image, Init, Source, files};
use banger_core::name::Name;
use banger_core::size::Size;

use crate::assemble::{Additions, Assembly, Described};
use crate::build::{BuildEnv, BuildError, Reporter, read_agent, seal, with_scratch};
use crate::ext4::{Copied, Disk};
use crate::from_root::share;
use crate::namespace::Namespace;
use crate::oci::{self, Limits, Reference, Root, auth};
use crate::register::NO_INIT;
use crate::{initramfs, modules};

/// Where the layers are.
#[derive(Debug, Clone)]
pub enum From {
    /// In a registry.
    Registry {
        /// Its name there.
        reference: Reference,
        /// The folder of Docker's configuration, which has the credentials for it.
        docker: Option<PathBuf>,
    },
    /// In a layout of the OCI or an archive of `docker save`.
    File {
        /// The folder or file.
        path: PathBuf,
        /// Which of the images in it; needed if there are several.
        name: Option<String>,
    },
}

/// What to make an image of.
#[derive(Debug, Clone)]
pub struct ContainerRequest {
    /// The image's name.
    pub name: Name,
    /// Where the layers are.
    pub from: From,
    /// The apparent size of the root file system; none is 4 GiB, or more if the layers have
    /// more.
    pub size: Option<Size>,
    /// The image whose kernel boots it.
    pub boot: Image,
    /// That image's folder.
    pub boot_dir: PathBuf,
    /// When it is made, seconds since 1970-01-01 00:00 UTC.
    pub created_at: u64,
}

/// No list of modules, and no module, is larger.
const FILE_MAX: u64 = 64 << 20;

/// Makes an image in `staging`, an empty folder.
///
/// # Errors
/// The layers cannot be had, are damaged or make no system; a program or the disk fails; or it was
/// cancelled. The scratch folder is clean either way.
pub fn build(
    id: ImageId,
    request: &ContainerRequest,
    env: &BuildEnv<'_>,
    staging: &Path,
    reporter: &dyn Reporter,
) -> Result<Image, BuildError> {
    let agent = read_agent(env.agent)?;
    let namespace = Namespace::current();
    with_scratch(env, reporter, namespace, |scratch| {
        let to = Assembly { env, staging, reporter, namespace, scratch };
        Build { request, to }.run(id, &agent)
    })
}

struct Build<'a> {
    request: &'a ContainerRequest,
    to: Assembly<'a>,
}

impl Build<'_> {
    fn run(&self, id: ImageId, agent: &[u8]) -> Result<Image, BuildError> {
        let (to, request) = (&self.to, self.request);
        let image = self.layers()?;
        to.stage("layers")?;
        let mut root = Root::read(&image.layers, &Limits::default(), &to.env.cancel)?;
        let init = self.check(&root)?;

        to.stage("kernel")?;
        let modules = self.modules()?;
        for name in self.boot_set(agent, &modules)? {
            seal(&to.staging.join(name))?;
        }

        to.stage("rootfs")?;
        let boot = &request.boot.boot_set;
        let modules = (boot.kernel_release.as_str(), modules.as_slice());
        let additions = Additions { init, agent, modules, created_at: request.created_at };
        let rootfs_size = to.rootfs(&mut root, &additions, request.size)?;

        to.stage("describe")?;
        let boot_args = if boot.is_ours() { &boot.boot_args } else { bootargs::SHARED };
        let known = Described {
            id,
            name: request.name.clone(),
            source: Source::Oci { reference: self.reference(), digest: image.digest.to_string() },
            created_at: request.created_at,
            kernel_release: boot.kernel_release.clone(),
            boot_args: boot_args.to_owned(),
            init,
            rootfs_size,
            opencode: None,
        };
        to.describe(known, to.packages()?)
    }

    fn reference(&self) -> String {
        match &self.request.from {
            From::Registry { reference, .. } => reference.to_string(),
            From::File { path, name } => {
                let name = name.iter().map(|name| format!(" ({name})")).collect::<String>();
                format!("{}{name}", path.display())
            }
        }
    }

    /// Gets the layers into the cache.
    fn layers(&self) -> Result<oci::Image, BuildError> {
        let cache = &self.to.env.cache.join("oci");
        let (limit, cancel) = (Limits::default().bytes, &self.to.env.cancel);
        let image = match &self.request.from {
            From::Registry { reference, docker } => {
                self.to.stage("pull")?;
                let known = docker.as_deref().map(|folder| auth::known(folder, reference));
                let known = known.transpose()?.unwrap_or_default();
                let progress = &|done, total| self.to.reporter.progress(done, Some(total));
                oci::pull(&oci::Pull { reference, known: &known, cache, limit, cancel, progress })?
            }
            From::File { path, name } => {
                self.to.stage("import")?;
                let progress = &|done| self.to.reporter.progress(done, None);
                let name = name.as_deref();
                // Not the cache: the person has the archive.
                let cache = &self.to.scratch.join("import");
                oci::import(&oci::Import { path, name, cache, limit, cancel, progress })?
            }
        };
        oci::tidy(cache);
        self.to.reporter.log(&format!("{}, layers: {}", image.digest, image.layers.len()));
        Ok(image)
    }

    /// Looks whether a VM could be made of it.
    fn check(&self, root: &Root) -> Result<Init, BuildError> {
        let facts = root.facts();
        let system = facts.system.as_deref().unwrap_or("a system that does not say which it is");
        let refuse = |why: &str| {
            let why = format!("it is {system}, and {why}");
            Err(BuildError::Container { reference: self.reference(), why })
        };
        let Some(init) = facts.init else { return refuse(NO_INIT) };
        let first = init.programs().iter().filter(|path| **path != "/sbin/openrc");
        if !first.chain(&["/sbin/init"]).any(|path| root.has(path)) {
            return refuse("it has OpenRC and no init that starts it; put one into it");
        }
        if !facts.sshd {
            return refuse("it has no sshd, by which VMs are entered; put openssh-server into it");
        }
        self.to.reporter.log(&format!("{system}, with {}", init.name()));
        if !facts.ip {
            let network = "it has no 'ip', so its VMs will have no network; put iproute2 into it";
            self.to.reporter.log(network);
        }
        Ok(init)
    }

    /// The modules of the kernel, copied out of the root of its image.
    fn modules(&self) -> Result<Vec<Copied>, BuildError> {
        let to = self.to.scratch.join("modules");
        fs::create_dir(&to).map_err(BuildError::io("make the folder", &to))?;
        let rootfs = self.request.boot_dir.join(files::ROOTFS);
        let disk = Disk::open(self.to.env.runner, &rootfs, &self.to.env.cancel)?;
        let folder = Path::new("/lib/modules").join(&self.request.boot.boot_set.kernel_release);
        Ok(disk.copy_out(&folder, &to)?.unwrap_or_default())
    }

    /// Writes the kernel, and the initramfs that is made for it here: that of its image may be
    /// another's, or have an older agent. Returns their names.
    fn boot_set(&self, agent: &[u8], found: &[Copied]) -> Result<[&'static str; 2], BuildError> {
        let (boot, dir) = (&self.request.boot, &self.request.boot_dir);
        share(&dir.join(files::KERNEL), &self.to.staging.join(files::KERNEL))?;
        let initramfs = self.to.staging.join(files::INITRAMFS);
        let read = |path: &str| match found.iter().find(|file| file.path == Path::new(path)) {
            Some(file) => read_file(&file.copy).map(Some),
            None => Ok(None),
        };
        match modules::boot(&read)? {
            Some(modules) => {
                let content = initramfs::build(agent, &modules)?;
                fs::write(&initramfs, content).map_err(BuildError::io("write", &initramfs))?;
            }
            None if boot.boot_set.is_ours() => share(&dir.join(files::INITRAMFS), &initramfs)?,
            None => {
                let why = format!(
                    "the root of the image '{}' has no modules of its kernel; choose another by --boot-set",
                    boot.name
                );
                return Err(BuildError::Container { reference: self.reference(), why });
            }
        }
        Ok([files::KERNEL, files::INITRAMFS])
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, BuildError> {
    let length = fs::metadata(path).map_err(BuildError::io("read", path))?.len();
    if length > FILE_MAX {
        let reason = std::io::Error::other("it has more than 64 MiB");
        return Err(BuildError::io("read", path)(reason));
    }
    fs::read(path).map_err(BuildError::io("read", path))
}
