//! Requests and errors of the daemon's API; its objects are the other modules'.

mod images;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::dirs::vm_files;
use crate::id::VmId;
use crate::image::Image;
use crate::name::Name;
use crate::size::Size;
use crate::vm::{Limits, Network, RootDisk, Vmm, WaitFor};

pub use images::{
    BuildDebian, BuildFrom, BuildSigned, BuildStep, CopyIn, CopyVm, ImportImage, MakeImage,
    PullImage, RegisterImage,
};

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
    /// The web console; none where it is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web: Option<WebConsole>,
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

/// Where the web console is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebConsole {
    /// Its URL; none if it is not served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Why it is not served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// `POST /v1/web/login`: a way into the web console, for one browser and a short time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebLogin {
    /// The URL to open. It is good once: who has it is you.
    pub url: String,
    /// For how long it is good, in seconds.
    pub expires_in_s: u64,
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
