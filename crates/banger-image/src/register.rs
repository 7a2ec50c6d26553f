//! Images of files that a person has: looked through, so that what cannot boot is refused here and
//! not by a guest that stays silent.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use banger_core::bootargs;
use banger_core::guest::AGENT_PATH;
use banger_core::id::ImageId;
use banger_core::image::{BootSet, Image, InPlace, Init, Source, files};
use banger_core::name::Name;
use banger_core::size::Size;
use banger_exec::{Command, Tool};
use memchr::memmem;

use crate::build::{BuildEnv, BuildError, Reporter, read_agent, seal};
use crate::decompress::Format;
use crate::ext4::Disk;
use crate::superblock::{self, Superblock};
use crate::{cpio, initramfs, modules, parts, vmlinux};

/// No kernel and no initramfs is larger.
const FILE_MAX: u64 = 512 << 20;
/// What the kernel calls itself with (kernel: `init/version.c`).
const BANNER: &[u8] = b"Linux version ";
/// Where a root has its first program, see the agent's init.
const INITS: [&str; 3] = ["/sbin/init", "/usr/lib/systemd/systemd", "/bin/init"];
/// Of a root without any init that is known here.
pub(crate) const NO_INIT: &str =
    "it has no systemd, OpenRC or runit, one of which must start its services";
/// What a kernel says of itself that has such a driver, where it is no module.
const DRIVERS: [(&str, &[u8]); 4] = [
    ("virtio_mmio", b"virtio-mmio"),
    ("virtio_blk", b"virtio_blk"),
    ("ext4", b"ext4"),
    ("vmw_vsock_virtio_transport", b"vmw_vsock_virtio_transport"),
];

/// The files of an image to register. All paths are absolute.
#[derive(Debug, Clone)]
pub struct RegisterRequest {
    /// The image's name.
    pub name: Name,
    /// The root file system: ext4, raw.
    pub rootfs: PathBuf,
    /// The kernel: an ELF that boots by PVH, or a bzImage.
    pub kernel: PathBuf,
    /// An initramfs; without one, banger makes its own.
    pub initramfs: Option<PathBuf>,
    /// The folder of the kernel's modules; without one, they are looked for in the root.
    pub modules: Option<PathBuf>,
    /// The arguments of every boot; none are banger's.
    pub boot_args: Option<String>,
    /// The file system that work disks start from; none is made of the person's home for VMs.
    pub work_seed: Option<PathBuf>,
    /// When it is made, seconds since 1970-01-01 00:00 UTC.
    pub created_at: u64,
}

/// A file that no image can have.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be the {part} of an image: {why}", path.display())]
pub struct Refusal {
    path: PathBuf,
    part: &'static str,
    why: String,
}

fn refuse(path: &Path, part: &'static str, why: impl ToString) -> BuildError {
    Refusal { path: path.to_owned(), part, why: why.to_string() }.into()
}

/// Looks the files through, and makes an image of them in `staging`, an empty folder: links to those
/// that can stay where they lie.
///
/// # Errors
/// One of them cannot be of an image, or cannot be read; or the disk fails.
pub fn register(
    id: ImageId,
    request: &RegisterRequest,
    env: &BuildEnv<'_>,
    staging: &Path,
    reporter: &dyn Reporter,
) -> Result<Image, BuildError> {
    Register { request, env, staging }.run(id, reporter)
}

struct Register<'a> {
    request: &'a RegisterRequest,
    env: &'a BuildEnv<'a>,
    staging: &'a Path,
}

impl Register<'_> {
    fn run(&self, id: ImageId, reporter: &dyn Reporter) -> Result<Image, BuildError> {
        let request = self.request;
        let boot_args = request.boot_args.as_deref().unwrap_or(bootargs::SHARED).trim();
        check_boot_args(boot_args)?;
        reporter.stage("check");
        let (rootfs_size, init) = self.rootfs()?;
        let (kernel_release, vmlinux, kernel) = self.kernel()?;
        let (initramfs, agent_version) = match &request.initramfs {
            Some(path) => {
                check_initramfs(path)?;
                self.link(path, files::INITRAMFS)?;
                (Some(text(path)), None)
            }
            None => {
                let agent = read_agent(self.env.agent)?;
                let modules = self.modules(&kernel_release, &vmlinux)?;
                self.write(files::INITRAMFS, &initramfs::build(&agent, &modules)?)?;
                (None, Some(env!("CARGO_PKG_VERSION").to_owned()))
            }
        };
        let mut names = vec![files::KERNEL, files::INITRAMFS, files::ROOTFS];
        if let Some(seed) = &request.work_seed {
            ext4(seed, "work seed")?;
            let to = self.staging.join(files::WORK_SEED);
            fs::copy(seed, &to).map_err(BuildError::io("copy", seed))?;
            // resize2fs wants it, and e2fsck of a work disk would be paid by each VM.
            let e2fsck = Command::new(Tool::E2fsck).args(["-f", "-p"]).arg(&to).also_ok(1);
            self.env.runner.capture(&e2fsck.cancel(&self.env.cancel))?;
            fs::set_permissions(&to, Permissions::from_mode(0o400))
                .and_then(|()| File::open(&to)?.sync_all())
                .map_err(BuildError::io("write to disk", &to))?;
            names.push(files::WORK_SEED);
        }
        self.check_cancel()?;

        reporter.stage("describe");
        let parts = parts::record(self.staging, &names);
        let image = Image {
            id,
            name: request.name.clone(),
            source: Source::Registered,
            parent: None,
            in_place: Some(InPlace { rootfs: text(&request.rootfs), kernel, initramfs }),
            temporary: false,
            created_at: request.created_at,
            boot_set: BootSet { kernel_release, boot_args: boot_args.to_owned(), agent_version },
            rootfs_size,
            opencode: None,
            companion: self.has(&format!("/{AGENT_PATH}"))?,
            init,
            parts: parts.map_err(BuildError::io("read the files in", self.staging))?,
        };
        self.write(files::DESCRIPTION, &serde_json::to_vec_pretty(&image)?)?;
        let folder = File::open(self.staging).and_then(|folder| folder.sync_all());
        folder.map_err(BuildError::io("write to disk", self.staging))?;
        Ok(image)
    }

    /// Its size, and what starts its services.
    fn rootfs(&self) -> Result<(Size, Init), BuildError> {
        let path = &self.request.rootfs;
        let size = ext4(path, "root file system")?.size;
        self.link(path, files::ROOTFS)?;
        let mut there = Vec::new();
        for program in Init::ALL.iter().flat_map(|init| init.programs()).chain(&INITS) {
            if self.has(program)? {
                there.push(*program);
            }
        }
        if !INITS.iter().any(|init| there.contains(init)) {
            let why = format!("it has no init ({})", INITS.join(", "));
            return Err(refuse(path, "root file system", why));
        }
        match Init::of(|program| there.contains(&program)) {
            Some(init) => Ok((size, init)),
            None => Err(refuse(path, "root file system", NO_INIT)),
        }
    }

    /// Whether the root has something there.
    fn has(&self, inside: &str) -> Result<bool, BuildError> {
        Ok(self.disk()?.stat(Path::new(inside))?.is_some())
    }

    fn disk(&self) -> Result<Disk<'_>, BuildError> {
        Ok(Disk::open(self.env.runner, &self.request.rootfs, &self.env.cancel)?)
    }

    /// Its release, its ELF, and where that lies if it needed not to be unpacked.
    fn kernel(&self) -> Result<(String, Vec<u8>, Option<String>), BuildError> {
        let path = &self.request.kernel;
        let file = read_file(path, "kernel")?;
        let vmlinux = vmlinux::extract(&file).map_err(|error| refuse(path, "kernel", error))?;
        let release = release(&vmlinux)
            .ok_or_else(|| refuse(path, "kernel", "it does not say which Linux it is"))?;
        if vmlinux == file {
            self.link(path, files::KERNEL)?;
            return Ok((release, vmlinux, Some(text(path))));
        }
        self.write(files::KERNEL, &vmlinux)?;
        Ok((release, vmlinux, None))
    }

    /// The modules that the initramfs loads.
    fn modules(&self, release: &str, vmlinux: &[u8]) -> Result<Vec<(String, Vec<u8>)>, BuildError> {
        let rootfs = &self.request.rootfs;
        let found = match &self.request.modules {
            Some(folder) => {
                let read = |file: &str| match fs::read(folder.join(file)) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    read => Ok(Some(read.map_err(BuildError::io("read", &folder.join(file)))?)),
                };
                let found = modules::boot(&read)?;
                Some(found.ok_or_else(|| refuse(folder, "modules", "it has no modules.dep"))?)
            }
            None => modules::boot(&|file| {
                let path = format!("/lib/modules/{release}/{file}");
                Ok(self.disk()?.read(Path::new(&path), FILE_MAX)?)
            })?,
        };
        let from = self.request.modules.as_deref().unwrap_or(rootfs);
        for (name, content) in found.iter().flatten() {
            match vermagic(content) {
                Some(of) if of != release => {
                    let why = format!("{name} is for Linux {of}, and the kernel is {release}");
                    return Err(refuse(from, "modules", why));
                }
                _ => {}
            }
        }
        if found.is_none()
            && let Some((driver, _)) =
                DRIVERS.iter().find(|(_, sign)| memmem::find(vmlinux, sign).is_none())
        {
            let why = format!(
                "it has no {driver} built in, and there are no modules for Linux {release}: \
                 neither in the root file system nor by '--modules'"
            );
            return Err(refuse(&self.request.kernel, "kernel", why));
        }
        Ok(found.unwrap_or_default())
    }

    fn link(&self, to: &Path, name: &str) -> Result<(), BuildError> {
        symlink(to, self.staging.join(name)).map_err(BuildError::io("link to", to))
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), BuildError> {
        let path = self.staging.join(name);
        File::create_new(&path)
            .and_then(|mut file| io::Write::write_all(&mut file, content))
            .map_err(BuildError::io("write", &path))?;
        seal(&path)
    }

    fn check_cancel(&self) -> Result<(), BuildError> {
        if self.env.cancel.is_cancelled() { Err(BuildError::Cancelled) } else { Ok(()) }
    }
}

fn check_boot_args(args: &str) -> Result<(), BuildError> {
    // Room for what a start adds.
    let reason = if args.len() > bootargs::MAX_LEN / 2 {
        "it has more than 1024 bytes"
    } else if args.chars().any(char::is_control) {
        "it has control characters"
    } else {
        return Ok(());
    };
    Err(BuildError::Request { what: "kernel's command line", value: args.to_owned(), reason })
}

fn ext4(path: &Path, part: &'static str) -> Result<Superblock, BuildError> {
    let file = open(path, part)?;
    superblock::read(&file).map_err(|why| refuse(path, part, why))
}

/// Opens what must be a file: a device may be anything by tomorrow, and a pipe never ends.
fn open(path: &Path, part: &'static str) -> Result<File, BuildError> {
    let metadata = fs::metadata(path).map_err(BuildError::io("read", path))?;
    if !metadata.is_file() {
        return Err(refuse(path, part, "it is no file"));
    }
    File::open(path).map_err(BuildError::io("read", path))
}

fn read_file(path: &Path, part: &'static str) -> Result<Vec<u8>, BuildError> {
    let length = open(path, part)?.metadata().map_err(BuildError::io("read", path))?.len();
    if length > FILE_MAX {
        return Err(refuse(path, part, "it has more than 512 MiB"));
    }
    fs::read(path).map_err(BuildError::io("read", path))
}

/// Archives of cpio, compressed or not, one behind the other (kernel:
/// `Documentation/driver-api/early-userspace/buffer-format.rst`).
fn check_initramfs(path: &Path) -> Result<(), BuildError> {
    let content = read_file(path, "initramfs")?;
    if Format::of(&content).is_some() || cpio::begins(&content) {
        return Ok(());
    }
    Err(refuse(path, "initramfs", "it is neither a cpio archive nor a compressed one"))
}

/// The release of a kernel: `6.1.0-56-cloud-amd64`.
fn release(vmlinux: &[u8]) -> Option<String> {
    // The text is there once more as a format: `Linux version %s`.
    memmem::find_iter(vmlinux, BANNER).find_map(|at| word(&vmlinux[at + BANNER.len()..]))
}

/// The release that a module is for (kernel: `include/linux/vermagic.h`).
fn vermagic(module: &[u8]) -> Option<String> {
    const KEY: &[u8] = b"vermagic=";
    memmem::find_iter(module, KEY).find_map(|at| word(&module[at + KEY.len()..]))
}

/// A release at the beginning of `bytes`.
fn word(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().take(65).position(|byte| *byte == b' ')?;
    let word = std::str::from_utf8(&bytes[..end]).ok()?;
    word.starts_with(|c: char| c.is_ascii_digit()).then(|| word.to_owned())
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
