//! Why an operation failed.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use banger_core::operation::Failure;
use banger_core::vm::IllegalTransition;
use banger_exec::ExecError;
use banger_host::HostError;
use banger_image::build::BuildError;
use banger_image::seed::SeedError;
use banger_wire::WireError;

use crate::store::StoreError;
use crate::vmm::qmp::QmpError;

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum OpError {
    /// It was asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// The host refused.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A program failed.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// QEMU's monitor.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// The agent in the guest.
    #[error("the agent in the guest failed")]
    Agent(#[from] WireError),
    /// A file of ours.
    #[error("cannot {what}")]
    File {
        /// What was tried.
        what: String,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// The VMM ended while it was waited for.
    #[error("the VM ended while it was starting ({how})")]
    Ended {
        /// How.
        how: String,
    },
    /// A disk that was there is gone: somebody removed it.
    #[error("the VM's disk {} is gone; it is not made anew, as what was on it would be forgotten", .0.display())]
    DiskGone(PathBuf),
    /// The way to the guest ended while it was waited for.
    #[error("the VM's vsock process, vhost-device-vsock, ended while the VM was starting")]
    VsockEnded,
    /// A readiness stage was not reached in time.
    #[error("the VM did not reach '{stage}' within {} s: {last}", limit.as_secs())]
    NotReady {
        /// The stage.
        stage: &'static str,
        /// The deadline.
        limit: Duration,
        /// What the last attempt met.
        last: String,
    },
    /// An image could not be built.
    #[error("the image could not be built")]
    Build(#[from] BuildError),
    /// The work seed could not be made.
    #[error("the home of the VM could not be made")]
    Seed(#[from] SeedError),
    /// A VM's segment could not be made.
    #[error(transparent)]
    Segment(#[from] banger_image::initramfs::InitramfsError),
    /// A bug of ours.
    #[error(transparent)]
    Transition(#[from] IllegalTransition),
    /// Resources that could not be released.
    #[error("not everything could be released:\n{0}")]
    Release(String),
    /// A task of ours died: a bug.
    #[error("internal error: {0}")]
    Internal(String),
}

impl OpError {
    /// Names what was tried in an I/O error.
    pub fn file(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::File { what, source }
    }

    /// Whether the operation was asked to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        let by_exec = |error: &ExecError| matches!(error, ExecError::Cancelled { .. });
        match self {
            Self::Cancelled => true,
            Self::Exec(error) | Self::Host(HostError::Exec(error)) => by_exec(error),
            Self::Build(BuildError::Cancelled) => true,
            Self::Build(BuildError::Exec(error)) => by_exec(error),
            _ => false,
        }
    }

    fn remedy(&self) -> Option<String> {
        match self {
            Self::Host(HostError::Exec(ExecError::NotInstalled(tool)))
            | Self::Exec(ExecError::NotInstalled(tool)) => Some(format!(
                "install {} ('banger doctor' says what else is missing)",
                tool.package()
            )),
            Self::NotReady { stage, .. } => Some(format!(
                "look at 'banger vm logs'; if the machine is only slow, raise 'ready_seconds' in the \
                 configuration, or wait for less than '{stage}' with --wait"
            )),
            Self::DiskGone(_) => Some("put the file back, or delete the VM".to_owned()),
            Self::VsockEnded => {
                Some("start it again; vsock.log in its folder tells why".to_owned())
            }
            Self::Seed(SeedError::Special { .. } | SeedError::NotText(_)) => {
                Some("move it out of the home folder".to_owned())
            }
            Self::Seed(SeedError::TooLarge(_) | SeedError::TooMany(_)) => Some(
                "what is in it is copied to /root of each new VM: keep only small files in it"
                    .to_owned(),
            ),
            Self::Ended { .. } => Some("the end of its console tells why".to_owned()),
            _ => None,
        }
    }

    /// The failure as it is shown and kept.
    #[must_use]
    pub fn failure(&self, rollback: Vec<String>, console: String) -> Failure {
        Failure { message: chain(self), rollback, console, remedy: self.remedy() }
    }
}

/// An error with its causes, outermost first.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        // Transparent errors would say the same twice.
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}
