//! Managed images: a root file system and the boot set that boots it.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::id::ImageId;
use crate::name::Name;
use crate::size::Size;

/// What a root file system may have: the smallest Debian with a kernel just fits into the first.
const ROOT_SIZES: RangeInclusive<Size> = Size::mib(512)..=Size::gib(4096);

/// Whether a root file system can have that size.
///
/// # Errors
/// Why it cannot, for a person.
pub fn check_root_size(size: Size) -> Result<(), String> {
    let (least, most) = (ROOT_SIZES.start(), ROOT_SIZES.end());
    match ROOT_SIZES.contains(&size) {
        true => Ok(()),
        false => {
            Err(format!("a root file system of {size} is not possible: choose {least} to {most}"))
        }
    }
}

/// File names inside a managed image's folder.
pub mod files {
    /// The uncompressed kernel, an ELF with a PVH note.
    pub const KERNEL: &str = "vmlinux";
    /// The initramfs: newc cpio, padded to 4 bytes so that a per-VM segment can follow.
    pub const INITRAMFS: &str = "initramfs.cpio";
    /// The read-only root file system, ext4.
    pub const ROOTFS: &str = "rootfs.ext4";
    /// The file system that a work disk starts from, ext4: made when the first VM
    /// is, and again when what it is made of has changed. The image's other files
    /// never change.
    pub const WORK_SEED: &str = "work-seed.ext4";
    /// What the work seed was made of, JSON.
    pub const WORK_SEED_FINGERPRINT: &str = "work-seed.json";
    /// The packages inside, one `name version architecture` a line.
    pub const MANIFEST: &str = "packages.txt";
    /// The [`super::Image`] itself, JSON.
    pub const DESCRIPTION: &str = "image.json";
}

/// A managed image. Immutable once it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Image {
    /// Its id.
    pub id: ImageId,
    /// Its name, unique among images.
    pub name: Name,
    /// What it was made from.
    pub source: Source,
    /// The image that its root file system began as, if that was one of banger's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// Where its files lie on the host, if they were registered where they lie. They are the
    /// person's, and must not change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_place: Option<InPlace>,
    /// Whether it is there only for another to be made of it: it is in no list, and gone with the
    /// next daemon.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub temporary: bool,
    /// When it was made, seconds since 1970-01-01 00:00 UTC.
    pub created_at: u64,
    /// What boots it.
    pub boot_set: BootSet,
    /// The root file system's size.
    pub rootfs_size: Size,
    /// The version of the opencode server inside, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opencode: Option<String>,
    /// Whether its root has the agent and the services that start it. If not, each start puts them
    /// there.
    #[serde(default = "yes")]
    pub companion: bool,
    /// What starts the services in its root.
    #[serde(default)]
    pub init: Init,
    /// Its files as they were made; none were written down before there was such a list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
}

/// All images had it before there were others.
fn yes() -> bool {
    true
}

/// The image that another began as. It may be gone by now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ImageParent)]
pub struct Parent {
    /// Its id.
    pub id: ImageId,
    /// The name that it had.
    pub name: Name,
}

/// Files of the host that an image is of. In the image's folder links lead to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ImageInPlace)]
pub struct InPlace {
    /// The root file system.
    pub rootfs: String,
    /// The kernel, if it needed not to be unpacked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// The initramfs, if it is not banger's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initramfs: Option<String>,
}

/// A file of an image, by which damage to it is found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ImagePart)]
pub struct Part {
    /// Its name in the image's folder.
    pub name: String,
    /// Its length, in bytes.
    pub bytes: u64,
    /// The SHA-256, in hexadecimal digits, of its blocks of 64 KiB that are not all zero,
    /// each behind its number (64 bits, little endian): holes cost no time.
    pub digest: String,
    /// What says that a file in place was not touched since its digest was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<Stamp>,
}

/// What changes with a file (stat(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ImagePartStamp)]
pub struct Stamp {
    /// Its inode.
    pub inode: u64,
    /// When its content changed last, nanoseconds since 1970-01-01 00:00 UTC.
    pub mtime_ns: i64,
    /// When the file or what is known of it changed last, likewise.
    pub ctime_ns: i64,
}

/// What an image was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[schema(as = ImageSource)]
pub enum Source {
    /// Debian packages.
    Debian {
        /// The suite: `bookworm`, `trixie` …
        suite: String,
    },
    /// Packages of Alpine.
    Alpine {
        /// The release: `v3.22`, `edge` …
        release: String,
    },
    /// A release of Void Linux, with the packages that its repository had.
    Void {
        /// The date of the release: `20250202`.
        release: String,
    },
    /// Files of the person's.
    Registered,
    /// Another image, in a VM for that alone.
    Image,
    /// A VM's root.
    Vm {
        /// The name that it had.
        vm: Name,
    },
    /// The layers of a container's image.
    Oci {
        /// What it was called: in its registry, or the file that it was in.
        reference: String,
        /// The digest of its manifest: `sha256:` and 64 hexadecimal digits.
        digest: String,
    },
}

/// What starts the services in a root.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ImageInit)]
pub enum Init {
    /// systemd. All images had it before there were others.
    #[default]
    Systemd,
    /// OpenRC, of Alpine and Gentoo; as first program or below another.
    OpenRc,
    /// runit, of Void.
    Runit,
}

impl Init {
    /// All, the most likely first where a root has several.
    pub const ALL: [Self; 3] = [Self::Systemd, Self::OpenRc, Self::Runit];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::OpenRc => "OpenRC",
            Self::Runit => "runit",
        }
    }

    /// Its programs, any of which a root with it has; the first that is there can be process 1,
    /// if the root has no `/sbin/init`.
    #[must_use]
    pub const fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Systemd => &["/usr/lib/systemd/systemd", "/lib/systemd/systemd"],
            Self::OpenRc => &["/sbin/openrc-init", "/usr/bin/openrc-init", "/sbin/openrc"],
            Self::Runit => &["/sbin/runit-init", "/usr/bin/runit-init", "/lib/runit/runit-init"],
        }
    }

    /// The one that a root has, if any.
    #[must_use]
    pub fn of(has: impl Fn(&str) -> bool) -> Option<Self> {
        Self::ALL.into_iter().find(|init| init.programs().iter().any(|path| has(path)))
    }
}

impl From<&Image> for Parent {
    fn from(image: &Image) -> Self {
        Self { id: image.id.clone(), name: image.name.clone() }
    }
}

impl BootSet {
    /// Whether the initramfs is banger's: one that takes a segment.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.agent_version.is_some()
    }
}

/// Kernel and arguments; the files lie beside the image's root file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BootSet {
    /// The release of the kernel and its modules: `6.1.0-56-cloud-amd64`.
    pub kernel_release: String,
    /// The arguments that every boot of this image needs.
    pub boot_args: String,
    /// Version of the agent that is the initramfs' init and the guest's service; none if the
    /// initramfs is not banger's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<String>,
}
