//! Processes that outlive the daemon: found, watched and ended without
//! mistaking one for another.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use banger_core::resource::ProcessId;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, waitid};
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

/// The identity of a running process; nothing if it is gone or a zombie.
#[must_use]
pub fn identify(pid: u32) -> Option<ProcessId> {
    let (state, start_ticks) = stat(pid).ok()?;
    if state == b'Z' || state == b'X' {
        return None;
    }
    Some(ProcessId { pid, start_ticks, boot_id: boot_id().ok()? })
}

/// Whether that very process still runs.
#[must_use]
pub fn is_alive(process: &ProcessId) -> bool {
    identify(process.pid).as_ref() == Some(process)
}

/// The processes of this user that have `marker` within one of their arguments.
#[must_use]
pub fn find_by_marker(marker: &str) -> Vec<ProcessId> {
    let uid = rustix::process::getuid().as_raw();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let matching = |pid: &u32| {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let ours = fs::metadata(&folder).is_ok_and(|m| m.uid() == uid);
        let args = fs::read(folder.join("cmdline")).unwrap_or_default();
        let mut args = args.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        ours && *pid != std::process::id() && args.any(|arg| arg.contains(marker))
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(matching)
        .filter_map(identify)
        .collect()
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
        let status = waitid(id, WaitIdOptions::EXITED | WaitIdOptions::NOHANG).ok()??;
        let code = status.exit_status().map(|code| format!("exit status {code}"));
        code.or_else(|| status.terminating_signal().map(|signal| format!("signal {signal}")))
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
#[must_use]
pub fn exit_handle(process: &ProcessId) -> Option<Exit> {
    let pid = Pid::from_raw(i32::try_from(process.pid).ok()?)?;
    let fd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    // Looked at after the open: from here on the id cannot be reused under us.
    // A zombie of ours is still to be reaped through the handle.
    let (_, start_ticks) = stat(process.pid).ok()?;
    let same = start_ticks == process.start_ticks && boot_id().ok()? == process.boot_id;
    same.then_some(Exit { fd })
}

/// Collects a child of ours that has ended.
pub(crate) fn reap(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // Not a child, or not ended: nothing to collect.
        let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }
}

/// Ends a process: asks first unless `at_once`, then kills. Fine if it is gone.
///
/// # Errors
/// It does not end.
#[expect(clippy::disallowed_methods, reason = "this crate is where host effects live")]
pub fn kill(process: &ProcessId, at_once: bool) -> Result<(), HostError> {
    let Some(exit) = exit_handle(process) else { return Ok(()) };
    let signals = if at_once { &[Signal::KILL][..] } else { &[Signal::TERM, Signal::KILL][..] };
    for signal in signals {
        // A process that is gone cannot be signalled, which the wait sees.
        let _ = rustix::process::pidfd_send_signal(&exit.fd, *signal);
        if exit.wait(TERM_GRACE).unwrap_or(false) {
            let _ = exit.reap();
            return Ok(());
        }
    }
    Err(HostError::Unkillable { pid: process.pid })
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
        let process = identify(pid).unwrap();
        assert!(is_alive(&process));
        let exit = exit_handle(&process).unwrap();
        assert!(!exit.wait(Duration::ZERO).unwrap());
        // Before exec the process still has our own command line.
        let deadline = Instant::now() + Duration::from_secs(5);
        while find_by_marker(marker) != [process.clone()] {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }

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
