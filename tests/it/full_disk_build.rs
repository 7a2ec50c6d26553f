//! A disk that is full, in every stage of an image build.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::thread;

use crate::full_disk::{MIB, SmallDisk};
use crate::harness::{As, Sandbox};

/// Installs packages in no time: a kernel, and a file that takes as much again when it is unpacked.
fn install_packages(banger: &mut Sandbox, kernel: &Path) {
    let tree = banger.dir().join("packages");
    let modules = tree.join("usr/lib/modules/6.1-test");
    for folder in [&modules, &tree.join("boot"), &tree.join("var/lib/dpkg")] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::rename(kernel, tree.join("boot/vmlinuz-6.1-test")).unwrap();
    fs::write(tree.join("boot/banger-kernel-status"), "").unwrap();
    fs::write(tree.join("var/lib/dpkg/status"), "").unwrap();
    fs::write(tree.join("usr/large"), vec![1; 16 << 20]).unwrap();
    fs::write(modules.join("modules.dep"), "").unwrap();
    let builtin = "virtio_mmio.ko\nvirtio_blk.ko\next4.ko\nvirtio_net.ko\n\
                   vmw_vsock_virtio_transport.ko\nvirtio_rng.ko\n";
    fs::write(modules.join("modules.builtin"), builtin).unwrap();
    let tree = tree.display();
    banger.install(
        "mmdebstrap",
        &format!(
            "#!/bin/sh\nfor arg; do case $arg in *.tar) out=$arg;; esac; done\n\
             exec tar -cf \"$out\" -C {tree} .\n"
        ),
    );
}

/// Builds an image. Returns the stage that it failed in and what was said; nothing if it was built.
fn build(banger: &Sandbox, options: &[&str]) -> Option<(String, String)> {
    let command = ["image", "build", "debian", "--size", "512M", "--json"];
    let built = banger.run(&[&command, options].concat());
    let events: Vec<serde_json::Value> =
        built.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = events.last().unwrap();
    if last["result"] == "succeeded" {
        return None;
    }
    let stage = events.iter().rfind(|event| event["event"] == "stage_started").unwrap();
    let failure = &last["failure"];
    let message = failure["message"].as_str().unwrap().to_owned();
    assert!(message.contains("No space left on device"), "{message}");
    assert!(message.contains(banger.dir().to_str().unwrap()), "{message}");
    let remedy = failure["remedy"].as_str().unwrap_or_default();
    assert!(remedy.starts_with("make room on that disk"), "{failure}");
    assert!(failure["rollback"].as_array().is_none_or(Vec::is_empty), "{failure}");
    assert_eq!(banger.leftovers(), Vec::<String>::new());
    Some((stage["stage"].as_str().unwrap().to_owned(), message))
}

#[test]
fn a_disk_that_is_full_stops_a_build_in_any_stage_and_leaves_nothing() {
    let mut banger = Sandbox::new(As::Me);
    let kernel = banger.dir().join("vmlinux");
    fs::hard_link(banger.image().join("vmlinux"), &kernel).unwrap();
    let size = fs::metadata(&kernel).unwrap().len();
    install_packages(&mut banger, &kernel);
    let state = banger.state("");
    let Some(disk) = SmallDisk::mount(&banger, &state, 512 * MIB) else { return };
    // Dropped first.
    let banger = banger;
    banger.ok(&["daemon", "start"]);
    let mut said = BTreeMap::new();
    let mut build_in = |left: u64| {
        disk.fill(left);
        let failed = build(&banger, &["--no-opencode"]);
        if failed.is_none() {
            banger.ok(&["image", "delete", "debian"]);
        }
        let images = fs::read_dir(state.join("images"));
        assert_eq!(images.map_or(0, Iterator::count), 0);
        // What was not built takes no room.
        assert!(disk.free() + MIB >= left, "{left}: {} bytes are free", disk.free());
        let (stage, message) = failed?;
        said.insert(stage.clone(), message);
        Some(stage)
    };
    let (mut little, mut enough) = (size, 4 * size);
    while enough - little > 4096 {
        let between = (little + enough) / 2;
        if build_in(between).is_none() { enough = between } else { little = between }
    }
    let stages = [0, size + 24 * MIB, enough - 8 * MIB, enough - 4096].map(build_in);
    println!("a build takes {enough} bytes; with less:\n{said:#?}");
    assert_eq!(stages, ["bootstrap", "kernel", "rootfs", "describe"].map(|s| Some(s.to_owned())));
    banger.ok(&["daemon", "stop"]);
}

/// The same with packages of Debian's, by the real mmdebstrap.
#[test]
fn a_disk_that_is_full_stops_a_real_bootstrap_and_leaves_nothing() {
    let banger = Sandbox::bare(As::Me);
    let Some(disk) = SmallDisk::mount(&banger, &banger.state(""), 48 * MIB) else { return };
    let banger = banger;
    let (stage, message) = build(&banger, &["--no-opencode"]).unwrap();
    assert_eq!(stage, "bootstrap", "{message}");
    assert!(disk.free() > 30 * MIB, "{} bytes are free", disk.free());
    banger.ok(&["daemon", "stop"]);
}

#[test]
fn a_disk_that_is_full_stops_a_download_and_leaves_nothing() {
    let registry = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut banger = Sandbox::bare(As::Me);
    let npmrc = banger.dir().join("npmrc");
    let address = registry.local_addr().unwrap();
    fs::write(&npmrc, format!("registry=http://{address}\n")).unwrap();
    banger.set("NPM_CONFIG_USERCONFIG", npmrc);
    let cache = banger.dir().join("cache/banger");
    let Some(disk) = SmallDisk::mount(&banger, &cache, MIB) else { return };
    let banger = banger;
    thread::spawn(move || {
        for stream in registry.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 8 * MIB);
            // The other side ends when its disk is full.
            let _ = stream.write_all(&[0; 8 << 20]);
        }
    });
    let (stage, message) = build(&banger, &[]).unwrap();
    assert_eq!(stage, "opencode", "{message}");
    assert_eq!(fs::read_dir(&cache).unwrap().count(), 0);
    banger.ok(&["daemon", "stop"]);
    drop(disk);
}
