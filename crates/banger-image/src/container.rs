//! Images of what was made for containers: the tree of its layers, a kernel of an image of ours,
//! and what a VM needs beyond that.

mod additions;

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use banger_core::bootargs;
use banger_core::id::ImageId;
use banger_core::image::{BootSet, Image, Init, Source, files};
use banger_core::name::Name;
use banger_core::size::Size;

use crate::build::{BuildEnv, BuildError, Reporter, read_agent, seal, with_scratch};
use crate::ext4::{self, Copied, Disk};
use crate::from_root::share;
use crate::namespace::Namespace;
use crate::oci::{self, Facts, Layer, Limits, Reference, Root, auth};
use crate::register::NO_INIT;
use crate::unpack::unpack;
use crate::{initramfs, manifest, modules, parts};

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
    /// The apparent size of the root file system; none is [`MIN_SIZE`], or more if the layers have
    /// more.
    pub size: Option<Size>,
    /// The image whose kernel boots it.
    pub boot: Image,
    /// That image's folder.
    pub boot_dir: PathBuf,
    /// When it is made, seconds since 1970-01-01 00:00 UTC.
    pub created_at: u64,
}

/// The size of a root file system that needs no more.
const MIN_SIZE: Size = Size::gib(4);
/// No list of modules, and no module, is larger.
const FILE_MAX: u64 = 64 << 20;

/// What the layers have and no VM should: what every guest must have of its own, and what a
/// container leaves behind.
const LEFT_OUT: &[&str] = &[
    "./.dockerenv",
    "./dev/*",
    "./etc/ssh/ssh_host_*",
    "./proc/*",
    "./run/*",
    "./sys/*",
    "./tmp/*",
    "./var/lib/dbus/machine-id",
];

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
        Build { request, env, staging, reporter, namespace, scratch }.run(id, &agent)
    })
}

struct Build<'a> {
    request: &'a ContainerRequest,
    env: &'a BuildEnv<'a>,
    staging: &'a Path,
    reporter: &'a dyn Reporter,
    namespace: Namespace,
    scratch: &'a Path,
}

impl Build<'_> {
    fn run(&self, id: ImageId, agent: &[u8]) -> Result<Image, BuildError> {
        let image = self.layers()?;
        self.stage("layers")?;
        let mut root = Root::read(&image.layers, &Limits::default(), &self.env.cancel)?;
        let (facts, init) = self.check(&root)?;

        self.stage("kernel")?;
        let modules = self.modules()?;
        for name in self.boot_set(agent, &modules)? {
            seal(&self.staging.join(name))?;
        }

        self.stage("rootfs")?;
        let ours = self.scratch.join("banger.tar");
        let has = |path: &str| root.has(path);
        additions::write(&ours, self.request, init, &facts, &has, agent, &modules)?;
        let ours = Layer::of(ours.clone()).map_err(BuildError::io("read", &ours))?;
        root.push(&ours, &self.env.cancel)?;
        let size = self.request.size.unwrap_or_else(|| roomy(root.bytes()));
        self.rootfs(&root, size)?;

        self.stage("describe")?;
        self.describe(id, image.digest.to_string(), init, size)
    }

    fn stage(&self, name: &str) -> Result<(), BuildError> {
        if self.env.cancel.is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        self.reporter.stage(name);
        Ok(())
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
        let cache = &self.env.cache.join("oci");
        let (limit, cancel) = (Limits::default().bytes, &self.env.cancel);
        let image = match &self.request.from {
            From::Registry { reference, docker } => {
                self.stage("pull")?;
                let known = docker.as_deref().map(|folder| auth::known(folder, reference));
                let known = known.transpose()?.unwrap_or_default();
                let progress = &|done, total| self.reporter.progress(done, Some(total));
                oci::pull(&oci::Pull { reference, known: &known, cache, limit, cancel, progress })?
            }
            From::File { path, name } => {
                self.stage("import")?;
                let progress = &|done| self.reporter.progress(done, None);
                let name = name.as_deref();
                oci::import(&oci::Import { path, name, cache, limit, cancel, progress })?
            }
        };
        self.reporter.log(&format!("{}, layers: {}", image.digest, image.layers.len()));
        Ok(image)
    }

    /// Looks whether a VM could be made of it.
    fn check(&self, root: &Root) -> Result<(Facts, Init), BuildError> {
        let facts = root.facts();
        let system = facts.system.as_deref().unwrap_or("a system that does not say which it is");
        let refuse = |why: &str| {
            let why = format!("it is {system}, and {why}");
            Err(BuildError::Container { reference: self.reference(), why })
        };
        let Some(init) = facts.init else { return refuse(NO_INIT) };
        if !facts.sshd {
            return refuse("it has no sshd, by which VMs are entered; put openssh-server into it");
        }
        self.reporter.log(&format!("{system}, with {}", init.name()));
        if !facts.ip {
            let network = "it has no 'ip', so its VMs will have no network; put iproute2 into it";
            self.reporter.log(network);
        }
        Ok((facts, init))
    }

    /// The modules of the kernel, copied out of the root of its image.
    fn modules(&self) -> Result<Vec<Copied>, BuildError> {
        let to = self.scratch.join("modules");
        fs::create_dir(&to).map_err(BuildError::io("make the folder", &to))?;
        let rootfs = self.request.boot_dir.join(files::ROOTFS);
        let disk = Disk::open(self.env.runner, &rootfs, &self.env.cancel)?;
        let folder = Path::new("/lib/modules").join(&self.request.boot.boot_set.kernel_release);
        Ok(disk.copy_out(&folder, &to)?.unwrap_or_default())
    }

    /// Writes the kernel, and the initramfs that is made for it here: that of its image may be
    /// another's, or have an older agent. Returns their names.
    fn boot_set(&self, agent: &[u8], found: &[Copied]) -> Result<[&'static str; 2], BuildError> {
        let (boot, dir) = (&self.request.boot, &self.request.boot_dir);
        share(&dir.join(files::KERNEL), &self.staging.join(files::KERNEL))?;
        let initramfs = self.staging.join(files::INITRAMFS);
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

    /// Makes the root file system of the tree.
    fn rootfs(&self, root: &Root, size: Size) -> Result<(), BuildError> {
        let flat = self.scratch.join("root.tar");
        let write = BuildError::io("write", &flat);
        let mut out = BufWriter::new(File::create_new(&flat).map_err(&write)?);
        root.write(&mut out, &self.env.cancel)?;
        out.flush().map_err(write)?;
        let tree = self.scratch.join("root");
        fs::create_dir(&tree).map_err(BuildError::io("make the folder", &tree))?;
        unpack(self.env, self.namespace, &flat, &tree, LEFT_OUT)?;
        fs::remove_file(&flat).map_err(BuildError::io("remove", &flat))?;
        let rootfs = self.staging.join(files::ROOTFS);
        let (runner, cancel) = (self.env.runner, &self.env.cancel);
        ext4::make_root(runner, self.namespace, &tree, &rootfs, size, cancel)?;
        seal(&rootfs)
    }

    fn describe(
        &self,
        id: ImageId,
        digest: String,
        init: Init,
        rootfs_size: Size,
    ) -> Result<Image, BuildError> {
        let (request, staging) = (self.request, self.staging);
        let mut names = vec![files::KERNEL, files::INITRAMFS, files::ROOTFS];
        let rootfs = staging.join(files::ROOTFS);
        let disk = Disk::open(self.env.runner, &rootfs, &self.env.cancel)?;
        if let Some(list) = manifest::read(&disk)? {
            self.save(files::MANIFEST, list.as_bytes())?;
            names.push(files::MANIFEST);
        }
        let boot = &request.boot.boot_set;
        let boot_args = if boot.is_ours() { &boot.boot_args } else { bootargs::SHARED };
        let parts = parts::record(staging, &names);
        let image = Image {
            id,
            name: request.name.clone(),
            source: Source::Oci { reference: self.reference(), digest },
            parent: None,
            in_place: None,
            created_at: request.created_at,
            boot_set: BootSet {
                kernel_release: boot.kernel_release.clone(),
                boot_args: boot_args.to_owned(),
                agent_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            },
            rootfs_size,
            opencode: None,
            companion: true,
            init,
            parts: parts.map_err(BuildError::io("read the files in", staging))?,
        };
        self.save(files::DESCRIPTION, &serde_json::to_vec_pretty(&image)?)?;
        let folder = File::open(staging).and_then(|folder| folder.sync_all());
        folder.map_err(BuildError::io("write to disk", staging))?;
        Ok(image)
    }

    /// Writes a file of the image for good.
    fn save(&self, name: &str, content: &[u8]) -> Result<(), BuildError> {
        let path = self.staging.join(name);
        fs::write(&path, content).map_err(BuildError::io("write", &path))?;
        seal(&path)
    }
}

/// Whole gibibytes, with as much free as is used and one more, and never less than [`MIN_SIZE`].
fn roomy(bytes: u64) -> Size {
    let gib = Size::gib(1).as_bytes();
    let wanted = bytes.saturating_mul(2).saturating_add(gib);
    Size::bytes(wanted.next_multiple_of(gib)).max(MIN_SIZE)
}

fn read_file(path: &Path) -> Result<Vec<u8>, BuildError> {
    let length = fs::metadata(path).map_err(BuildError::io("read", path))?.len();
    if length > FILE_MAX {
        let reason = std::io::Error::other("it has more than 64 MiB");
        return Err(BuildError::io("read", path)(reason));
    }
    fs::read(path).map_err(BuildError::io("read", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_has_room_for_what_is_in_it_and_more() {
        let of = |mib: u64| roomy(mib << 20).to_string();
        assert_eq!([of(0), of(100), of(1500), of(2000)], ["4 GiB", "4 GiB", "4 GiB", "5 GiB"]);
    }
}
