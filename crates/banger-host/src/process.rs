//! Processes that outlive the daemon: found, watched and ended without
//! mistaking one for another.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use banger_core::resource::ProcessId;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, waitid,
};
use tokio::io::unix::AsyncFd;

use crate::{HostError, boot_id};

/// How long a process has after SIGTERM, and again after SIGKILL.
const TERM_GRACE: Duration = Duration::from_secs(5);

/// The state and start time of a process, from `/proc/PID/stat` (proc(5)).
fn stat(pid: u32) -> io::Result<(u8, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_stat(&text).ok_or_else(|| io::Error::other(format!("cannot read /proc/{pid}/stat")))
}

fn parse_stat(text: &str) -> Option<(u8, u64)> {
    // The second field is the name in parentheses and may hold anything.
    let rest = &text[text.rfind(')')? + 1..];
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// Whether an error says that a process is gone, rather than that we cannot look.
fn says_gone(error: &io::Error) -> bool {
    let srch = rustix::io::Errno::SRCH.raw_os_error();
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(srch)
}

/// The identity of a running process; nothing if it is gone or a zombie.
///
/// # Errors
/// `/proc` cannot be read.
pub fn identify(pid: u32) -> io::Result<Option<ProcessId>> {
    match stat(pid) {
        Ok((b'Z' | b'X', _)) => Ok(None),
        Ok((_, start_ticks)) => Ok(Some(ProcessId { pid, start_ticks, boot_id: boot_id()? })),
        Err(error) if says_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether that very process still runs. What cannot be looked at is taken to run.
#[must_use]
pub fn is_alive(process: &ProcessId) -> bool {
    identify(process.pid).map_or(true, |found| found.as_ref() == Some(process))
}

/// The processes of this user that run `program` with `args`. Others may come
/// before them: a wrapper's. The program's file may have its version behind its name.
///
/// # Errors
/// `/proc` cannot be read.
pub fn find(program: &str, args: &[String]) -> io::Result<Vec<ProcessId>> {
    let uid = rustix::process::getuid().as_raw();
    let args: Vec<&[u8]> = args.iter().map(String::as_bytes).collect();
    // The command line first: it tells most of them apart by itself. Nothing can be read of a
    // process that is gone.
    let matching = |pid: &u32| {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let line = fs::read(folder.join("cmdline")).unwrap_or_default();
        let line = line.strip_suffix(&[0]).unwrap_or(&line);
        let line: Vec<&[u8]> = line.split(|byte| *byte == 0).skip(1).collect();
        line.ends_with(&args)
            && fs::metadata(&folder).is_ok_and(|m| m.uid() == uid)
            && fs::read_link(folder.join("exe")).is_ok_and(|exe| {
                exe.file_name()
                    .is_some_and(|name| name.as_encoded_bytes().starts_with(program.as_bytes()))
            })
    };
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let pid = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(pid) = pid.filter(matching) {
            found.extend(identify(pid)?);
        }
    }
    Ok(found)
}

/// The arguments of a process, from its folder below `/proc`; none if it cannot be read.
pub(crate) fn arguments(folder: &Path) -> Vec<String> {
    let line = fs::read(folder.join("cmdline")).unwrap_or_default();
    let line = line.strip_suffix(&[0]).unwrap_or(&line);
    let words = line.split(|byte| *byte == 0).skip(1);
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// A descriptor that becomes readable when a process ends.
#[derive(Debug)]
pub struct Exit {
    fd: OwnedFd,
}

impl Exit {
    /// Completes when the process has ended.
    ///
    /// # Errors
    /// The descriptor cannot be watched.
    #[expect(unsafe_code, reason = "tokio wants the caller to vouch for the descriptor")]
    pub async fn ended(&self) -> io::Result<()> {
        // SAFETY: the copy is a valid pidfd, owned by the `AsyncFd` for as long as it is registered.
        let watched = unsafe { AsyncFd::register(self.fd.try_clone()?) };
        watched.map_err(io::Error::from)?.readable().await.map(drop)
    }

    /// Collects the process if it is a child of ours that has ended, and says
    /// how it ended: `exit status 1`, `signal 9`.
    #[must_use]
    pub fn reap(&self) -> Option<String> {
        let id = WaitId::PidFd(std::os::fd::AsFd::as_fd(&self.fd));
        how(waitid(id, WaitIdOptions::EXITED | WaitIdOptions::NOHANG).ok()??)
    }

    /// Waits for the end; returns whether it came in time.
    ///
    /// # Errors
    /// The descriptor cannot be polled.
    pub fn wait(&self, limit: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = left.try_into().map_err(io::Error::other)?;
            match poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&timeout)) {
                Ok(n) => return Ok(n > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A handle on a process's end; nothing if it is gone already.
///
/// # Errors
/// The process cannot be looked at: out of descriptors, say.
pub fn exit_handle(process: &ProcessId) -> io::Result<Option<Exit>> {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else {
        return Ok(None);
    };
    let opened = pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from);
    // Looked at after the open: from here on the id cannot be reused under us.
    // A zombie of ours is still to be reaped through the handle.
    match opened.and_then(|fd| Ok((fd, stat(process.pid)?.1))) {
        Ok((fd, start_ticks)) => {
            let same = start_ticks == process.start_ticks && boot_id()? == process.boot_id;
            Ok(same.then_some(Exit { fd }))
        }
        Err(error) if says_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Collects a child of ours that has ended, and says how it ended; nothing if it is no
/// child, or has not ended.
pub(crate) fn reap(pid: u32) -> Option<String> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
    how(waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG).ok()??)
}

fn how(status: WaitIdStatus) -> Option<String> {
    let code = status.exit_status().map(|code| format!("exit status {code}"));
    code.or_else(|| status.terminating_signal().map(|signal| format!("signal {signal}")))
}

/// Ends a process: asks first unless `at_once`, then kills. Fine if it is gone.
///
/// # Errors
/// It does not end.
#[expect(clippy::disallowed_methods, reason = "this crate is where host effects live")]
pub fn kill(process: &ProcessId, at_once: bool) -> Result<(), HostError> {
    let unseen = |source| HostError::Process { pid: process.pid, source };
    let Some(exit) = exit_handle(process).map_err(unseen)? else { return Ok(()) };
    // As long as somebody has it open, its memory does not go with it: a guest has much, and to
    // give it back takes the kernel a while, which nobody need wait for.
    let memory = shared_memory(process.pid);
    let signals = if at_once { &[Signal::KILL][..] } else { &[Signal::TERM, Signal::KILL][..] };
    for signal in signals {
        // A process that is gone cannot be signalled, which the wait sees.
        let _ = rustix::process::pidfd_send_signal(&exit.fd, *signal);
        if exit.wait(TERM_GRACE).unwrap_or(false) {
            let _ = exit.reap();
            // Without a thread it is given back here and now.
            let _ = std::thread::Builder::new().spawn(move || drop(memory));
            return Ok(());
        }
    }
    Err(HostError::Unkillable { pid: process.pid })
}

/// The memory files (memfd_create(2)) that a process has open; none if they
/// cannot be seen.
fn shared_memory(pid: u32) -> Vec<fs::File> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let is_memory = |path: &PathBuf| {
        fs::read_link(path)
            .is_ok_and(|to| to.as_os_str().as_encoded_bytes().starts_with(b"/memfd:"))
    };
    descriptors.map(|entry| entry.path()).filter(is_memory).flat_map(fs::File::open).collect()
}

/// What a process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// CPU time so far, in milliseconds.
    pub cpu_ms: u64,
    /// Resident memory, in bytes.
    pub rss_bytes: u64,
}

/// What a process uses now; nothing if it is gone.
#[must_use]
pub fn usage(process: &ProcessId) -> Option<Usage> {
    if !is_alive(process) {
        return None;
    }
    let text = fs::read_to_string(format!("/proc/{}/stat", process.pid)).ok()?;
    let rest = &text[text.rfind(')')? + 1..];
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |i: usize| fields.get(i)?.parse::<u64>().ok();
    let ticks = number(11)? + number(12)?;
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    let page = rustix::param::page_size() as u64;
    Some(Usage { cpu_ms: ticks * 1000 / per_second, rss_bytes: number(21)? * page })
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_exec::{Command, HostRunner, Runner as _, Tool, Tools};

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_confuse() {
        let text = "42 (a b) c) S 1 42 42 0 -1 4194560 1 0 0 0 5 6 0 0 20 0 1 0 777 1 2";
        assert_eq!(parse_stat(text), Some((b'S', 777)));
        assert_eq!(parse_stat("garbage"), None);
    }

    #[test]
    fn memory_that_a_process_shares_is_found() {
        use std::io::{Read as _, Seek as _, Write as _};
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let mut ours = fs::File::from(rustix::fs::memfd_create("guest", flags).unwrap());
        ours.write_all(b"kept").unwrap();
        ours.rewind().unwrap();
        let mut found = shared_memory(std::process::id());
        drop(ours);
        let mut text = String::new();
        let read = found.iter_mut().any(|file| {
            text.clear();
            file.read_to_string(&mut text).is_ok() && text == "kept"
        });
        assert!(read, "{found:?}");
        assert!(shared_memory(u32::MAX).is_empty());
    }

    #[test]
    fn a_process_is_found_watched_ended_and_not_mistaken() {
        let dir = tempfile::tempdir().unwrap();
        // `ssh-keygen` waits for its question's answer; `tar` reads a pipe. A
        // program that waits without input: `tar` of a FIFO that nobody opens.
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let runner = HostRunner::new(Tools::discover());
        let marker = fifo.to_str().unwrap();
        let command = Command::new(Tool::Tar).args(["-t", "-f", marker]);
        let pid = runner.detach(&command, &dir.path().join("log")).unwrap();
        let process = identify(pid).unwrap().unwrap();
        assert!(is_alive(&process));
        let exit = exit_handle(&process).unwrap().unwrap();
        assert!(!exit.wait(Duration::ZERO).unwrap());
        let args: Vec<String> = ["-t", "-f", marker].map(str::to_owned).into();
        assert_eq!(find("tar", &args).unwrap(), std::slice::from_ref(&process));
        // With other arguments before ours it is still the one; another program is not.
        assert_eq!(find("tar", &args[1..]).unwrap(), std::slice::from_ref(&process));
        assert_eq!(find("tar", &args[..2]).unwrap(), []);
        assert_eq!(find("qemu-img", &args).unwrap(), []);

        let other = ProcessId { start_ticks: process.start_ticks + 1, ..process.clone() };
        assert!(!is_alive(&other));
        kill(&other, true).unwrap();
        assert!(is_alive(&process), "killed a process of another start time");

        kill(&process, true).unwrap();
        assert!(!is_alive(&process));
        assert!(exit.wait(Duration::ZERO).unwrap());
        kill(&process, true).unwrap();
    }
}
