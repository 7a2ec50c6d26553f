//! An image of files that a person has, and what becomes of it when they change.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use banger_exec::{Command, HostRunner, Runner as _, Tool, Tools};

use crate::bad_host::without_stages;
use crate::harness::{As, Plain, Sandbox};

const PLAIN: [&str; 6] = ["--network", "none", "--memory", "512M", "--wait", "ssh"];

/// A root that knows nothing of banger, and its kernel, of the image in `image`.
fn files(banger: &Sandbox, image: &Path) {
    let mine = banger.dir().join("mine");
    fs::create_dir(&mine).unwrap();
    let runner = HostRunner::new(Tools::discover());
    for name in ["rootfs.ext4", "vmlinux"] {
        let copy = Command::new(Tool::Cp).args(["--sparse=always", "--no-preserve=mode"]);
        runner.capture(&copy.args([image.join(name), mine.join(name)])).unwrap();
    }
    let ours = [
        "/usr/lib/banger/banger-agent",
        "/etc/systemd/system/banger-agent.service",
        "/etc/systemd/system/banger-bootstrap.service",
        "/etc/systemd/system/sysinit.target.wants/banger-agent.service",
        "/etc/systemd/system/sysinit.target.wants/banger-bootstrap.service",
        "/etc/ssh/sshd_config.d/00-banger.conf",
    ];
    let requests: String = ours.iter().map(|path| format!("rm {path}\n")).collect();
    let remove = Command::new(Tool::Debugfs).args(["-w", "-f", "-"]).arg(mine.join("rootfs.ext4"));
    let said = runner.capture(&remove.stdin(requests)).unwrap();
    assert!(!said.stderr.contains("not found"), "{}", said.stderr);
}

fn overwrite(file: &Path, at: u64, bytes: &[u8]) -> Vec<u8> {
    let file = File::options().read(true).write(true).open(file).unwrap();
    let mut before = vec![0; bytes.len()];
    file.read_exact_at(&mut before, at).unwrap();
    file.write_all_at(bytes, at).unwrap();
    before
}

#[test]
fn a_persons_files_boot_and_become_bangers_own() {
    let banger = Sandbox::new(As::Me);
    files(&banger, &banger.image());
    let mine = banger.dir().join("mine");
    let path = |name: &str| mine.join(name).to_str().unwrap().to_owned();
    let home = banger.dir().join("home");
    fs::create_dir(&home).unwrap();
    fs::write(home.join("seeded"), "seeded\n").unwrap();
    let seed = Command::new(Tool::Mke2fs).args(["-q", "-t", "ext4", "-E", "root_owner=0:0", "-d"]);
    let seed = seed.args([&home, &mine.join("seed")]).arg("64M");
    HostRunner::new(Tools::discover()).capture(&seed).unwrap();
    let register = |name: &str, kernel: &str| {
        let (rootfs, kernel, seed) = (path("rootfs.ext4"), path(kernel), path("seed"));
        let files = ["--rootfs", &rootfs, "--kernel", &kernel, "--work-seed", &seed];
        banger.run(&[&["image", "register", "--name", name], &files[..]].concat())
    };
    let refused = register("none", "rootfs.ext4");
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("it has more than 512 MiB"), "{}", refused.stderr);
    assert_eq!(banger.json(&["image", "list"]).as_array().unwrap().len(), 1);

    assert_eq!(register("mine", "vmlinux").code, 0);
    let shown = banger.json(&["image", "show", "mine"]);
    assert_eq!(shown["source"]["kind"], "registered");
    assert_eq!(shown["in_place"]["rootfs"], path("rootfs.ext4"));
    banger.ok(&[&["vm", "create", "dev", "--image", "mine"], &PLAIN[..]].concat());
    let script = "hostname; cat /root/seeded; echo kept > /etc/kept; echo kept > /root/kept";
    assert_eq!(banger.ok(&["vm", "exec", "dev", "--", script]), "dev\nseeded");
    banger.ok(&["vm", "stop", "dev"]);

    // Touched, it is read once; changed, it serves no more.
    let rootfs = mine.join("rootfs.ext4");
    let last = fs::metadata(&rootfs).unwrap().len() - 4096;
    let before = overwrite(&rootfs, last, b"other");
    let said = without_stages(&banger.fails(&["vm", "start", "dev"]));
    assert!(said.contains("does not hold what it was made with"), "{said}");
    overwrite(&rootfs, last, &before);
    let started = banger.run(&["vm", "start", "dev", "--wait", "ssh"]);
    assert_eq!(started.code, 0, "{}", started.stderr);
    assert!(started.stderr.contains("fingerprint"), "{}", started.stderr);
    let again = banger.run(&["vm", "restart", "dev", "--wait", "agent"]);
    assert!(!again.stderr.contains("fingerprint"), "{}", again.stderr);
    banger.ok(&["vm", "stop", "dev"]);

    // Promoted, it needs the person's files no more.
    banger.ok(&["image", "promote", "mine"]);
    banger.ok(&["image", "promote", "mine"]);
    fs::remove_dir_all(&mine).unwrap();
    assert!(banger.json(&["image", "show", "mine", "--verify"])["in_place"].is_null());
    banger.ok(&["vm", "start", "dev", "--wait", "ssh"]);
    assert_eq!(banger.ok(&["vm", "exec", "dev", "--", "cat /etc/kept /root/kept"]), "kept\nkept");

    // What VMs use, and what they would by default, is not pruned.
    banger.ok(&["image", "prune", "--yes"]);
    assert_eq!(banger.json(&["image", "list"]).as_array().unwrap().len(), 2);
    banger.ok(&["vm", "delete", "--yes", "dev"]);
    let told = banger.ok(&["image", "prune", "--dry-run"]);
    assert!(told.starts_with("would be deleted: mine ("), "{told}");
    assert_eq!(banger.run(&["image", "prune"]).code, 2);
    banger.ok(&["image", "prune", "--yes"]);
    assert_eq!(banger.json(&["image", "list"]).as_array().unwrap().len(), 1);
    assert_eq!(banger.leftovers(), Vec::<String>::new());
}

#[test]
fn a_distributions_own_initramfs_boots_and_the_root_is_told_who_it_is() {
    let (banger, plain) = (Sandbox::bare(As::Me), Plain::new());
    let mine = |name: &str| banger.dir().join(name).to_str().unwrap().to_owned();
    let (kernel, initrd) = (mine("vmlinuz"), mine("initrd"));
    plain.take("./boot/vmlinuz-", Path::new(&kernel));
    plain.take("./boot/initrd.img-", Path::new(&initrd));
    let rootfs = plain.rootfs();
    let register = ["image", "register", "--name", "mine", "--rootfs", rootfs.to_str().unwrap()];
    banger.ok(&[&register[..], &["--kernel", &kernel, "--initrd", &initrd]].concat());
    let create = ["vm", "create", "dev", "--image", "mine", "--memory", "1G", "--wait", "ssh"];
    banger.ok(&create);
    let spec = banger.json(&["vm", "show", "dev"])["spec"].clone();
    assert_eq!(spec["root_disk"], "clone");
    let exec = |script: &str| banger.ok(&["vm", "exec", "dev", "--", script]);
    assert_eq!(
        exec("hostname; findmnt -no SOURCE /root; ip -br -4 address show eth0 | awk '{print $3}'"),
        "dev\n/dev/vdb\n10.0.2.15/24"
    );
    assert_eq!(
        exec("ls -d /run/initramfs; stat -c %a /usr/lib/banger/bootstrap"),
        "/run/initramfs\n755"
    );

    // Killed, its root was not unmounted: its journal is replayed before it is written to.
    exec("echo kept > /etc/kept; sync; echo x > /etc/more");
    banger.ok(&["vm", "kill", "dev"]);
    banger.ok(&["vm", "rename", "dev", "other"]);
    banger.ok(&["vm", "start", "other", "--wait", "ssh"]);
    assert_eq!(banger.ok(&["vm", "exec", "other", "--", "hostname; cat /etc/kept"]), "other\nkept");
    let refused =
        banger.run(&[&create[..3], &["--image", "mine", "--root-disk", "qcow2"]].concat());
    assert_eq!(refused.code, 2);
    insta::assert_snapshot!(refused.stderr, @r"
    error: the root disk 'qcow2' is not possible: its initramfs is not banger's, so its root is written to before it boots
    hint: use 'clone'
    ");
    banger.ok(&["vm", "delete", "--yes", "other"]);

    // It is built upon, too, with a network that the kernel is told of.
    let script = mine("script");
    let text = "#!/bin/sh -e\ngrep -o 'ip=10[^ ]*' /proc/cmdline\necho built > /etc/built\n";
    fs::write(&script, text).unwrap();
    let build = ["image", "build", "--from", "mine", "--name", "built", "--run", &script];
    let built = banger.run(&build);
    assert_eq!(built.code, 0, "{}", built.stderr);
    assert!(
        built.stderr.contains("ip=10.0.2.15::10.0.2.2:255.255.255.0::eth0:off"),
        "{}",
        built.stderr
    );
    assert_eq!(banger.leftovers(), Vec::<String>::new());
}
