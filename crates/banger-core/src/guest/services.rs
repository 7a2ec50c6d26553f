//! The services that start the agent and the bootstrap under an init system.

use super::{AGENT_PATH, GuestFile};
use crate::image::Init;

/// The agent starts before everything else and stays until the very end: it
/// is how the host sees the guest, and shuts it down. A stream takes two
/// threads: systemd's own bound, 15 % of what the guest's memory allows, is
/// below the agent's.
pub const AGENT_UNIT: &str = "\
[Unit]
Description=banger's companion in the guest
DefaultDependencies=no
StartLimitIntervalSec=0

[Service]
ExecStart=/usr/lib/banger/banger-agent serve
Restart=always
RestartSec=1
OOMScoreAdjust=-900
TasksMax=2048

[Install]
WantedBy=sysinit.target
";

/// Runs the bootstrap once, before whatever needs the network.
pub const BOOTSTRAP_UNIT: &str = "\
[Unit]
Description=Network and host name, as banger set them at this start
DefaultDependencies=no
ConditionPathExists=/usr/lib/banger/bootstrap
Before=network-pre.target network.target ssh.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/lib/banger/bootstrap

[Install]
WantedBy=sysinit.target
";

/// The place of [`SSHD_CONFIG`]: the first of its folder, as sshd takes the first value that it finds.
pub const SSHD_CONFIG_PATH: &str = "etc/ssh/sshd_config.d/00-banger.conf";

/// People come by key, to the host key that banger knows.
pub const SSHD_CONFIG: &str = "\
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile .ssh/authorized_keys /etc/ssh/banger_authorized_keys
UseDNS no
";

/// A link in `sysinit.target.wants` would do otherwise. sshd may not be switched on in a root that
/// was made for a container; of the two names a system has one, and the other is left out
/// (systemd.unit(5), "Wants=").
const SYSTEMD: &[Service] = &[
    ("etc/systemd/system/banger-agent.service", 0o644, AGENT_UNIT),
    ("etc/systemd/system/banger-bootstrap.service", 0o644, BOOTSTRAP_UNIT),
    (
        "etc/systemd/system/sysinit.target.d/banger.conf",
        0o644,
        "[Unit]\nWants=banger-agent.service banger-bootstrap.service\n",
    ),
    (
        "etc/systemd/system/multi-user.target.d/banger.conf",
        0o644,
        "[Unit]\nWants=ssh.service sshd.service\n",
    ),
];

/// Path, permission bits and content.
type Service = (&'static str, u32, &'static str);

/// Of a file in a run level OpenRC looks at the name alone; `rc-update` would make a link.
const ENABLED: &str = "# Switches on the service of this name in /etc/init.d.\n";

/// See openrc-run(8), supervise-daemon-guide(7).
const OPENRC: &[Service] = &[
    ("etc/init.d/banger-agent", 0o755, OPENRC_AGENT),
    ("etc/init.d/banger-bootstrap", 0o755, OPENRC_BOOTSTRAP),
    ("etc/init.d/banger-sshd", 0o755, OPENRC_SSHD),
    ("etc/runlevels/sysinit/banger-agent", 0o644, ENABLED),
    ("etc/runlevels/boot/banger-bootstrap", 0o644, ENABLED),
    ("etc/runlevels/default/banger-sshd", 0o644, ENABLED),
];

const OPENRC_AGENT: &str = r#"#!/sbin/openrc-run
description="banger's companion in the guest"
supervisor=supervise-daemon
command=/usr/lib/banger/banger-agent
command_args=serve
respawn_delay=1
respawn_max=0

depend() {
    keyword -shutdown -stop -timeout
}
"#;

const OPENRC_BOOTSTRAP: &str = r#"#!/sbin/openrc-run
description="Network and host name, as banger set them at this start"

depend() {
    provide net
    after hostname modules localmount
    before sshd ssh
}

start() {
    ebegin "Setting up the network and the host name"
    /usr/lib/banger/bootstrap
    eend $?
}
"#;

const OPENRC_SSHD: &str = r#"#!/sbin/openrc-run
description="SSH, where no service of the system's own serves it"
pidfile=/run/sshd.pid

depend() {
    after banger-bootstrap sshd ssh
}

served() {
    [ -e /etc/runlevels/default/sshd ] || [ -e /etc/runlevels/default/ssh ]
}

start() {
    served && return 0
    mkdir -p /run/sshd
    ebegin "Starting sshd"
    start-stop-daemon --start --pidfile "$pidfile" --exec "$(command -v sshd)"
    eend $?
}

stop() {
    served && return 0
    ebegin "Stopping sshd"
    start-stop-daemon --stop --pidfile "$pidfile"
    eend $?
}
"#;

/// See runsv(8). Void and Debian have the same folder of services.
const RUNIT: &[Service] = &[
    ("etc/runit/runsvdir/default/banger-agent/run", 0o755, RUNIT_AGENT),
    ("etc/runit/runsvdir/default/banger-bootstrap/run", 0o755, RUNIT_BOOTSTRAP),
    ("etc/runit/runsvdir/default/banger-sshd/run", 0o755, RUNIT_SSHD),
];

const RUNIT_AGENT: &str = "\
#!/bin/sh
exec /usr/lib/banger/banger-agent serve
";

/// One that fails is run again a second later; sshd starts all the same, so that somebody can look.
const RUNIT_BOOTSTRAP: &str = "\
#!/bin/sh
/usr/lib/banger/bootstrap
status=$?
: > /run/banger-bootstrapped
[ $status = 0 ] || exit 1
exec sv down .
";

/// A line for the scripts of runit's services that need what the bootstrap does: runit begins all at
/// once. `/run` is empty at every start.
pub const RUNIT_AWAIT_BOOTSTRAP: &str =
    "until [ -e /run/banger-bootstrapped ]; do sleep 0.1 || exit 1; done";

const RUNIT_SSHD: &str = r#"#!/bin/sh
# SSH, where no service of the system's own serves it.
for name in sshd ssh; do
    [ ! -e "/etc/runit/runsvdir/default/$name" ] || exec sv down .
done
until [ -e /run/banger-bootstrapped ]; do sleep 0.1 || exit 1; done
mkdir -p /run/sshd
exec "$(command -v sshd)" -D -e
"#;

/// What makes a root of no image of banger's answer: the agent, and what starts it. Regular files
/// only, so that a start can put them there.
#[must_use]
pub fn companion(init: Init, agent: Vec<u8>) -> Vec<GuestFile> {
    let services = match init {
        Init::Systemd => SYSTEMD,
        Init::OpenRc => OPENRC,
        Init::Runit => RUNIT,
    };
    let mut files = vec![
        GuestFile::new(AGENT_PATH, 0o755, agent),
        GuestFile::new(SSHD_CONFIG_PATH, 0o644, SSHD_CONFIG),
    ];
    files.extend(services.iter().map(|(path, mode, text)| GuestFile::new(path, *mode, *text)));
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::BOOTSTRAP_PATH;

    #[test]
    fn what_each_init_runs_is_known() {
        insta::assert_snapshot!("bootstrap", crate::guest::BOOTSTRAP);
        for (name, services) in [("systemd", SYSTEMD), ("openrc", OPENRC), ("runit", RUNIT)] {
            let texts =
                services.iter().map(|(path, mode, text)| format!("{mode:o} {path}\n{text}"));
            insta::assert_snapshot!(name, texts.collect::<Vec<_>>().join("\n"));
        }
    }

    #[test]
    fn under_runit_sshd_waits_for_the_bootstrap() {
        let (_, marker) = RUNIT_AWAIT_BOOTSTRAP.split_once("-e ").unwrap();
        let (marker, _) = marker.split_once(' ').unwrap();
        assert!(RUNIT_BOOTSTRAP.contains(&format!(": > {marker}\n")));
        assert!(RUNIT_SSHD.contains(&format!("\n{RUNIT_AWAIT_BOOTSTRAP}\n")));
    }

    #[test]
    fn the_agent_and_the_bootstrap_can_be_run_and_the_rest_read() {
        let of = |init| {
            let files = companion(init, b"AGENT".to_vec());
            let list: Vec<_> = files.iter().map(|f| format!("{:o} {}", f.mode, f.path)).collect();
            list.join("\n")
        };
        insta::assert_snapshot!(of(Init::Systemd), @"
        755 usr/lib/banger/banger-agent
        644 etc/ssh/sshd_config.d/00-banger.conf
        644 etc/systemd/system/banger-agent.service
        644 etc/systemd/system/banger-bootstrap.service
        644 etc/systemd/system/sysinit.target.d/banger.conf
        644 etc/systemd/system/multi-user.target.d/banger.conf
        ");
        insta::assert_snapshot!(of(Init::OpenRc), @"
        755 usr/lib/banger/banger-agent
        644 etc/ssh/sshd_config.d/00-banger.conf
        755 etc/init.d/banger-agent
        755 etc/init.d/banger-bootstrap
        755 etc/init.d/banger-sshd
        644 etc/runlevels/sysinit/banger-agent
        644 etc/runlevels/boot/banger-bootstrap
        644 etc/runlevels/default/banger-sshd
        ");
        insta::assert_snapshot!(of(Init::Runit), @"
        755 usr/lib/banger/banger-agent
        644 etc/ssh/sshd_config.d/00-banger.conf
        755 etc/runit/runsvdir/default/banger-agent/run
        755 etc/runit/runsvdir/default/banger-bootstrap/run
        755 etc/runit/runsvdir/default/banger-sshd/run
        ");
    }

    #[test]
    fn services_name_the_paths_that_the_host_writes() {
        for services in [SYSTEMD, OPENRC, RUNIT] {
            let text: String = services.iter().map(|(_, _, text)| *text).collect();
            for path in [AGENT_PATH, BOOTSTRAP_PATH] {
                assert!(text.contains(&format!("/{path}")), "{path}: {text}");
            }
        }
    }

    #[test]
    fn an_init_is_known_by_its_programs() {
        let of = |there: &str| Init::of(|path| path == there);
        assert_eq!(of("/lib/systemd/systemd"), Some(Init::Systemd));
        assert_eq!(of("/sbin/openrc"), Some(Init::OpenRc));
        assert_eq!(of("/usr/bin/runit-init"), Some(Init::Runit));
        assert_eq!(of("/sbin/init"), None);
    }
}
