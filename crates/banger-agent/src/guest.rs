//! What the agent knows of its guest and does to it.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use banger_core::agent::{Clock, Health, PROTOCOL, Port, Service};
use banger_core::guest::OPENCODE_ENV;
use banger_exec::{Command, ExecError, HostRunner, Runner as _, Tool, Tools};
use rustix::fs::sync;
use rustix::system::{RebootCommand, reboot};
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

use crate::ports;

const SSHD: &str = "usr/sbin/sshd";
const SSH_PORT: u16 = 22;
const OPENCODE_PORT: u16 = 4096;

/// The guest, as the server sees it.
pub trait Guest: Send + Sync {
    /// How it is.
    fn health(&self) -> Health;
    /// What listens in it.
    fn ports(&self) -> Vec<Port>;
    /// Sets its wall clock.
    ///
    /// # Errors
    /// The kernel does not allow it, or there is no such time.
    fn set_clock(&self, clock: Clock) -> io::Result<()>;
    /// Shuts it down. Returns when that has begun.
    fn shutdown(&self);
}

/// The machine that we run in.
#[derive(Debug)]
pub struct System {
    proc: PathBuf,
    root: PathBuf,
}

impl Default for System {
    fn default() -> Self {
        Self { proc: "/proc".into(), root: "/".into() }
    }
}

impl System {
    fn service(&self, installed: bool, port: u16) -> Service {
        if ports::listens(&self.proc, port) {
            Service::Listening
        } else if installed {
            Service::Starting
        } else {
            Service::Absent
        }
    }
}

impl Guest for System {
    fn health(&self) -> Health {
        let boot_id = fs::read_to_string(self.proc.join("sys/kernel/random/boot_id"));
        let password = fs::metadata(self.root.join(OPENCODE_ENV)).is_ok_and(|env| env.len() > 0);
        Health {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: PROTOCOL,
            boot_id: boot_id.unwrap_or_default().trim().to_owned(),
            uptime_ms: uptime_ms(),
            sshd: self.service(self.root.join(SSHD).exists(), SSH_PORT),
            opencode: match password {
                true => self.service(true, OPENCODE_PORT),
                false => Service::Absent,
            },
        }
    }

    fn ports(&self) -> Vec<Port> {
        ports::listening(&self.proc)
    }

    fn set_clock(&self, clock: Clock) -> io::Result<()> {
        const SECOND: u64 = 1_000_000_000;
        let tv_sec = i64::try_from(clock.unix_ns / SECOND).map_err(io::Error::other)?;
        let tv_nsec = i64::try_from(clock.unix_ns % SECOND).map_err(io::Error::other)?;
        Ok(clock_settime(ClockId::Realtime, Timespec { tv_sec, tv_nsec })?)
    }

    fn shutdown(&self) {
        let folders = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
        let runner = HostRunner::new(Tools::in_folders(folders));
        match runner.capture(&Command::new(Tool::GuestReboot)) {
            Ok(_) => return,
            Err(ExecError::NotInstalled(_)) => {}
            // It may have been killed by the very shutdown that it began.
            Err(_) => sleep(Duration::from_secs(5)),
        }
        sync();
        restart();
    }
}

/// Restarts the machine at once, which ends the VM.
#[expect(clippy::disallowed_methods, reason = "inside the guest")]
pub(crate) fn restart() {
    // Without the right to it there is nothing left to try.
    let _ = reboot(RebootCommand::Restart);
}

/// Time since the kernel started.
#[must_use]
pub fn uptime_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    u64::try_from(now.tv_sec * 1000 + now.tv_nsec / 1_000_000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_absent_starting_or_listening() {
        let dir = tempfile::tempdir().unwrap();
        let system = System { proc: dir.path().join("proc"), root: dir.path().to_owned() };
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let states = || (system.health().sshd, system.health().opencode);
        assert_eq!(states(), (Service::Absent, Service::Absent));
        write(SSHD, "");
        write(OPENCODE_ENV, "");
        assert_eq!(states(), (Service::Starting, Service::Absent));
        write(OPENCODE_ENV, "X=y\n");
        assert_eq!(states(), (Service::Starting, Service::Starting));
        let line = |port| format!(" 0: 00000000:{port} 00000000:0000 0A 0:0 0:0 0 0 0 1 1\n");
        write("proc/net/tcp", &(line("0016") + &line("1000")));
        write("proc/sys/kernel/random/boot_id", "boot\n");
        assert_eq!(states(), (Service::Listening, Service::Listening));
        assert_eq!(system.health().boot_id, "boot");
        assert!(system.health().uptime_ms > 0);
    }
}
