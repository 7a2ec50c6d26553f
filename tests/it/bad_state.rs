//! A daemon that cannot start, and what whoever wanted something of it is told.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use banger_exec::{Command, HostRunner, Runner as _, Tool, Tools};

use crate::harness::{As, Sandbox};

fn listed(banger: &Sandbox) -> usize {
    banger.json(&["vm", "list"]).as_array().unwrap().len()
}

#[test]
fn a_database_that_is_damaged_or_newer_is_left_alone() {
    let banger = Sandbox::new(As::Me);
    banger.ok(&["vm", "create", "dev", "--no-start"]);
    banger.ok(&["daemon", "stop"]);
    let db = banger.state("banger.db");
    let whole = fs::read(&db).unwrap();
    let disk = || fs::read_dir(banger.state("vms")).unwrap().count();
    let refused = |content: &[u8]| {
        fs::write(&db, content).unwrap();
        let said = banger.fails(&["vm", "list"]);
        assert_eq!(fs::read(&db).unwrap(), content, "the database was changed");
        assert_eq!(disk(), 1);
        said
    };
    insta::assert_snapshot!(refused(&[b'x'; 8192]), @r"
    5 error: the daemon ended at once:
    the database /state/banger/banger.db is damaged: file is not a database
    hint: put a backup of /state/banger/banger.db back, or move it and /state/banger/banger.db-wal away to begin anew: the VMs' disks stay in /state/banger/vms
    ");
    insta::assert_snapshot!(refused(&whole[..whole.len() / 2]), @r"
    5 error: the daemon ended at once:
    the database /state/banger/banger.db is damaged: database disk image is malformed
    hint: put a backup of /state/banger/banger.db back, or move it and /state/banger/banger.db-wal away to begin anew: the VMs' disks stay in /state/banger/vms
    ");
    let mut newer = whole.clone();
    // user_version (SQLite's fileformat2.html, 1.3).
    newer[60..64].copy_from_slice(&99_u32.to_be_bytes());
    insta::assert_snapshot!(refused(&newer), @r"
    5 error: the daemon ended at once:
    the database /state/banger/banger.db is of a newer banger (schema 99, this one knows 2)
    hint: update banger; nothing was changed
    ");
    fs::write(&db, whole).unwrap();
    assert_eq!(listed(&banger), 1);
}

#[test]
fn there_is_one_daemon() {
    let banger = Sandbox::bare(As::Me);
    banger.ok(&["daemon", "start"]);
    let pid = banger.daemon_pid();
    let second = banger.bangerd();
    assert_eq!(second.code, 1);
    assert!(second.stderr.contains("another bangerd runs already (it holds "), "{}", second.stderr);
    assert_eq!(banger.daemon_pid(), pid);

    // One that was killed leaves a socket and a lock, which mean nothing.
    banger.kill_9(pid);
    assert!(banger.socket().exists() && banger.state("bangerd.lock").exists());
    assert_eq!(listed(&banger), 0);
    banger.ok(&["daemon", "stop"]);
    // Nor does a file that is no socket.
    fs::write(banger.socket(), "not a socket").unwrap();
    fs::write(banger.state("bangerd.lock"), "/nowhere/bangerd.sock").unwrap();
    assert_eq!(listed(&banger), 0);
    banger.ok(&["daemon", "stop"]);
    fs::create_dir(banger.socket()).unwrap();
    insta::assert_snapshot!(banger.fails(&["vm", "list"]), @r"
    5 error: the daemon ended at once:
    cannot use /run/banger/bangerd.sock: Is a directory (os error 21)
    hint: remove it: a file of ours goes there
    ");
    fs::remove_dir(banger.socket()).unwrap();
    assert_eq!(listed(&banger), 0);
}

#[test]
fn the_run_time_folder_may_be_missing_but_not_too_deep() {
    let mut banger = Sandbox::bare(As::Me);
    banger.set("XDG_RUNTIME_DIR", "");
    assert_eq!(listed(&banger), 0);
    assert!(banger.state("run/bangerd.sock").exists());
    banger.ok(&["daemon", "stop"]);
    // As the specification says, a relative one is none.
    banger.set("XDG_RUNTIME_DIR", "run");
    assert_eq!(listed(&banger), 0);
    banger.ok(&["daemon", "stop"]);
    banger.set("XDG_RUNTIME_DIR", banger.dir().join("x".repeat(70)));
    insta::assert_snapshot!(banger.fails(&["vm", "list"]).replace(&"x".repeat(70), "xxx…"), @"1 error: the path /xxx…/banger/vms/00000000/vsock.sock_1025 is too long for a Unix socket (107 bytes at most); set XDG_RUNTIME_DIR to a shorter one");
    banger.set("XDG_RUNTIME_DIR", banger.dir().join("run"));
    assert_eq!(listed(&banger), 0);
}

/// Root may write anywhere: an ordinary user is asked for.
#[test]
fn folders_that_cannot_be_written_to_are_told() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: it takes root to be an ordinary user here");
        return;
    }
    let mut banger = Sandbox::bare(As::User);
    let closed = banger.dir().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
    for (variable, folder) in
        [("XDG_STATE_HOME", "state"), ("XDG_CACHE_HOME", "cache"), ("XDG_RUNTIME_DIR", "run")]
    {
        banger.set(variable, &closed);
        let said = banger.fails(&["vm", "list"]);
        assert!(said.contains("Permission denied"), "{said}");
        assert!(said.contains(&format!("or set {variable} to another folder")), "{said}");
        banger.set(variable, banger.dir().join(folder));
    }
    // A state that was usable once, and whose files no longer are.
    assert_eq!(listed(&banger), 0);
    banger.ok(&["daemon", "stop"]);
    fs::set_permissions(banger.state("banger.db"), fs::Permissions::from_mode(0o400)).unwrap();
    std::os::unix::fs::chown(banger.state("banger.db"), Some(0), Some(0)).unwrap();
    insta::assert_snapshot!(banger.fails(&["vm", "list"]), @r"
    5 error: the daemon ended at once:
    cannot open the database /state/banger/banger.db: unable to open database file: /state/banger/banger.db: Error code 14: unable to open database file
    hint: make /state/banger/banger.db and its folder yours and writable, or set XDG_STATE_HOME to another folder
    ");
    fs::remove_file(banger.state("banger.db")).unwrap();
    assert_eq!(listed(&banger), 0);
}

#[test]
fn what_no_vm_has_is_told_and_released() {
    let banger = Sandbox::bare(As::Me);
    banger.ok(&["daemon", "start"]);
    assert_eq!(banger.run(&["doctor", "--fix"]).stderr, "nothing is left behind\n");
    let run = banger.dir().join("run/banger/vms/dead0000");
    fs::create_dir_all(&run).unwrap();
    let vsock = Command::new(Tool::VhostDeviceVsock)
        .args(["--guest-cid", "9", "--socket"])
        .arg(run.join("vhost.sock"))
        .arg("--uds-path")
        .arg(run.join("vsock.sock"));
    let runner = HostRunner::new(Tools::discover());
    runner.detach(&vsock, &banger.dir().join("vsock.log")).unwrap();
    banger.until("it runs", || run.join("vhost.sock").exists());
    let told = banger.run(&["doctor"]).stdout;
    assert!(told.contains("! left behind"), "{told}");
    let fixed = banger.ok(&["doctor", "--fix"]).replace(banger.dir().to_str().unwrap(), "");
    insta::assert_snapshot!(fixed, @"
    released the vsock process
    released the folder /run/banger/vms/dead0000
    ");
    assert_eq!(banger.leftovers(), Vec::<String>::new());
    assert!(banger.run(&["doctor"]).stdout.contains("✓ left behind"));
}
