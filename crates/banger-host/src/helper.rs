//! `banger-helper`: the only code of banger that runs as root.
//!
//! `sudo` starts it for the daemon of an ordinary user. It does a closed list
//! of things ([`Verb`]), for that user and nobody else: files are the user's
//! own and lie below the state folder, devices carry the user's id. What goes
//! in is not trusted; `docs/security.md` says what it guards against.

mod caller;
mod firewall;
mod loops;
mod mapper;
mod net;
mod serve;
mod vmm;

pub use caller::{Caller, StateDir, roots_alone};
pub use mapper::{devices, uuid_of};
pub use net::{is_used, owner as tap_owner};
pub use serve::{Server, serve};

use std::io;
use std::path::PathBuf;

use banger_exec::{ExecError, Tool, Tools};

/// Why the helper did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// The caller may not, or what it asked for makes no sense.
    #[error("{0}")]
    Refused(String),
    /// The host would not.
    #[error("cannot {what}: {source}")]
    Host {
        /// What was tried.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Something failed, and what had been done of it could not be undone.
    #[error("{cause}\nand it could not be undone:\n{rollback}")]
    Rollback {
        /// What failed first.
        cause: String,
        /// What failed of the undoing.
        rollback: String,
    },
    /// A program would not.
    #[error(transparent)]
    Exec(#[from] ExecError),
}

impl HelperError {
    fn refused(why: impl Into<String>) -> Self {
        Self::Refused(why.into())
    }

    fn host(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Host { what, source }
    }
}

/// A program: the file itself, not a link to it, which nobody but root can change.
fn trusted(tools: &Tools, tool: Tool) -> Result<PathBuf, String> {
    let path = tools.path(tool).map_err(|error| error.to_string())?;
    let real = path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))?;
    roots_alone(&real)?;
    Ok(real)
}

/// The folders that the helper takes programs from: root's, whatever `PATH` says.
#[must_use]
pub fn program_folders() -> Vec<PathBuf> {
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .map(PathBuf::from)
        .into()
}
