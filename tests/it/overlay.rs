//! A root overlay that fills: the VM is paused before it is too full, and goes on.

use banger_exec::{Command, HostRunner, Runner as _, Tool, Tools};

use crate::harness::{As, Sandbox};

#[test]
fn a_vm_whose_overlay_is_full_is_paused_and_goes_on_with_more() {
    let banger = Sandbox::new(As::Me);
    let small = banger.run(&["vm", "create", "--overlay", "1M"]);
    assert_eq!(small.code, 2);
    insta::assert_snapshot!(small.stderr, @"error: an overlay of 1 MiB is not possible: choose 64 MiB or more");
    let options = ["--no-opencode", "--network", "none", "--wait", "ssh", "--overlay", "300M"];
    banger.ok(&[&["vm", "create", "dev"], &options[..]].concat());
    let state = || banger.json(&["vm", "show", "dev"])["state"].clone();

    // What is written is on the disk, so that it must be somewhere.
    let write = "nohup dd if=/dev/zero of=/big bs=1M count=400 conv=fsync >/dev/null 2>&1 &";
    banger.ok(&["vm", "exec", "dev", "--", write]);
    banger.until("it is paused", || state()["state"] == "paused");
    let paused = state();
    assert_eq!(paused["cause"], "overlay_full");
    assert_eq!(paused["limit"], 300 << 20);
    let events = banger.ok(&["vm", "show", "dev"]);
    assert!(events.contains("paused (its root overlay takes"), "{events}");

    let refused = banger.run(&["vm", "exec", "dev", "--", "true"]);
    assert_eq!(refused.code, 4);
    assert!(
        refused.stderr.contains("banger vm resize-overlay dev --size SIZE"),
        "{}",
        refused.stderr
    );
    let start = banger.run(&["vm", "start", "dev"]);
    assert_eq!(start.code, 1);
    assert!(start.stderr.contains("'dev' stays paused"), "{}", start.stderr);
    let less = banger.run(&["vm", "resize-overlay", "dev", "--size", "200M"]);
    assert_eq!(less.code, 4);
    assert!(less.stderr.contains("already"), "{}", less.stderr);

    // Another daemon finds it as it is.
    banger.kill_9(banger.daemon_pid());
    assert_eq!(state()["state"], "paused");
    banger.ok(&["vm", "resize-overlay", "dev", "--size", "1G"]);
    assert_eq!(state()["state"], "running");
    banger.ok(&["vm", "exec", "dev", "--", "while pgrep -x dd; do sleep 0.2; done; sync"]);
    assert_eq!(banger.ok(&["vm", "exec", "dev", "--", "stat -c %s /big"]), (400 << 20).to_string());

    // Four fifths of it are told of, once by a daemon: the one before may have done so, too.
    let told = || {
        let events = Command::new(Tool::Curl)
            .args(["--silent", "--max-time", "2", "--header", "Last-Event-ID: 0", "--unix-socket"])
            .arg(banger.socket())
            .arg("http://localhost/v1/events")
            .also_ok(28);
        let events = HostRunner::new(Tools::discover()).capture(&events).unwrap();
        String::from_utf8(events.stdout).unwrap().matches("\"overlay_filling\"").count()
    };
    let before = told();
    banger.ok(&["vm", "resize-overlay", "dev", "--size", "500M"]);
    banger.until("it is told", || told() > before);
    assert_eq!(told(), before + 1);
    banger.ok(&["vm", "resize-overlay", "dev", "--size", "1G"]);

    // Paused again, it can be stopped: it goes on for that.
    banger.ok(&["vm", "exec", "dev", "--", &write.replace("/big", "/more").replace("400", "900")]);
    banger.until("it is paused again", || state()["state"] == "paused");
    banger.ok(&["vm", "stop", "dev"]);
    assert_eq!(state()["cause"], "requested");
    banger.ok(&["vm", "delete", "--yes", "dev"]);
}
