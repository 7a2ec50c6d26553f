//! Requests and errors of the daemon's API; its objects are the other modules'.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::dirs::vm_files;
use crate::id::VmId;
use crate::image::Image;
use crate::name::Name;
use crate::size::Size;
use crate::vm::{Limits, Network, RootDisk, Vmm, WaitFor};

/// `POST /v1/vms`. What is left out comes from the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateVm {
    /// Its name; one is generated where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// The image, by name, id or unique prefix of its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Virtual CPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcpus: Option<u32>,
    /// Memory, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// The work disk, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Size>,
    /// Its network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// What runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vmm: Option<Vmm>,
    /// How its root overlay lies on the host; the first way that is instant where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_disk: Option<RootDisk>,
    /// How much its root overlay may take of the host's disk, in bytes: the VM is paused at that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlay: Option<Size>,
    /// How fast it may be.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// Whether the opencode server runs in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opencode: Option<bool>,
    /// How far to wait; none leaves it stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<WaitFor>,
}

/// `POST /v1/vms/{vm}/start` and `…/restart`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartVm {
    /// How far to wait.
    pub wait: WaitFor,
}

/// `PATCH /v1/vms/{vm}`: what is given is changed. A name and the overlay's limit can be changed at
/// any time, the rest only while the VM is stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeVm {
    /// Its new name; the guest takes it at its next start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// Virtual CPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcpus: Option<u32>,
    /// Memory, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// The work disk, in bytes: not less than it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Size>,
    /// How much its root overlay may take, in bytes: more than it does. A VM that was paused for
    /// that goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlay: Option<Size>,
}

/// `GET /v1/images` and `GET /v1/images/{image}`: an image and what it takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageInfo {
    /// The image.
    #[serde(flatten)]
    pub image: Image,
    /// The length of its files, in bytes.
    pub apparent_bytes: u64,
    /// What they take on the disk, in bytes.
    pub real_bytes: u64,
    /// The names of the VMs that use it.
    pub used_by: Vec<String>,
    /// What is not as it was built; found by the lengths of its files, or, where that is asked
    /// for, by their content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
}

/// `GET /v1/images/{image}/packages`: a package in the root of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ImagePackage)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version, as its distribution writes it.
    pub version: String,
    /// What machines it is for, as its distribution calls them.
    pub architecture: String,
}

/// `POST /v1/images`: makes an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MakeImage {
    /// Of Debian packages.
    Debian(BuildDebian),
    /// Of a release of Void Linux and the packages that its repository has.
    Void(BuildSigned),
    /// Of Alpine's packages.
    Alpine(BuildSigned),
    /// Of files that stay where they lie.
    Files(RegisterImage),
    /// Of the root of a VM, which must be stopped.
    Vm(CopyVm),
    /// From another image, in a VM for that alone.
    Image(BuildFrom),
    /// Of an image for containers, in a registry.
    Registry(PullImage),
    /// Of an image for containers, in a file or folder.
    Archive(ImportImage),
}

/// An image of one for containers that a registry has. Its root must have systemd, OpenRC or runit,
/// and sshd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PullImage {
    /// What `docker pull` would call it: `debian:12`, `registry.example/team/app@sha256:…`.
    pub reference: String,
    /// The new image's name.
    pub name: Name,
    /// The root file system's size, in bytes; none is 4 GiB, or more if the layers have more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// The image whose kernel boots it; none is the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_set: Option<String>,
    /// The folder of Docker's configuration, which has the credentials; none is the daemon's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docker_config: Option<String>,
}

/// The same of a layout of the OCI, as a folder or archive, or of what `docker save` writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportImage {
    /// Its absolute path, on the daemon's host.
    pub path: String,
    /// What it is called in there; needed if there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The new image's name.
    pub name: Name,
    /// The root file system's size, in bytes; none is 4 GiB, or more if the layers have more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// The image whose kernel boots it; none is the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_set: Option<String>,
}

/// An image from another: its root gets copies, then packages, then what scripts make of it. All
/// paths but those in the guest are absolute, on the daemon's host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BuildFrom {
    /// The image to begin with: its name, its id, or a start of its id.
    pub image: String,
    /// The new image's name.
    pub name: Name,
    /// The root file system's size, in bytes; none is that of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// Virtual CPUs while it is built; none are those of a new VM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcpus: Option<u32>,
    /// Memory while it is built, in bytes; none is that of a new VM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// Files and folders to copy into the root, as root's.
    #[serde(default)]
    pub copies: Vec<CopyIn>,
    /// The folder of a kernel's modules, which go into `/lib/modules`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modules: Option<String>,
    /// Packages to install, by what the guest has: apt, apk or xbps.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Scripts to run in the guest, by root in `/`.
    #[serde(default)]
    pub scripts: Vec<String>,
}

/// A copy into the root of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ImageCopy)]
pub struct CopyIn {
    /// A file, or a folder of which all that is in it is copied.
    pub from: String,
    /// Its place in the guest, absolute.
    pub to: String,
}

/// An image of a VM's root. What is on its work disk is not in it, nor what made it that VM: host
/// keys, machine id, leases, logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CopyVm {
    /// The VM: its name, its id, or a start of its id.
    pub vm: String,
    /// The image's name.
    pub name: Name,
}

/// An image of Debian packages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BuildDebian {
    /// Its name.
    pub name: Name,
    /// The Debian suite.
    pub suite: String,
    /// Packages beyond the standard ones.
    #[serde(default)]
    pub packages: Vec<String>,
    /// The root file system's size, in bytes.
    pub size: Size,
    /// Where packages come from; none is Debian's public mirror.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<String>,
    /// Whether the opencode server is put in.
    pub opencode: bool,
}

/// An image of the packages of a distribution that signs them: Alpine, or Void Linux with glibc.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BuildSigned {
    /// Its name.
    pub name: Name,
    /// The release: of Alpine as its folder on a mirror is called (`v3.22`, `edge` …), of Void the
    /// date (`YYYYMMDD`); none is the one that banger knows best.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Where all of it comes from, a URL; none is the distribution's public mirror.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<String>,
    /// Files of public keys to trust beside the distribution's own, as absolute paths on the
    /// daemon's host. Alpine's have the names by which the mirror signs; Void's are of minisign for
    /// releases, and in PEM or as xbps keeps them for repositories.
    #[serde(default)]
    pub keys: Vec<String>,
    /// Packages beyond the standard ones.
    #[serde(default)]
    pub packages: Vec<String>,
    /// The root file system's size, in bytes; none is 4 GiB, or more if there is more in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// Whether the opencode server is put in; none is yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opencode: Option<bool>,
    /// The step to do, if not all at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<BuildStep>,
}

/// A step of making an image of signed packages. What one leaves waits for the next on the daemon's
/// host, by distribution and name of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BuildStep {
    /// Gets the kernel, and makes its initramfs.
    Kernel,
    /// Makes the root file system.
    Rootfs,
    /// Makes the image of both; takes nothing else than the name.
    Register,
}

/// An image of files that stay where they lie. All paths are absolute, on the daemon's host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterImage {
    /// Its name.
    pub name: Name,
    /// The root file system: ext4, raw.
    pub rootfs: String,
    /// The kernel: an ELF that boots by PVH, or a bzImage, which is unpacked.
    pub kernel: String,
    /// An initramfs; without one, banger makes its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initramfs: Option<String>,
    /// The folder of the kernel's modules; without one, they are looked for in the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modules: Option<String>,
    /// The kernel's arguments at every boot; none are banger's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_args: Option<String>,
    /// The file system that work disks start from, ext4; none is made of the person's home for VMs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work_seed: Option<String>,
}

/// `GET /v1/daemon`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DaemonStatus {
    /// The daemon's version.
    pub version: String,
    /// What it was built from: `build-` and 12 digits that grow with the sources' time.
    #[serde(default)]
    pub build: String,
    /// Its process id.
    pub pid: u32,
    /// When it started, seconds since 1970-01-01 00:00 UTC.
    pub started_at: u64,
    /// Operations under way.
    pub operations: u64,
    /// VMs that run.
    pub running: u64,
    /// The last event so far. What is listed afterwards has its effects.
    #[serde(default)]
    pub last_event: u64,
    /// Whether KVM works on this host; VMs are emulated otherwise.
    pub kvm: bool,
    /// Whether what needs root can be done; only where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sudo: Option<Sudo>,
}

/// Whether `banger-helper` can be run by `sudo`, without a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sudo {
    /// Whether it can.
    pub ready: bool,
    /// Why it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// `GET /v1/leftovers` and `POST /v1/leftovers/release`: something on the host that is recognisably
/// banger's, and that no VM has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Leftover {
    /// What it is.
    pub what: String,
    /// Why it could not be released, where that was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// `POST /v1/daemon/stop`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StopDaemon {
    /// Cancel the operations under way; it is refused while there are any otherwise.
    pub now: bool,
}

/// `GET /v1/vms/{vm}/ssh`: what it takes to enter a VM. All paths are the host's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SshAccess {
    /// The user to log in as.
    pub user: String,
    /// The private key.
    #[schema(value_type = String)]
    pub key: PathBuf,
    /// The known_hosts file that pins the VM's host key.
    #[schema(value_type = String)]
    pub known_hosts: PathBuf,
    /// The name by which it is pinned.
    pub host_key_alias: String,
}

impl SshAccess {
    /// That to a VM whose folder is `dir`, with the private key `key`.
    #[must_use]
    pub fn of(id: &VmId, key: PathBuf, dir: &Path) -> Self {
        Self {
            user: "root".to_owned(),
            key,
            known_hosts: vm_files::known_hosts(dir),
            host_key_alias: id.to_string(),
        }
    }
}

/// `GET /v1/vms/{vm}/secrets`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Secrets {
    /// The password of the opencode server, user `opencode`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opencode_password: Option<String>,
}

/// `GET /v1/vms/{vm}/stats`: what a VM uses of the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Stats {
    /// CPU time of its VMM so far, in milliseconds; none while it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<u64>,
    /// Its share of CPUs, 100 for each; only where a sample was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<f64>,
    /// Resident memory of its VMM, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss_bytes: Option<u64>,
    /// Time since its start, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_s: Option<u64>,
    /// Its disks.
    pub disk: DiskUse,
    /// What its devices have moved; none while it does not run, and with QEMU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
}

/// What a VM's devices have moved since its start, or since the daemon's if that was later.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Traffic {
    /// Read from its disks, in bytes.
    pub disk_read_bytes: u64,
    /// Written to its disks, in bytes.
    pub disk_written_bytes: u64,
    /// What it received, in bytes.
    pub net_received_bytes: u64,
    /// What it sent, in bytes.
    pub net_sent_bytes: u64,
    /// How often its limits held something up.
    pub throttled: u64,
}

/// What a VM's disks take of the host's file system: less than their size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiskUse {
    /// The root overlay, in bytes.
    pub overlay_bytes: u64,
    /// The work disk, in bytes.
    pub work_bytes: u64,
}

/// What kind of failure an `ApiError` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request makes no sense: 400.
    Invalid,
    /// The caller may not: 403.
    Forbidden,
    /// There is no such object: 404.
    NotFound,
    /// The object's state does not allow it, or the name is taken: 409.
    Conflict,
    /// Something failed inside: 500.
    Internal,
}

/// The body of every reply with a status of 400 or more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error, ToSchema)]
#[error("{message}")]
pub struct ApiError {
    /// What kind of failure.
    pub kind: ErrorKind,
    /// What failed, for a person.
    pub message: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl ApiError {
    /// An error without a remedy.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), remedy: None }
    }

    /// The same with what to do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}
