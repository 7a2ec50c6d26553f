//! Our own terminal, and our place among the jobs of a shell.

use std::io;

use rustix::process::{
    Pid, Signal, WaitOptions, getpgrp, getpid, kill_current_process_group, waitpid,
};
use rustix::stdio::stdin;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// The signal by which a terminal stops a job.
pub const STOP: i32 = Signal::TSTP.as_raw();
/// The signal that a job gets when it goes on.
pub const GO_ON: i32 = Signal::CONT.as_raw();

/// How a terminal treats what is typed.
#[derive(Debug, Clone)]
pub struct Modes(Termios);

impl Modes {
    /// Those of our standard input.
    ///
    /// # Errors
    /// It is no terminal.
    pub fn current() -> io::Result<Self> {
        Ok(Self(tcgetattr(stdin())?))
    }

    /// Has all that is typed come at once and as it is.
    ///
    /// # Errors
    /// The terminal's.
    pub fn set_raw(&self) -> io::Result<()> {
        let mut raw = self.0.clone();
        raw.make_raw();
        Ok(tcsetattr(stdin(), OptionalActions::Now, &raw)?)
    }

    /// Sets these modes.
    ///
    /// # Errors
    /// The terminal's.
    pub fn restore(&self) -> io::Result<()> {
        Ok(tcsetattr(stdin(), OptionalActions::Now, &self.0)?)
    }
}

/// Whether a shell watches our job, and can let it go on once it is stopped.
#[must_use]
pub fn is_job() -> bool {
    let group = getpgrp();
    // As for the kernel: a group that nobody outside of it, but in its session, began is an orphan.
    let leader = of_process(group).or_else(|| of_process(getpid()));
    leader.is_some_and(|leader| {
        let parent = Pid::from_raw(leader.parent).and_then(of_process);
        parent.is_some_and(|parent| {
            parent.session == leader.session && parent.group != group.as_raw_pid()
        })
    })
}

/// Stops our job, as Ctrl-Z does, until somebody lets it go on.
///
/// # Errors
/// The kernel's.
pub fn stop() -> io::Result<()> {
    // The whole of it: a script that waits for us is to stop as well.
    Ok(kill_current_process_group(Signal::STOP)?)
}

/// Reaps a child if it has ended; whether there is nothing left to reap.
#[must_use]
pub fn reap(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_none_or(|pid| !matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(None)))
}

/// What `/proc/PID/stat` tells of a process (proc(5)).
#[derive(Debug, PartialEq, Eq)]
struct Relatives {
    parent: i32,
    group: i32,
    session: i32,
}

fn of_process(pid: Pid) -> Option<Relatives> {
    parse(&std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?)
}

fn parse(stat: &str) -> Option<Relatives> {
    // The second field is the name in parentheses and may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut numbers = rest.split_ascii_whitespace().skip(1).map_while(|field| field.parse().ok());
    Some(Relatives { parent: numbers.next()?, group: numbers.next()?, session: numbers.next()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Command, HostRunner, Runner as _, Tool, Tools};

    #[test]
    fn relatives_are_read_whatever_the_name() {
        let relatives = Relatives { parent: 10, group: 20, session: 30 };
        assert_eq!(parse("4711 (a) b) S 10 20 30 34816 4711 0"), Some(relatives));
        assert_eq!(parse("4711 (a) S x"), None);
        let ours = of_process(getpid()).unwrap();
        assert_eq!(ours.group, getpgrp().as_raw_pid());
    }

    #[test]
    fn what_has_ended_is_reaped() {
        let runner = HostRunner::new(Tools::discover());
        let command = Command::new(Tool::Tar).arg("--version");
        let pid = runner.detach(&command, std::path::Path::new("/dev/null")).unwrap();
        while !reap(pid) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(!std::fs::exists(format!("/proc/{pid}")).unwrap() && reap(pid));
    }
}
