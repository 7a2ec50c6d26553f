//! An image that is made step by step: a kernel, a root file system, and the image of both.
//!
//! What a step leaves lies in a folder of its own for each image that is to be, together with a
//! description, which is written last and removed first: a part without one is none.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use banger_core::id::ImageId;
use banger_core::image::{Image, files};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::assemble::{Assembly, Described};
use crate::build::BuildError;
use crate::durable;
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
    forget(&about)?;
    let kept = names.iter().try_for_each(|name| {
        // Both are in the state folder.
        let (from, part) = (to.staging.join(name), folder.join(name));
        fs::rename(&from, &part).map_err(BuildError::io("write", &part))
    });
    let kept = kept.and_then(|()| {
        let text = serde_json::to_vec(known)?;
        durable::write(&about, &text).map_err(BuildError::io("write", &about))
    });
    if kept.is_err() {
        // A part that nobody knows would only take room.
        names.iter().try_for_each(|name| forget(&folder.join(name)))?;
    }
    kept
}

fn forget(path: &Path) -> Result<(), BuildError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(BuildError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
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

/// What is known of a part. One that another banger left, and that says something else, is none.
fn read<T: DeserializeOwned>(path: &Path, part: &'static str) -> Result<T, BuildError> {
    let missing = || PartsError::Missing { part }.into();
    match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Err(missing()),
        read => {
            let text = read.map_err(BuildError::io("read", path))?;
            serde_json::from_slice(&text).map_err(|_| missing())
        }
    }
}
