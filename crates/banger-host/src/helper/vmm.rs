//! Firecracker, started as the caller with the group that may use KVM.

use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

use banger_exec::{Command, Identity, Tool, Tools, detach_as};

use super::{Caller, HelperError, trusted};

const KVM: &str = "/dev/kvm";

/// Starts it, its output appended to `log`. Returns its process id.
pub fn start(
    tools: &Tools,
    caller: Caller,
    args: &[String],
    log: File,
) -> Result<u32, HelperError> {
    let (tools, group) = prepare(tools).map_err(HelperError::Refused)?;
    let identity = Identity { uid: caller.uid, gid: caller.gid, groups: vec![group] };
    Ok(detach_as(&tools, &Command::new(Tool::Firecracker).args(args), &identity, log)?)
}

/// Why none can be started, if so.
#[must_use]
pub fn obstacle(tools: &Tools) -> Option<String> {
    prepare(tools).err()
}

/// The program, and the group that may use KVM.
fn prepare(tools: &Tools) -> Result<(Tools, u32), String> {
    let kvm = fs::metadata(KVM).map_err(|error| format!("cannot look at {KVM}: {error}"))?;
    // Never root's own group, nor one that KVM is closed to.
    if !kvm.file_type().is_char_device() || kvm.gid() == 0 || kvm.mode() & 0o060 != 0o060 {
        return Err(format!("{KVM} has no group that may use it"));
    }
    let program = trusted(tools, Tool::Firecracker)?;
    Ok((Tools::default().with(Tool::Firecracker, program), kvm.gid()))
}
