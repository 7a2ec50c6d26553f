//! Images made of Alpine's packages.
//!
//! The index of a repository is signed, and has the hashes of its packages: what is in the root is
//! what the keys vouch for, wherever it was fetched from. So there is no archive of a root to begin
//! with. Nothing of a package is run on the host: the scripts lie in the root until a boot runs
//! them (`provision.rs`). What a boot needs of them is made here: the links to busybox, of which its
//! package has a list.

mod contents;
mod error;
mod kernel;
mod layers;
mod lock;
mod packages;
mod provision;
mod repositories;
mod request;

use std::path::{Path, PathBuf};

use banger_core::api::BuildStep;
use banger_core::bootargs;
use banger_core::id::ImageId;
use banger_core::image::{Image, Init, Source, files};

use crate::apk::dependency::{Dependency, Op};
use crate::apk::installed::{Database, Installed, database};
use crate::apk::keys::Keys;
use crate::apk::resolve::resolve;
use crate::assemble::{Additions, Assembly, Described};
use crate::build::{BuildEnv, BuildError, Reporter, read_agent, with_scratch};
use crate::namespace::Namespace;
use crate::oci::{Limits, Root};
use crate::signed::SignedRequest;
use crate::{initramfs, opencode, steps};
use contents::Contents;
pub use error::AlpineError;
use lock::Lock;
use repositories::Repositories;
use request::{KERNEL, OwnKey, check, own_key};

/// The release when none is asked for; supported until 2027-05-01 (the repository
/// `endoflife-date/endoflife.date`, file `products/alpine-linux.md`).
pub const DEFAULT_RELEASE: &str = "v3.22";
/// Where its packages come from when nothing else is asked for.
pub const DEFAULT_MIRROR: &str = "https://dl-cdn.alpinelinux.org/alpine";

/// The machines that images are for.
const ARCH: &str = "x86_64";
/// The repositories, the most important first.
const REPOSITORIES: &[&str] = &["main", "community"];

/// Builds an image into `staging`, an empty folder; none where a step was asked for that leaves a
/// part of it only.
///
/// # Errors
/// The request makes no sense; an index or a package cannot be had or is not to be trusted, or the
/// packages do not go together; a program or the disk fails; or it was cancelled. The scratch
/// folder is clean either way, and the cache has nothing that was refused.
pub fn build(
    id: ImageId,
    request: &SignedRequest,
    env: &BuildEnv<'_>,
    staging: &Path,
    reporter: &dyn Reporter,
) -> Result<Option<Image>, BuildError> {
    let world = check(request)?;
    let keys = request.keys.iter().map(|path| own_key(path)).collect::<Result<Vec<_>, _>>()?;
    let agent = read_agent(env.agent)?;
    let namespace = Namespace::current();
    with_scratch(env, reporter, namespace, |scratch| {
        let to = Assembly { env, staging, reporter, namespace, scratch };
        if request.step == Some(BuildStep::Register) {
            return steps::register(&to, request, id).map(Some);
        }
        Build { request, world, keys, to }.run(id, &agent)
    })
}

/// What is wanted, the kernel as it is: its modules must stay as long as the image boots it, and so
/// `apk upgrade` must not replace them.
fn pinned(mut world: Vec<Dependency>, installed: &[Installed<'_>]) -> Vec<Dependency> {
    let kernel = installed.iter().find(|package| package.record.name == KERNEL);
    for wanted in world.iter_mut().filter(|wanted| wanted.name == KERNEL) {
        let version = kernel.map(|kernel| kernel.record.version.clone());
        wanted.constraint = version.map(|version| (Op::Equal, version));
    }
    world
}

struct Build<'a> {
    request: &'a SignedRequest,
    /// What is to be installed.
    world: Vec<Dependency>,
    keys: Vec<OwnKey>,
    to: Assembly<'a>,
}

impl Build<'_> {
    fn run(&self, id: ImageId, agent: &[u8]) -> Result<Option<Image>, BuildError> {
        let (to, request) = (&self.to, self.request);
        let opencode = self.opencode()?;

        to.stage("index")?;
        let folder = format!("{}/{}", request.mirror_or(DEFAULT_MIRROR), request.release);
        let keys = self.keys()?;
        let repositories = Repositories::fetch(to, &folder, &keys)?;
        let chosen =
            resolve(repositories.records(), ARCH, &self.world).map_err(AlpineError::from)?;
        let wanted = repositories.wanted(&chosen);
        let lock = Lock::of(wanted.iter().map(|wanted| wanted.record), &request.locks, &folder);
        lock.check()?;

        to.stage("packages")?;
        let packages = packages::get(to, &keys, &wanted)?;
        let installed: Vec<_> = packages.iter().map(packages::Had::installed).collect();
        let world = pinned(self.world.clone(), &installed);
        let database = database(&installed, &world, ARCH).map_err(AlpineError::from)?;

        to.stage("kernel")?;
        let missing = || BuildError::Missing(format!("package {KERNEL}"));
        let kernel = packages.iter().find(|package| package.record.name == KERNEL);
        let kernel = kernel::read(kernel.ok_or_else(missing)?)?;
        if request.does(BuildStep::Kernel) {
            to.save(files::KERNEL, &kernel.vmlinux)?;
            to.save(files::INITRAMFS, &initramfs::build(agent, &kernel.modules)?)?;
        }
        if request.step == Some(BuildStep::Kernel) {
            lock.keep(&folder)?;
            steps::keep_kernel(to, request, &kernel.release)?;
            return Ok(None);
        }

        to.stage("rootfs")?;
        let layers = layers::of(&packages, &database.superseded)?;
        let mut root = Root::read(&layers, &Limits::default(), &to.env.cancel)?;
        self.add_contents(
            &mut root,
            &folder,
            &packages,
            &database,
            &installed,
            opencode.as_deref(),
        )?;
        let additions = Additions {
            init: Init::OpenRc,
            agent,
            modules: (&kernel.release, &[]),
            created_at: request.created_at,
        };
        let rootfs_size = to.rootfs(&mut root, &additions, request.size)?;

        let known = Described {
            id,
            name: request.name.clone(),
            source: Source::Alpine { release: request.release.clone() },
            created_at: request.created_at,
            kernel_release: kernel.release,
            boot_args: bootargs::SHARED.to_owned(),
            init: Init::OpenRc,
            rootfs_size,
            opencode: request.opencode.then(|| opencode::MUSL.version.to_owned()),
        };
        lock.keep(&folder)?;
        if request.step.is_some() {
            steps::keep_rootfs(to, request, &known)?;
            return Ok(None);
        }
        to.stage("describe")?;
        to.describe(known, to.packages()?).map(Some)
    }

    fn opencode(&self) -> Result<Option<PathBuf>, BuildError> {
        if !self.request.opencode || !self.request.does(BuildStep::Rootfs) {
            return Ok(None);
        }
        self.to.stage("opencode")?;
        let (cache, cancel) = (self.to.env.cache, &self.to.env.cancel);
        std::fs::create_dir_all(cache).map_err(BuildError::io("make the folder", cache))?;
        let progress = |done, total| self.to.reporter.progress(done, total);
        Ok(Some(opencode::download(&opencode::MUSL, cache, cancel, &progress)?))
    }

    /// All keys that are trusted.
    fn keys(&self) -> Result<Keys, AlpineError> {
        let mut keys = Keys::alpine_x86_64()?;
        for key in &self.keys {
            keys.add(&key.name, &key.pem)?;
        }
        Ok(keys)
    }

    /// Lays over the packages what is banger's own.
    fn add_contents(
        &self,
        root: &mut Root,
        repositories: &str,
        packages: &[packages::Had<'_>],
        database: &Database,
        installed: &[Installed<'_>],
        opencode: Option<&Path>,
    ) -> Result<(), BuildError> {
        let contents = Contents {
            repositories,
            keys: &self.keys,
            database,
            installed,
            links: contents::links(packages, &|path| root.has(path))?,
            opencode,
        };
        let layer = self.to.scratch.join("alpine.tar");
        contents.write(&layer, self.request.created_at, &|path| root.has(path))?;
        root.push(&layers::layer(&layer)?, &self.to.env.cancel)?;
        Ok(())
    }
}
