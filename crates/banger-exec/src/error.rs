//! Why a program did not do its work.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::Tool;

/// A program that could not be run, or failed. The text names the command and
/// quotes the program's own words.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// It is not on this machine.
    #[error("{} is not installed; it is needed for {} (package: {})", .0.program(), .0.purpose(), .0.package())]
    NotInstalled(Tool),
    /// It could not be started.
    #[error("cannot start '{command}'")]
    Start {
        /// The command line.
        command: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Its log could not be opened.
    #[error("cannot open the log {}", path.display())]
    Log {
        /// The log.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// It did not end in time and was killed.
    #[error("'{command}' did not end within {} s and was killed{}", limit.as_secs(), quote(stderr))]
    TimedOut {
        /// The command line.
        command: String,
        /// The limit.
        limit: Duration,
        /// The end of what it wrote to standard error.
        stderr: String,
    },
    /// The work it belonged to was cancelled, and it was killed.
    #[error("'{command}' was cancelled")]
    Cancelled {
        /// The command line.
        command: String,
    },
    /// It ended with another status than 0.
    #[error("'{command}' failed with {status}{}", quote(stderr))]
    Failed {
        /// The command line.
        command: String,
        /// Its exit status, as text.
        status: String,
        /// What it wrote to standard output.
        stdout: String,
        /// What it wrote to standard error.
        stderr: String,
    },
}

fn quote(stderr: &str) -> String {
    let text = stderr.trim();
    if text.is_empty() { String::new() } else { format!(":\n{text}") }
}
