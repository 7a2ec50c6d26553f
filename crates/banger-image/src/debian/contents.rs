//! banger's own files in a Debian root.

use std::path::Path;

use banger_core::guest::AGENT_PATH;
use banger_core::guest::services::{AGENT_UNIT, BOOTSTRAP_UNIT, SSHD_CONFIG, SSHD_CONFIG_PATH};

use crate::archive::{Archive, Item};
use crate::build::BuildError;
use crate::opencode;

const UNITS: &str = "etc/systemd/system";
const SERVER: &str = "usr/local/bin/opencode";

/// Units that a VM like this does not need. Each costs time at every boot, a
/// lot of it where the processor is emulated, or wakes up an idle guest.
const MASKED: &[&str] = &[
    // no console to log in at: people come by SSH
    "getty-static.service",
    "getty@tty1.service",
    "serial-getty@ttyS0.service",
    // the guest's clock and network are the host's business
    "systemd-networkd-wait-online.service",
    "systemd-timesyncd.service",
    // no firmware store, no hardware random seed, no lid and no TPM
    "systemd-pcrphase-sysinit.service",
    "systemd-pcrphase.service",
    "systemd-pstore.service",
    "systemd-random-seed.service",
    "systemd-repart.service",
    // what a first boot would prepare was prepared by the packages
    "ldconfig.service",
    "systemd-firstboot.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-machine-id-commit.service",
    "systemd-sysusers.service",
    "systemd-update-done.service",
    // records that nobody reads
    "systemd-update-utmp-runlevel.service",
    "systemd-update-utmp.service",
    // work in the background
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
];

/// It takes much processor time to start: others come first.
const OPENCODE_UNIT: &str = "\
[Unit]
Description=opencode server
ConditionFileNotEmpty=/etc/banger/opencode.env
After=network.target banger-bootstrap.service ssh.service

[Service]
EnvironmentFile=/etc/banger/opencode.env
Environment=HOME=/root
WorkingDirectory=/root
ExecStart=/usr/local/bin/opencode serve --hostname 0.0.0.0 --port 4096
Restart=on-failure
RestartSec=2
StartupCPUWeight=20

[Install]
WantedBy=multi-user.target
";

/// sshd needs the network and the root's files, which are there at once:
/// it does not wait for the rest of the system.
const SSH_UNIT: &str = "\
[Unit]
DefaultDependencies=no
After=banger-bootstrap.service
Conflicts=shutdown.target
Before=shutdown.target

[Service]
ExecStartPre=
";

const JOURNALD: &str = "\
[Journal]
SystemMaxUse=64M
";

const MANAGER: &str = "\
[Manager]
DefaultTimeoutStopSec=15s
";

/// Writes banger's files into the new tar file `out`. `opencode` is the
/// server's downloaded package.
pub(super) fn write(
    out: &Path,
    agent: &[u8],
    opencode: Option<&Path>,
    mtime: u64,
) -> Result<(), BuildError> {
    let mut archive = Archive::create(out, mtime)?;
    for item in items(agent, opencode.is_some()) {
        archive.add(&item)?;
    }
    if let Some(package) = opencode {
        opencode::with_binary(package, |size, binary| archive.file(SERVER, 0o755, size, binary))?;
    }
    archive.finish()
}

fn items(agent: &[u8], opencode: bool) -> Vec<Item<'_>> {
    let mut items: Vec<_> = [
        "boot",
        "etc/banger",
        "etc/ssh/sshd_config.d",
        "etc/systemd/journald.conf.d",
        "etc/systemd/system.conf.d",
        "etc/systemd/system/multi-user.target.wants",
        "etc/systemd/system/ssh.service.d",
        "etc/systemd/system/sysinit.target.wants",
        "usr/lib/banger",
    ]
    .map(Item::Folder)
    .into();
    let mut file = |path, mode, content| items.push(Item::File { path, mode, content });
    file(AGENT_PATH, 0o755, agent);
    file("etc/default/locale", 0o644, b"LANG=C.UTF-8\n");
    file("etc/machine-id", 0o444, b"");
    file(SSHD_CONFIG_PATH, 0o644, SSHD_CONFIG.as_bytes());
    file("etc/systemd/journald.conf.d/banger.conf", 0o644, JOURNALD.as_bytes());
    file("etc/systemd/system.conf.d/banger.conf", 0o644, MANAGER.as_bytes());
    file("etc/systemd/system/ssh.service.d/banger.conf", 0o644, SSH_UNIT.as_bytes());
    file("etc/systemd/system/banger-agent.service", 0o644, AGENT_UNIT.as_bytes());
    file("etc/systemd/system/banger-bootstrap.service", 0o644, BOOTSTRAP_UNIT.as_bytes());
    if opencode {
        file("etc/systemd/system/opencode.service", 0o644, OPENCODE_UNIT.as_bytes());
    }
    let mut link = |path: String, target: &str| {
        items.push(Item::Link { path: format!("{UNITS}/{path}"), target: target.to_owned() });
    };
    for unit in ["banger-agent", "banger-bootstrap"] {
        link(format!("sysinit.target.wants/{unit}.service"), &format!("../{unit}.service"));
    }
    let ssh = "/usr/lib/systemd/system/ssh.service";
    link("sysinit.target.wants/ssh.service".to_owned(), ssh);
    if opencode {
        link("multi-user.target.wants/opencode.service".to_owned(), "../opencode.service");
    }
    link("default.target".to_owned(), "/usr/lib/systemd/system/multi-user.target");
    for unit in MASKED {
        link((*unit).to_owned(), "/dev/null");
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_core::guest::{BOOTSTRAP_PATH, OPENCODE_ENV};

    fn listing(opencode: bool) -> String {
        let line = |item: &Item<'_>| match item {
            Item::Folder(path) => format!("d755 {path}"),
            Item::File { path, mode, .. } => format!("{mode:o} {path}"),
            Item::Link { path, target } => format!("link {path} -> {target}"),
        };
        let items = items(b"AGENT", opencode);
        let lines = items.iter().map(line).filter(|line| !line.ends_with("/dev/null"));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_files_of_every_image() {
        insta::assert_snapshot!(listing(true), @"
        d755 boot
        d755 etc/banger
        d755 etc/ssh/sshd_config.d
        d755 etc/systemd/journald.conf.d
        d755 etc/systemd/system.conf.d
        d755 etc/systemd/system/multi-user.target.wants
        d755 etc/systemd/system/ssh.service.d
        d755 etc/systemd/system/sysinit.target.wants
        d755 usr/lib/banger
        755 usr/lib/banger/banger-agent
        644 etc/default/locale
        444 etc/machine-id
        644 etc/ssh/sshd_config.d/00-banger.conf
        644 etc/systemd/journald.conf.d/banger.conf
        644 etc/systemd/system.conf.d/banger.conf
        644 etc/systemd/system/ssh.service.d/banger.conf
        644 etc/systemd/system/banger-agent.service
        644 etc/systemd/system/banger-bootstrap.service
        644 etc/systemd/system/opencode.service
        link etc/systemd/system/sysinit.target.wants/banger-agent.service -> ../banger-agent.service
        link etc/systemd/system/sysinit.target.wants/banger-bootstrap.service -> ../banger-bootstrap.service
        link etc/systemd/system/sysinit.target.wants/ssh.service -> /usr/lib/systemd/system/ssh.service
        link etc/systemd/system/multi-user.target.wants/opencode.service -> ../opencode.service
        link etc/systemd/system/default.target -> /usr/lib/systemd/system/multi-user.target
        ");
        assert!(!listing(false).contains("opencode"));
    }

    #[test]
    fn units_name_the_paths_that_the_host_writes() {
        assert!(AGENT_UNIT.contains(&format!("ExecStart=/{AGENT_PATH} serve")));
        assert!(BOOTSTRAP_UNIT.contains(&format!("ExecStart=/{BOOTSTRAP_PATH}\n")));
        assert!(OPENCODE_UNIT.contains(&format!("EnvironmentFile=/{OPENCODE_ENV}\n")));
        assert!(OPENCODE_UNIT.contains(&format!("ExecStart=/{SERVER} ")));
    }
}
