//! Programs that have a terminal of their own, at the other end of which we are.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::ioctl_fionbio;
use rustix::process::{ioctl_tiocsctty, setsid};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::session::{Process, inherited};
use crate::{Command, ExecError, Tools};

/// How long a program may take to end once its terminal is gone.
const GRACE: Duration = Duration::from_secs(2);

/// How large a terminal is, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Its lines.
    pub rows: u16,
    /// Its columns.
    pub columns: u16,
}

impl From<TerminalSize> for Winsize {
    fn from(size: TerminalSize) -> Self {
        Self { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 }
    }
}

/// A program in a terminal of its own. Our end of that is a descriptor that does not block; a read
/// of it fails with `EIO` once the program is gone.
#[derive(Debug)]
pub struct Terminal {
    ours: OwnedFd,
    child: Child,
}

impl Terminal {
    /// Starts a program, with our environment.
    ///
    /// # Errors
    /// It is not installed or cannot be started, or there is no terminal for it.
    pub fn start(tools: &Tools, command: &Command, size: TerminalSize) -> Result<Self, ExecError> {
        let failed = |source| ExecError::Start { command: command.to_string(), source };
        let (ours, theirs) = pair(size).map_err(|error| failed(error.into()))?;
        let mut process = inherited(tools, command)?;
        let theirs = File::from(theirs);
        process.stdin(theirs.try_clone().map_err(failed)?);
        process.stdout(theirs.try_clone().map_err(failed)?).stderr(theirs);
        take_terminal(&mut process);
        // Dropped with the process: as long as we had it open, its end would not be seen.
        let child = process.spawn().map_err(failed)?;
        Ok(Self { ours, child })
    }

    /// Our end once more. The program's terminal is gone only when all of them are.
    ///
    /// # Errors
    /// The kernel's.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.ours.try_clone()
    }

    /// Tells the program that its terminal has another size.
    ///
    /// # Errors
    /// The kernel's.
    pub fn resize(&self, size: TerminalSize) -> io::Result<()> {
        tcsetwinsize(&self.ours, size.into()).map_err(io::Error::from)
    }

    /// Hangs up, and waits for the program's end; it is killed if it takes too long.
    ///
    /// # Errors
    /// The kernel's.
    pub fn end(self) -> io::Result<()> {
        let Self { ours, mut child } = self;
        drop(ours);
        let deadline = Instant::now() + GRACE;
        while child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                child.kill()?;
                child.wait()?;
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

/// Our end of a terminal, and the program's (pty(7)).
fn pair(size: TerminalSize) -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    tcsetwinsize(&ours, size.into())?;
    ioctl_fionbio(&ours, true)?;
    let name = ptsname(&ours, Vec::new())?;
    let theirs = open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    Ok((ours, theirs))
}

#[expect(unsafe_code, reason = "pre_exec: setsid(2) and ioctl(2) are async-signal-safe")]
fn take_terminal(process: &mut Process) {
    let set = || {
        setsid()?;
        // Its standard input is the terminal by now.
        ioctl_tiocsctty(rustix::stdio::stdin())?;
        Ok(())
    };
    // SAFETY: the closure makes two system calls between fork and exec and touches no memory of
    // ours.
    unsafe { process.pre_exec(set) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tool;
    use rustix::io::Errno;

    /// What the program writes until it ends.
    fn output(terminal: &Terminal) -> String {
        let mut all = Vec::new();
        loop {
            let mut block = [0; 1024];
            match rustix::io::read(&terminal.ours, &mut block) {
                Ok(n) => all.extend_from_slice(&block[..n]),
                Err(Errno::AGAIN) => std::thread::sleep(Duration::from_millis(5)),
                Err(Errno::IO) => return String::from_utf8_lossy(&all).into_owned(),
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn a_program_has_a_terminal_and_ends_with_it() {
        let size = TerminalSize { rows: 10, columns: 40 };
        let tools = Tools::discover();
        // Without a terminal, tar does not write an archive's bytes to one.
        let tar = Command::new(Tool::Tar).args(["-cf", "-", "/etc/hostname"]);
        let terminal = Terminal::start(&tools, &tar, size).unwrap();
        terminal.resize(TerminalSize { rows: 20, columns: 80 }).unwrap();
        let said = output(&terminal);
        assert!(said.contains("terminal"), "{said}");
        terminal.end().unwrap();
        // One that waits for input for ever.
        let waits = Terminal::start(&tools, &Command::new(Tool::Tar).arg("-t").arg("-f-"), size);
        waits.unwrap().end().unwrap();
    }
}
