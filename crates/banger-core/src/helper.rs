//! What `bangerd` and `banger-helper` say to each other: a line of JSON each
//! way in turn, over the helper's standard input and output.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::id::VmId;

/// The version of this protocol. A helper of another one is not used.
pub const PROTOCOL: u32 = 2;
/// The longest line, in bytes.
pub const LINE_MAX: usize = 16 << 10;

/// What the helper can be asked to do, for the caller and nobody else. Paths
/// are relative to the caller's state folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub enum Verb {
    /// The first of all: names the state folder.
    Open {
        /// Its absolute path.
        state_dir: PathBuf,
    },
    /// Makes the root device of a VM: a snapshot of its image over its overlay. The node is the
    /// caller's. Nothing is left of it if it fails.
    DmCreate {
        /// The VM.
        vm: VmId,
        /// The image's root file system: what is read until it is written.
        base: PathBuf,
        /// The overlay: what is written.
        overlay: PathBuf,
    },
    /// Removes it, and with it its loop devices. Fine if it is gone.
    DmRemove {
        /// The VM.
        vm: VmId,
    },
    /// Makes the caller's bridge and all that its guests' packets need, and brings what is there
    /// up to date. `NetDown` takes away what is left of it if it fails.
    NetUp {
        /// Its addresses.
        subnet: Ipv4Net,
        /// The name servers that guests may ask.
        dns: Vec<Ipv4Addr>,
        /// The host's TCP ports that guests may reach.
        host_ports: Vec<u16>,
    },
    /// Removes it. Fine if it is gone.
    NetDown,
    /// Makes a tap device on the caller's bridge that the caller can open.
    TapCreate {
        /// The guest's address, which names it.
        address: Ipv4Addr,
    },
    /// Removes it. Fine if it is gone.
    TapRemove {
        /// The guest's address.
        address: Ipv4Addr,
    },
    /// Starts Firecracker as the caller, who need not be able to open `/dev/kvm`.
    VmmStart {
        /// Its arguments.
        args: Vec<String>,
        /// Where its output is appended.
        log: PathBuf,
    },
}

/// What the helper answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It is done.
    Done(Answer),
    /// It will not be done: the caller may not, or what it asked for makes no sense.
    Refused(String),
    /// It could not be done.
    Failed(String),
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To [`Verb::Open`].
    Opened {
        /// [`PROTOCOL`].
        protocol: u32,
        /// Why there can be no device mapper's devices, if so.
        no_mapper: Option<String>,
        /// Why no VMM can be started, if so.
        no_vmm: Option<String>,
        /// Why there can be no network `nat`, if so.
        no_net: Option<String>,
        /// What of the host's packet filter drops what it forwards, guests' packets among that.
        #[serde(default)]
        drops: Vec<String>,
    },
    /// To what has nothing to tell.
    Nothing,
    /// To [`Verb::VmmStart`]: its process id.
    Process(u32),
}

/// The name of the root device of a user's VM below `/dev/mapper`.
#[must_use]
pub fn root_device(uid: u32, vm: &VmId) -> String {
    format!("bgr-{uid}-{vm}")
}

/// What tells whose the root device of a VM is: the device mapper's UUID of it.
#[must_use]
pub fn device_uuid(uid: u32, vm: &VmId) -> String {
    format!("{}{vm}", uuid_prefix(uid))
}

/// What the UUIDs of all devices of a user begin with.
#[must_use]
pub fn uuid_prefix(uid: u32) -> String {
    format!("BANGER-{uid}-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_said_is_what_the_other_side_knows() {
        let vm = VmId::from_bits(1);
        let said = [
            serde_json::to_string(&Verb::DmRemove { vm: vm.clone() }),
            serde_json::to_string(&Verb::DmCreate { vm, base: "i".into(), overlay: "o".into() }),
            serde_json::to_string(&Reply::Done(Answer::Process(7))),
            serde_json::to_string(&Reply::Refused("no".to_owned())),
        ];
        let said: Vec<_> = said.into_iter().map(Result::unwrap).collect();
        insta::assert_snapshot!(said.join("\n"), @r#"
        {"verb":"dm_remove","vm":"0000000000000001"}
        {"verb":"dm_create","vm":"0000000000000001","base":"i","overlay":"o"}
        {"done":{"process":7}}
        {"refused":"no"}
        "#);
        for unknown in [
            r#"{"verb":"dm_remove","vm":"0000000000000001","force":true}"#,
            r#"{"verb":"dm_remove","vm":"../../etc"}"#,
            r#"{"verb":"run","program":"sh"}"#,
            r#"{"verb":"dm_remove"}"#,
        ] {
            assert!(serde_json::from_str::<Verb>(unknown).is_err(), "{unknown}");
        }
    }

    proptest! {
        /// No user's prefix begins another's, so none can name what is another's.
        #[test]
        fn a_uuid_tells_the_user(uid: u32, other: u32, bits: u64) {
            let uuid = device_uuid(uid, &VmId::from_bits(bits));
            prop_assert_eq!(uuid.starts_with(&uuid_prefix(other)), uid == other);
            // As long as the kernel takes (dm-ioctl.h: DM_UUID_LEN, DM_NAME_LEN).
            prop_assert!(uuid.len() < 129 && root_device(uid, &VmId::from_bits(bits)).len() < 128);
        }
    }
}
