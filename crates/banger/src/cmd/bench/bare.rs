//! A boot by hand: the machine that the daemon would start, without the daemon.
//!
//! The command lines are those of a VM that the daemon has started, with other
//! disks and sockets in them. So whatever the daemon gives a VMM is given here.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use banger_core::agent::{Service, doorbell};
use banger_core::dirs::Dirs;
use banger_core::vm::Vm;
use banger_exec::{Cancel, Command, HostRunner, Runner as _, Tool, Tools};
use banger_wire::agent::AgentClient;
use tokio::net::UnixListener;

use crate::error::CommandError;

/// How long a boot may take.
const LIMIT: Duration = Duration::from_secs(240);
/// Between looks at whether sshd listens. Each takes the guest some time, so
/// that shorter would not be sooner.
const PAUSE: Duration = Duration::from_millis(20);
/// How long the agent may take to answer.
const AGENT_LIMIT: Duration = Duration::from_secs(2);

/// How to start a machine like one that the daemon started.
pub struct Recipe {
    vmm: Vec<String>,
    vsock: Vec<String>,
    /// The VM's folder, which its disks are in.
    vm_dir: String,
    /// The folder of its sockets and its initramfs.
    run_dir: String,
    /// Ours, with the initramfs in it.
    dir: PathBuf,
}

impl Recipe {
    /// Reads how a VM that runs was started, and keeps what goes with its run.
    pub fn of(vm: &Vm, dirs: &Dirs) -> Result<Self, CommandError> {
        let run = vm.run.as_ref().ok_or_else(|| CommandError::new("the VM does not run"))?;
        let vsock = Path::new(&run.vsock);
        let run_dir = vsock.parent().unwrap_or(vsock);
        let vmm = arguments(run.pid, "-name")?;
        let vsock = vsock_process(&run.vsock)?;
        let dir = dirs.run.join(format!("bench-{}", std::process::id()));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let recipe = Self {
            vmm,
            vsock,
            vm_dir: text(&dirs.vm(vm.id.as_str())),
            run_dir: text(run_dir),
            dir,
        };
        fs::copy(run_dir.join(INITRAMFS), recipe.dir.join(INITRAMFS))?;
        Ok(recipe)
    }

    /// Boots the machine with the disks of `vm`, which is stopped, until its
    /// SSH server listens.
    pub async fn boot(&self, vm: &Vm, dirs: &Dirs) -> Result<Bare, CommandError> {
        let vm_dir = text(&dirs.vm(vm.id.as_str()));
        let moved = |args: &[String]| {
            let args = args.iter().map(|arg| {
                arg.replace(&self.vm_dir, &vm_dir).replace(&self.run_dir, &text(&self.dir))
            });
            args.collect::<Vec<_>>()
        };
        let socket = self.dir.join("vsock.sock");
        let (vsock_args, vmm_args) = (moved(&self.vsock), moved(&self.vmm));
        if !vmm_args.iter().any(|arg| arg.contains(&vm_dir)) {
            return Err(CommandError::new("the VMM's command line does not name its disks"));
        }
        for name in ["vsock.sock", "vsock.sock_1025", "vhost.sock", "qmp.sock"] {
            // It may not be there.
            let _ = fs::remove_file(self.dir.join(name));
        }
        let mut bare = Bare { socket, started: Instant::now(), programs: Vec::new() };
        let bell = UnixListener::bind(doorbell(&bare.socket))?;
        bare.run(Tool::VhostDeviceVsock, vsock_args);
        let vhost = self.dir.join("vhost.sock");
        bare.within(async {
            while !vhost.exists() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok(())
        })
        .await?;
        bare.started = Instant::now();
        bare.run(Tool::QemuSystem, vmm_args);
        // Nobody may connect to the guest before its agent has rung.
        bare.within(async { Ok(bell.accept().await.map(drop)?) }).await?;
        let agent = AgentClient::new(&bare.socket, AGENT_LIMIT);
        bare.within(async {
            while !matches!(agent.health().await, Ok(health) if health.sshd == Service::Listening) {
                tokio::time::sleep(PAUSE).await;
            }
            Ok(())
        })
        .await?;
        Ok(bare)
    }
}

impl Drop for Recipe {
    fn drop(&mut self) {
        // It is in the run folder, which goes with the host's session.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// As the daemon names it in a run's folder.
const INITRAMFS: &str = "initramfs.cpio";

/// A machine that runs. It ends when this is dropped.
pub struct Bare {
    /// Its hybrid vsock socket.
    pub socket: PathBuf,
    /// When its VMM was started.
    pub started: Instant,
    programs: Vec<Program>,
}

struct Program {
    cancel: Cancel,
    thread: JoinHandle<Result<(), CommandError>>,
}

impl Bare {
    /// Runs a program beside us until this is dropped.
    fn run(&mut self, tool: Tool, args: Vec<String>) {
        let cancel = Cancel::default();
        let command = Command::new(tool).args(args).timeout(LIMIT).cancel(&cancel);
        let run = move || {
            let runner = HostRunner::new(Tools::discover());
            runner.capture(&command).map(drop).map_err(CommandError::from)
        };
        self.programs.push(Program { cancel, thread: std::thread::spawn(run) });
    }

    /// Waits for something, for as long as the programs run.
    async fn within<T>(
        &mut self,
        wait: impl Future<Output = Result<T, CommandError>>,
    ) -> Result<T, CommandError> {
        let ended = async {
            while !self.programs.iter().any(|program| program.thread.is_finished()) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            waited = tokio::time::timeout(LIMIT, wait) => {
                return waited.unwrap_or_else(|_| Err(CommandError::new("the boot by hand takes too long")));
            }
            () = ended => {}
        }
        let done = self.programs.iter().position(|program| program.thread.is_finished());
        let why = done.map(|i| self.programs.swap_remove(i).thread.join());
        match why {
            Some(Ok(Err(error))) => Err(error),
            _ => Err(CommandError::new("a program of the boot by hand ended")),
        }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.programs.iter().for_each(|program| program.cancel.cancel());
        for program in self.programs.drain(..) {
            // How it ended does not matter: it was told to.
            let _ = program.thread.join();
        }
    }
}

/// The arguments of a process from `first` on: what a wrapper has put before
/// them, its own will put there again.
fn arguments(pid: u32, first: &str) -> Result<Vec<String>, CommandError> {
    let line = fs::read(format!("/proc/{pid}/cmdline"))?;
    let found = after(&line, first);
    found.ok_or_else(|| CommandError::new(format!("process {pid} is not the VMM it should be")))
}

fn after(line: &[u8], first: &str) -> Option<Vec<String>> {
    let line = String::from_utf8_lossy(line.strip_suffix(&[0]).unwrap_or(line)).into_owned();
    let args: Vec<String> = line.split('\0').map(str::to_owned).collect();
    let from = args.iter().position(|arg| arg == first)?;
    Some(args[from..].to_vec())
}

/// The arguments of the process that serves a vsock socket.
fn vsock_process(socket: &str) -> Result<Vec<String>, CommandError> {
    let lines = fs::read_dir("/proc")?.flatten().filter_map(|entry| {
        entry.file_name().to_str()?.parse::<u32>().ok()?;
        fs::read(entry.path().join("cmdline")).ok()
    });
    let args = |line: Vec<u8>| after(&line, "--guest-cid");
    let mut found = lines.filter_map(args).filter(|args| args.iter().any(|arg| arg == socket));
    found.next().ok_or_else(|| CommandError::new(format!("no process serves {socket}")))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_wrapper_added_is_left_out() {
        let line = b"/opt/qemu\0-L\0/share\0-name\0bgr-1\0-append\0quiet ro\0\0";
        let args = after(line, "-name").unwrap();
        assert_eq!(args, ["-name", "bgr-1", "-append", "quiet ro", ""]);
        assert_eq!(after(line, "--guest-cid"), None);
        assert_eq!(after(b"", "-name"), None);
    }
}
