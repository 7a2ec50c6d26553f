//! Images made of Debian packages.
//!
//! mmdebstrap installs the packages into a tar file, as root or, for an
//! ordinary user, in a user namespace. The kernel, its modules and the package
//! list are read out of it; then it is unpacked with banger's own files over
//! it, and becomes the root file system.

mod bootstrap;
mod contents;
mod kernel;
mod root;

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use banger_core::bootargs;
use banger_core::id::ImageId;
use banger_core::image::{BootSet, Image, Init, Source, files};
use banger_core::name::Name;
use banger_core::size::Size;

use crate::build::{BuildEnv, BuildError, Reporter, read_agent, seal, with_scratch};
use crate::namespace::Namespace;
use crate::{ext4, initramfs, manifest, opencode, parts};

/// The suite when none is asked for.
pub const DEFAULT_SUITE: &str = "bookworm";
/// The apparent size of a root file system when none is asked for.
pub const DEFAULT_SIZE: Size = Size::gib(4);

/// A Debian image to build.
#[derive(Debug, Clone)]
pub struct DebianRequest {
    /// The image's id.
    pub id: ImageId,
    /// The image's name.
    pub name: Name,
    /// The suite, see [`DEFAULT_SUITE`].
    pub suite: String,
    /// Packages to install beyond those that every image has.
    pub packages: Vec<String>,
    /// The apparent size of the root file system, see [`DEFAULT_SIZE`].
    pub size: Size,
    /// A mirror to use instead of Debian's own with its security updates.
    pub mirror: Option<String>,
    /// Whether the image gets the opencode server.
    pub opencode: bool,
    /// When it is made, seconds since 1970-01-01 00:00 UTC.
    pub created_at: u64,
}

/// Builds an image into `staging`, an empty folder, as the files named in
/// [`banger_core::image::files`]. The folder is the caller's to rename or, if
/// this fails, to remove.
///
/// # Errors
/// A program, a download or a file operation failed, the build was cancelled,
/// or the request makes no sense. The scratch folder is clean either way.
pub fn build(
    request: &DebianRequest,
    env: &BuildEnv<'_>,
    staging: &Path,
    reporter: &dyn Reporter,
) -> Result<Image, BuildError> {
    bootstrap::check(request)?;
    let agent = read_agent(env.agent)?;
    let namespace = Namespace::current();
    with_scratch(env, reporter, namespace, |scratch| {
        Build { request, env, staging, reporter, namespace, scratch }.run(&agent)
    })
}

struct Build<'a> {
    request: &'a DebianRequest,
    env: &'a BuildEnv<'a>,
    staging: &'a Path,
    reporter: &'a dyn Reporter,
    namespace: Namespace,
    scratch: &'a Path,
}

impl Build<'_> {
    fn run(&self, agent: &[u8]) -> Result<Image, BuildError> {
        let opencode = self.opencode()?;
        self.stage("bootstrap")?;
        let packages = self.bootstrap()?;

        self.stage("kernel")?;
        let kernel = kernel::read(&packages)?;
        self.save(files::KERNEL, &kernel.vmlinux)?;
        self.save(files::INITRAMFS, &initramfs::build(agent, &kernel.modules)?)?;
        let list = manifest::from_dpkg_status(&kernel.package_status);
        self.save(files::MANIFEST, list.as_bytes())?;

        self.stage("rootfs")?;
        let ours = self.contents(agent, opencode.as_deref())?;
        let tree = self.unpack(&[&packages, &ours])?;
        let rootfs = self.staging.join(files::ROOTFS);
        let (runner, cancel) = (self.env.runner, &self.env.cancel);
        ext4::make_root(runner, self.namespace, &tree, &rootfs, self.request.size, cancel)?;
        seal(&rootfs)?;

        self.stage("describe")?;
        let image = self.describe(kernel.release)?;
        self.save(files::DESCRIPTION, &serde_json::to_vec_pretty(&image)?)?;
        let folder = File::open(self.staging).and_then(|folder| folder.sync_all());
        folder.map_err(BuildError::io("write to disk", self.staging))?;
        Ok(image)
    }

    fn stage(&self, name: &str) -> Result<(), BuildError> {
        if self.env.cancel.is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        self.reporter.stage(name);
        Ok(())
    }

    fn opencode(&self) -> Result<Option<std::path::PathBuf>, BuildError> {
        if !self.request.opencode {
            return Ok(None);
        }
        self.stage("opencode")?;
        let cache = self.env.cache;
        std::fs::create_dir_all(cache).map_err(BuildError::io("make the folder", cache))?;
        let progress = |done, total| self.reporter.progress(done, total);
        Ok(Some(opencode::download(&opencode::GLIBC, cache, &self.env.cancel, &progress)?))
    }

    fn describe(&self, kernel_release: String) -> Result<Image, BuildError> {
        let request = self.request;
        let names = [files::KERNEL, files::INITRAMFS, files::ROOTFS, files::MANIFEST];
        let parts = parts::record(self.staging, &names);
        Ok(Image {
            id: request.id.clone(),
            name: request.name.clone(),
            source: Source::Debian { suite: request.suite.clone() },
            parent: None,
            in_place: None,
            created_at: request.created_at,
            boot_set: BootSet {
                kernel_release,
                boot_args: bootargs::SHARED.to_owned(),
                agent_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            },
            rootfs_size: request.size,
            opencode: request.opencode.then(|| opencode::GLIBC.version.to_owned()),
            companion: true,
            init: Init::Systemd,
            parts: parts.map_err(BuildError::io("read the files in", self.staging))?,
        })
    }

    /// Writes a file of the image for good.
    fn save(&self, name: &str, content: &[u8]) -> Result<(), BuildError> {
        let path = self.staging.join(name);
        File::create_new(&path)
            .and_then(|mut file| file.write_all(content))
            .map_err(BuildError::io("write", &path))?;
        seal(&path)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn image() -> Image {
        Image {
            id: ImageId::from_bits(1),
            name: "debian".parse().unwrap(),
            source: Source::Debian { suite: DEFAULT_SUITE.to_owned() },
            parent: None,
            in_place: None,
            created_at: 0,
            boot_set: BootSet {
                kernel_release: "6".to_owned(),
                boot_args: String::new(),
                agent_version: None,
            },
            rootfs_size: DEFAULT_SIZE,
            opencode: None,
            companion: true,
            init: Init::Systemd,
            parts: Vec::new(),
        }
    }

    pub(crate) fn request() -> DebianRequest {
        DebianRequest {
            id: ImageId::from_bits(1),
            name: Name::try_from("debian".to_owned()).unwrap(),
            suite: DEFAULT_SUITE.to_owned(),
            packages: Vec::new(),
            size: DEFAULT_SIZE,
            mirror: None,
            opencode: true,
            created_at: 0,
        }
    }
}
