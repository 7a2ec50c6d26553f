//! An image that is made step by step: a kernel, a root file system, and the image of both.
//!
//! What a step leaves lies in a folder of its own for each image that is to be, together with a
//! description, which is written last and removed first: a part without one is none.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;

use banger_core::id::ImageId;
use banger_core::image::{Image, files};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::assemble::{Assembly, Described};
use crate::build::BuildError;
use crate::from_root::share;
use crate::signed::SignedRequest;

const KERNEL: &str = "kernel.json";
const ROOTFS: &str = "rootfs.json";

/// Why parts make no image.
#[derive(Debug, thiserror::Error)]
pub enum PartsError {
    /// A step was not done.
    #[error("there is no {part} for it yet: do the step '{part}' first")]
    Missing {
        /// What is missing, as its step is called.
        part: &'static str,
    },
    /// The parts do not go together.
    #[error(
        "the kernel is Linux {kernel}, and the modules of the root file system are for {modules}: do the steps 'kernel' and 'rootfs' again"
    )]
    Mismatch {
        /// The kernel's release.
        kernel: String,
        /// That of the modules.
        modules: String,
    },
}

/// What is known of a kernel.
#[derive(Serialize, Deserialize)]
struct Kernel {
    release: String,
}

/// Leaves the kernel and the initramfs that are in the staging folder.
pub(crate) fn keep_kernel(
    to: &Assembly<'_>,
    request: &SignedRequest,
    release: &str,
) -> Result<(), BuildError> {
    let kernel = Kernel { release: release.to_owned() };
    keep(to, request, &[files::KERNEL, files::INITRAMFS], (KERNEL, &kernel))
}

/// Leaves the root file system that is in the staging folder, and what is known of the image.
pub(crate) fn keep_rootfs(
    to: &Assembly<'_>,
    request: &SignedRequest,
    known: &Described,
) -> Result<(), BuildError> {
    keep(to, request, &[files::ROOTFS], (ROOTFS, known))
}

fn keep<T: Serialize>(
    to: &Assembly<'_>,
    request: &SignedRequest,
    names: &[&str],
    (about, known): (&str, &T),
) -> Result<(), BuildError> {
    let folder = &request.parts;
    fs::create_dir_all(folder).map_err(BuildError::io("make the folder", folder))?;
    let about = folder.join(about);
    match fs::remove_file(&about) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(BuildError::io("remove", &about)(error));
        }
        _ => {}
    }
    for name in names {
        // Both are in the state folder.
        let (from, part) = (to.staging.join(name), folder.join(name));
        fs::rename(&from, &part).map_err(BuildError::io("write", &part))?;
    }
    fs::write(&about, serde_json::to_vec(known)?).map_err(BuildError::io("write", &about))?;
    let folder_synced = File::open(folder).and_then(|folder| folder.sync_all());
    folder_synced.map_err(BuildError::io("write to disk", folder))
}

/// Makes the image of the parts that the other steps left.
pub(crate) fn register(
    to: &Assembly<'_>,
    request: &SignedRequest,
    id: ImageId,
) -> Result<Image, BuildError> {
    to.stage("register")?;
    let folder = &request.parts;
    let kernel: Kernel = read(&folder.join(KERNEL), "kernel")?;
    let known: Described = read(&folder.join(ROOTFS), "rootfs")?;
    if kernel.release != known.kernel_release {
        let (kernel, modules) = (kernel.release, known.kernel_release);
        return Err(PartsError::Mismatch { kernel, modules }.into());
    }
    for name in [files::KERNEL, files::INITRAMFS, files::ROOTFS] {
        share(&folder.join(name), &to.staging.join(name))?;
    }
    to.stage("describe")?;
    to.describe(Described { id, created_at: request.created_at, ..known }, to.packages()?)
}

fn read<T: DeserializeOwned>(path: &Path, part: &'static str) -> Result<T, BuildError> {
    match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(PartsError::Missing { part }.into())
        }
        read => Ok(serde_json::from_slice(&read.map_err(BuildError::io("read", path))?)?),
    }
}
