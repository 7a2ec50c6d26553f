//! Why an operation failed.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use banger_core::name::Name;
use banger_core::operation::Failure;
use banger_core::vm::{IllegalTransition, PauseCause};
use banger_exec::{ExecError, Tool};
use banger_host::{HostError, Version};
use banger_image::build::BuildError;
use banger_image::ext4::{Ext4Error, PatchError};
use banger_image::parts::Damage;
use banger_image::seed::SeedError;
use banger_wire::WireError;
use ipnet::Ipv4Net;

use crate::store::StoreError;
use crate::vmm::firecracker::FirecrackerError;
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
    /// Firecracker's API.
    #[error(transparent)]
    Firecracker(#[from] FirecrackerError),
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
    /// All addresses of the network `nat` are taken.
    #[error("all addresses of {0} are taken by VMs")]
    NoAddress(Ipv4Net),
    /// Every subnet that banger would choose is part of a network of this host.
    #[error("172.28.0.0/14 has no /24 that is in no other network of this host")]
    NoSubnet,
    /// A VM would be paused as soon as it ran.
    #[error("'{name}' has no room to run in: {cause}")]
    NoRoom {
        /// Its name.
        name: Name,
        /// Why.
        cause: PauseCause,
    },
    /// A VM that is paused cannot go on.
    #[error("'{name}' stays paused: {cause}")]
    Paused {
        /// Its name.
        name: Name,
        /// Why.
        cause: PauseCause,
    },
    /// A disk that was there is gone: somebody removed it.
    #[error("the VM's disk {} is gone; it is not made anew, as what was on it would be forgotten", .0.display())]
    DiskGone(PathBuf),
    /// The way to the guest ended while it was waited for.
    #[error("the VM's vsock process, vhost-device-vsock, ended while the VM was starting")]
    VsockEnded,
    /// The guest's kernel panicked.
    #[error("the guest's kernel panicked")]
    Panicked,
    /// The guest's kernel is up but of no use, and that is not the guest's fault.
    #[error("the guest did not boot well: {why}")]
    Misbooted {
        /// What is wrong with it.
        why: String,
    },
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
    /// An image could not be made.
    #[error("the image could not be made")]
    Build(#[from] BuildError),
    /// Something failed in the guest that an image is built in.
    #[error("{what} failed with {status}:\n{said}")]
    Guest {
        /// What.
        what: String,
        /// How.
        status: String,
        /// The end of what was said.
        said: String,
    },
    /// A guest that an image is built in is not there any more.
    #[error("the connection to the guest broke in {what}: {said}")]
    GuestLost {
        /// What was under way.
        what: String,
        /// What ssh said.
        said: String,
    },
    /// A root could not be told whose it is.
    #[error("the root of the VM could not be written to")]
    Patch(#[from] PatchError),
    /// The work seed could not be made.
    #[error("the home of the VM could not be made")]
    Seed(#[from] SeedError),
    /// An image is not as it was built.
    #[error("the image '{image}' is damaged")]
    Damaged {
        /// Its name.
        image: String,
        /// What of it.
        #[source]
        damage: Damage,
    },
    /// What runs machines is of a version that may not run ours.
    #[error("{} {found} is too old, {oldest} or newer is needed: {why}", tool.program())]
    TooOld {
        /// The program.
        tool: Tool,
        /// Its version.
        found: Version,
        /// What is needed.
        oldest: Version,
        /// How the start failed.
        why: Box<OpError>,
    },
    /// How the boot that finishes a root ended could not be told.
    #[error("the root could not be read after its boot")]
    Word(#[source] PatchError),
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
            Self::Build(
                BuildError::Exec(error)
                | BuildError::Patch(PatchError::Exec(error))
                | BuildError::Ext4(Ext4Error::Exec(error)),
            )
            | Self::Patch(PatchError::Exec(error))
            | Self::Word(PatchError::Exec(error)) => by_exec(error),
            _ => false,
        }
    }

    fn remedy(&self) -> Option<String> {
        match self {
            Self::Guest { said, .. } if says_full(said) => {
                return Some("give the image a larger root with '--size'".to_owned());
            }
            Self::Guest { .. } => return None,
            _ if says_full(&chain(self)) => return Some(FREE_SPACE.to_owned()),
            _ => {}
        }
        match self {
            Self::Store(error) => error.remedy(),
            Self::TooOld { tool, .. } => Some(format!("install a newer {}", tool.package())),
            Self::Damaged { damage, .. } => Some(format!(
                "put a backup of {} back, or build another image with 'banger image build debian \
                 --name NAME'; the VMs of this one cannot start without it",
                damage.path.display()
            )),
            Self::Build(BuildError::Alpine(error)) => error.remedy(),
            Self::Host(HostError::Exec(ExecError::NotInstalled(tool)))
            | Self::Exec(ExecError::NotInstalled(tool)) => Some(format!(
                "install {}; 'banger doctor' says how, and what else is missing",
                tool.program()
            )),
            Self::Build(BuildError::Void(error)) => error.remedy().map(str::to_owned),
            Self::Host(HostError::EndedAtOnce { .. }) => {
                Some("'banger doctor' says what does not work here".to_owned())
            }
            Self::NotReady { stage, .. } => {
                let slow =
                    "if this machine is only slow, raise 'ready_seconds' in the configuration";
                Some(match *stage {
                    "prepare" | "boot" => {
                        format!("'banger doctor' says what does not work here; {slow}")
                    }
                    "provision" => "what the scripts said is above; leave the package out whose \
                        script does not end"
                        .to_owned(),
                    "agent" => format!("the console tells more ('banger vm logs'); {slow}"),
                    stage => format!(
                        "the console tells more ('banger vm logs'); {slow}, or wait for less than \
                         '{stage}' with --wait"
                    ),
                })
            }
            Self::Misbooted { .. } => {
                Some("start it again when this machine has less to do".to_owned())
            }
            Self::NoAddress(_) => Some(
                "delete VMs of the network nat, or stop them all and set a larger 'subnet' in the \
                 configuration"
                    .to_owned(),
            ),
            Self::Paused { name, cause } | Self::NoRoom { name, cause } => Some(match cause {
                PauseCause::OverlayFull { .. } => {
                    format!("banger vm resize-overlay {name} --size SIZE")
                }
                PauseCause::DiskFull { .. } => FREE_SPACE.to_owned(),
            }),
            Self::NoSubnet => Some("set 'subnet' in the configuration".to_owned()),
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
            Self::Ended { .. } | Self::Panicked => {
                Some("the end of its console tells why".to_owned())
            }
            _ => None,
        }
    }

    /// The failure as it is shown and kept.
    #[must_use]
    pub fn failure(&self, rollback: Vec<String>, console: String) -> Failure {
        Failure { message: chain(self), rollback, console, remedy: self.remedy() }
    }
}

/// What to do about a full disk.
pub(crate) const FREE_SPACE: &str = "make room on that disk: delete what is not needed ('banger \
    vm delete', 'banger image delete'), then do the same again; 'banger doctor' shows what is free";

/// Whether a message tells of a full disk, in the words of the kernel (errno(3)).
fn says_full(message: &str) -> bool {
    ["No space left on device", "Disk quota exceeded"].iter().any(|said| message.contains(said))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_whoever_met_it() {
        let full = || std::io::Error::from_raw_os_error(28);
        let by_program = ExecError::Failed {
            command: "mke2fs /s/rootfs.ext4".to_owned(),
            status: "exit status 1".to_owned(),
            stdout: String::new(),
            stderr: "mke2fs: No space left on device while writing".to_owned(),
        };
        let by_file =
            || BuildError::Io { action: "write", path: "/s/vmlinux".into(), source: full() };
        let unclean = BuildError::Unclean {
            cause: Box::new(by_file()),
            left: "/s".into(),
            release: Box::new(by_file()),
        };
        for error in [
            OpError::file("write /r/initramfs.cpio")(full()),
            OpError::Exec(by_program),
            OpError::Build(by_file()),
            OpError::Build(unclean),
            OpError::Store(StoreError::Full("/s/banger.db".into())),
        ] {
            let failure = error.failure(Vec::new(), String::new());
            assert_eq!(failure.remedy.as_deref(), Some(FREE_SPACE), "{}", failure.message);
        }
        let other = OpError::file("write /x")(std::io::Error::from_raw_os_error(13));
        assert_eq!(other.failure(Vec::new(), String::new()).remedy, None);
    }
}
