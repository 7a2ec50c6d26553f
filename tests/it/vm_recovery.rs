//! A daemon that dies leaves VMs that run, and nothing half made.

use std::hash::{BuildHasher as _, DefaultHasher, Hash as _, Hasher as _, RandomState};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{As, Sandbox, rounds};

const PLAIN: [&str; 3] = ["--no-opencode", "--network", "none"];

#[test]
fn a_killed_daemon_takes_up_what_runs_and_unwinds_what_was_begun() {
    let banger = Sandbox::new(As::Me);
    banger.ok(&[&["vm", "create", "kept", "--wait", "ssh"], &PLAIN[..]].concat());
    let boot_id =
        || banger.ok(&["vm", "exec", "kept", "--", "cat", "/proc/sys/kernel/random/boot_id"]);
    let before = boot_id();

    banger.ok(&[&["vm", "create", "half", "--no-wait"], &PLAIN[..]].concat());
    let state = |name: &str| banger.json(&["vm", "show", name])["state"]["state"].clone();
    banger.until("the second VM boots", || {
        state("half") == "starting" && banger.leftovers().iter().any(|left| left.contains("qemu"))
    });
    banger.kill_9(banger.daemon_pid());

    // The next command starts a daemon, which looks at what it finds first.
    let list = banger.json(&["vm", "list"]);
    let names: Vec<_> =
        list.as_array().unwrap().iter().map(|vm| vm["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["kept"]);
    assert_eq!(state("kept"), "running");
    assert_eq!(boot_id(), before);

    // The VM that was taken up is as manageable as before.
    banger.ok(&["vm", "stop", "kept"]);
    assert_eq!(banger.json(&["vm", "show", "kept"])["state"]["cause"], "requested");
    banger.ok(&["vm", "delete", "--yes", "kept"]);
    assert_eq!(banger.leftovers(), Vec::<String>::new());
}

/// The seed is printed; `BANGER_SEED` takes it again.
#[test]
fn a_daemon_killed_at_any_moment_of_a_create_leaves_a_vm_or_nothing() {
    let banger = Sandbox::new(As::Me);
    let given = std::env::var("BANGER_SEED").ok().map(|seed| seed.parse().unwrap());
    let seed: u64 = given.unwrap_or_else(|| RandomState::new().hash_one(0));
    println!("BANGER_SEED={seed}");
    let mut kept = 0;
    let began = Instant::now();
    banger.ok(&[&["vm", "create", "dev", "--wait", "agent"], &PLAIN[..]].concat());
    let whole = u64::try_from(began.elapsed().as_millis()).unwrap();
    banger.ok(&["vm", "delete", "--yes", "dev"]);
    for round in 0..rounds(5, 50) {
        let mut hasher = DefaultHasher::new();
        (seed, round).hash(&mut hasher);
        let moment = Duration::from_millis(hasher.finish() % (whole * 5 / 4));
        let pid = banger.daemon_pid();
        banger.ok(&[&["vm", "create", "dev", "--no-wait"], &PLAIN[..]].concat());
        std::thread::sleep(moment);
        banger.kill_9(pid);

        let list = || banger.json(&["vm", "list"]).as_array().unwrap().clone();
        let settled =
            |vm: &Value| ["running", "stopped"].iter().any(|s| vm["state"]["state"] == *s);
        banger.until("what was begun is put right", || list().iter().all(settled));
        let there = list();
        println!("round {round}, killed after {moment:?}: {} VMs", there.len());
        if let [vm] = &there[..] {
            kept += 1;
            assert_eq!(vm["complete"], true);
            banger.ok(&["vm", "start", "dev", "--wait", "agent"]);
            banger.ok(&["vm", "delete", "--yes", "dev"]);
        }
        assert_eq!(banger.leftovers(), Vec::<String>::new());
    }
    println!("{kept} VMs were complete");
}

#[test]
fn a_daemon_killed_amid_writes_loses_nothing_that_it_confirmed() {
    let banger = Sandbox::new(As::Me);
    let mut confirmed = Vec::new();
    for round in 0..rounds(3, 30) {
        banger.ok(&["daemon", "start"]);
        let pid = banger.daemon_pid();
        let made: Vec<_> = std::thread::scope(|scope| {
            let creators: Vec<_> = (0..4)
                .map(|lane| {
                    let banger = &banger;
                    let create = move |i| {
                        let name = format!("v{round}-{lane}-{i}");
                        let made = banger.run(&["vm", "create", &name, "--no-start"]).code == 0;
                        made.then_some(name)
                    };
                    scope.spawn(move || (0..5).filter_map(create).collect::<Vec<_>>())
                })
                .collect();
            std::thread::sleep(Duration::from_millis(250 + 70 * u64::try_from(round % 5).unwrap()));
            banger.kill_9(pid);
            creators.into_iter().flat_map(|creator| creator.join().unwrap()).collect()
        });
        assert!(made.len() > 4, "the next daemon makes VMs too: {made:?}");
        confirmed.extend(made);
    }
    confirmed.sort();
    let list = banger.json(&["vm", "list"]);
    let there = |vm: &Value| vm["name"].as_str().unwrap().to_owned();
    let there: Vec<_> = list.as_array().unwrap().iter().map(there).collect();
    let lost: Vec<_> = confirmed.iter().filter(|name| !there.contains(name)).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    for vm in list.as_array().unwrap() {
        let dir = banger.state("vms").join(vm["id"].as_str().unwrap());
        assert!(dir.join("root.overlay").exists() && dir.join("work.ext4").exists(), "{vm}");
        assert_eq!(vm["state"]["state"], "stopped");
    }
    println!("{} VMs, {} of them confirmed", there.len(), confirmed.len());
    for name in &there {
        banger.ok(&["vm", "delete", "--yes", name]);
    }
    assert_eq!(banger.leftovers(), Vec::<String>::new());
}

#[test]
fn a_cancelled_create_leaves_nothing() {
    let banger = Sandbox::new(As::Me);
    banger.start(&["vm", "create", "gone"]);
    let create = || banger.json(&["vm", "list"])[0].clone();
    banger.until("it boots", || create()["state"]["state"] == "starting");
    // As Ctrl-C does.
    banger.ok(&["vm", "delete", "--yes", "gone"]);
    assert_eq!(banger.json(&["vm", "list"]).as_array().unwrap().len(), 0);
    assert_eq!(banger.leftovers(), Vec::<String>::new());
}

#[test]
fn a_vmm_that_dies_is_seen_and_its_disks_stay() {
    let banger = Sandbox::new(As::Me);
    banger.ok(&[&["vm", "create", "dev", "--wait", "ssh"], &PLAIN[..]].concat());
    banger.ok(&["vm", "ssh", "dev", "--", "echo kept > /root/file; sync"]);
    let show = || banger.json(&["vm", "show", "dev"]);
    banger.kill_9(i32::try_from(show()["run"]["pid"].as_i64().unwrap()).unwrap());
    banger.until("the end is seen", || show()["state"]["state"] == "stopped");
    assert_eq!(show()["state"]["cause"], "crashed");
    assert_eq!(show()["state"]["detail"], "signal 9");
    banger.ok(&["vm", "start", "dev", "--wait", "ssh"]);
    assert_eq!(banger.ok(&["vm", "ssh", "dev", "--", "cat /root/file"]), "kept");

    // Without its vsock process the VM cannot be reached: it gets an orderly end, which
    // writes what the guest had not synced.
    banger.ok(&["vm", "ssh", "dev", "--", "echo late > /root/late; echo late > /etc/late"]);
    banger.kill_9(banger.pid_of("vhost-device-vsock"));
    banger.until("the end is seen", || show()["state"]["state"] == "stopped");
    insta::assert_snapshot!(show()["state"], @r#"{"cause":"crashed","detail":"its vsock process, vhost-device-vsock, ended (signal 9)","state":"stopped"}"#);
    banger.ok(&["vm", "start", "dev", "--wait", "ssh"]);
    assert_eq!(banger.ok(&["vm", "ssh", "dev", "--", "cat /root/late /etc/late"]), "late\nlate");
}

/// The CLI replaces a daemon of an older build; VMs run on through it.
#[test]
fn an_older_daemon_is_replaced_under_a_running_vm() {
    let banger = Sandbox::with_older_daemon();
    banger.ok(&[&["vm", "create", "dev", "--wait", "ssh"], &PLAIN[..]].concat());
    let boot_id =
        || banger.ok(&["vm", "exec", "dev", "--", "cat", "/proc/sys/kernel/random/boot_id"]);
    let status = || banger.json(&["daemon", "status"]);
    let (before, old) = (boot_id(), status());
    assert_eq!(old["build"], "build-000000000001");

    // While it is at work it is waited for.
    banger.ok(&[&["vm", "create", "other", "--no-wait"], &PLAIN[..]].concat());
    banger.install_current_daemon();
    let replaced = banger.run(&["vm", "list", "--json"]);
    assert_eq!(replaced.code, 0);
    insta::assert_snapshot!(replaced.stderr, @r"
    the daemon is of an older build and at work: waiting (--now cancels that)
    the daemon was of an older build and is replaced; VMs run on
    ");
    let new = status();
    assert_ne!(new["build"], old["build"]);
    assert_ne!(new["pid"], old["pid"]);
    let list = banger.json(&["vm", "list"]);
    let states: Vec<_> = list.as_array().unwrap().iter().map(|vm| &vm["state"]["state"]).collect();
    assert_eq!(states, ["running", "running"]);
    assert_eq!(boot_id(), before);
    assert_eq!(banger.run(&["vm", "list"]).stderr, "");
}
