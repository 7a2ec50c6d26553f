//! The device mapper's snapshots (kernel: admin-guide/device-mapper/snapshot.rst).

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use banger_core::helper::{Filled, device_uuid, root_device};
use banger_core::id::VmId;
use banger_exec::{Command, Runner, Tool};

use super::loops::{LoopDevice, take_new_size};
use super::{Caller, HelperError};

/// What is copied at a time, in sectors: a page.
const CHUNK: u64 = 8;
/// The major number of loop devices (kernel: admin-guide/devices.txt).
const LOOP_MAJOR: &str = "7";

/// The devices of one caller.
pub struct Mapper<'a> {
    pub runner: &'a dyn Runner,
    pub caller: Caller,
    /// `/sys/block`.
    pub blocks: &'a Path,
}

impl Mapper<'_> {
    /// Makes the root device of a VM, and gives the node to the caller.
    pub fn create(
        &self,
        vm: &VmId,
        base: &LoopDevice,
        cow: &LoopDevice,
    ) -> Result<PathBuf, HelperError> {
        let name = root_device(vm);
        let table = format!(
            "0 {} snapshot /dev/loop{} /dev/loop{} P {CHUNK}",
            base.sectors()?,
            base.number,
            cow.number
        );
        let create = Command::new(Tool::Dmsetup)
            .args(["create", &name, "--uuid", &device_uuid(self.caller.uid, vm)])
            .args(["--table", &table]);
        self.runner.capture(&create)?;
        let node = Path::new("/dev/mapper").join(&name);
        let give = || {
            chown(&node, Some(self.caller.uid), Some(self.caller.gid))?;
            fs::set_permissions(&node, fs::Permissions::from_mode(0o600))
        };
        match give() {
            Ok(()) => Ok(node),
            Err(error) => {
                let failed = HelperError::host(format!("give {} to its user", node.display()));
                // It is nobody's use then. What it was made of is undone by the caller.
                let _ = self.remove(vm);
                Err(failed(error))
            }
        }
    }

    /// Removes it. Fine if it is gone.
    pub fn remove(&self, vm: &VmId) -> Result<(), HelperError> {
        if self.is_there(vm)? {
            let remove = ["remove", "--retry", &root_device(vm)];
            self.runner.capture(&Command::new(Tool::Dmsetup).args(remove))?;
        }
        Ok(())
    }

    /// How full its overlay is.
    pub fn filled(&self, vm: &VmId) -> Result<Filled, HelperError> {
        let text = self.ask("status", vm)?;
        parse_status(&text).ok_or_else(|| {
            HelperError::refused(format!("dmsetup says of {}: {}", root_device(vm), text.trim()))
        })
    }

    /// Lets its overlay take the new length of its file: the snapshot asks the
    /// loop device each time that it needs room.
    pub fn grow(&self, vm: &VmId) -> Result<(), HelperError> {
        let table = self.ask("table", vm)?;
        let number = parse_cow(&table).ok_or_else(|| {
            HelperError::refused(format!("{} is over no loop device", root_device(vm)))
        })?;
        take_new_size(number)
    }

    fn ask(&self, what: &str, vm: &VmId) -> Result<String, HelperError> {
        let name = root_device(vm);
        if !self.is_there(vm)? {
            return Err(HelperError::refused(format!("there is no device {name}")));
        }
        let output = self.runner.capture(&Command::new(Tool::Dmsetup).args([what, &name]))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Whether there is a root device of the VM.
    ///
    /// # Errors
    /// There is one, and it is not the caller's.
    fn is_there(&self, vm: &VmId) -> Result<bool, HelperError> {
        let name = root_device(vm);
        let found = uuid_of(self.blocks, &name)
            .map_err(HelperError::host("look for the device mapper's devices"))?;
        match found {
            None => Ok(false),
            Some(uuid) if uuid == device_uuid(self.caller.uid, vm) => Ok(true),
            Some(_) => Err(HelperError::refused(format!("{name} is another user's"))),
        }
    }
}

/// The UUID of the device mapper's device of that name below `/sys/block`, if there is one.
///
/// # Errors
/// It cannot be looked at.
pub fn uuid_of(blocks: &Path, name: &str) -> io::Result<Option<String>> {
    for entry in fs::read_dir(blocks)? {
        let folder = entry?.path().join("dm");
        // It may go while we look, and most are no device mapper's.
        let read = |file| fs::read_to_string(folder.join(file)).unwrap_or_default();
        if read("name").trim_end() == name {
            return Ok(Some(read("uuid").trim_end().to_owned()));
        }
    }
    Ok(None)
}

/// `0 4194304 snapshot 16/2097152 16`: used and all sectors, and those of them
/// that hold where things are.
fn parse_status(text: &str) -> Option<Filled> {
    let mut words = text.split_whitespace().skip(2);
    if words.next()? != "snapshot" {
        return None;
    }
    match words.next()? {
        "Invalid" | "Overflow" => Some(Filled::Overflown),
        numbers => {
            let (used, of) = numbers.split_once('/')?;
            let bytes = |sectors: &str| Some(sectors.parse::<u64>().ok()?.saturating_mul(512));
            Some(Filled::Bytes { used: bytes(used)?, of: bytes(of)? })
        }
    }
}

/// `0 4194304 snapshot 7:0 7:1 P 8`: the number of the second loop device.
fn parse_cow(table: &str) -> Option<u32> {
    let mut words = table.split_whitespace().skip(2);
    if words.next()? != "snapshot" {
        return None;
    }
    let (major, minor) = words.nth(1)?.split_once(':')?;
    (major == LOOP_MAJOR).then(|| minor.parse().ok())?
}

/// Why there can be no snapshots here, if so.
#[must_use]
pub fn obstacle(runner: &dyn Runner) -> Option<String> {
    if fs::metadata("/dev/mapper/control").is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
        return Some("this kernel has no device mapper".to_owned());
    }
    // Loads the module if there is one; says which targets there are.
    let version = Command::new(Tool::Dmsetup).arg("version");
    runner.capture(&version).err().map(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_exec::{ExecError, Output};
    use proptest::prelude::*;
    use std::sync::Mutex;

    /// A `dmsetup` that writes down what it is asked, and says `answer`.
    #[derive(Default)]
    struct Dmsetup {
        asked: Mutex<Vec<String>>,
        answer: &'static str,
    }

    impl Runner for Dmsetup {
        fn capture(&self, command: &Command) -> Result<Output, ExecError> {
            self.asked.lock().unwrap().push(command.to_string());
            Ok(Output { stdout: self.answer.into(), stderr: String::new() })
        }
        fn detach(&self, _: &Command, _: &Path) -> Result<u32, ExecError> {
            unreachable!()
        }
    }

    /// `/sys/block` with the root device of a VM.
    fn blocks(vm: &VmId, uuid: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("loop0")).unwrap();
        fs::create_dir_all(dir.path().join("dm-0/dm")).unwrap();
        fs::write(dir.path().join("dm-0/dm/name"), root_device(vm) + "\n").unwrap();
        fs::write(dir.path().join("dm-0/dm/uuid"), uuid.to_owned() + "\n").unwrap();
        dir
    }

    #[test]
    fn only_the_callers_device_is_touched() {
        let (vm, caller) = (VmId::from_bits(7), Caller { uid: 1000, gid: 1000 });
        let act = |uuid: &str, vm: &VmId, answer| {
            let (blocks, dmsetup) =
                (blocks(&VmId::from_bits(7), uuid), Dmsetup { answer, ..Default::default() });
            let mapper = Mapper { runner: &dmsetup, caller, blocks: blocks.path() };
            let acted = (mapper.remove(vm), mapper.filled(vm), mapper.grow(vm));
            (acted, dmsetup.asked.into_inner().unwrap())
        };
        let own = device_uuid(1000, &vm);
        let ((removed, filled, _), asked) = act(&own, &vm, "0 8 snapshot 16/32 8\n");
        removed.unwrap();
        assert_eq!(filled.unwrap(), Filled::Bytes { used: 8192, of: 16384 });
        insta::assert_snapshot!(asked.join("\n"), @r"
        dmsetup remove --retry bgr-0000000000000007
        dmsetup status bgr-0000000000000007
        dmsetup table bgr-0000000000000007
        ");
        // Another user's, one of nobody's, one of the same user's for another VM.
        for uuid in [
            device_uuid(10, &vm),
            device_uuid(1001, &vm),
            String::new(),
            "LVM-x".to_owned(),
            device_uuid(1000, &VmId::from_bits(8)),
        ] {
            let ((removed, filled, grown), asked) = act(&uuid, &vm, "");
            assert_eq!(asked, [""; 0], "{uuid}");
            assert!(removed.is_err() && filled.is_err() && grown.is_err(), "{uuid}");
        }
        // One that is gone is gone.
        let ((removed, filled, _), asked) = act(&own, &VmId::from_bits(9), "");
        removed.unwrap();
        filled.unwrap_err();
        assert_eq!(asked, [""; 0]);
    }

    #[test]
    fn what_dmsetup_says_is_understood() {
        assert_eq!(parse_status("0 8 snapshot Invalid"), Some(Filled::Overflown));
        assert_eq!(parse_status("0 8 snapshot Overflow"), Some(Filled::Overflown));
        assert_eq!(parse_status("0 8 linear 7:0 0"), None);
        assert_eq!(parse_cow("0 8 snapshot 7:0 7:12 P 8"), Some(12));
        assert_eq!(parse_cow("0 8 snapshot 7:0 8:1 P 8"), None);
    }

    proptest! {
        #[test]
        fn nothing_that_is_said_makes_it_panic(text in ".{0,80}") {
            let _ = (parse_status(&text), parse_cow(&text));
        }
    }
}
