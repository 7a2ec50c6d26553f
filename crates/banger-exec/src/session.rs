//! Programs that outlive us, have the terminal, or take our place.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::FdFlags;
use rustix::process::{
    Gid, Pid, Signal, Uid, kill_process, set_parent_process_death_signal, setsid,
};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::{Command, ExecError, Tools};

#[expect(clippy::disallowed_types, reason = "the one crate that runs programs")]
pub(crate) type Process = std::process::Command;

/// What a program gets of our environment: without a proxy's address apt
/// reaches nothing in some networks.
const INHERITED: [&str; 8] = [
    "PATH",
    "HOME",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
];

/// The program with its arguments and a cleared environment.
#[expect(clippy::disallowed_methods, reason = "the one crate that runs programs")]
pub(crate) fn base(program: &Path, command: &Command) -> Process {
    let mut process = Process::new(program);
    process.args(command.arguments()).env_clear().env("LC_ALL", "C");
    for name in INHERITED {
        if let Some(value) = std::env::var_os(name) {
            process.env(name, value);
        }
    }
    process.envs(command.env.iter().map(|(name, value)| (name, value)));
    if let Some(dir) = &command.dir {
        process.current_dir(dir);
    }
    process
}

/// The program gets SIGTERM when the thread that started it ends: a killed
/// daemon leaves no build running.
#[expect(unsafe_code, reason = "pre_exec: prctl(2) is async-signal-safe and allocates nothing")]
pub(crate) fn die_with_parent(process: &mut Process) {
    let set = || set_parent_process_death_signal(Some(Signal::TERM)).map_err(io::Error::from);
    // SAFETY: the closure makes one system call between fork and exec and
    // touches no memory of ours.
    unsafe { process.pre_exec(set) };
}

pub(crate) fn detach(program: &Path, command: &Command, log: &Path) -> Result<u32, ExecError> {
    let mut options = OpenOptions::new();
    let options = options.create(true).append(true).mode(0o600);
    let log =
        options.open(log).map_err(|source| ExecError::Log { path: log.to_owned(), source })?;
    spawn(program, command, log, None)
}

/// Who a program runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub uid: u32,
    /// The user's first group.
    pub gid: u32,
    /// All other groups.
    pub groups: Vec<u32>,
}

/// Starts a program that outlives us as somebody else, its output to `output`. Only root can.
/// Returns its process id; the caller reaps it.
///
/// # Errors
/// The program is not installed or cannot be started, or we are not root.
pub fn detach_as(
    tools: &Tools,
    command: &Command,
    identity: &Identity,
    output: File,
) -> Result<u32, ExecError> {
    spawn(&tools.path(command.tool())?, command, output, Some(identity))
}

fn spawn(
    program: &Path,
    command: &Command,
    output: File,
    identity: Option<&Identity>,
) -> Result<u32, ExecError> {
    let failed = |source| ExecError::Start { command: command.to_string(), source };
    let mut process = base(program, command);
    process.stdin(Stdio::null()).stderr(output.try_clone().map_err(failed)?).stdout(output);
    // It outlives us: it must not keep a folder from being unmounted, or a
    // script's lock from being released.
    process.current_dir("/");
    new_session(&mut process);
    if let Some(identity) = identity {
        become_them(&mut process, identity);
    }
    Ok(process.spawn().map_err(failed)?.id())
}

#[expect(unsafe_code, reason = "pre_exec: setsid(2) and fcntl(2) are async-signal-safe")]
fn new_session(process: &mut Process) {
    let set = || {
        for fd in 3..1024 {
            // SAFETY: borrowed for one call, which only fails if it is not open.
            let fd = unsafe { BorrowedFd::borrow_raw(fd) };
            let _ = rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC);
        }
        setsid().map(drop).map_err(io::Error::from)
    };
    // SAFETY: as in `die_with_parent`.
    unsafe { process.pre_exec(set) };
}

#[expect(unsafe_code, reason = "pre_exec: the system calls are async-signal-safe")]
fn become_them(process: &mut Process, identity: &Identity) {
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    let groups: Vec<Gid> = identity.groups.iter().copied().map(Gid::from_raw).collect();
    // Groups first: without the user that is root they could not be set any more.
    let set = move || {
        set_thread_groups(&groups)?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        Ok(())
    };
    // SAFETY: the closure makes three system calls between fork and exec, where there is but
    // one thread, and allocates nothing.
    unsafe { process.pre_exec(set) };
}

pub(crate) fn inherited(tools: &Tools, command: &Command) -> Result<Process, ExecError> {
    let program = tools.path(command.tool())?;
    #[expect(clippy::disallowed_methods, reason = "the one crate that runs programs")]
    let mut process = Process::new(program);
    process.args(command.arguments()).envs(command.env.iter().map(|(name, value)| (name, value)));
    if let Some(dir) = &command.dir {
        process.current_dir(dir);
    }
    Ok(process)
}

/// How much of what a program says is told, in bytes.
const SAID: u64 = 4096;

/// A program that has our terminal and environment. It is told to end, and waited for, when this
/// is dropped before it has ended.
#[derive(Debug)]
pub struct Interactive {
    child: Child,
    /// What it says to its standard error, if that is kept.
    said: Option<File>,
}

impl Interactive {
    /// Starts it.
    ///
    /// # Errors
    /// It is not installed or cannot be started.
    pub fn start(tools: &Tools, command: &Command) -> Result<Self, ExecError> {
        let started = inherited(tools, command)?.spawn();
        let failed = |source| ExecError::Start { command: command.to_string(), source };
        Ok(Self { child: started.map_err(failed)?, said: None })
    }

    /// The same; what it says to its standard error is kept rather than shown.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_kept(tools: &Tools, command: &Command) -> Result<Self, ExecError> {
        let mut process = inherited(tools, command)?;
        let mut start = || {
            // In memory: it is never waited for, however long and whoever else writes there.
            let said = File::from(memfd_create("stderr", MemfdFlags::CLOEXEC)?);
            let child = process.stderr(said.try_clone()?).spawn()?;
            Ok(Self { child, said: Some(said) })
        };
        start().map_err(|source| ExecError::Start { command: command.to_string(), source })
    }

    /// The end of what it has said to its standard error, if that is kept.
    #[must_use]
    pub fn said(&self) -> String {
        let read = |said: &File| {
            let from = said.metadata()?.len().saturating_sub(SAID);
            let mut bytes = vec![0; SAID as usize];
            let length = said.read_at(&mut bytes, from)?;
            bytes.truncate(length);
            io::Result::Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        self.said.as_ref().and_then(|said| read(said).ok()).unwrap_or_default()
    }

    /// Its status, if it has ended. SIGCHLD tells when to look again.
    ///
    /// # Errors
    /// That of waitpid(2).
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// That of waitpid(2).
    pub fn wait(mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }
}

impl Drop for Interactive {
    #[expect(clippy::disallowed_methods, reason = "the one crate that runs programs")]
    fn drop(&mut self) {
        // Nobody else waits for it, so its number is still its own.
        if let Ok(None) = self.child.try_wait() {
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            let _ = self.child.wait();
        }
    }
}

/// Becomes the program, with our terminal and environment. Returns only if
/// that fails.
pub fn replace(tools: &Tools, command: &Command) -> ExecError {
    match inherited(tools, command) {
        Ok(mut process) => {
            ExecError::Start { command: command.to_string(), source: process.exec() }
        }
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HostRunner, Runner as _, Tool};
    use rustix::process::{WaitOptions, waitpid};

    #[test]
    fn what_a_program_says_is_kept() {
        let command = Command::new(Tool::Tar).args(["-xf", "/nowhere/at/all"]);
        let mut tar = Interactive::start_kept(&Tools::discover(), &command).unwrap();
        while tar.ended().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(tar.said().contains("/nowhere/at/all"), "{}", tar.said());
    }

    #[test]
    fn a_program_that_has_our_terminal_is_ended_with_us() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("names");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).unwrap();
        // It waits for names that never come.
        let command = Command::new(Tool::Tar).args(["-cf", "/dev/null", "-T"]).arg(&fifo);
        let mut waits = Interactive::start(&Tools::discover(), &command).unwrap();
        assert_eq!(waits.ended().unwrap(), None);
        let pid = Pid::from_child(&waits.child);
        drop(waits);
        assert!(rustix::process::test_kill_process(pid).is_err());
    }

    #[test]
    fn a_detached_program_has_its_own_session_and_appends_to_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        std::fs::write(&log, "before\n").unwrap();
        let runner = HostRunner::new(Tools::discover());
        let command = Command::new(Tool::Tar).arg("--version");
        let pid = Pid::from_raw(runner.detach(&command, &log).unwrap() as i32).unwrap();
        let (_, status) = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(0));
        let text = std::fs::read_to_string(&log).unwrap();
        assert!(text.starts_with("before\n") && text.contains("tar"), "{text}");
    }
}
