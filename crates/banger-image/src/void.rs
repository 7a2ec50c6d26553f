//! Images of Void Linux, with glibc.
//!
//! A root file system that Void releases is brought to the packages that its repository has now,
//! and a kernel and what a VM needs are added. It is all done without running anything of it: so
//! scripts of packages have not run, and the database says `unpacked` of those packages.
//! [`PROVISION`] is for the guest to run.
//!
//! Sources: the Void Linux Handbook ("Installation via chroot"), and Void's repositories
//! `void-linux/void-mklive`, `void-linux/void-packages` and `void-linux/void-runit`.

mod download;
mod error;
mod keys;
mod layers;
mod packages;
mod release;
mod services;

use std::fs;
use std::path::{Path, PathBuf};

use banger_core::api::BuildStep;
use banger_core::bootargs;
use banger_core::id::ImageId;
use banger_core::image::{Image, Init, Source, files};

use crate::assemble::{Additions, Assembly, Described};
use crate::build::{BuildEnv, BuildError, Reporter, read_agent, with_scratch};
use crate::namespace::Namespace;
use crate::oci::{Layer, Limits, Root};
use crate::signed::{SignedRequest, refuse};
use crate::{initramfs, kernel, opencode, steps};
use keys::Keys;

pub use error::VoidError;

/// The release when none is asked for: the date of Void's images, `YYYYMMDD`.
pub const DEFAULT_RELEASE: &str = "20250202";
/// Where releases and packages come from when no mirror is asked for (xbps.d(5), as the package
/// `xbps` sets it).
pub const DEFAULT_MIRROR: &str = "https://repo-default.voidlinux.org";

/// What `xbps` calls the machines and the C library that images are for.
const ARCHITECTURE: &str = "x86_64";

/// What an image has beyond the root file system of the release and a kernel.
pub const PACKAGES: &[&str] =
    &["base-files", "ca-certificates", "iproute2", "kmod", "openssh", "runit-void", "xbps"];

/// Configures what was only unpacked, as `mkrootfs.sh` of void-mklive does.
const PROVISION: &str = "set -e
# All others need the accounts and folders of this one.
xbps-reconfigure -f base-files
xbps-reconfigure -a
# runit-void enables these anew, and a VM has neither a console nor devices that come and go.
rm -f /etc/runit/runsvdir/default/agetty-tty? /etc/runit/runsvdir/default/udevd
";

/// Builds an image in `staging`, an empty folder; none where a step was asked for that leaves a
/// part of it only.
///
/// # Errors
/// The request makes no sense; a download fails, or is not what a trusted key signed; packages do
/// not fit together, or make no system that boots; a program or the disk fails; or it was cancelled.
/// The scratch folder is clean either way.
pub fn build(
    id: ImageId,
    request: &SignedRequest,
    env: &BuildEnv<'_>,
    staging: &Path,
    reporter: &dyn Reporter,
) -> Result<Option<Image>, BuildError> {
    check(request)?;
    let keys = Keys::read(&request.release, &request.keys)?;
    let agent = read_agent(env.agent)?;
    let namespace = Namespace::current();
    let cache = env.cache.join("void");
    fs::create_dir_all(&cache).map_err(BuildError::io("make the folder", &cache))?;
    with_scratch(env, reporter, namespace, |scratch| {
        let to = Assembly { env, staging, reporter, namespace, scratch };
        if request.step == Some(BuildStep::Register) {
            return steps::register(&to, request, id).map(Some);
        }
        Build { request, keys, cache, to }.run(id, &agent)
    })
}

fn check(request: &SignedRequest) -> Result<(), BuildError> {
    let release = &request.release;
    if release.len() != 8 || !release.bytes().all(|byte| byte.is_ascii_digit()) {
        return refuse("release of Void", release, "expected a date such as 20250202");
    }
    for package in &request.packages {
        let begins = package.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !begins || !package.chars().all(|c| c.is_ascii_alphanumeric() || "+-._".contains(c)) {
            return refuse("package", package, "expected a name as xbps knows it");
        }
    }
    request.check_mirror()
}

struct Build<'a> {
    request: &'a SignedRequest,
    keys: Keys,
    /// The folder of downloads of Void's.
    cache: PathBuf,
    to: Assembly<'a>,
}

impl Build<'_> {
    fn run(&self, id: ImageId, agent: &[u8]) -> Result<Option<Image>, BuildError> {
        let (to, request) = (&self.to, self.request);
        let opencode = self.opencode()?;
        to.stage("release")?;
        let rootfs = self.release()?;
        let mut base = release::read(&rootfs)?;
        to.stage("index")?;
        let index = self.index()?;
        let plan = self.choose(&index, &mut base)?;
        to.stage("packages")?;
        let packages = to.scratch.join("packages.tar");
        let new = self.install(&plan.chosen, &mut base, &packages)?;

        to.stage("kernel")?;
        let release = packages::kernel_release(&new, &plan.kernel)?;
        let kernel = kernel::read(&packages, Some(release))?;
        if request.does(BuildStep::Kernel) {
            to.save(files::KERNEL, &kernel.vmlinux)?;
            to.save(files::INITRAMFS, &initramfs::build(agent, &kernel.modules)?)?;
        }
        if request.step == Some(BuildStep::Kernel) {
            steps::keep_kernel(to, request, &kernel.release)?;
            return Ok(None);
        }

        to.stage("rootfs")?;
        let below = self.below(&base, &new, &plan.gone)?;
        let above = self.above(&base, &new, opencode.as_deref())?;
        let mut root = Root::read(
            &layers([rootfs, below, packages, above])?,
            &Limits::default(),
            &to.env.cancel,
        )?;
        boots(&root)?;
        let modules = (kernel.release.as_str(), &[][..]);
        let additions =
            Additions { init: Init::Runit, agent, modules, created_at: request.created_at };
        let rootfs_size = to.rootfs(&mut root, &additions, request.size)?;

        let known = Described {
            id,
            name: request.name.clone(),
            source: Source::Void { release: request.release.clone() },
            created_at: request.created_at,
            kernel_release: kernel.release,
            boot_args: bootargs::SHARED.to_owned(),
            init: Init::Runit,
            rootfs_size,
            opencode: request.opencode.then(|| opencode::GLIBC.version.to_owned()),
        };
        if request.step.is_some() {
            steps::keep_rootfs(to, request, &known)?;
            return Ok(None);
        }
        to.stage("describe")?;
        to.describe(known, to.packages()?).map(Some)
    }

    fn mirror(&self) -> &str {
        self.request.mirror_or(DEFAULT_MIRROR)
    }

    fn repository(&self) -> String {
        format!("{}/current", self.mirror())
    }

    fn opencode(&self) -> Result<Option<PathBuf>, BuildError> {
        if !self.request.opencode || !self.request.does(BuildStep::Rootfs) {
            return Ok(None);
        }
        self.to.stage("opencode")?;
        let progress = |done, total| self.to.reporter.progress(done, total);
        Ok(Some(opencode::download(
            &opencode::GLIBC,
            self.to.env.cache,
            &self.to.env.cancel,
            &progress,
        )?))
    }
}

fn layers<const N: usize>(paths: [PathBuf; N]) -> Result<Vec<Layer>, BuildError> {
    let layer = |path: PathBuf| Layer::of(path.clone()).map_err(BuildError::io("read", &path));
    paths.into_iter().map(layer).collect()
}

/// Fails where a root has not what it takes to run it and enter it.
fn boots(root: &Root) -> Result<(), BuildError> {
    let facts = root.facts();
    let missing = |what: &str| Err(BuildError::Missing(what.to_owned()));
    match facts.init {
        Some(Init::Runit) if !facts.sshd => missing("sshd"),
        Some(Init::Runit) if !facts.ip => missing("ip"),
        Some(Init::Runit) => Ok(()),
        _ => missing("runit"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> SignedRequest {
        SignedRequest {
            name: "void".parse().unwrap(),
            release: DEFAULT_RELEASE.to_owned(),
            mirror: None,
            keys: Vec::new(),
            packages: vec!["linux6.12".to_owned(), "gtk+3".to_owned()],
            size: None,
            opencode: false,
            created_at: 0,
            step: None,
            parts: Path::new("parts").to_owned(),
            locks: Path::new("locks").to_owned(),
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        check(&request()).unwrap();
        let refused = [
            SignedRequest { release: "current".to_owned(), ..request() },
            SignedRequest { packages: vec!["-y".to_owned()], ..request() },
            SignedRequest { packages: vec!["a>=1".to_owned()], ..request() },
            SignedRequest { mirror: Some("/srv/void".to_owned()), ..request() },
            SignedRequest { mirror: Some("http://a b".to_owned()), ..request() },
        ]
        .map(|request| check(&request).unwrap_err().to_string());
        insta::assert_snapshot!(refused.join("\n"), @r"
        'current' is not a release of Void: expected a date such as 20250202
        '-y' is not a package: expected a name as xbps knows it
        'a>=1' is not a package: expected a name as xbps knows it
        '/srv/void' is not a mirror: expected a URL of http or https
        'http://a b' is not a mirror: expected a URL of http or https
        ");
    }
}
