//! Images made by Firecracker and the device mapper, in the lab. `script/soak` runs it.

use std::fs;

use banger_core::bootargs;
use banger_exec::{Command, Tool};
use banger_testkit::{ApkRepository, Mirror};

use crate::harness::{Lab, Plain, alpine_mirror, soaks, tool};
use crate::lab::{CREATE, NOTHING};

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

/// Built, finished in a boot of Firecracker's, and run on the network `nat`.
#[test]
fn the_lab_builds_and_runs_alpine() {
    if !soaks() {
        return;
    }
    let mirror = Mirror::start(&alpine_mirror()).unwrap();
    let lab = Lab::with(|root| {
        fs::write(root.join("dev").join(ApkRepository::KEY), ApkRepository::PUBLIC).unwrap();
    });
    let dev = |script: &str| lab.dev(&format!("cd && {script}"));
    dev("printf 'vmm = \"firecracker\"\n' >> config/banger/config.toml && banger daemon start");
    // The host's own loopback, as the lab sees it.
    let url = mirror.url.replace("127.0.0.1", "10.0.2.2");
    let key = ApkRepository::KEY;
    let built = dev(&format!(
        "banger image build alpine --mirror {url} --key {key} --package hello --no-opencode \
         --size 1G 2>&1"
    ));
    assert!(built.contains("sshd has its user"), "{built}");

    dev("banger vm create --image alpine --name alp --nat --memory 256M --vcpus 1 --wait ssh");
    let shown = lab.show("alp");
    assert_eq!(shown["spec"]["vmm"], "firecracker", "{shown}");
    let exec = |script: &str| dev(&format!("banger vm exec alp -- '{script}'"));
    assert_eq!(exec("hostname; hello; cat /proc/1/comm"), "alp\nhello\ninit");
    let services = exec("rc-status --all --nocolor | tr -s \" \"");
    for service in ["sshd", "banger-agent", "banger-bootstrap", "localmount"] {
        let started = |line: &str| line.contains(&format!(" {service} [ started"));
        assert!(services.lines().any(started), "{service}: {services}");
    }
    let ports = dev("banger vm ports alp --json");
    assert!(ports.contains("22"), "{ports}");
    let address = shown["lease"]["address"].as_str().unwrap();
    let greeting = dev(&format!("timeout 60 head -c 4 < /dev/tcp/{address}/22"));
    assert_eq!(greeting, "SSH-");

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

/// The first address of a network of 256.
fn gateway(address: &str) -> String {
    let (network, _) = address.rsplit_once('.').unwrap();
    format!("{network}.1")
}
