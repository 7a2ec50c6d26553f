//! What asks for an image.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::name::Name;
use crate::size::Size;

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
