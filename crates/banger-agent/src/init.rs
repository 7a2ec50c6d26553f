//! Process 1 of the initramfs: from a bare kernel to the root's own init.
//!
//! Each step or the boot fails: the reason goes to the console and the machine
//! restarts, which ends the VM. A panic would end it too, but bury the reason
//! under a trace.
//!
//! The initramfs has a node `/dev/null`: without a console Rust's start-up
//! opens it in place of the standard streams, and aborts if it is missing.

use std::ffi::{CStr, CString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread::sleep;
use std::time::{Duration, Instant};

use banger_core::guest::{
    BOOT_CONFIG, BootConfig, INIT_SAYS, MODULE_LIST, OVERLAY_DIR, PROVISION_PATH, PROVISIONED,
    PROVISIONING, Provisioned, WRONG_TIMER,
};
use banger_exec::{Command, ExecError, HostRunner, Runner as _, Tool, Tools, replace};
use rustix::fs::{FsWord, statfs, sync};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_move};
use rustix::process::{chdir, chroot};
use rustix::system::finit_module;

use crate::guest::{restart, uptime_ms};
use crate::overlay::{CopyError, Root};
use crate::timer;

const NEW_ROOT: &str = "/newroot";
/// The work disk's place, within the root.
const WORK: &str = "root";
const FILE_SYSTEM: &str = "ext4";
/// The root's init, in order of preference.
const INITS: [&str; 3] = ["/sbin/init", "/usr/lib/systemd/systemd", "/bin/init"];
const DEVICE_LIMIT: Duration = Duration::from_secs(15);
/// How long the script of a root may take: it only configures what is there.
const PROVISION_LIMIT: Duration = Duration::from_secs(3600);
const DEVICE_POLL: Duration = Duration::from_millis(5);
const TIMERS: &str = "/proc/timer_list";
/// `RAMFS_MAGIC` and `TMPFS_MAGIC` of the kernel's `linux/magic.h`.
const RAM: [FsWord; 2] = [0x8584_58f6, 0x0102_1994];

/// Why the guest did not boot.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// A step failed.
    #[error("cannot {action} {target}")]
    Step {
        /// What was tried.
        action: &'static str,
        /// On what.
        target: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// We were not started from an initramfs.
    #[error("the root is not an initramfs")]
    NotInitramfs,
    /// The configuration makes no sense.
    #[error("/{BOOT_CONFIG} is not valid")]
    Config(#[source] serde_json::Error),
    /// A disk is missing.
    #[error("the disk {device} did not appear within {} s; {present}", DEVICE_LIMIT.as_secs())]
    NoDevice {
        /// The disk.
        device: String,
        /// The block devices that there are.
        present: String,
    },
    /// The kernel's timers would fire too early or too late.
    #[error("{WRONG_TIMER}: {found} Hz instead of {expected}")]
    Timer {
        /// What the kernel measured; 0 if it gave the timer up.
        found: u64,
        /// What it is.
        expected: u64,
    },
    /// The guest's files could not be written.
    #[error("cannot write the guest's files")]
    Overlay(#[from] CopyError),
    /// The root has no init that starts.
    #[error("the root has no init that starts (tried {})", INITS.join(", "))]
    NoInit(#[source] Option<ExecError>),
}

/// The context of an error.
fn step<E: Into<io::Error>>(
    action: &'static str,
    target: impl ToString,
) -> impl FnOnce(E) -> InitError {
    move |error| InitError::Step { action, target: target.to_string(), source: error.into() }
}

/// Boots the guest. Returns only if that fails, or if there is nothing more to do.
pub fn run() -> ExitCode {
    if let Err(error) = boot() {
        Log::open().line(4, &format!("{INIT_SAYS}{}", crate::explain(&error)));
    }
    sync();
    restart();
    ExitCode::FAILURE
}

/// Returns well when the root's script was run.
fn boot() -> Result<(), InitError> {
    for (kind, target) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        make_folder(target)?;
        mount_new(kind, target, kind, None)?;
    }
    let mut log = Log::open();
    if !RAM.contains(&statfs("/").map_err(step("look at", "/"))?.f_type) {
        return Err(InitError::NotInitramfs);
    }
    log.phase("started");
    let config = read_config()?;
    if let Some(expected) = config.timer_hz {
        timer::check(&fs::read_to_string(TIMERS).unwrap_or_default(), expected)?;
    }
    let modules = load_modules()?;
    log.phase(&format!("loaded {modules} modules"));
    wait_for(&config.root)?;
    make_folder(NEW_ROOT)?;
    mount_new(&config.root, NEW_ROOT, FILE_SYSTEM, None)?;
    let root = Root::open(Path::new(NEW_ROOT))?;
    log.phase(&format!("mounted {}", config.root));
    if let Some(work) = &config.work {
        wait_for(work)?;
        let folder = root.folder(Path::new(WORK))?;
        // A work disk was grown on the host: its new inode tables are holes, which read as zeroes.
        mount_new(work, &by_descriptor(&folder), FILE_SYSTEM, Some(c"noinit_itable"))?;
        log.phase(&format!("mounted {work}"));
    }
    let overlay = Path::new("/").join(OVERLAY_DIR);
    if overlay.is_dir() {
        let files = root.copy_tree(&overlay)?;
        log.phase(&format!("wrote {files} files"));
    }
    switch_root(&root)?;
    if config.provision {
        log.phase(PROVISIONING);
        return provision(log);
    }
    log.phase("handing over");
    Err(hand_over())
}

/// Runs the root's script, and leaves word of how it ended.
fn provision(log: Log) -> Result<(), InitError> {
    let script = Path::new("/").join(PROVISION_PATH);
    let tools = Tools::default().with(Tool::GuestProvision, script);
    let log = Mutex::new(log);
    let command = Command::new(Tool::GuestProvision)
        .on_line(move |line| {
            if let Ok(mut log) = log.lock() {
                log.say(line);
            }
        })
        .timeout(PROVISION_LIMIT);
    let ended = match HostRunner::new(tools).capture(&command) {
        Ok(output) => Provisioned { failure: None, said: output.stderr },
        Err(ExecError::Failed { status, stderr, .. }) => {
            Provisioned { failure: Some(status), said: stderr }
        }
        Err(error) => Provisioned { failure: Some(crate::explain(&error)), said: String::new() },
    };
    let path = Path::new("/").join(PROVISIONED);
    let write = || {
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        fs::write(&path, serde_json::to_vec(&ended)?)
    };
    write().map_err(step("write", path.display()))
}

fn make_folder(path: &str) -> Result<(), InitError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(step("make", path)(error)),
        _ => Ok(()),
    }
}

#[expect(clippy::disallowed_methods, reason = "inside the guest")]
fn mount_new(
    source: &str,
    target: &str,
    kind: &str,
    options: Option<&CStr>,
) -> Result<(), InitError> {
    match mount(source, target, kind, MountFlags::empty(), options) {
        // The kernel may have mounted its own file systems already.
        Err(Errno::BUSY) if source == kind => Ok(()),
        result => result.map_err(step("mount", source)),
    }
}

#[expect(clippy::disallowed_methods, reason = "inside the guest")]
fn move_mount(source: &str, target: &str) -> Result<(), InitError> {
    mount_move(source, target).map_err(step("move", source))
}

/// A path that leads to an open folder and nowhere else.
fn by_descriptor(folder: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", folder.as_raw_fd())
}

fn load_modules() -> Result<usize, InitError> {
    let list = Path::new("/").join(MODULE_LIST);
    let text = match fs::read_to_string(&list) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        text => text.map_err(step("read", list.display()))?,
    };
    let mut count = 0;
    for path in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let file = File::open(path).map_err(step("read", path))?;
        match finit_module(&file, &CString::default(), 0) {
            Ok(()) | Err(Errno::EXIST) => count += 1,
            Err(error) => return Err(step("load", path)(error)),
        }
    }
    Ok(count)
}

fn read_config() -> Result<BootConfig, InitError> {
    let path = Path::new("/").join(BOOT_CONFIG);
    match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BootConfig::default()),
        Err(error) => Err(step("read", path.display())(error)),
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(InitError::Config),
    }
}

fn wait_for(device: &str) -> Result<(), InitError> {
    let deadline = Instant::now() + DEVICE_LIMIT;
    while !fs::metadata(device).is_ok_and(|found| found.file_type().is_block_device()) {
        if Instant::now() >= deadline {
            return Err(InitError::NoDevice {
                device: device.to_owned(),
                present: block_devices(Path::new("/sys/class/block")),
            });
        }
        sleep(DEVICE_POLL);
    }
    Ok(())
}

fn block_devices(class: &Path) -> String {
    let entries = fs::read_dir(class).into_iter().flatten().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    match names.as_slice() {
        [] => "there are no block devices".to_owned(),
        names => format!("there are: {}", names.join(", ")),
    }
}

/// The kernel's own file systems move along, then the new root becomes `/`.
fn switch_root(root: &Root) -> Result<(), InitError> {
    let initramfs = fs::metadata("/").map_err(step("look at", "/"))?.dev();
    // `/proc` last: the others' targets are named through it.
    for name in ["dev", "sys", "proc"] {
        let folder = root.folder(Path::new(name))?;
        move_mount(&format!("/{name}"), &by_descriptor(&folder))?;
    }
    chdir(NEW_ROOT).map_err(step("enter", NEW_ROOT))?;
    free(Path::new("/"), initramfs);
    move_mount(".", "/")?;
    chroot(".").map_err(step("change the root to", NEW_ROOT))?;
    chdir("/").map_err(step("enter", "/"))
}

/// Removes the initramfs' files, which are memory. What cannot be removed
/// costs memory and nothing else.
fn free(folder: &Path, device: u64) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.metadata() {
            Ok(metadata) if metadata.dev() != device => {}
            Ok(metadata) if metadata.is_dir() => {
                free(&path, device);
                let _ = fs::remove_dir(&path);
            }
            _ => drop(fs::remove_file(&path)),
        }
    }
}

/// Becomes the root's init, with the kernel's arguments for it.
fn hand_over() -> InitError {
    let command = Command::new(Tool::GuestInit).args(std::env::args_os().skip(1));
    let attempt = |path| replace(&Tools::default().with(Tool::GuestInit, path), &command);
    let mut last = None;
    for path in INITS.iter().filter(|path| Path::new(path).exists()) {
        last = Some(attempt(*path));
    }
    InitError::NoInit(last)
}

/// The kernel's log and the console, once there is a `/dev`: what is said is in
/// both, for the kernel keeps such lines off a quiet console.
struct Log {
    kernel: Option<File>,
    console: Option<File>,
}

impl Log {
    fn open() -> Self {
        let open = |path| OpenOptions::new().write(true).open(path).ok();
        Self { kernel: open("/dev/kmsg"), console: open("/dev/console") }
    }

    /// What somebody else says: the kernel's log is not its place.
    fn say(&mut self, line: &str) {
        if let Some(file) = &mut self.console {
            let _ = file.write_all(format!("{line}\n").as_bytes());
        }
    }

    fn phase(&mut self, what: &str) {
        self.line(6, &format!("{INIT_SAYS}{} ms: {what}", uptime_ms()));
    }

    fn line(&mut self, level: u8, text: &str) {
        // One write is one record; without a log the boot goes on.
        if let Some(file) = &mut self.kernel {
            let _ = file.write_all(format!("<{level}>{text}\n").as_bytes());
        }
        if let Some(file) = &mut self.console {
            let _ = file.write_all(format!("{text}\n").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_disk_says_what_is_there() {
        let class = tempfile::tempdir().unwrap();
        assert_eq!(block_devices(class.path()), "there are no block devices");
        for name in ["vdb", "loop0"] {
            fs::write(class.path().join(name), "").unwrap();
        }
        assert_eq!(block_devices(class.path()), "there are: loop0, vdb");
    }

    #[test]
    fn freeing_stays_on_the_device_and_follows_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let device = fs::metadata(dir.path()).unwrap().dev();
        let (gone, kept) = (dir.path().join("gone"), dir.path().join("kept"));
        fs::create_dir_all(gone.join("a/b")).unwrap();
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), "").unwrap();
        std::os::unix::fs::symlink(&kept, gone.join("a/link")).unwrap();
        free(&gone, device + 1);
        assert!(gone.join("a/b").exists());
        free(&gone, device);
        assert_eq!(fs::read_dir(&gone).unwrap().count(), 0);
        assert!(kept.join("file").exists());
    }

    #[test]
    fn the_reason_is_one_line() {
        let error = step("mount", "/dev/vda")(io::Error::from_raw_os_error(22));
        assert_eq!(crate::explain(&error), "cannot mount /dev/vda: Invalid argument (os error 22)");
    }
}
