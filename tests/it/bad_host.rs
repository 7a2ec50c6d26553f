//! A host that lacks what VMs need: what banger says, and that nothing is left.

use std::fs;

use crate::fake::{self, Guest};
use crate::harness::Sandbox;

const PLAIN: [&str; 5] = ["--no-opencode", "--network", "none", "--memory", "512M"];

/// Tries to create a VM, which must fail and leave nothing. What is said, its folders and
/// ids left out.
fn refused(banger: &Sandbox) -> String {
    let said = banger.fails(&[&["vm", "create", "dev", "--wait", "agent"], &PLAIN[..]].concat());
    assert_eq!(banger.json(&["vm", "list"]).as_array().unwrap().len(), 0);
    assert_eq!(banger.leftovers(), Vec::<String>::new());
    without_stages(&said)
}

/// What a command says, but for the stages that it went through and what has other ids each time.
pub fn without_stages(said: &str) -> String {
    let hex = |word: &str| word.len() >= 8 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let line = |line: &str| {
        let (words, mut rest) = (line.split('/'), Vec::new());
        words.for_each(|word| rest.push(if hex(word) { "ID" } else { word }));
        rest.join("/")
    };
    let stage = |line: &&str| {
        !["seed ", "disks ", "prepare ", "boot ", "agent "].iter().any(|s| line.starts_with(s))
    };
    let (code, said) = said.split_once(' ').unwrap();
    let lines: Vec<_> = said.lines().filter(stage).map(line).collect();
    format!("{code} {}", lines.join("\n"))
}

/// A folder with all programs of the host but one: what PATH is then.
fn all_but(banger: &Sandbox, missing: &str) -> String {
    let folder = banger.dir().join("all-but");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    for place in std::env::split_paths(&std::env::var_os("PATH").unwrap()) {
        for program in fs::read_dir(place).into_iter().flatten().flatten() {
            let name = program.file_name();
            if name != missing {
                // The first of a name wins, as on PATH.
                let _ = std::os::unix::fs::symlink(program.path(), folder.join(name));
            }
        }
    }
    folder.to_str().unwrap().to_owned()
}

#[test]
fn a_vm_needs_qemu() {
    let mut banger = Sandbox::with_fakes(Guest::Healthy);
    banger.configure("ready_seconds = 2");

    banger.install("qemu-system-x86_64", "#!/bin/sh\necho 'no room for the machine' >&2\nexit 7\n");
    insta::assert_snapshot!(refused(&banger), @r"
    1 error: qemu-system-x86_64 ended as soon as it was started (exit status 7):
    no room for the machine
    hint: 'banger doctor' says what does not work here
    ");
    banger.install("qemu-system-x86_64", "#!/bin/sh\nkill -9 $$\n");
    insta::assert_snapshot!(refused(&banger), @r"
    1 error: qemu-system-x86_64 ended as soon as it was started (signal 9)
    hint: 'banger doctor' says what does not work here
    ");
    banger.install("qemu-system-x86_64", "#!/bin/sh\nwhile :; do sleep 0.1; done\n");
    insta::assert_snapshot!(refused(&banger), @r"
    1 error: the VM did not reach 'boot' within 2 s: the monitor of QEMU does not answer: No such file or directory (os error 2)
    hint: 'banger doctor' says what does not work here; if this machine is only slow, raise 'ready_seconds' in the configuration
    ");
    banger.install(
        "qemu-system-x86_64",
        "#!/bin/sh\n[ $1 = --version ] && echo 'QEMU emulator version 5.2.0 (Debian 1:5.2)' && exit\n\
         echo \"qemu-system-x86_64: unsupported machine type 'microvm,acpi=on'\" >&2; exit 1\n",
    );
    insta::assert_snapshot!(refused(&banger), @r"
    1 error: qemu-system-x86_64 5.2 is too old, 7.2 or newer is needed: qemu-system-x86_64 ended as soon as it was started (exit status 1):
    qemu-system-x86_64: unsupported machine type 'microvm,acpi=on'
    hint: install a newer qemu-system-x86
    ");
    let doctor = banger.run(&["doctor"]).stdout;
    let line = doctor.lines().find(|line| line.contains("qemu-system-x86_64 ")).unwrap();
    assert!(line.contains("is 5.2; 7.2 or newer is needed"), "{line}");

    banger.uninstall("qemu-system-x86_64");
    let path = format!(
        "{}:{}",
        banger.dir().join("fake").display(),
        all_but(&banger, "qemu-system-x86_64")
    );
    banger.set("PATH", path);
    banger.set("BANGER_TOOLS", banger.dir().join("none"));
    banger.ok(&["daemon", "restart"]);
    insta::assert_snapshot!(refused(&banger), @r"
    1 error: qemu-system-x86_64 is not installed; it is needed for running VMs (package: qemu-system-x86)
    hint: install qemu-system-x86_64; 'banger doctor' says how, and what else is missing
    ");
    // It may be installed meanwhile: the daemon looks again.
    banger.configure("ready_seconds = 60");
    banger.ok(&["daemon", "restart"]);
    banger.install("qemu-system-x86_64", &fake::qemu_script());
    banger.ok(&[&["vm", "create", "dev", "--wait", "agent"], &PLAIN[..]].concat());
}

#[test]
fn a_vm_needs_its_vsock_process() {
    let mut banger = Sandbox::with_fakes(Guest::Healthy);
    banger.configure("ready_seconds = 2");
    banger.install("vhost-device-vsock", "#!/bin/sh\necho 'cannot bind' >&2\nexit 3\n");
    insta::assert_snapshot!(refused(&banger), @r"
    1 error: vhost-device-vsock ended as soon as it was started (exit status 3):
    cannot bind
    hint: 'banger doctor' says what does not work here
    ");
    banger.install("vhost-device-vsock", "#!/bin/sh\nwhile :; do sleep 0.1; done\n");
    insta::assert_snapshot!(refused(&banger), @r"
    1 error: the VM did not reach 'prepare' within 2 s: nobody listens at /run/banger/vms/ID/vhost.sock
    hint: 'banger doctor' says what does not work here; if this machine is only slow, raise 'ready_seconds' in the configuration
    ");
    banger.set("PATH", all_but(&banger, "vhost-device-vsock"));
    banger.set("BANGER_TOOLS", banger.dir().join("none"));
    banger.ok(&["daemon", "restart"]);
    insta::assert_snapshot!(refused(&banger), @r"
    1 error: vhost-device-vsock is not installed; it is needed for reaching the agent in VMs (vsock for QEMU without kernel support) (package: vhost-device-vsock (cargo install))
    hint: install vhost-device-vsock; 'banger doctor' says how, and what else is missing
    ");
}
