//! Images made by Firecracker and the device mapper, in the lab. `script/soak` runs it.

use banger_exec::{Command, Tool};

use crate::harness::{Lab, Plain, soaks, tool};
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
