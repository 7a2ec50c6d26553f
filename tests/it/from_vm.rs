//! An image of what a person has made of a VM.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::path::Path;

use memchr::memmem;
use rustix::fs::{SeekFrom, seek};

use crate::bad_host::without_stages;
use crate::harness::{As, Sandbox};

const PLAIN: [&str; 7] =
    ["--no-opencode", "--network", "none", "--memory", "512M", "--wait", "ssh"];

/// Whether a file has these bytes somewhere.
fn holds(path: &Path, wanted: &[u8]) -> bool {
    let (mut file, mut at) = (File::open(path).unwrap(), 0);
    let mut chunk = vec![0; 8 << 20];
    while let Ok(data) = seek(&file, SeekFrom::Data(at)) {
        file.seek(io::SeekFrom::Start(data)).unwrap();
        let length = file.read(&mut chunk).unwrap();
        if memmem::find(&chunk[..length], wanted).is_some() {
            return true;
        }
        // What is wanted may lie across two of them.
        at = data + (length - wanted.len().min(length)) as u64 + 1;
    }
    false
}

#[test]
fn an_image_has_what_was_made_of_a_vm_and_not_who_it_was() {
    let banger = Sandbox::new(As::Me);
    let create = |name: &str, more: &[&str]| {
        banger.ok(&[&["vm", "create", name], &PLAIN[..], more].concat());
    };
    let exec = |vm: &str, script: &str| banger.ok(&["vm", "exec", vm, "--", script]);
    create("dev", &["--root-disk", "qcow2"]);
    exec(
        "dev",
        "printf '#!/bin/sh\\necho made\\n' > /usr/local/bin/made; chmod 755 /usr/local/bin/made; \
         mkdir -p /var/lib/dhcp; echo lease > /var/lib/dhcp/lease; echo marker-of-a-secret > /tmp/secret; logger told; \
         echo work > /root/work; echo log > /var/log/apt/mine; journalctl --flush",
    );
    let identity = "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub";
    let before = exec("dev", identity);

    let promote = ["image", "promote", "--from-vm", "dev", "--name", "made"];
    let said = without_stages(&banger.fails(&promote));
    insta::assert_snapshot!(said, @r"
    4 error: cannot make an image of 'dev': it must be stopped
    hint: banger vm stop dev
    ");
    banger.ok(&["vm", "stop", "dev"]);
    banger.ok(&promote);
    let said = without_stages(&banger.fails(&promote));
    insta::assert_snapshot!(said, @r"
    4 error: the name 'made' is taken
    hint: choose another name, or delete the one that has it
    ");
    let shown = banger.json(&["image", "show", "made", "--verify"]);
    assert_eq!(shown["source"]["vm"], "dev");
    assert_eq!(shown["parent"]["name"], "debian");
    // Not in what is free either, for whoever reads the disk.
    let rootfs = banger.state("images").join(shown["id"].as_str().unwrap()).join("rootfs.ext4");
    let host_key = before.lines().nth(1).unwrap().split(' ').nth(1).unwrap();
    for secret in ["marker-of-a-secret", host_key] {
        assert!(!holds(&rootfs, secret.as_bytes()), "{secret}");
    }
    let packages = |image: &str| {
        let id = banger.json(&["image", "show", image])["id"].as_str().unwrap().to_owned();
        fs::read_to_string(banger.state("images").join(id).join("packages.txt")).unwrap()
    };
    assert_eq!(packages("made").lines().count() + 1, packages("debian").lines().count());

    // The VM is who it was; one that is made of the image is not.
    banger.ok(&["vm", "start", "dev", "--wait", "ssh"]);
    assert_eq!(exec("dev", identity), before);
    banger.ok(&["vm", "delete", "--yes", "dev"]);
    create("new", &["--image", "made"]);
    assert_eq!(
        exec(
            "new",
            "made; hostname; ls -A /root /tmp /var/lib/dhcp | grep -c 'work\\|secret\\|lease' || true"
        ),
        "made\nnew\n0"
    );
    assert_ne!(exec("new", identity), before);
    assert_eq!(
        exec(
            "new",
            "ls -d /var/log/apt; ls /var/log/apt; journalctl -q --list-boots | wc -l; grep -rl told /var/log | wc -l"
        ),
        "/var/log/apt\n1\n0"
    );
    let refused = banger.run(&["image", "delete", "made"]);
    assert!(refused.stderr.contains("is used by new"), "{}", refused.stderr);
    banger.ok(&["vm", "delete", "--yes", "new"]);
    banger.ok(&["image", "delete", "made"]);
    assert_eq!(banger.leftovers(), Vec::<String>::new());
}
