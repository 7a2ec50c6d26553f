//! Running a program to its end.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::session::{base, die_with_parent};
use crate::{Command, ExecError, Output};

const STDOUT_LIMIT: usize = 16 << 20;
const STDERR_LIMIT: usize = 64 << 10;
/// How often a running program's cancel flag is looked at.
const TICK: Duration = Duration::from_millis(50);
/// How long a program has after SIGTERM to clean up.
const GRACE: Duration = Duration::from_secs(5);

enum End {
    Exited(ExitStatus),
    TimedOut,
    Cancelled,
}

pub(crate) fn capture(program: &Path, command: &Command) -> Result<Output, ExecError> {
    let start_error = |source| ExecError::Start { command: command.to_string(), source };
    let mut process = base(program, command);
    let stdin = match &command.stdin_file {
        Some(path) => File::open(path).map_err(start_error)?.into(),
        None => Stdio::piped(),
    };
    process.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    die_with_parent(&mut process);
    let mut child = process.spawn().map_err(start_error)?;

    // A program may stop reading early; what it then says is in its status.
    if let Some(mut stdin) = child.stdin.take() {
        let bytes = command.stdin.clone();
        if !bytes.is_empty() {
            std::thread::spawn(move || stdin.write_all(&bytes));
        }
    }
    let mut output = Output::default();
    let end = pump(&mut child, command, &mut output).map_err(|source| {
        stop(&mut child);
        start_error(source)
    })?;
    let line = command.to_string();
    match end {
        End::Exited(status) if status.success() => Ok(output),
        End::Exited(status) if command.also_ok.is_some() && status.code() == command.also_ok => {
            Ok(output)
        }
        End::Exited(status) => Err(ExecError::Failed {
            command: line,
            status: describe(status),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: output.stderr,
        }),
        End::TimedOut => Err(ExecError::TimedOut {
            command: line,
            limit: command.timeout,
            stderr: output.stderr,
        }),
        End::Cancelled => Err(ExecError::Cancelled { command: line }),
    }
}

/// Reads both pipes until they close or the program must be stopped.
fn pump(child: &mut Child, command: &Command, output: &mut Output) -> io::Result<End> {
    let deadline = Instant::now() + command.timeout;
    let mut stdout = child.stdout.take();
    let mut stderr = child.stderr.take();
    let mut lines = Lines { on_line: command.on_line.clone(), pending: Vec::new() };
    let mut tail = Vec::new();
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let mut exited = false;
    let end = loop {
        // A grandchild may hold the pipes open: the program's own end counts.
        if exited || (stdout.is_none() && stderr.is_none()) {
            break End::Exited(child.wait()?);
        }
        if command.cancel.is_cancelled() {
            stop(child);
            break End::Cancelled;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            stop(child);
            break End::TimedOut;
        }
        let ready = wait_readable(
            stdout.as_ref().map(|f| f.as_fd()),
            stderr.as_ref().map(|f| f.as_fd()),
            pidfd.as_fd(),
            left.min(TICK),
        )?;
        let mut buffer = [0; 16 << 10];
        if ready[0]
            && let Some(pipe) = &mut stdout
        {
            let n = pipe.read(&mut buffer)?;
            let room = STDOUT_LIMIT.saturating_sub(output.stdout.len());
            output.stdout.extend_from_slice(&buffer[..n.min(room)]);
            if n == 0 {
                stdout = None;
            }
        }
        if ready[1]
            && let Some(pipe) = &mut stderr
        {
            let n = pipe.read(&mut buffer)?;
            lines.push(&buffer[..n]);
            tail.extend_from_slice(&buffer[..n]);
            let excess = tail.len().saturating_sub(STDERR_LIMIT);
            tail.drain(..excess);
            if n == 0 {
                stderr = None;
            }
        }
        exited = ready[2] && !ready[0] && !ready[1];
    };
    lines.flush();
    output.stderr = String::from_utf8_lossy(&tail).into_owned();
    Ok(end)
}

fn wait_readable(
    stdout: Option<BorrowedFd<'_>>,
    stderr: Option<BorrowedFd<'_>>,
    pidfd: BorrowedFd<'_>,
    limit: Duration,
) -> io::Result<[bool; 3]> {
    let sources = [stdout, stderr, Some(pidfd)];
    let mut fds: Vec<_> =
        sources.iter().flatten().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    let timeout = limit.try_into().map_err(io::Error::other)?;
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) => {}
        Err(rustix::io::Errno::INTR) => return Ok([false; 3]),
        Err(error) => return Err(error.into()),
    }
    let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
    Ok(sources.map(|source| source.is_some() && ready.next().unwrap_or(false)))
}

/// Ends the program and what it started: asks first, so that it can clean up.
#[expect(
    clippy::disallowed_methods,
    reason = "the program's own process group, which this crate made"
)]
fn stop(child: &mut Child) {
    let group = Pid::from_child(child);
    // An error means that the group is gone, which is the aim.
    let _ = kill_process_group(group, Signal::TERM);
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline {
        if !matches!(child.try_wait(), Ok(None)) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = kill_process_group(group, Signal::KILL);
    let _ = child.wait();
}

pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

struct Lines {
    on_line: Option<crate::command::OnLine>,
    pending: Vec<u8>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        if self.on_line.is_none() {
            return;
        }
        for &byte in bytes {
            // Progress bars rewrite their line with a carriage return.
            if byte == b'\n' || byte == b'\r' {
                self.flush();
            } else if self.pending.len() < 4096 {
                self.pending.push(byte);
            }
        }
    }

    fn flush(&mut self) {
        if let Some(f) = &self.on_line
            && !self.pending.is_empty()
        {
            f(&String::from_utf8_lossy(&self.pending));
        }
        self.pending.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cancel, HostRunner, Runner as _, Tool, Tools};
    use std::sync::{Arc, Mutex};

    /// A runner whose `tar` is a shell script.
    fn script(dir: &tempfile::TempDir, text: &str) -> HostRunner {
        use std::os::unix::fs::PermissionsExt as _;
        let path = dir.path().join("tar");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        HostRunner::new(Tools::default().with(Tool::Tar, path))
    }

    #[test]
    fn output_and_lines_come_back_and_the_environment_is_clean() {
        let dir = tempfile::tempdir().unwrap();
        let runner =
            script(&dir, "cat; echo \"$LC_ALL $X ${CARGO:-none}\"; echo one >&2; echo two >&2");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        let command = Command::new(Tool::Tar)
            .env("X", "x")
            .stdin("in ")
            .on_line(move |line| sink.lock().unwrap().push(line.to_owned()));
        let output = runner.capture(&command).unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "in C x none\n");
        assert_eq!(output.stderr, "one\ntwo\n");
        assert_eq!(*seen.lock().unwrap(), ["one", "two"]);
    }

    #[test]
    fn a_failure_carries_command_status_and_words() {
        let dir = tempfile::tempdir().unwrap();
        let runner = script(&dir, "echo no such file >&2; exit 3");
        let error = runner.capture(&Command::new(Tool::Tar).arg("-x")).unwrap_err();
        assert_eq!(error.to_string(), "'tar -x' failed with exit status 3:\nno such file");
        assert!(runner.capture(&Command::new(Tool::Tar).also_ok(3)).is_ok());
        assert!(runner.capture(&Command::new(Tool::Tar).also_ok(1)).is_err());
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let pid_file = dir.path().join("pid");
        let runner = script(&dir, &format!("sleep 1000 & echo $! > {}; wait", pid_file.display()));
        let limit = Duration::from_millis(400);
        let error = runner.capture(&Command::new(Tool::Tar).timeout(limit)).unwrap_err();
        assert!(matches!(error, ExecError::TimedOut { .. }), "{error}");
        let pid = std::fs::read_to_string(pid_file).unwrap();
        let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        assert!(state.is_err() || state.unwrap().contains(") Z "), "child {pid} lives");
    }

    #[test]
    fn cancelling_stops_it() {
        let dir = tempfile::tempdir().unwrap();
        let runner = script(&dir, "echo up >&2; sleep 1000");
        let cancel = Cancel::default();
        let trigger = cancel.clone();
        let command = Command::new(Tool::Tar).cancel(&cancel).on_line(move |_| trigger.cancel());
        let error = runner.capture(&command).unwrap_err();
        assert!(matches!(error, ExecError::Cancelled { .. }), "{error}");
    }

    #[test]
    fn a_grandchild_that_keeps_the_pipe_does_not_hold_us() {
        let dir = tempfile::tempdir().unwrap();
        let runner = script(&dir, "sleep 5 & echo done");
        let started = Instant::now();
        assert_eq!(runner.capture(&Command::new(Tool::Tar)).unwrap().stdout, b"done\n");
        assert!(started.elapsed() < Duration::from_secs(4));
    }
}
