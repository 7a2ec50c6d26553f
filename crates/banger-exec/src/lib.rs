//! The only crate of banger that runs programs.
//!
//! A closed list of [`Tool`]s, found once and run by absolute path, in these
//! shapes: [`Runner::capture`] for a program that ends, [`Runner::detach`] for
//! one that outlives us ([`detach_as`] as somebody else), [`Dialogue`] for one
//! that answers questions, [`Terminal`] for one with a terminal of its own, [`Interactive`] for one
//! that has ours, and [`replace`] to become it. And the only one that stops us, or changes the modes
//! of our terminal.

mod capture;
mod command;
mod dialogue;
mod error;
mod job;
mod session;
mod terminal;
mod tool;

pub use command::{Cancel, Command, Output, quote};
pub use dialogue::Dialogue;
pub use error::ExecError;
pub use job::{GO_ON, Modes, STOP, is_job, reap, stop};
pub use session::{Identity, Interactive, detach_as, replace};
pub use terminal::{Terminal, TerminalSize};
pub use tool::{Tool, Tools, is_program, tools_folder};

use std::path::Path;

/// Runs programs. Tests put a fake in its place to inject faults.
pub trait Runner: Send + Sync {
    /// Runs a program to its end and returns what it wrote.
    ///
    /// # Errors
    /// The program is not installed, cannot be started, ran past its time,
    /// was cancelled, or ended with another status than 0.
    fn capture(&self, command: &Command) -> Result<Output, ExecError>;

    /// Starts a program that outlives us, in a session of its own, its output
    /// appended to `log`. Returns its process id; the caller reaps it.
    ///
    /// # Errors
    /// The program is not installed or cannot be started, or `log` cannot be opened.
    fn detach(&self, command: &Command, log: &Path) -> Result<u32, ExecError>;
}

/// Runs programs for real.
#[derive(Debug, Clone)]
pub struct HostRunner {
    tools: Tools,
}

impl HostRunner {
    /// Runs the programs that `tools` found.
    #[must_use]
    pub fn new(tools: Tools) -> Self {
        Self { tools }
    }

    /// Where the programs are.
    #[must_use]
    pub fn tools(&self) -> &Tools {
        &self.tools
    }
}

impl Runner for HostRunner {
    fn capture(&self, command: &Command) -> Result<Output, ExecError> {
        capture::capture(&self.tools.path(command.tool())?, command)
    }

    fn detach(&self, command: &Command, log: &Path) -> Result<u32, ExecError> {
        session::detach(&self.tools.path(command.tool())?, command, log)
    }
}
