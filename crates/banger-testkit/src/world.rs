//! What outlives a daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use banger_core::dirs::Dirs;
use banger_core::id::VmId;
use banger_core::resource::{ProcessId, Role};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::guest;

/// A host: a folder, and processes that are tasks. Clones share it; its
/// processes end with the last of them.
#[derive(Clone)]
pub struct World(Arc<Shared>);

/// The world as its processes know it.
#[derive(Clone)]
pub(crate) struct WorldRef(Weak<Shared>);

impl WorldRef {
    pub(crate) fn get(&self) -> Option<World> {
        self.0.upgrade().map(World)
    }
}

struct Shared {
    dir: tempfile::TempDir,
    processes: Mutex<BTreeMap<u32, Process>>,
    /// The names of block devices.
    devices: Mutex<BTreeSet<String>>,
    /// Network devices, and what each is attached to.
    links: Mutex<BTreeMap<String, Option<String>>>,
    /// How many of the next guests do not boot well.
    bad_boots: AtomicU32,
    /// Whether guests run the script of their root, and end.
    provisioning: AtomicBool,
    runtime: Handle,
}

impl Drop for Shared {
    fn drop(&mut self) {
        let processes = self.processes.get_mut().unwrap_or_else(PoisonError::into_inner);
        processes.values().filter_map(|process| process.task.as_ref()).for_each(AbortHandle::abort);
    }
}

/// Where the processes of all worlds run: they outlive each daemon's runtime.
fn runtime() -> std::io::Result<Handle> {
    static ONE: Mutex<Option<Runtime>> = Mutex::new(None);
    let mut one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = &*one {
        return Ok(runtime.handle().clone());
    }
    let made = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    Ok(one.insert(made).handle().clone())
}

pub(crate) struct Process {
    pub(crate) id: ProcessId,
    pub(crate) role: Role,
    pub(crate) args: Vec<String>,
    /// How it ended, once it has.
    ended: watch::Sender<Option<String>>,
    task: Option<AbortHandle>,
}

impl World {
    /// One in which nothing is yet, with its folder in memory where that can be:
    /// a test opens hundreds of databases.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn new() -> std::io::Result<Self> {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let dir = tempfile::Builder::new().prefix("bgr-").tempdir_in(parent)?;
        Ok(Self(Arc::new(Shared {
            dir,
            processes: Mutex::default(),
            devices: Mutex::default(),
            links: Mutex::default(),
            bad_boots: AtomicU32::new(0),
            provisioning: AtomicBool::new(false),
            runtime: runtime()?,
        })))
    }

    /// banger's folders in it.
    #[must_use]
    pub fn dirs(&self) -> Dirs {
        let below = |name: &str| self.0.dir.path().join(name);
        Dirs {
            config: below("config"),
            state: below("state"),
            cache: below("cache"),
            run: below("run"),
        }
    }

    /// The command lines of the processes that run.
    #[must_use]
    pub fn running(&self) -> Vec<String> {
        let processes = self.processes();
        let alive = processes.values().filter(|process| process.is_alive());
        alive.map(|process| format!("{:?} {}", process.role, process.args.join(" "))).collect()
    }

    /// The next guests find their timer wrong and end, as many as said.
    pub fn boot_badly(&self, guests: u32) {
        self.0.bad_boots.store(guests, Ordering::SeqCst);
    }

    pub(crate) fn boots_badly(&self) -> bool {
        let one_less = |left: u32| left.checked_sub(1);
        self.0.bad_boots.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok()
    }

    /// From now on guests run the script of their root, and end.
    pub fn provision(&self) {
        self.0.provisioning.store(true, Ordering::SeqCst);
    }

    pub(crate) fn provisions(&self) -> bool {
        self.0.provisioning.load(Ordering::SeqCst)
    }

    fn weak(&self) -> WorldRef {
        WorldRef(Arc::downgrade(&self.0))
    }

    /// Ends a process.
    pub(crate) fn end(&self, id: &ProcessId, how: &str) {
        let mut processes = self.processes();
        let Some(process) = processes.get_mut(&id.pid).filter(|process| process.id == *id) else {
            return;
        };
        if process.is_alive() {
            process.ended.send_replace(Some(how.to_owned()));
        }
        // A task that ends itself goes on to its next wait.
        process.task.take().inspect(AbortHandle::abort);
    }

    /// Starts a process, as its task.
    pub(crate) fn start(&self, role: Role, args: &[String]) -> std::io::Result<ProcessId> {
        let boot_id = banger_host::boot_id()?;
        let mut processes = self.processes();
        let pid = 1_000_000_000 + u32::try_from(processes.len()).unwrap_or(u32::MAX / 2);
        let id = ProcessId { pid, start_ticks: pid.into(), boot_id };
        let (ended, args) = (watch::Sender::new(None), args.to_vec());
        // Bound here: whoever waits for the sockets finds them.
        let _inside = self.0.runtime.enter();
        let task = match role {
            Role::Vsock => {
                let sockets = guest::vsock_sockets(&args)?;
                tokio::spawn(guest::vsock(self.weak(), sockets))
            }
            Role::Firecracker => {
                let api = guest::api_socket(&args)?;
                tokio::spawn(guest::firecracker(self.weak(), id.clone(), api))
            }
            Role::Vmm => {
                let monitor = guest::monitor_socket(&args)?;
                tokio::spawn(guest::vmm(self.weak(), id.clone(), args.clone(), monitor))
            }
        };
        let task = Some(task.abort_handle());
        processes.insert(pid, Process { id: id.clone(), role, args, ended, task });
        Ok(id)
    }

    /// The processes of these arguments that run.
    pub(crate) fn find(&self, role: Role, args: &[String]) -> Option<ProcessId> {
        let processes = self.processes();
        let mut alive = processes.values().filter(|process| process.is_alive());
        alive.find(|p| p.role == role && p.args.ends_with(args)).map(|process| process.id.clone())
    }

    /// How a process ended, once it has; nothing if it never was.
    pub(crate) fn watch(&self, id: &ProcessId) -> Option<watch::Receiver<Option<String>>> {
        let processes = self.processes();
        let process = processes.get(&id.pid).filter(|process| process.id == *id)?;
        Some(process.ended.subscribe())
    }

    /// The VMM whose vsock device has its other end at `socket`.
    pub(crate) fn vmm_of(&self, socket: &Path) -> Option<ProcessId> {
        let dir = socket.parent()?.to_string_lossy().into_owned();
        let processes = self.processes();
        let mut alive = processes.values().filter(|process| process.is_alive());
        let vmm = alive.find(|p| p.role.is_vmm() && p.args.iter().any(|a| a.contains(&dir)));
        vmm.map(|process| process.id.clone())
    }

    /// The block devices that there are.
    #[must_use]
    pub fn devices(&self) -> Vec<String> {
        self.lock_devices().iter().cloned().collect()
    }

    /// Makes a block device of files. Fine if there is one.
    pub(crate) fn add_device(&self, name: &str, of: [&PathBuf; 2]) -> std::io::Result<()> {
        of.iter().try_for_each(|path| std::fs::metadata(path).map(drop))?;
        self.lock_devices().insert(name.to_owned());
        Ok(())
    }

    /// Removes a block device, which no process may use.
    pub(crate) fn remove_device(&self, name: &str, vm: &VmId) -> std::io::Result<()> {
        // QEMU is told of it by its arguments, Firecracker by its API: any VMM of this VM's.
        let short = format!("bgr-{}", vm.short());
        let uses = |process: &Process| process.is_alive() && process.args.contains(&short);
        if self.processes().values().any(uses) {
            return Err(std::io::ErrorKind::ResourceBusy.into());
        }
        self.lock_devices().remove(name);
        Ok(())
    }

    /// The network devices that there are.
    #[must_use]
    pub fn links(&self) -> Vec<String> {
        self.lock_links().keys().cloned().collect()
    }

    /// Makes a network device, attached to one that is there. Fine if there is one.
    pub(crate) fn add_link(&self, name: String, to: Option<&str>) -> std::io::Result<()> {
        let mut links = self.lock_links();
        if to.is_some_and(|to| !links.contains_key(to)) {
            return Err(std::io::ErrorKind::NotFound.into());
        }
        links.insert(name, to.map(str::to_owned));
        Ok(())
    }

    /// Removes a network device, to which nothing may be attached any more.
    pub(crate) fn remove_link(&self, name: &str) -> std::io::Result<()> {
        let mut links = self.lock_links();
        if links.values().any(|to| to.as_deref() == Some(name)) {
            return Err(std::io::ErrorKind::ResourceBusy.into());
        }
        links.remove(name);
        Ok(())
    }

    fn lock_links(&self) -> MutexGuard<'_, BTreeMap<String, Option<String>>> {
        self.0.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_devices(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything below banger's folders that is of VMs or of builds.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let dirs = self.dirs();
        let folders = [dirs.state.join("vms"), dirs.state.join("scratch"), dirs.run.join("vms")];
        let entries = folders.iter().filter_map(|dir| std::fs::read_dir(dir).ok());
        entries.flatten().flatten().map(|entry| entry.path()).collect()
    }

    fn processes(&self) -> MutexGuard<'_, BTreeMap<u32, Process>> {
        self.0.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    fn is_alive(&self) -> bool {
        self.ended.borrow().is_none()
    }
}
