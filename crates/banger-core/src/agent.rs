//! The protocol between the host and the agent in the guest: HTTP/1.1 with
//! JSON bodies over vsock port [`PORT`].
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /health` | [`Health`] |
//! | `GET /ports` | `[Port]` |
//! | `PUT /clock` with [`Clock`] | 204 |
//! | `POST /shutdown` | 204; the guest then shuts down |
//! | `GET /stream/PORT` with `Upgrade: banger-stream` | 101, then the bytes of a connection to that TCP port of the guest |
//!
//! When the agent begins to listen it rings: it connects to port
//! [`DOORBELL_PORT`] of the host, which arrives at the Unix socket of
//! [`doorbell`], and closes. A host that connects earlier may find a device
//! that is half set up, which vhost-device-vsock 0.3.0 does not survive.
//!
//! Every failure is a status of 400 or more with an [`AgentError`]; 503 is a
//! stream beyond those that the agent can carry at once.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The version of this protocol. A change that an older side cannot do without raises it.
pub const PROTOCOL: u32 = 1;

/// The vsock port that the agent listens on.
pub const PORT: u32 = 1024;

/// The vsock port of the host that the agent rings at.
pub const DOORBELL_PORT: u32 = 1025;

/// Where a guest's ring arrives: hybrid vsock takes what a guest dials to
/// `<socket>_<port>` (Firecracker's docs/vsock.md).
#[must_use]
pub fn doorbell(vsock: &Path) -> PathBuf {
    let mut path = vsock.as_os_str().to_owned();
    path.push(format!("_{DOORBELL_PORT}"));
    path.into()
}

/// The vsock CID of the host (vsock(7)): the only peer that the agent answers.
pub const HOST_CID: u32 = 2;

/// The value of the `Upgrade` header of a stream.
pub const STREAM_PROTOCOL: &str = "banger-stream";

/// What the agent says of the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Version of the agent.
    pub version: String,
    /// The version of the protocol that it speaks; those that do not say speak the first.
    #[serde(default = "first")]
    pub protocol: u32,
    /// The kernel's id of this boot (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// Time since the guest's kernel started, in milliseconds.
    pub uptime_ms: u64,
    /// The SSH server on port 22.
    pub sshd: Service,
    /// The opencode server on port 4096.
    pub opencode: Service,
}

fn first() -> u32 {
    1
}

impl Health {
    /// What to tell of an agent that speaks another version of the protocol. What both
    /// sides know works all the same: this is a warning.
    #[must_use]
    pub fn mismatch(&self) -> Option<String> {
        let Self { version, protocol, .. } = self;
        let what = format!(
            "the agent in the guest is {version} and speaks version {protocol} of its protocol, this banger version {PROTOCOL}"
        );
        match protocol.cmp(&PROTOCOL) {
            Ordering::Equal => None,
            Ordering::Less => Some(format!(
                "{what}; what is newer does not work in VMs of this image: build another with 'banger image build'"
            )),
            Ordering::Greater => Some(format!("{what}; update banger")),
        }
    }
}

/// The state of a service in the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// The guest has no such service, or it is switched off.
    Absent,
    /// It does not listen yet.
    Starting,
    /// It listens on its port.
    Listening,
}

/// A TCP port that something listens on in the guest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct Port {
    /// The port.
    pub port: u16,
    /// The address it is bound to: `0.0.0.0`, `127.0.0.1`, `::` …
    pub address: String,
    /// The name of the program that listens, where it can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
}

/// The wall clock to set in the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Nanoseconds since 1970-01-01 00:00 UTC.
    pub unix_ns: u64,
}

/// Why the agent did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentError {
    /// The reason, for a person.
    pub error: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_names_no_protocol_speaks_the_first_and_others_are_told_of() {
        let old = r#"{"version":"0.0.9","boot_id":"b","uptime_ms":1,"sshd":"absent","opencode":"absent"}"#;
        let mut health: Health = serde_json::from_str(old).unwrap();
        assert_eq!(health.protocol, 1);
        health.protocol = PROTOCOL;
        assert_eq!(health.mismatch(), None);
        health.protocol = PROTOCOL + 1;
        insta::assert_snapshot!(health.mismatch().unwrap(), @"the agent in the guest is 0.0.9 and speaks version 2 of its protocol, this banger version 1; update banger");
        health.protocol = PROTOCOL - 1;
        insta::assert_snapshot!(health.mismatch().unwrap(), @"the agent in the guest is 0.0.9 and speaks version 0 of its protocol, this banger version 1; what is newer does not work in VMs of this image: build another with 'banger image build'");
    }
}
