//! The services that start the agent and the bootstrap under an init system.

use super::{AGENT_PATH, GuestFile};

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

/// People come by key, to the host key that banger knows.
pub const SSHD_CONFIG: &str = "\
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile .ssh/authorized_keys /etc/ssh/banger_authorized_keys
UseDNS no
";

/// Regular files only, so that a start can put them there: a link in `sysinit.target.wants` would do
/// otherwise.
const SYSINIT: &str = "\
[Unit]
Wants=banger-agent.service banger-bootstrap.service
";

/// What makes a root of no image of banger's answer: the agent, and what starts it.
#[must_use]
pub fn companion(agent: Vec<u8>) -> Vec<GuestFile> {
    let unit =
        |name: &str, text: &str| GuestFile::new(&format!("etc/systemd/system/{name}"), 0o644, text);
    vec![
        GuestFile::new(AGENT_PATH, 0o755, agent),
        GuestFile::new("etc/ssh/sshd_config.d/banger.conf", 0o644, SSHD_CONFIG),
        unit("banger-agent.service", AGENT_UNIT),
        unit("banger-bootstrap.service", BOOTSTRAP_UNIT),
        unit("sysinit.target.d/banger.conf", SYSINIT),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_and_the_bootstrap_can_be_run_and_the_rest_read() {
        let files = companion(b"AGENT".to_vec());
        let list: Vec<_> = files.iter().map(|f| format!("{:o} {}", f.mode, f.path)).collect();
        insta::assert_snapshot!(list.join("\n"), @r"
        755 usr/lib/banger/banger-agent
        644 etc/ssh/sshd_config.d/banger.conf
        644 etc/systemd/system/banger-agent.service
        644 etc/systemd/system/banger-bootstrap.service
        644 etc/systemd/system/sysinit.target.d/banger.conf
        ");
    }
}
