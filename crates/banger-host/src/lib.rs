//! Linux resources of the host.

mod capacity;
mod copy;
mod disk;
pub mod doctor;
mod facts;
mod flat;
mod found;
pub mod helper;
mod memory;
mod peer;
mod pipe;
pub mod privileged;
mod process;
mod resolver;
mod resources;
mod routes;
mod scope;
mod snapshot;
mod socket;
mod version;

pub use capacity::capacity;
pub use copy::clone_file;
pub use disk::{allocated, free_space};
pub use facts::{Kvm, boot_id, kvm, tsc_khz};
pub use flat::dig_holes;
pub use found::Found;
pub use memory::{share_one_heap, trim};
pub use peer::is_own;
pub use pipe::{drain, make_pipe};
pub use privileged::{AskError, Helper, Ready, Sudo};
pub use process::{Exit, Usage, exit_handle, find, identify, is_alive, kill, usage};
pub use resolver::name_servers;
pub use resources::{Ended, Host, HostOps, link_exists};
pub use routes::{Route, routes};
pub use socket::listens;
pub use version::{Version, oldest, version};

use std::path::{Path, PathBuf};

use banger_exec::ExecError;

/// A host effect that failed.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A file or folder.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was tried: `create`, `copy to` …
        what: &'static str,
        /// The path.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// A program.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// What needs root.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// A process that ended when it was to begin its work.
    #[error("{what} ended as soon as it was started ({how}){}", tail(log))]
    EndedAtOnce {
        /// What it is.
        what: String,
        /// Its exit status or signal, as far as known.
        how: String,
        /// The end of its log.
        log: String,
    },
    /// A process that cannot be looked at.
    #[error("cannot look at process {pid}")]
    Process {
        /// The process.
        pid: u32,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// What is there cannot be looked at.
    #[error("cannot look for what VMs have on this host")]
    Look(#[source] std::io::Error),
    /// The processes cannot be listed.
    #[error("cannot list the processes")]
    Processes(#[source] std::io::Error),
    /// A process that cannot be ended.
    #[error("process {pid} does not end")]
    Unkillable {
        /// The process.
        pid: u32,
    },
    /// What is there is not ours.
    #[error("{} is there, but is not recognisably ours: it was left alone", path.display())]
    Foreign {
        /// The path.
        path: PathBuf,
    },
}

fn tail(log: &str) -> String {
    if log.trim().is_empty() { String::new() } else { format!(":\n{}", log.trim()) }
}

/// Names the path and what was tried in an I/O error.
pub(crate) trait At<T> {
    fn at(self, what: &'static str, path: &Path) -> Result<T, HostError>;
}

impl<T, E: Into<std::io::Error>> At<T> for Result<T, E> {
    fn at(self, what: &'static str, path: &Path) -> Result<T, HostError> {
        self.map_err(|e| HostError::File { what, path: path.to_owned(), source: e.into() })
    }
}
