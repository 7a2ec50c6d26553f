//! What a guest has synced is on the disk, whatever becomes of its VMM.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use banger_exec::{Command, HostRunner, Runner as _, Tool, Tools};
use serde_json::Value;

use crate::harness::{As, Sandbox, rounds};

/// Asks QEMU's monitor.
fn monitor(socket: &Path, command: &str) -> Value {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    for command in ["qmp_capabilities", command] {
        writeln!(stream, "{{\"execute\": \"{command}\"}}").unwrap();
    }
    let mut answers = Vec::new();
    for line in BufReader::new(stream).lines() {
        let answer: Value = serde_json::from_str(&line.unwrap()).unwrap();
        answers.extend(answer.get("return").cloned());
        if answers.len() == 2 {
            break;
        }
    }
    answers.remove(1)
}

fn tool(command: &Command) -> String {
    let output = HostRunner::new(Tools::discover()).capture(command).unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The journal of a copy of the disk replays, and then it has no error at all.
fn assert_whole(disk: &Path) {
    // Status 1: put right, which is the journal (e2fsck(8)).
    tool(&Command::new(Tool::E2fsck).args(["-p"]).arg(disk).also_ok(1));
    tool(&Command::new(Tool::E2fsck).args(["-f", "-n"]).arg(disk));
}

#[test]
fn what_was_synced_survives_a_vmm_killed_under_a_writing_guest() {
    let banger = Sandbox::new(As::Me);
    let plain = ["--no-opencode", "--network", "none", "--wait", "ssh"];
    banger.ok(&[&["vm", "create", "dev"], &plain[..]].concat());
    let show = || banger.json(&["vm", "show", "dev"]);

    // QEMU itself says that it passes the guest's flushes on.
    let vsock = show()["run"]["vsock"].as_str().unwrap().to_owned();
    let drives = monitor(&Path::new(&vsock).with_file_name("qmp.sock"), "query-block");
    let drives: Vec<_> =
        drives.as_array().unwrap().iter().map(|drive| &drive["inserted"]).collect();
    assert_eq!(drives.len(), 2);
    for drive in drives {
        insta::allow_duplicates! {
            insta::assert_snapshot!(drive["cache"], @r#"{"direct":false,"no-flush":false,"writeback":true}"#);
        }
    }

    let inside = |line: &str| banger.ok(&["vm", "ssh", "dev", "--", line]);
    for round in 0..rounds(1, 10) {
        // Files come, change and go on both disks, some of them synced, while the end comes.
        inside(
            "systemd-run --quiet sh -c 'while :; do i=$((i+1)); for d in /root /etc; do \
             head -c 70000 /dev/urandom > $d/busy$((i%40)); mkdir -p $d/dir$((i%9)); \
             mv $d/busy$((i%7)) $d/dir$((i%9))/ ; rm -rf $d/dir$((i%5)); done; \
             [ $((i%20)) -ne 0 ] || sync /root/busy*; done'",
        );
        inside(&format!("echo {round} > /root/synced; echo {round} > /etc/synced; sync"));
        std::thread::sleep(Duration::from_millis(1_500));
        let vm = show();
        banger.kill_9(i32::try_from(vm["run"]["pid"].as_i64().unwrap()).unwrap());
        banger.until("the end is seen", || show()["state"]["state"] == "stopped");

        let dir = banger.state("vms").join(vm["id"].as_str().unwrap());
        let copy = dir.join("copy");
        for (format, disk) in [("qcow2", "root.overlay"), ("raw", "work.ext4")] {
            let convert = Command::new(Tool::QemuImg).args(["convert", "-O", "raw", "-f", format]);
            tool(&convert.arg(dir.join(disk)).arg(&copy));
            assert_whole(&copy);
        }
        fs::remove_file(copy).unwrap();

        banger.ok(&["vm", "start", "dev", "--wait", "ssh"]);
        let kept = inside("cat /root/synced /etc/synced; dmesg | grep -c 'EXT4-fs error' || true");
        assert_eq!(kept, format!("{round}\n{round}\n0"));
    }
}
