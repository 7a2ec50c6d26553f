//! Firecracker, started as the caller with the group that may use KVM.

use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use banger_exec::{Command, Identity, Tool, Tools, detach_as};

use super::{Caller, HelperError, roots_alone};

const KVM: &str = "/dev/kvm";

/// Starts it, its output appended to `log`. Returns its process id.
pub fn start(
    tools: &Tools,
    caller: Caller,
    args: &[String],
    log: File,
) -> Result<u32, HelperError> {
    let kvm = fs::metadata(KVM).map_err(HelperError::host(format!("look at {KVM}")))?;
    if !kvm.file_type().is_char_device() {
        return Err(HelperError::refused(format!("{KVM} is no device")));
    }
    if let Some(why) = obstacle(tools) {
        return Err(HelperError::Refused(why));
    }
    let identity = Identity { uid: caller.uid, gid: caller.gid, groups: vec![kvm.gid()] };
    Ok(detach_as(tools, &Command::new(Tool::Firecracker).args(args), &identity, log)?)
}

/// Why none can be started, if so: a program that its user could change would
/// give the user what the group may do, whatever it is.
#[must_use]
pub fn obstacle(tools: &Tools) -> Option<String> {
    let program = match tools.path(Tool::Firecracker) {
        Ok(program) => program,
        Err(error) => return Some(error.to_string()),
    };
    let real = fs::canonicalize(&program).unwrap_or(program);
    roots_alone(&real).err().or_else(|| {
        let missing = !Path::new(KVM).exists();
        missing.then(|| format!("{KVM} does not exist"))
    })
}
