//! A disk that is full, in every stage of an image build.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::thread;

use crate::full_disk::{MIB, SmallDisk};
use banger_testkit::Mirror;

use crate::alpine::key as alpine_key;
use crate::harness::{As, Sandbox, alpine_mirror};
use crate::void::Served;

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

/// In each stage of a build of signed packages: also in the boot that finishes its root.
#[test]
fn a_disk_that_is_full_stops_a_build_of_signed_packages_and_leaves_nothing() {
    let banger = Sandbox::bare(As::Me);
    let alpine = Mirror::start(&alpine_mirror()).unwrap();
    let key = alpine_key(&banger);
    let build = |words: &[&str]| -> Vec<String> {
        let build = ["image", "build"].iter().chain(words);
        build.chain(&["--no-opencode", "--size", "512M", "--json"]).map(|w| w.to_string()).collect()
    };
    let of_alpine = build(&["alpine", "--mirror", &alpine.url, "--key", &key]);
    let void = Served::new(banger.dir());
    let of_void = [void.build(), vec!["--json".to_owned()]].concat();
    let state = banger.state("");
    let Some(disk) = SmallDisk::mount(&banger, &state, 1024 * MIB) else { return };
    let banger = banger;
    banger.ok(&["daemon", "start"]);
    let failed = |said: &str, left: u64| {
        let lines = said.lines().filter_map(|line| serde_json::from_str(line).ok());
        let events: Vec<serde_json::Value> = lines.collect();
        let last = events.last().unwrap();
        assert_eq!(last["result"], "failed", "{left}: {last}");
        let message = last["failure"]["message"].as_str().unwrap();
        assert!(message.contains("No space left on device"), "{left}: {message}");
        let remedy = last["failure"]["remedy"].as_str().unwrap_or_default();
        assert!(remedy.starts_with("make room on that disk"), "{last}");
        assert!(last["failure"]["rollback"].as_array().is_none_or(Vec::is_empty), "{last}");
        assert_eq!(banger.leftovers(), Vec::<String>::new());
        assert_eq!(fs::read_dir(state.join("images")).map_or(0, Iterator::count), 0);
        assert!(disk.free() + MIB >= left, "{left}: {} bytes are free", disk.free());
        let stage = events.iter().rfind(|event| event["event"] == "stage_started").unwrap();
        stage["stage"].as_str().unwrap().to_owned()
    };
    let log = banger.dir().join("started.log");
    let said = || fs::read_to_string(&log).unwrap_or_default();
    for (build, expected) in [
        (of_alpine, &["index", "kernel", "packages", "provision", "rootfs"][..]),
        (of_void, &["kernel", "packages", "provision", "release", "rootfs"]),
    ] {
        let build: Vec<_> = build.iter().map(String::as_str).collect();
        let mut stages = BTreeSet::new();
        for left in [0, 20, 60, 120, 180].map(|mib| mib * MIB) {
            disk.fill(left);
            stages.insert(failed(&banger.run(&build).stdout, left));
        }
        disk.fill(1024 * MIB);
        fs::write(&log, "").unwrap();
        banger.start(&build);
        banger.until("its VM boots", || said().contains(r#""stage":"boot""#));
        disk.fill(0);
        banger.until("it fails", || said().contains(r#""result":"#));
        stages.insert(failed(&said(), 0));
        assert_eq!(Vec::from_iter(stages), expected);
    }
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
