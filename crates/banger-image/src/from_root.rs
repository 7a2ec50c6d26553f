//! An image of the root that a VM had: without what made it that VM.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use banger_core::id::ImageId;
use banger_core::image::{Image, Parent, Source, files};
use banger_core::name::Name;
use banger_core::size::Size;
use banger_exec::{Command, Tool};

use crate::build::{BuildEnv, BuildError, Reporter, seal};
use crate::ext4::{Change, Disk, Kind, recover};
use crate::{manifest, parts};

/// The root of a VM, and what it began as.
#[derive(Debug, Clone)]
pub struct RootRequest {
    /// The image's name.
    pub name: Name,
    /// What it is made of.
    pub source: Source,
    /// The image that it counts as made from, if any.
    pub parent: Option<Parent>,
    /// The image that the VM was made from.
    pub base: Image,
    /// That image's folder.
    pub base_dir: PathBuf,
    /// When it is made, seconds since 1970-01-01 00:00 UTC.
    pub created_at: u64,
}

/// How long a large root may take to be looked through.
const DISCARD_LIMIT: Duration = Duration::from_secs(3600);

/// What says which VM it was, and would be the same in all VMs of the image.
const GONE: &[&str] = &[
    "/etc/banger",
    "/etc/ssh/banger_authorized_keys",
    "/root/.bash_history",
    "/usr/lib/banger/bootstrap",
    "/var/lib/banger",
    "/var/lib/dbus/machine-id",
    "/var/lib/systemd/credential.secret",
    "/var/lib/systemd/random-seed",
    "/var/lib/systemd/timers",
    "/var/lib/systemd/timesync",
];
/// Folders that stay, without what is in them.
const EMPTIED: &[&str] =
    &["/run", "/tmp", "/var/lib/dhcp", "/var/lib/dhcpcd", "/var/lib/NetworkManager", "/var/tmp"];
/// A folder whose folders stay, without the files in them: daemons do not make them again.
const LOGS: &str = "/var/log";
/// systemd's own, named by the machine's id.
const JOURNAL: &str = "/var/log/journal";

/// Makes an image of the root that is in `staging` already, as [`files::ROOTFS`], and of its base's
/// boot set.
///
/// # Errors
/// The root is damaged, a program or the disk fails, or it was cancelled.
pub fn finish(
    id: ImageId,
    request: &RootRequest,
    env: &BuildEnv<'_>,
    staging: &Path,
    reporter: &dyn Reporter,
) -> Result<Image, BuildError> {
    let rootfs = staging.join(files::ROOTFS);
    reporter.stage("clean");
    recover(env.runner, &rootfs, &env.cancel)?;
    let disk = Disk::open(env.runner, &rootfs, &env.cancel)?;
    let release = &request.base.boot_set.kernel_release;
    if disk.stat(&Path::new("/lib/modules").join(release))?.is_none() {
        reporter.log(&format!("the root has no modules of its kernel, Linux {release}, any more"));
    }
    let packages = manifest::read(&disk)?;
    disk.apply(&cleaned(&disk)?)?;
    // What is removed stays in blocks that are free, for whoever reads the disk. e2fsck gives none
    // of them back where it has mended anything (e2fsck(8)), so it does that first.
    for more in [&[][..], &["-E", "discard"]] {
        let e2fsck = Command::new(Tool::E2fsck).args(["-f", "-y"]).args(more).arg(&rootfs);
        let e2fsck = e2fsck.also_ok(1).cancel(&env.cancel).timeout(DISCARD_LIMIT);
        env.runner.capture(&e2fsck)?;
    }

    reporter.stage("describe");
    let mut names = vec![files::KERNEL, files::INITRAMFS, files::ROOTFS];
    for name in [files::KERNEL, files::INITRAMFS] {
        share(&request.base_dir.join(name), &staging.join(name))?;
    }
    if let Some(list) = packages {
        let path = staging.join(files::MANIFEST);
        fs::write(&path, list).map_err(BuildError::io("write", &path))?;
        names.push(files::MANIFEST);
    }
    for name in &names {
        seal(&staging.join(name))?;
    }
    let length = fs::metadata(&rootfs).map_err(BuildError::io("read", &rootfs))?.len();
    let base = request.base.clone();
    let parts = parts::record(staging, &names);
    let image = Image {
        id,
        name: request.name.clone(),
        source: request.source.clone(),
        parent: request.parent.clone(),
        in_place: None,
        temporary: false,
        created_at: request.created_at,
        boot_set: base.boot_set,
        rootfs_size: Size::bytes(length),
        opencode: base.opencode,
        companion: base.companion,
        init: base.init,
        parts: parts.map_err(BuildError::io("read the files in", staging))?,
    };
    let path = staging.join(files::DESCRIPTION);
    fs::write(&path, serde_json::to_vec_pretty(&image)?).map_err(BuildError::io("write", &path))?;
    seal(&path)?;
    let folder = File::open(staging).and_then(|folder| folder.sync_all());
    folder.map_err(BuildError::io("write to disk", staging))?;
    Ok(image)
}

/// What is to be changed for the root to be nobody's.
fn cleaned(disk: &Disk<'_>) -> Result<Vec<Change>, BuildError> {
    let mut gone: Vec<PathBuf> = GONE.iter().map(PathBuf::from).collect();
    for folder in EMPTIED {
        gone.extend(inside(disk, Path::new(folder))?);
    }
    let is_host_key = |name: &OsStr| name.as_bytes().starts_with(b"ssh_host_");
    let ssh = inside(disk, Path::new("/etc/ssh"))?;
    gone.extend(ssh.into_iter().filter(|path| path.file_name().is_some_and(is_host_key)));
    gone.extend(inside(disk, Path::new(JOURNAL))?);
    let mut folders = vec![PathBuf::from(LOGS)];
    while let Some(folder) = folders.pop() {
        for path in inside(disk, &folder)? {
            match disk.stat(&path)?.map(|stat| stat.kind) {
                Some(Kind::Folder) if path != Path::new(JOURNAL) => folders.push(path),
                Some(Kind::Folder) | None => {}
                Some(_) => gone.push(path),
            }
        }
    }
    let mut changes: Vec<_> = gone.into_iter().map(|path| Change::Remove { path }).collect();
    // Empty, and not missing: the first boot of a VM is then none of a machine that was set up by
    // nobody (machine-id(5)).
    changes.push(Change::Write {
        path: "/etc/machine-id".into(),
        content: Vec::new(),
        mode: 0o444,
        owner: (0, 0),
    });
    Ok(changes)
}

/// The paths in a folder; none if it is no folder, or not there.
fn inside(disk: &Disk<'_>, folder: &Path) -> Result<Vec<PathBuf>, BuildError> {
    if !disk.stat(folder)?.is_some_and(|stat| stat.kind == Kind::Folder) {
        return Ok(Vec::new());
    }
    let names: Vec<OsString> = disk.list(folder)?.unwrap_or_default();
    // A name that debugfs cannot be told of stays.
    let sayable = |name: &OsString| !name.as_bytes().iter().any(u8::is_ascii_control);
    Ok(names.into_iter().filter(sayable).map(|name| folder.join(name)).collect())
}

/// A second name for a file that never changes; a copy where there can be none.
pub(crate) fn share(from: &Path, to: &Path) -> Result<(), BuildError> {
    let linked = !from.is_symlink() && fs::hard_link(from, to).is_ok();
    if linked {
        return Ok(());
    }
    fs::copy(from, to).map(drop).map_err(BuildError::io("copy", from))
}
