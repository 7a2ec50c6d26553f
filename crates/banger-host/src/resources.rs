//! Acquiring and releasing the resources of a VM.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use banger_core::helper::{Answer, Verb};
use banger_core::id::VmId;
use banger_core::net::{bridge, tap};
use banger_core::resource::{Observed, ProcessId, ResourceSpec, Role};
use banger_core::size::Size;
use banger_core::vm::RootDisk;
use banger_exec::{Cancel, Command, Runner, Tool};

use crate::disk::grow;
use crate::flat::flatten;
use crate::{
    AskError, At as _, Found, Helper, HostError, clone_file, exit_handle, find, found, identify,
    is_alive, kill, scope, snapshot,
};

/// The host's resources. Tests put a fake in its place to inject faults.
pub trait HostOps: Send + Sync {
    /// Makes a resource be there. Idempotent: what is there and whole stays.
    ///
    /// # Errors
    /// The host refuses; a half-made resource may be left, for [`Self::release`].
    fn ensure(&self, spec: &ResourceSpec, cancel: &Cancel) -> Result<Observed, HostError>;

    /// Makes a resource be gone. Idempotent: what is gone is fine.
    ///
    /// # Errors
    /// It could not be removed, or is not ours.
    fn release(&self, spec: &ResourceSpec, observed: Option<&Observed>) -> Result<(), HostError>;

    /// Makes a new file of the whole root that the overlay of a VM is, which must not run: `files` are
    /// the image's root, the overlay, and the new one.
    ///
    /// # Errors
    /// A file or a program fails, or the overlay holds no whole root; a part may be left.
    fn flatten(
        &self,
        driver: RootDisk,
        files: [&Path; 3],
        cancel: &Cancel,
    ) -> Result<(), HostError>;

    /// The process that a resource stands for, if it runs.
    ///
    /// # Errors
    /// The processes cannot be looked at.
    fn process(
        &self,
        spec: &ResourceSpec,
        observed: Option<&Observed>,
    ) -> Result<Option<ProcessId>, HostError>;

    /// What is there that is ours and of VMs, in an order in which it can be released. `runs` is
    /// the folder of the VMs' run folders.
    ///
    /// # Errors
    /// The host cannot be looked at.
    fn found(&self, runs: &Path) -> Result<Vec<Found>, HostError>;

    /// Sets a VM's processes apart from what the daemon was started in, where the host has
    /// something for that; they go on as they are otherwise.
    ///
    /// # Errors
    /// It has, and refuses.
    fn set_apart(&self, vm: &VmId, processes: &[ProcessId]) -> Result<(), HostError>;

    /// Whether that very process still runs. What cannot be looked at is taken to run.
    fn is_alive(&self, process: &ProcessId) -> bool;

    /// Completes when a process has ended, and says how if it was a child of
    /// ours: `exit status 1`, `signal 9`.
    ///
    /// # Errors
    /// The process cannot be watched, which does not mean that it is gone.
    fn ended(&self, process: &ProcessId) -> Ended;
}

/// What [`HostOps::ended`] returns.
pub type Ended = Pin<Box<dyn Future<Output = io::Result<Option<String>>> + Send>>;

/// The real host.
#[derive(Clone)]
pub struct Host {
    runner: Arc<dyn Runner>,
    helper: Arc<dyn Helper>,
}

impl Host {
    /// The host, its programs run by `runner`, and what needs root by `helper`.
    #[must_use]
    pub fn new(runner: Arc<dyn Runner>, helper: Arc<dyn Helper>) -> Self {
        Self { runner, helper }
    }

    fn overlay(
        &self,
        path: &Path,
        base: &Path,
        driver: RootDisk,
        cancel: &Cancel,
    ) -> Result<(), HostError> {
        match driver {
            RootDisk::Clone => clone_file(base, path).map(drop),
            RootDisk::DmSnapshot => snapshot::overlay(base, path),
            RootDisk::Qcow2 => {
                let command = Command::new(Tool::QemuImg)
                    .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
                    .args([base, path])
                    .cancel(cancel);
                self.runner.capture(&command)?;
                Ok(())
            }
        }
    }

    fn work_disk(
        &self,
        path: &Path,
        seed: &Path,
        size: Size,
        cancel: &Cancel,
    ) -> Result<(), HostError> {
        clone_file(seed, path)?;
        let file = fs::File::options().write(true).open(path).at("open", path)?;
        let seed_size = file.metadata().at("read", path)?.len();
        file.set_len(size.as_bytes().max(seed_size)).at("resize", path)?;
        let command = Command::new(Tool::Resize2fs).arg(path).cancel(cancel);
        self.runner.capture(&command)?;
        Ok(())
    }

    /// Removes a folder with all that is in it. An image build as an ordinary
    /// user leaves files of its subordinate users, which only their namespace
    /// can remove.
    fn remove_tree(&self, path: &Path) -> Result<(), HostError> {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let command = Command::new(Tool::Unshare)
                    .args([
                        "--user",
                        "--map-root-user",
                        "--map-auto",
                        "rm",
                        "-rf",
                        "--one-file-system",
                        "--",
                    ])
                    .arg(path)
                    .timeout(Duration::from_secs(300));
                self.runner.capture(&command)?;
                Ok(())
            }
            other => other.at("remove", path),
        }
    }

    /// A file that is made beside its place and moved there whole: one that
    /// is at its place is complete.
    fn whole_file(
        path: &Path,
        make: impl FnOnce(&Path) -> Result<(), HostError>,
    ) -> Result<(), HostError> {
        if path.exists() {
            return Ok(());
        }
        let part = part_of(path);
        remove_file(&part)?;
        make(&part)?;
        sync(&part)?;
        fs::rename(&part, path).at("create", path)?;
        // The name, too, must outlive a power cut: the journal's row will.
        path.parent().map_or(Ok(()), sync)
    }

    fn start(&self, spec: &ResourceSpec) -> Result<Observed, HostError> {
        let ResourceSpec::Process { role, args, log } = spec else {
            return Ok(Observed::default());
        };
        if let Some(process) = find_processes(*role, args)?.into_iter().next() {
            return Ok(Observed { process: Some(process) });
        }
        let tool = tool(*role);
        let log_start = fs::metadata(log).map_or(0, |m| m.len());
        let pid = if *role == Role::Firecracker && kvm_is_denied() {
            snapshot::touch(log)?;
            let start = Verb::VmmStart { args: args.clone(), log: log.clone() };
            match self.helper.ask(&start)? {
                Answer::Process(pid) => pid,
                other => return Err(AskError::Failed(format!("it answers {other:?}")).into()),
            }
        } else {
            self.runner.detach(&Command::new(tool).args(args), log)?
        };
        match identify(pid).map_err(|source| HostError::Process { pid, source })? {
            Some(process) => Ok(Observed { process: Some(process) }),
            None => Err(ended_at_once(pid, tool, log, log_start)),
        }
    }
}

/// How long the threads of a process may outlive its first one.
const THREADS_LIMIT: Duration = Duration::from_secs(5);

/// Whether there is KVM, but not for us: the helper may start what uses it.
fn kvm_is_denied() -> bool {
    let opened = fs::File::options().read(true).write(true).open("/dev/kvm");
    opened.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// Whether there is a network device of that name.
#[must_use]
pub fn link_exists(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).exists()
}

pub(crate) fn tool(role: Role) -> Tool {
    match role {
        Role::Vmm => Tool::QemuSystem,
        Role::Firecracker => Tool::Firecracker,
        Role::Vsock => Tool::VhostDeviceVsock,
    }
}

fn find_processes(role: Role, args: &[String]) -> Result<Vec<ProcessId>, HostError> {
    find(tool(role).program(), args).map_err(HostError::Processes)
}

/// What a process that is gone left in its log.
fn ended_at_once(pid: u32, tool: Tool, log: &Path, from: u64) -> HostError {
    let how = crate::process::reap(pid).unwrap_or_else(|| "nobody saw how".to_owned());
    let text = fs::read(log).unwrap_or_default();
    let from = usize::try_from(from).unwrap_or(usize::MAX).min(text.len());
    let log = String::from_utf8_lossy(&text[from..]).into_owned();
    HostError::EndedAtOnce { what: tool.program().to_owned(), how, log }
}

fn sync(path: &Path) -> Result<(), HostError> {
    fs::File::open(path).and_then(|file| file.sync_all()).at("write", path)
}

fn part_of(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

fn remove_file(path: &Path) -> Result<(), HostError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("remove", path),
        _ => Ok(()),
    }
}

/// A folder of ours is a real folder, not a link to somebody else's, and not theirs.
fn is_own_dir(path: &Path) -> bool {
    let uid = rustix::process::geteuid().as_raw();
    fs::symlink_metadata(path).is_ok_and(|m| m.is_dir() && m.uid() == uid)
}

impl HostOps for Host {
    fn ensure(&self, spec: &ResourceSpec, cancel: &Cancel) -> Result<Observed, HostError> {
        match spec {
            ResourceSpec::Dir { path } => {
                fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(path)
                    .at("create", path)?;
            }
            ResourceSpec::SharedDir { path } => {
                fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(path)
                    .at("create", path)?;
                // Somebody else may have come first where everybody may write.
                if !is_own_dir(path) {
                    return Err(HostError::Foreign { path: path.clone() });
                }
                fs::set_permissions(path, fs::Permissions::from_mode(0o1777)).at("open", path)?;
            }
            ResourceSpec::Overlay { path, base, driver } => {
                Self::whole_file(path, |part| self.overlay(part, base, *driver, cancel))?;
            }
            // What it was made smaller: grown, whatever a growth before this one left.
            ResourceSpec::WorkDisk { path, size, .. } if path.exists() => {
                grow(self.runner.as_ref(), path, *size, cancel)?;
            }
            ResourceSpec::WorkDisk { path, seed, size } => {
                Self::whole_file(path, |part| self.work_disk(part, seed, *size, cancel))?;
            }
            // One that is there may be half made, by a helper that was killed: made anew.
            ResourceSpec::RootDevice { uid, vm, base, overlay } => {
                if snapshot::is_there(*uid, vm)? {
                    self.helper.ask(&Verb::DmRemove { vm: vm.clone() })?;
                }
                let (base, overlay) = (base.clone(), overlay.clone());
                self.helper.ask(&Verb::DmCreate { vm: vm.clone(), base, overlay })?;
            }
            ResourceSpec::Network { subnet, dns, host_ports, .. } => {
                let (subnet, dns, host_ports) = (*subnet, dns.clone(), host_ports.clone());
                self.helper.ask(&Verb::NetUp { subnet, dns, host_ports })?;
            }
            ResourceSpec::Tap { address, .. } => {
                self.helper.ask(&Verb::TapCreate { address: *address })?;
            }
            ResourceSpec::Process { .. } => return self.start(spec),
        }
        Ok(Observed::default())
    }

    fn release(&self, spec: &ResourceSpec, observed: Option<&Observed>) -> Result<(), HostError> {
        match spec {
            ResourceSpec::Dir { path } | ResourceSpec::SharedDir { path } => {
                if !path.exists() && fs::symlink_metadata(path).is_err() {
                    return Ok(());
                }
                if !is_own_dir(path) {
                    return Err(HostError::Foreign { path: path.clone() });
                }
                self.remove_tree(path)
            }
            ResourceSpec::Overlay { path, .. } | ResourceSpec::WorkDisk { path, .. } => {
                remove_file(&part_of(path))?;
                remove_file(path)
            }
            // One that is gone takes no root to release.
            ResourceSpec::RootDevice { uid, vm, .. } => {
                if snapshot::is_there(*uid, vm)? {
                    self.helper.ask(&Verb::DmRemove { vm: vm.clone() })?;
                }
                Ok(())
            }
            ResourceSpec::Network { uid, .. } => {
                if link_exists(&bridge(*uid)) {
                    self.helper.ask(&Verb::NetDown)?;
                }
                Ok(())
            }
            ResourceSpec::Tap { address, .. } => {
                if link_exists(&tap(*address)) {
                    self.helper.ask(&Verb::TapRemove { address: *address })?;
                }
                Ok(())
            }
            ResourceSpec::Process { role, .. } => {
                // The VMM is not asked: an orderly end was tried before, through the guest.
                let at_once = role.is_vmm();
                if let Some(process) = self.process(spec, observed)? {
                    return kill(&process, at_once);
                }
                // One that ended by itself is a zombie until somebody collects it, which can
                // be done only when the last of its threads is gone.
                let known = observed.and_then(|observed| observed.process.as_ref());
                if let Some(exit) = known.and_then(|p| exit_handle(p).ok().flatten()) {
                    let _ = exit.wait(THREADS_LIMIT);
                    let _ = exit.reap();
                }
                Ok(())
            }
        }
    }

    fn flatten(
        &self,
        driver: RootDisk,
        files: [&Path; 3],
        cancel: &Cancel,
    ) -> Result<(), HostError> {
        flatten(self.runner.as_ref(), driver, files, cancel)
    }

    fn process(
        &self,
        spec: &ResourceSpec,
        observed: Option<&Observed>,
    ) -> Result<Option<ProcessId>, HostError> {
        let ResourceSpec::Process { role, args, .. } = spec else { return Ok(None) };
        match observed.and_then(|observed| observed.process.as_ref()) {
            Some(process) => Ok(is_alive(process).then(|| process.clone())),
            // It may have been started and not written down.
            None => Ok(find_processes(*role, args)?.into_iter().next()),
        }
    }

    fn found(&self, runs: &Path) -> Result<Vec<Found>, HostError> {
        found::found(runs).map_err(HostError::Look)
    }

    fn set_apart(&self, vm: &VmId, processes: &[ProcessId]) -> Result<(), HostError> {
        Ok(scope::enter(self.runner.as_ref(), vm.as_str(), processes)?)
    }

    fn is_alive(&self, process: &ProcessId) -> bool {
        is_alive(process)
    }

    fn ended(&self, process: &ProcessId) -> Ended {
        let process = process.clone();
        Box::pin(async move {
            let Some(exit) = exit_handle(&process)? else { return Ok(None) };
            exit.ended().await?;
            Ok(exit.reap())
        })
    }
}
