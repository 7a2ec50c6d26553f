//! Images made of Debian packages.
//!
//! mmdebstrap installs the packages into a tar file, as root or, for an
//! ordinary user, in a user namespace. The kernel, its modules and the package
//! list are read out of it; then it is unpacked with banger's own files over
//! it, and becomes the root file system.

mod bootstrap;
mod contents;
mod root;
mod status;

use std::path::Path;

use banger_core::bootargs;
use banger_core::id::ImageId;
use banger_core::image::{Image, Init, Source, files};
use banger_core::name::Name;
use banger_core::size::Size;

use crate::assemble::{Assembly, Described};
use crate::build::{BuildEnv, BuildError, Reporter, read_agent, with_scratch};
use crate::namespace::Namespace;
use crate::{initramfs, kernel, manifest, opencode};

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
        let to = Assembly { env, staging, reporter, namespace, scratch };
        Build { request, to }.run(&agent)
    })
}

struct Build<'a> {
    request: &'a DebianRequest,
    to: Assembly<'a>,
}

impl Build<'_> {
    fn run(&self, agent: &[u8]) -> Result<Image, BuildError> {
        let (request, to) = (self.request, &self.to);
        let opencode = self.opencode()?;
        to.stage("bootstrap")?;
        let packages = self.bootstrap()?;

        to.stage("kernel")?;
        let kernel = kernel::read(&packages, None)?;
        to.save(files::KERNEL, &kernel.vmlinux)?;
        to.save(files::INITRAMFS, &initramfs::build(agent, &kernel.modules)?)?;
        let list = manifest::from_dpkg_status(&status::read(&packages)?);

        to.stage("rootfs")?;
        let ours = self.contents(agent, opencode.as_deref())?;
        let tree = self.unpack(&[&packages, &ours])?;
        to.file_system(&tree, request.size)?;

        to.stage("describe")?;
        let known = Described {
            id: request.id.clone(),
            name: request.name.clone(),
            source: Source::Debian { suite: request.suite.clone() },
            created_at: request.created_at,
            kernel_release: kernel.release,
            boot_args: bootargs::SHARED.to_owned(),
            init: Init::Systemd,
            rootfs_size: request.size,
            opencode: request.opencode.then(|| opencode::GLIBC.version.to_owned()),
        };
        to.describe(known, Some(list))
    }

    fn opencode(&self) -> Result<Option<std::path::PathBuf>, BuildError> {
        if !self.request.opencode {
            return Ok(None);
        }
        self.to.stage("opencode")?;
        let cache = self.to.env.cache;
        std::fs::create_dir_all(cache).map_err(BuildError::io("make the folder", cache))?;
        let progress = |done, total| self.to.reporter.progress(done, total);
        Ok(Some(opencode::download(&opencode::GLIBC, cache, &self.to.env.cancel, &progress)?))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use banger_core::image::BootSet;

    pub(crate) fn image() -> Image {
        Image {
            id: ImageId::from_bits(1),
            name: "debian".parse().unwrap(),
            source: Source::Debian { suite: DEFAULT_SUITE.to_owned() },
            parent: None,
            in_place: None,
            temporary: false,
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
