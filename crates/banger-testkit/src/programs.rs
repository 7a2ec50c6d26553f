//! Programs that are run to their end, done by hand.

use std::fs;
use std::io;
use std::path::Path;

use banger_exec::{Command, ExecError, Output, Runner, Tool};

use crate::{Faults, Life};

/// Runs `ssh-keygen`, `qemu-img` and the like, or fails.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The daemon that runs them.
    pub life: Life,
    /// What fails.
    pub faults: Faults,
}

impl Runner for Programs {
    fn capture(&self, command: &Command) -> Result<Output, ExecError> {
        let fail = |source| ExecError::Start { command: format!("{command:?}"), source };
        if !self.life.step() {
            return Err(fail(io::Error::other("the daemon is dead")));
        }
        let done = self.faults.call(fail, || run(command).map_err(fail));
        if !self.life.step() {
            return Err(fail(io::Error::other("the daemon is dead")));
        }
        done.map(|stdout| Output { stdout, stderr: String::new() })
    }

    fn detach(&self, command: &Command, _log: &Path) -> Result<u32, ExecError> {
        Err(ExecError::NotInstalled(command.tool()))
    }
}

/// Returns what it prints.
fn run(command: &Command) -> io::Result<Vec<u8>> {
    let last = command.arguments().last().map(Path::new);
    let target = last.ok_or_else(|| io::Error::other("no arguments"))?;
    match command.tool() {
        Tool::SshKeygen => {
            fs::write(target, "private")?;
            fs::write(target.with_added_extension("pub"), "ssh-ed25519 AAAA test\n")?;
        }
        Tool::QemuImg => fs::write(target, "overlay")?,
        Tool::Resize2fs | Tool::E2fsck => fs::metadata(target).map(drop)?,
        // A work seed; an ordinary user makes it in a namespace.
        Tool::Mke2fs | Tool::Unshare => fs::write(target, "seed")?,
        Tool::Debugfs => return Ok(b"Mode:  0700".into()),
        // What is put into the root of an image to be.
        Tool::Ssh => {}
        tool => return Err(io::Error::other(format!("{tool:?} is not expected here"))),
    }
    Ok(Vec::new())
}
