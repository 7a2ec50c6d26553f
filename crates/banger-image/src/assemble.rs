//! From a tree of layers to the files of an image.

mod additions;

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;

use banger_core::id::ImageId;
use banger_core::image::{BootSet, Image, Init, Source, files};
use banger_core::name::Name;
use banger_core::size::Size;

use serde::{Deserialize, Serialize};

use crate::build::{BuildEnv, BuildError, Reporter, seal};
use crate::ext4::{self, Copied, Disk};
use crate::namespace::Namespace;
use crate::oci::{Layer, Root};
use crate::unpack::unpack;
use crate::{manifest, parts};

pub(crate) use additions::Additions;

/// The size of a root file system that needs no more.
const MIN_SIZE: Size = Size::gib(4);

/// What the layers have and no VM should: what every guest must have of its own, and what a
/// container leaves behind.
const EMPTIED: &[&str] = &["dev", "proc", "run", "sys", "tmp"];
/// The beginnings of files' names.
const LEFT_OUT: &[&str] = &[".dockerenv", "etc/ssh/ssh_host_", "var/lib/dbus/machine-id"];

/// An image that is put together.
pub(crate) struct Assembly<'a> {
    pub env: &'a BuildEnv<'a>,
    /// Where its files go, an empty folder.
    pub staging: &'a Path,
    pub reporter: &'a dyn Reporter,
    pub namespace: Namespace,
    /// A folder for what is needed meanwhile.
    pub scratch: &'a Path,
}

/// What is known of an image.
#[derive(Serialize, Deserialize)]
pub(crate) struct Described {
    pub id: ImageId,
    pub name: Name,
    pub source: Source,
    pub created_at: u64,
    pub kernel_release: String,
    pub boot_args: String,
    pub init: Init,
    pub rootfs_size: Size,
    pub opencode: Option<String>,
}

impl Assembly<'_> {
    /// Begins a stage, unless the build was cancelled.
    pub(crate) fn stage(&self, name: &str) -> Result<(), BuildError> {
        if self.env.cancel.is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        self.reporter.stage(name);
        Ok(())
    }

    /// Writes a file of the image for good.
    pub(crate) fn save(&self, name: &str, content: &[u8]) -> Result<(), BuildError> {
        let path = self.staging.join(name);
        fs::write(&path, content).map_err(BuildError::io("write", &path))?;
        seal(&path)
    }

    /// Makes the root file system of the tree, and of what a VM needs beyond it. The copies of
    /// modules are gone after it, for they take room.
    pub(crate) fn rootfs(
        &self,
        root: &mut Root,
        additions: &Additions<'_>,
        size: Option<Size>,
    ) -> Result<Size, BuildError> {
        let ours = self.scratch.join("banger.tar");
        additions.write(&ours, root)?;
        for Copied { copy, .. } in additions.modules.1 {
            fs::remove_file(copy).map_err(BuildError::io("remove", copy))?;
        }
        let layer = Layer::of(ours.clone()).map_err(BuildError::io("read", &ours))?;
        root.push(&layer, &self.env.cancel)?;
        let size = size.unwrap_or_else(|| roomy(root.bytes()));
        // Not by tar: what has another name there would go with the first.
        let wrong = |reason| BuildError::Missing(format!("tree that makes sense: {reason}"));
        root.leave_out(EMPTIED, LEFT_OUT).map_err(wrong)?;

        let flat = self.scratch.join("root.tar");
        let write = BuildError::io("write", &flat);
        let mut out = BufWriter::new(File::create_new(&flat).map_err(&write)?);
        root.write(&mut out, &self.env.cancel)?;
        out.flush().map_err(write)?;
        fs::remove_file(&ours).map_err(BuildError::io("remove", &ours))?;
        let tree = self.scratch.join("root");
        fs::create_dir(&tree).map_err(BuildError::io("make the folder", &tree))?;
        unpack(self.env, self.namespace, &flat, &tree, &[])?;
        fs::remove_file(&flat).map_err(BuildError::io("remove", &flat))?;
        self.file_system(&tree, size)?;
        Ok(size)
    }

    /// Makes the root file system of a tree.
    pub(crate) fn file_system(&self, tree: &Path, size: Size) -> Result<(), BuildError> {
        let rootfs = self.staging.join(files::ROOTFS);
        let (runner, cancel) = (self.env.runner, &self.env.cancel);
        ext4::make_root(runner, self.namespace, tree, &rootfs, size, cancel)?;
        seal(&rootfs)
    }

    /// The list of packages in the root file system.
    pub(crate) fn packages(&self) -> Result<Option<String>, BuildError> {
        let rootfs = self.staging.join(files::ROOTFS);
        let disk = Disk::open(self.env.runner, &rootfs, &self.env.cancel)?;
        Ok(manifest::read(&disk)?)
    }

    /// Writes the list of packages and the description of an image whose other files are there.
    pub(crate) fn describe(
        &self,
        known: Described,
        packages: Option<String>,
    ) -> Result<Image, BuildError> {
        let staging = self.staging;
        let mut names = vec![files::KERNEL, files::INITRAMFS, files::ROOTFS];
        if let Some(list) = packages {
            self.save(files::MANIFEST, list.as_bytes())?;
            names.push(files::MANIFEST);
        }
        let parts = parts::record(staging, &names);
        let image = Image {
            id: known.id,
            name: known.name,
            source: known.source,
            parent: None,
            in_place: None,
            temporary: false,
            created_at: known.created_at,
            boot_set: BootSet {
                kernel_release: known.kernel_release,
                boot_args: known.boot_args,
                agent_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            },
            rootfs_size: known.rootfs_size,
            opencode: known.opencode,
            companion: true,
            init: known.init,
            parts: parts.map_err(BuildError::io("read the files in", staging))?,
        };
        self.save(files::DESCRIPTION, &serde_json::to_vec_pretty(&image)?)?;
        let folder = File::open(staging).and_then(|folder| folder.sync_all());
        folder.map_err(BuildError::io("write to disk", staging))?;
        Ok(image)
    }
}

/// Whole gibibytes, with as much free as is used and one more, and never less than [`MIN_SIZE`].
fn roomy(bytes: u64) -> Size {
    let gib = Size::gib(1).as_bytes();
    let wanted = bytes.saturating_mul(2).saturating_add(gib);
    Size::bytes(wanted.next_multiple_of(gib)).max(MIN_SIZE)
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
