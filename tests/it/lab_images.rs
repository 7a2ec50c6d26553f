//! Images made by Firecracker and the device mapper, in the lab. `script/soak` runs it.

use std::fs;
use std::path::{Path, PathBuf};

use banger_core::bootargs;
use banger_exec::{Command, Tool};
use banger_testkit::{ApkRepository, Mirror};

use crate::harness::{
    As, Lab, Plain, Stock, alpine_mirror, alpine_mirror_with_musl, base, soaks, tool,
};
use crate::lab::{CREATE, NOTHING};
use crate::void::Served;

#[test]
fn the_lab_makes_images() {
    if !soaks() {
        return;
    }
    let lab = Lab::with(|root| {
        let plain = Plain::new();
        plain.take("./boot/vmlinuz-", &root.join("dev/vmlinuz"));
        plain.take("./boot/initrd.img-", &root.join("dev/initrd"));
        let copy = Command::new(Tool::Cp).arg("--sparse=always");
        tool(copy.arg(plain.rootfs()).arg(root.join("dev/rootfs")));
    });
    let dev = |script: &str| lab.dev(&format!("cd && {script}"));
    dev("printf 'vmm = \"firecracker\"\n' >> config/banger/config.toml && banger daemon start");

    // Built in a VM of Firecracker's.
    let script = "#!/bin/sh\nls -d /sys/bus/virtio/devices/virtio0 && echo made > /etc/made\n";
    dev(&format!("printf '%s' '{script}' > script; chmod 755 script"));
    let built = dev(
        "banger image build --from lab --name made --memory 256M --vcpus 1 --size 1600M --run script 2>&1",
    );
    assert!(built.contains("/sys/bus/virtio/devices/virtio0"), "{built}");
    let create = |image: &str, name: &str| {
        dev(&format!(
            "{} {name} --wait ssh",
            CREATE.replace("--image lab", &format!("--image {image}"))
        ));
        let spec = lab.show(name)["spec"].clone();
        assert_eq!(spec["root_disk"], "dm-snapshot", "{spec}");
    };
    create("made", "one");
    let exec = |vm: &str, script: &str| dev(&format!("banger vm exec {vm} -- '{script}'"));
    assert_eq!(exec("one", "cat /etc/made; hostname"), "made\none");

    // An image of a root whose changes are the device mapper's.
    exec(
        "one",
        "echo more > /etc/made; head -c 9000000 /dev/urandom > /opt/data; sha256sum /opt/data > /opt/sum",
    );
    dev("banger vm stop one && banger image promote --from-vm one --name more");
    dev("banger vm delete --yes one");
    create("more", "two");
    assert_eq!(exec("two", "cat /etc/made; hostname; sha256sum -c --quiet /opt/sum"), "more\ntwo");
    dev("banger vm delete --yes two");

    // A distribution's own initramfs, with the root's identity written to the device.
    dev("banger image register --name stock --rootfs rootfs --kernel vmlinuz --initrd initrd");
    dev("banger image promote stock");
    create("stock", "three");
    assert_eq!(exec("three", "hostname; findmnt -no SOURCE /root"), "three\n/dev/vdb");
    exec("three", "echo kept > /etc/kept; sync; echo x > /etc/x");
    dev("banger vm kill three && banger vm rename three four");
    dev("banger vm start four --wait ssh");
    assert_eq!(exec("four", "hostname; cat /etc/kept"), "four\nkept");
    dev("banger vm delete --yes four");
    assert_eq!(lab.left(), NOTHING, "{}", dev("banger doctor || true"));
}

/// Built, finished in a boot of Firecracker's, and run on the network `nat`. opencode is in it where
/// `BANGER_MUSL` names a folder that `script/musl` has filled, and that has its package.
#[test]
fn the_lab_builds_and_runs_alpine() {
    if !soaks() {
        return;
    }
    let libraries = std::env::var_os("BANGER_MUSL").map(PathBuf::from);
    let folder = tempfile::tempdir().unwrap();
    let mirror = match &libraries {
        Some(libraries) => {
            alpine_mirror_with_musl(folder.path(), libraries);
            Mirror::start(folder.path()).unwrap()
        }
        None => Mirror::start(&alpine_mirror()).unwrap(),
    };
    let lab = Lab::with(|root| {
        fs::write(root.join("dev").join(ApkRepository::KEY), ApkRepository::PUBLIC).unwrap();
        if let Some(libraries) = &libraries {
            has_opencode(root, libraries);
        }
    });
    let dev = |script: &str| lab.dev(&format!("cd && {script}"));
    dev(START);
    let url = seen_by(&mirror);
    let (key, opencode) =
        (ApkRepository::KEY, if libraries.is_some() { "" } else { "--no-opencode" });
    let built = dev(&format!(
        "banger image build alpine --mirror {url} --key {key} --package hello {opencode} \
         --size 1G 2>&1"
    ));
    assert!(built.contains("sshd has its user"), "{built}");

    let memory = if libraries.is_some() { "768M" } else { "256M" };
    dev(&format!("banger vm create --image alpine --name alp --nat --memory {memory} --vcpus 1"));
    let shown = lab.show("alp");
    println!("created: {}", shown["run"]["ready"]);
    assert_eq!(shown["spec"]["vmm"], "firecracker", "{shown}");
    let exec = |script: &str| dev(&format!("banger vm exec alp -- '{script}'"));
    assert_eq!(exec("hostname; hello; cat /proc/1/comm"), "alp\nhello\ninit");
    let services = exec("rc-status --all --nocolor | tr -s \" \"");
    for service in ["sshd", "banger-agent", "banger-bootstrap", "localmount"] {
        let started = |line: &str| line.contains(&format!(" {service} [ started"));
        assert!(services.lines().any(started), "{service}: {services}");
    }
    answers(&lab, "alp", libraries.is_some());
    let address = shown["lease"]["address"].as_str().unwrap();

    // What the kernel's own configuration of the network would cost.
    let start = |vm: &str| {
        dev(&format!("banger vm stop {vm} && banger vm start {vm} --wait ssh"));
        lab.show(vm)["run"]["ready"].to_string()
    };
    println!("without ip=: {}", start("alp"));
    let image = shown["spec"]["image"].as_str().unwrap();
    let args = bootargs::SHARED;
    let ip = format!("ip={address}::{}:255.255.255.0::eth0:off", gateway(address));
    dev(&format!(
        "cd state/banger/images/{image} && banger image register --name slow --rootfs rootfs.ext4 \
         --kernel vmlinux --boot-args \"{args} {ip}\""
    ));
    dev("banger vm delete --yes alp");
    dev("banger vm create --image slow --name slow --nat --memory 256M --vcpus 1 --wait ssh");
    println!("with ip=: {}", start("slow"));
    dev("banger vm delete --yes slow");
    assert_eq!(lab.left(), NOTHING, "{}", dev("banger doctor || true"));
}

/// As Alpine, with runit and glibc.
#[test]
fn the_lab_builds_and_runs_void() {
    if !soaks() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let served = Served::new(folder.path());
    let lab = Lab::with(|root| {
        for key in served.keys() {
            fs::copy(&key, root.join("dev").join(key.file_name().unwrap())).unwrap();
        }
        has_opencode(root, &base(As::Me, Stock::Debian).join("cache/banger"));
    });
    let dev = |script: &str| lab.dev(&format!("cd && {script}"));
    dev(START);
    let keys = served.keys().map(|key| key.file_name().unwrap().to_str().unwrap().to_owned());
    let [release, repository] = keys;
    let url = seen_by(served.mirror());
    let built = dev(&format!(
        "banger image build void --name void-exp --mirror {url} --key {release} --key {repository} \
         --size 1G 2>&1"
    ));
    assert!(built.contains("configured: -a"), "{built}");

    dev("banger vm create --image void-exp --name vd --nat --memory 768M --vcpus 1");
    let shown = lab.show("vd");
    println!("created: {}", shown["run"]["ready"]);
    assert_eq!(shown["spec"]["vmm"], "firecracker", "{shown}");
    let exec = |script: &str| dev(&format!("banger vm exec vd -- '{script}'"));
    assert_eq!(exec("hostname; cat /proc/1/comm"), "vd\nrunit");
    let services = exec("sv status /etc/service/*");
    for service in ["opencode", "banger-agent", "banger-sshd"] {
        let runs = |line: &str| line.starts_with(&format!("run: /etc/service/{service}:"));
        assert!(services.lines().any(runs), "{service}: {services}");
    }
    answers(&lab, "vd", true);
    assert!(dev("banger vm stop vd").contains("is stopped"));
    dev("banger vm delete --yes vd");
    assert_eq!(lab.left(), NOTHING, "{}", dev("banger doctor || true"));
}

/// The daemon of the lab, which runs VMs in Firecracker, and bears with an opencode that is emulated
/// twice.
const START: &str = "printf 'vmm = \"firecracker\"\n' >> config/banger/config.toml && \
    sed -i 's/^ready_seconds.*/ready_seconds = 1500/' config/banger/config.toml && \
    banger daemon start";

/// Puts downloads of opencode where the lab's user has them.
fn has_opencode(root: &Path, downloads: &Path) {
    let cache = root.join("dev/.cache/banger");
    fs::create_dir_all(&cache).unwrap();
    for entry in fs::read_dir(downloads).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("opencode-") {
            fs::copy(entry.path(), cache.join(entry.file_name())).unwrap();
        }
    }
}

/// The address of a mirror: what is the host's own loopback here, as the lab sees it.
fn seen_by(mirror: &Mirror) -> String {
    mirror.url.replace("127.0.0.1", "10.0.2.2")
}

/// sshd and opencode are listed, and answer by the bridge.
fn answers(lab: &Lab, vm: &str, opencode: bool) {
    let shown = lab.show(vm);
    let address = shown["lease"]["address"].as_str().unwrap();
    let ports = lab.dev(&format!("banger vm ports {vm} --json"));
    assert!(ports.contains("22"), "{ports}");
    let greeting = lab.dev(&format!("timeout 60 head -c 4 < /dev/tcp/{address}/22"));
    assert_eq!(greeting, "SSH-");
    if opencode {
        assert!(ports.contains("4096"), "{ports}");
        let asks = format!(
            "exec 3<>/dev/tcp/{address}/4096; printf 'GET /global/health HTTP/1.0\\r\\n\\r\\n' >&3; \
             timeout 60 head -n 1 <&3"
        );
        // It wants its password.
        let answer = lab.dev(&asks);
        assert!(answer.starts_with("HTTP/1.") && answer.contains(" 401 "), "{answer}");
    }
}

/// The first address of a network of 256.
fn gateway(address: &str) -> String {
    let (network, _) = address.rsplit_once('.').unwrap();
    format!("{network}.1")
}
