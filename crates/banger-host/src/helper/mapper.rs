//! The device mapper's snapshots (kernel: admin-guide/device-mapper/snapshot.rst).

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::time::Duration;

use banger_core::helper::{device_uuid, root_device, uuid_prefix};
use banger_core::id::VmId;
use banger_exec::{Command, Runner, Tool};

use super::{Caller, HelperError};

/// What is copied at a time, in sectors: a page.
const CHUNK: u64 = 8;
/// The devices that a user may have at a time.
const DEVICES_MAX: usize = 256;
/// How long `dmsetup` may take: less than whoever asked waits, who would believe that nothing
/// comes of it.
const LIMIT: Duration = Duration::from_secs(20);

/// What a snapshot is made of: numbers of loop devices, and the length of the first in sectors.
#[derive(Debug, Clone, Copy)]
pub struct Layers {
    pub base: u32,
    pub sectors: u64,
    pub overlay: u32,
}

/// The devices of one caller.
pub struct Mapper<'a> {
    pub runner: &'a dyn Runner,
    pub caller: Caller,
    /// `/sys/block`.
    pub blocks: &'a Path,
    /// `/dev/mapper`.
    pub nodes: &'a Path,
}

impl Mapper<'_> {
    /// Makes the root device of a VM, and gives the node to the caller. If that fails it is
    /// removed; what fails then is told beside the cause.
    pub fn create(&self, vm: &VmId, layers: Layers) -> Result<(), HelperError> {
        let uids = device_uuids(self.blocks)?;
        let own = uuid_prefix(self.caller.uid);
        if uids.iter().filter(|uuid| uuid.starts_with(&own)).count() >= DEVICES_MAX {
            return Err(HelperError::refused("too many devices of one user"));
        }
        let Layers { base, sectors, overlay } = layers;
        let (name, uuid) = (self.name(vm), device_uuid(self.caller.uid, vm));
        let table = format!("0 {sectors} snapshot /dev/loop{base} /dev/loop{overlay} P {CHUNK}");
        let create = dmsetup(["create", &name, "--uuid", &uuid, "--table", &table]);
        let made = self.runner.capture(&create).map_err(HelperError::from);
        let Err(cause) = made.and_then(|_| self.give(&name)) else { return Ok(()) };
        match self.remove(vm) {
            Ok(()) => Err(cause),
            Err(rollback) => Err(HelperError::Rollback {
                cause: cause.to_string(),
                rollback: rollback.to_string(),
            }),
        }
    }

    /// Gives a device's node to the caller.
    fn give(&self, name: &str) -> Result<(), HelperError> {
        let node = self.nodes.join(name);
        let give = || {
            // First closed, then given: in between it is open to nobody.
            fs::set_permissions(&node, fs::Permissions::from_mode(0o600))?;
            chown(&node, Some(self.caller.uid), Some(self.caller.gid))
        };
        give().map_err(HelperError::host(format!("give {} to its user", node.display())))
    }

    /// Removes it. Fine if it is gone.
    pub fn remove(&self, vm: &VmId) -> Result<(), HelperError> {
        let uuid = device_uuid(self.caller.uid, vm);
        if device_uuids(self.blocks)?.contains(&uuid) {
            // By what tells whose it is, not by its name.
            self.runner.capture(&dmsetup(["remove", "--retry", "--uuid", &uuid]))?;
        }
        Ok(())
    }

    fn name(&self, vm: &VmId) -> String {
        root_device(self.caller.uid, vm)
    }
}

fn dmsetup<const N: usize>(args: [&str; N]) -> Command {
    Command::new(Tool::Dmsetup).args(args).timeout(LIMIT)
}

/// The UUIDs of all devices of the device mapper.
fn device_uuids(blocks: &Path) -> Result<Vec<String>, HelperError> {
    let devices = devices(blocks);
    let devices = devices.map_err(HelperError::host("look for the device mapper's devices"))?;
    Ok(devices.into_iter().map(|(_, uuid)| uuid).collect())
}

/// The UUID of the device mapper's device of that name below `/sys/block`, if there is one.
///
/// # Errors
/// It cannot be looked at.
pub fn uuid_of(blocks: &Path, name: &str) -> io::Result<Option<String>> {
    Ok(devices(blocks)?.into_iter().find(|(found, _)| found == name).map(|(_, uuid)| uuid))
}

/// The names and UUIDs of the device mapper's devices below `/sys/block`.
///
/// # Errors
/// They cannot be looked at.
pub fn devices(blocks: &Path) -> io::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(blocks)? {
        let folder = entry?.path().join("dm");
        let read = |file| Some(fs::read_to_string(folder.join(file)).ok()?.trim_end().to_owned());
        // Most are no device mapper's, and one may go while we look.
        found.extend(read("name").zip(read("uuid")));
    }
    Ok(found)
}

/// Why there can be no snapshots here, if so.
#[must_use]
pub fn obstacle(runner: &dyn Runner) -> Option<String> {
    for (device, what) in
        [("/dev/mapper/control", "device mapper"), ("/dev/loop-control", "loop devices")]
    {
        if fs::metadata(device).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
            return Some(format!("this kernel has no {what}"));
        }
    }
    // Loads the module if there is one.
    runner.capture(&dmsetup(["version"])).err().map(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_exec::{ExecError, Output};
    use std::path::PathBuf;
    use std::sync::Mutex;

    /// A `dmsetup` that keeps `/sys/block` and `/dev/mapper` of its own. What fails has done its
    /// work all the same, at worst.
    struct Dmsetup {
        dir: tempfile::TempDir,
        fails: &'static [&'static str],
        asked: Mutex<Vec<String>>,
    }

    impl Dmsetup {
        fn new(fails: &'static [&'static str]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir_all(dir.path().join("blocks/loop0")).unwrap();
            fs::create_dir(dir.path().join("nodes")).unwrap();
            Self { dir, fails, asked: Mutex::default() }
        }

        fn device(&self) -> PathBuf {
            self.dir.path().join("blocks/dm-0/dm")
        }

        fn add(&self, name: &str, uuid: &str) {
            fs::create_dir_all(self.device()).unwrap();
            fs::write(self.device().join("name"), format!("{name}\n")).unwrap();
            fs::write(self.device().join("uuid"), format!("{uuid}\n")).unwrap();
        }

        fn with<T>(&self, act: impl FnOnce(&Mapper<'_>) -> T) -> T {
            let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
            act(&Mapper {
                runner: self,
                caller: Caller { uid: uid.as_raw(), gid: gid.as_raw() },
                blocks: &self.dir.path().join("blocks"),
                nodes: &self.dir.path().join("nodes"),
            })
        }
    }

    impl Runner for Dmsetup {
        fn capture(&self, command: &Command) -> Result<Output, ExecError> {
            let words: Vec<_> =
                command.arguments().iter().map(|word| word.to_str().unwrap()).collect();
            self.asked.lock().unwrap().push(command.to_string());
            match words[0] {
                "create" => {
                    self.add(words[1], words[3]);
                    if !self.fails.contains(&"node") {
                        fs::write(self.dir.path().join("nodes").join(words[1]), "").unwrap();
                    }
                }
                "remove" if !self.fails.contains(&"remove") => {
                    fs::remove_dir_all(self.device()).unwrap();
                }
                _ => {}
            }
            if self.fails.contains(&words[0]) {
                let command = format!("dmsetup {}", words[0]);
                return Err(ExecError::Cancelled { command });
            }
            Ok(Output::default())
        }
        fn detach(&self, _: &Command, _: &Path) -> Result<u32, ExecError> {
            unreachable!()
        }
    }

    const LAYERS: Layers = Layers { base: 3, sectors: 2048, overlay: 4 };

    fn created(fails: &'static [&'static str]) -> (Dmsetup, Result<(), String>) {
        let dmsetup = Dmsetup::new(fails);
        let made = dmsetup.with(|mapper| mapper.create(&VmId::from_bits(7), LAYERS));
        (dmsetup, made.map_err(|error| error.to_string()))
    }

    #[test]
    fn a_snapshot_is_made_given_and_removed() {
        let (dmsetup, made) = created(&[]);
        made.unwrap();
        assert!(dmsetup.device().exists());
        for _ in 0..2 {
            dmsetup.with(|mapper| mapper.remove(&VmId::from_bits(7))).unwrap();
        }
        let uid = rustix::process::getuid().as_raw().to_string();
        let asked = dmsetup.asked.into_inner().unwrap().join("\n");
        insta::assert_snapshot!(asked.replace(&format!("-{uid}-"), "-UID-"), @"
        dmsetup create bgr-UID-0000000000000007 --uuid BANGER-UID-0000000000000007 --table '0 2048 snapshot /dev/loop3 /dev/loop4 P 8'
        dmsetup remove --retry --uuid BANGER-UID-0000000000000007
        ");
    }

    #[test]
    fn what_fails_leaves_nothing_or_tells_both() {
        for fails in [&["create"][..], &["node"]] {
            let (dmsetup, made) = created(fails);
            assert!(!made.unwrap_err().contains("could not be undone"), "{fails:?}");
            assert!(!dmsetup.device().exists(), "{fails:?}");
        }
        for (fails, cause) in
            [(&["create", "remove"][..], "dmsetup create"), (&["node", "remove"], "give")]
        {
            let told = created(fails).1.unwrap_err();
            assert!(told.contains(cause), "{told}");
            assert!(told.contains("could not be undone:\n'dmsetup remove'"), "{told}");
        }
    }

    #[test]
    fn only_the_callers_devices_are_touched() {
        let uid = rustix::process::getuid().as_raw();
        let vm = VmId::from_bits(7);
        // Another user's by that name, one of nobody's, one of the same user's for another VM.
        for uuid in
            [device_uuid(uid + 1, &vm), String::new(), device_uuid(uid, &VmId::from_bits(8))]
        {
            let dmsetup = Dmsetup::new(&[]);
            dmsetup.add(&root_device(uid, &vm), &uuid);
            dmsetup.with(|mapper| mapper.remove(&vm)).unwrap();
            assert_eq!(*dmsetup.asked.lock().unwrap(), [""; 0], "{uuid}");
        }
    }
}
