//! A disk that is full, at every moment of a create and a start.

use std::fs;
use std::path::{Path, PathBuf};

use crate::bad_host::without_stages;
use crate::fake::Guest;
use crate::harness::{As, Sandbox};

pub const MIB: u64 = 1 << 20;
const CREATE: [&str; 10] = [
    "vm",
    "create",
    "dev",
    "--no-opencode",
    "--network",
    "none",
    "--memory",
    "512M",
    "--wait",
    "agent",
];

/// A small file system in a sandbox. It goes after the sandbox, whose daemon is to be
/// stopped first, and takes along what could not be removed while it was there.
pub struct SmallDisk {
    place: PathBuf,
    sandbox: Option<PathBuf>,
}

impl SmallDisk {
    /// Nothing where that is not allowed.
    #[expect(clippy::disallowed_methods, reason = "a disk that is full is made to be full")]
    pub fn mount(banger: &Sandbox, place: &Path, bytes: u64) -> Option<Self> {
        fs::create_dir_all(place).unwrap();
        let options = std::ffi::CString::new(format!("size={bytes},mode=0700")).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        match rustix::mount::mount("tmpfs", place, "tmpfs", flags, options.as_c_str()) {
            Ok(()) => {
                Some(Self { place: place.to_owned(), sandbox: Some(banger.dir().to_owned()) })
            }
            Err(error) => {
                println!("skipped: no file system can be mounted here: {error}");
                None
            }
        }
    }

    pub fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.place).unwrap();
        stat.f_bavail * stat.f_frsize
    }

    /// Takes it away from a sandbox that goes on.
    fn unmount(mut self) {
        self.sandbox = None;
    }

    /// Gives it another size.
    fn resize(&self, bytes: u64) {
        let options = std::ffi::CString::new(format!("size={bytes}")).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount_remount(&self.place, flags, options.as_c_str()).unwrap();
    }

    /// Takes all but `left` bytes, until it is called again.
    pub fn fill(&self, left: u64) {
        let filler = self.place.join("filler");
        let _ = fs::remove_file(&filler);
        let file = fs::File::create(&filler).unwrap();
        let size = self.free().saturating_sub(left);
        if size > 0 {
            let flags = rustix::fs::FallocateFlags::empty();
            rustix::fs::fallocate(&file, flags, 0, size).unwrap();
        }
    }
}

impl Drop for SmallDisk {
    #[expect(clippy::disallowed_methods, reason = "what was mounted is unmounted")]
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.place, rustix::mount::UnmountFlags::DETACH);
        if let Some(sandbox) = &self.sandbox {
            let _ = fs::remove_dir_all(sandbox);
        }
    }
}

/// A banger with fakes whose state is on a small disk, but for its images.
fn on_a_small_disk() -> Option<(SmallDisk, Sandbox)> {
    let banger = Sandbox::with_fakes(Guest::Healthy);
    let state = banger.state("");
    let aside = banger.dir().join("aside");
    fs::rename(&state, &aside).unwrap();
    let disk = SmallDisk::mount(&banger, &state, 64 * MIB)?;
    for entry in fs::read_dir(&aside).unwrap().flatten() {
        let to = state.join(entry.file_name());
        if entry.path().is_dir() {
            std::os::unix::fs::symlink(entry.path(), to).unwrap();
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
    Some((disk, banger))
}

#[test]
fn a_disk_that_is_full_undoes_what_it_stopped() {
    // In this order they are dropped: the daemon first.
    let Some((disk, banger)) = on_a_small_disk() else { return };
    banger.ok(&["daemon", "start"]);
    let pid = banger.daemon_pid();
    let mut failures = Vec::new();
    let mut create = |left: u64| {
        disk.fill(left);
        let created = banger.run(&CREATE);
        if created.code == 0 {
            banger.ok(&["vm", "delete", "--yes", "dev"]);
            return true;
        }
        let said = format!("{} {}", created.code, created.stderr);
        assert!(said.contains("No space left on device") || said.contains("is full"), "{said}");
        assert!(said.contains("hint: make room on that disk"), "{said}");
        assert!(!said.contains("not undone"), "{said}");
        assert_eq!(banger.json(&["vm", "list"]).as_array().unwrap().len(), 0, "{left}: {said}");
        assert_eq!(banger.leftovers(), Vec::<String>::new(), "{left}: {said}");
        let what = without_stages(&said.replace(banger.dir().to_str().unwrap(), ""));
        let what = what.lines().next().unwrap().to_owned();
        if !failures.contains(&what) {
            failures.push(what);
        }
        false
    };
    // More and more, then ever nearer to what is just enough: the later stages take little.
    assert!(!create(0));
    let (mut little, mut enough) = (0, 4096);
    while !create(enough) {
        (little, enough) = (enough, enough * 2);
    }
    while enough - little > 4096 {
        let between = (little + enough) / 2;
        if create(between) { enough = between } else { little = between }
    }
    println!("a VM takes {enough} bytes; with less:\n{}", failures.join("\n"));
    // The disks are made side by side: which of them fails first is a matter of chance.
    assert!(failures.len() > 1, "{failures:#?}");
    assert_eq!(banger.daemon_pid(), pid);

    // A VM that is there can be stopped, started and deleted on a full disk, or is as it was.
    disk.fill(32 * MIB);
    banger.ok(&CREATE);
    disk.fill(0);
    banger.ok(&["vm", "stop", "dev"]);
    let started = banger.run(&["vm", "start", "dev", "--wait", "agent"]);
    let state = banger.json(&["vm", "show", "dev"])["state"]["state"].clone();
    assert_eq!(state, if started.code == 0 { "running" } else { "stopped" }, "{}", started.stderr);
    // A daemon that comes to a full disk serves all the same.
    banger.ok(&["daemon", "restart"]);
    assert_eq!(banger.json(&["vm", "show", "dev"])["state"]["state"], state);
    banger.ok(&["vm", "delete", "--yes", "dev"]);
    assert_eq!(banger.leftovers(), Vec::<String>::new());
    disk.fill(32 * MIB);
    banger.ok(&CREATE);
    banger.ok(&["vm", "delete", "--yes", "dev"]);
    banger.ok(&["daemon", "stop"]);
}

/// The sockets' folder is on another file system, and may be full too.
#[test]
fn a_full_run_time_folder_stops_a_start_and_nothing_else() {
    let banger = Sandbox::with_fakes(Guest::Healthy);
    let Some(disk) = SmallDisk::mount(&banger, &banger.dir().join("run"), MIB) else { return };
    // Dropped first: a daemon that cannot be reached cannot be stopped.
    let banger = banger;
    let said = banger.fails(&CREATE);
    insta::assert_snapshot!(without_stages(&said), @r"
    1 error: cannot write /run/banger/vms/ID/initramfs.cpio: No space left on device (os error 28)
    hint: make room on that disk: delete what is not needed ('banger vm delete', 'banger image delete'), then do the same again; 'banger doctor' shows what is free
    ");
    assert_eq!(banger.leftovers(), Vec::<String>::new());
    banger.ok(&["daemon", "stop"]);
    disk.unmount();
    banger.ok(&CREATE);
}

#[test]
fn a_vm_whose_disks_cannot_grow_stands_still_until_they_can() {
    let banger = Sandbox::new(As::Me);
    let Some(disk) = SmallDisk::mount(&banger, &banger.state("vms"), 128 * MIB) else { return };
    // In this order they are dropped: the daemon first.
    let (disk, banger) = (disk, banger);
    let options = ["--no-opencode", "--network", "none", "--wait", "ssh"];
    banger.ok(&[&["vm", "create", "dev"], &options[..]].concat());
    let state = || banger.json(&["vm", "show", "dev"])["state"].clone();
    let write =
        "nohup dd if=/dev/urandom of=/root/big bs=1M count=200 conv=fsync >/dev/null 2>&1 &";
    banger.ok(&["vm", "exec", "dev", "--", write]);
    banger.until("it is paused", || state()["state"] == "paused");
    assert_eq!(state()["cause"], "disk_full");
    let refused = banger.run(&["vm", "exec", "dev", "--", "true"]);
    assert_eq!(refused.code, 4);
    assert!(refused.stderr.contains("it goes on when there is room"), "{}", refused.stderr);

    // Another daemon finds it as it is; so it stays while the room would not last.
    banger.kill_9(banger.daemon_pid());
    assert_eq!(state()["state"], "paused");
    disk.resize(512 * MIB);
    let start = banger.run(&["vm", "start", "dev"]);
    assert_eq!(start.code, 1);
    assert!(start.stderr.contains("hint: make room on that disk"), "{}", start.stderr);

    // Nothing that the guest wrote was lost.
    disk.resize(4096 * MIB);
    banger.until("it goes on", || state()["state"] == "running");
    let ended = "while pgrep -x dd >/dev/null; do sleep 0.2; done; sync; stat -c %s /root/big; \
                 dmesg | grep 'I/O error' || echo well";
    let said = banger.ok(&["vm", "exec", "dev", "--", ended]);
    assert_eq!(said, format!("{}\nwell", 200 * MIB));

    // One that could write again is shut down in order, though it would not go on yet.
    disk.resize(400 * MIB);
    banger.ok(&["vm", "exec", "dev", "--", &write.replace("/root/big", "/root/more")]);
    banger.until("it is paused again", || state()["state"] == "paused");
    disk.resize(1000 * MIB);
    let stopped = banger.run(&["vm", "stop", "dev"]);
    assert_eq!(stopped.code, 0, "{}", stopped.stderr);
    assert!(!stopped.stderr.contains("power cut"), "{}", stopped.stderr);
    assert_eq!(state()["cause"], "requested");
    banger.ok(&["vm", "delete", "--yes", "dev"]);
}
