//! VMs of images that were made for containers.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use banger_exec::Tool;
use banger_testkit::{Registry, others};

use crate::full_disk::{MIB, SmallDisk};
use crate::harness::{As, Plain, Sandbox, tool};

const PLAIN: [&str; 6] = ["--no-opencode", "--memory", "512M", "--wait", "ssh", "--json"];

/// A layout of the OCI, as umoci makes it.
struct Layout(PathBuf);

impl Layout {
    fn new(dir: &Path) -> Self {
        let layout = Self(dir.join("layout"));
        layout.umoci(&["init", "--layout", layout.0.to_str().unwrap()]);
        layout
    }

    fn image(&self, name: &str) -> String {
        format!("{}:{name}", self.0.display())
    }

    fn umoci(&self, args: &[&str]) {
        tool(others(Tool::Umoci, self.0.parent().unwrap()).args(args));
    }

    /// Makes an image of layers, on those of another.
    fn make(&self, name: &str, base: Option<&str>, layers: &[&Path]) {
        let image = self.image(name);
        match base {
            None => self.umoci(&["new", "--image", &image]),
            Some(base) => self.umoci(&["tag", "--image", &self.image(base), name]),
        }
        for layer in layers {
            self.umoci(&["raw", "add-layer", "--image", &image, layer.to_str().unwrap()]);
        }
        let config = ["config", "--image", &image, "--os", "linux", "--architecture", "amd64"];
        self.umoci(&config);
    }

    /// Copies an image to where skopeo understands `to`.
    fn copy(&self, name: &str, to: &str) {
        let skopeo = others(Tool::Skopeo, self.0.parent().unwrap()).arg("--insecure-policy");
        let copy = skopeo.args(["copy", "--dest-tls-verify=false"]);
        tool(copy.arg(format!("oci:{}", self.image(name))).arg(to));
    }
}

/// A layer of empty files.
fn empty_files(layer: &Path, paths: &[&str]) {
    let mut tar = tar::Builder::new(fs::File::create_new(layer).unwrap());
    for path in paths {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_size(0);
        tar.append_data(&mut header, path, &[][..]).unwrap();
    }
    tar.finish().unwrap();
}

/// Images of one system with three inits: in the upper ones, whiteouts hide what the lower has.
fn layout(dir: &Path) -> Layout {
    let (plain, layout) = (Plain::new(), Layout::new(dir));
    layout.make("systemd", None, &[&plain.layer("base")]);
    let hidden = dir.join("hidden.tar");
    let programs = ["init", "reboot", "shutdown", "poweroff", "halt"];
    let programs = programs.map(|name| format!("usr/sbin/.wh.{name}"));
    let systemd = ["usr/lib/systemd/.wh.systemd", "etc/ssh/sshd_config"];
    empty_files(&hidden, &programs.iter().map(String::as_str).chain(systemd).collect::<Vec<_>>());
    layout.make("none", Some("systemd"), &[&hidden]);
    layout.make("openrc", Some("none"), &[&plain.layer("openrc")]);
    layout.make("runit", Some("none"), &[&plain.layer("runit-init")]);
    layout
}

#[test]
fn systems_made_for_containers_boot_whatever_starts_their_services() {
    let banger = Sandbox::new(As::Me);
    let registry = Registry::start(|_| Ok(String::new())).unwrap();
    let layout = layout(banger.dir());
    let name = format!("{}/team/systemd:1", registry.address);
    layout.copy("systemd", &format!("docker://{name}"));
    let archive = banger.dir().join("runit.v1.tar");
    layout.copy("runit", &format!("docker-archive:{}:example.org/runit:1", archive.display()));

    let pulled = banger.run(&["image", "pull", &name]);
    assert_eq!(pulled.code, 0, "{}", pulled.stderr);
    for said in ["pull", "layers", "Debian GNU/Linux 12 (bookworm), with systemd", "rootfs"] {
        assert!(pulled.stderr.contains(said), "{said}: {}", pulled.stderr);
    }
    let shown = banger.json(&["image", "show", "systemd", "--verify"]);
    assert_eq!(shown["source"]["reference"], name);
    let digest = shown["source"]["digest"].as_str().unwrap();
    let pinned = format!("{}/team/systemd@{digest}", registry.address);
    let id = shown["id"].as_str().unwrap();
    let packages =
        fs::read_to_string(banger.state("images").join(id).join("packages.txt")).unwrap();
    assert!(packages.contains("\nopenssh-server 1:"), "{packages}");
    // What is there need not come again.
    drop(registry);
    assert!(banger.fails(&["image", "pull", &pinned, "--name", "pinned"]).contains("cannot reach"));

    banger.ok(&["image", "import", archive.to_str().unwrap()]);
    let folder = layout.0.to_str().unwrap();
    let import = ["image", "import", folder, "--reference"];
    banger.ok(&[&import[..], &["openrc", "--name", "openrc", "--size", "2G"]].concat());
    let several = banger.fails(&import[..3]);
    assert!(several.contains("there are several images: choose one of"), "{several}");
    let none = banger.fails(&[&import[..], &["none"]].concat());
    let (_, none) = none.split_once("\nerror: ").unwrap();
    insta::assert_snapshot!(none, @"the image could not be made: no VM can be made of /layout (none): it is Debian GNU/Linux 12 (bookworm), and it has no systemd, OpenRC or runit, one of which must start its services");

    for (init, reload) in [
        ("systemd", "systemctl is-active ssh banger-agent"),
        ("openrc", "rc-service banger-agent status >/dev/null && rc-service banger-sshd status"),
        ("runit", "sv check banger-agent >/dev/null && cat /proc/1/comm"),
    ] {
        assert_eq!(banger.json(&["image", "show", init])["init"], init);
        banger.ok(&[&["vm", "create", init, "--image", init], &PLAIN[..]].concat());
        let exec = |script: &str| banger.ok(&["vm", "exec", init, "--", script]);
        let identity = exec("hostname; ip -br -4 address show eth0 | awk '{print $3}'; uname -r");
        let release = shown["boot_set"]["kernel_release"].as_str().unwrap();
        assert_eq!(identity, format!("{init}\n10.0.2.15/24\n{release}"));
        println!("{init}: {}", exec(reload));
        // The modules of its kernel are there, and host keys are its own.
        assert_eq!(exec("modprobe dummy && ls /etc/ssh/ssh_host_*.pub | wc -l"), "1");
        exec("echo kept > /etc/kept; echo kept > /root/kept");
        banger.ok(&["vm", "restart", init, "--wait", "ssh"]);
        assert_eq!(exec("cat /etc/kept /root/kept"), "kept\nkept");
        assert!(banger.ok(&["vm", "stop", init]).contains("is stopped"));
        banger.ok(&["vm", "delete", "--yes", init]);
    }
    assert_eq!(banger.leftovers(), Vec::<String>::new());
}

#[test]
fn a_pull_is_cancelled_in_any_stage_and_leaves_nothing() {
    let banger = Sandbox::new(As::Me);
    let layout = layout(banger.dir());
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("{}/a:1", silent.local_addr().unwrap());
    let folder = layout.0.to_str().unwrap();
    let import = ["image", "import", folder, "--reference", "systemd", "--name", "made"];
    let pull = ["image", "pull", silent.as_str()];
    let stages =
        [("pull", &pull[..]), ("layers", &import), ("kernel", &import), ("rootfs", &import)];
    let log = banger.dir().join("started.log");
    let said = || fs::read_to_string(&log).unwrap_or_default();
    let begin = |stage: &str, command: &[&str]| {
        let _ = fs::remove_file(&log);
        let pid = banger.start(&[command, &["--json"]].concat());
        let begun = format!(r#""stage":"{stage}""#);
        banger.until(&format!("the stage {stage} begins"), || {
            said().lines().any(|line| line.contains("stage_started") && line.contains(&begun))
        });
        pid
    };
    let images = || banger.json(&["image", "list"]).as_array().unwrap().len();
    for (stage, command) in stages {
        let pid = begin(stage, command);
        banger.interrupt(pid);
        banger.until("it is cancelled", || {
            let said = said();
            assert!(!said.contains("succeeded") && !said.contains("failed"), "{said}");
            said.contains("cancelled") && banger.leftovers().is_empty()
        });
        assert_eq!(images(), 1, "{stage}");
    }
    // The same when the daemon ends in the middle.
    let pid = begin("rootfs", &import);
    banger.kill_9(banger.daemon_pid());
    banger.until("its client ends", || !Path::new(&format!("/proc/{pid}/exe")).exists());
    banger.ok(&["daemon", "start"]);
    banger.until("it is undone", || banger.leftovers().is_empty());
    assert_eq!(images(), 1);
}

#[test]
fn a_disk_that_is_full_stops_an_import_and_leaves_nothing() {
    let banger = Sandbox::new(As::Me);
    let image = banger.dir().join("debian");
    fs::rename(banger.image(), &image).unwrap();
    let state = banger.state("");
    let Some(disk) = SmallDisk::mount(&banger, &state, 1024 * MIB) else { return };
    let banger = banger;
    let at = |name: &str| image.join(name).to_str().unwrap().to_owned();
    let register = ["image", "register", "--name", "debian", "--rootfs", &at("rootfs.ext4")];
    banger.ok(&[&register[..], &["--kernel", &at("vmlinux")]].concat());

    let layout = Layout::new(banger.dir());
    let (programs, large) = (banger.dir().join("programs.tar"), banger.dir().join("large.tar"));
    empty_files(&programs, &["usr/lib/systemd/systemd", "usr/sbin/sshd", "usr/sbin/ip"]);
    let mut tar = tar::Builder::new(fs::File::create_new(&large).unwrap());
    let mut header = tar::Header::new_gnu();
    header.set_size(16 * MIB);
    let noise = fs::File::open("/dev/urandom").unwrap().take(16 * MIB);
    tar.append_data(&mut header, "usr/large", noise).unwrap();
    tar.finish().unwrap();
    layout.make("small", None, &[&programs, &large]);

    let archive = banger.dir().join("small.tar");
    layout.copy("small", &format!("oci-archive:{}", archive.display()));
    let mut stages = BTreeSet::new();
    for left in (0..20).map(|step| step * 40 * MIB) {
        disk.fill(left);
        let import = ["image", "import", archive.to_str().unwrap(), "--size", "512M", "--json"];
        let ran = banger.run(&import);
        let events: Vec<serde_json::Value> =
            ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let last = events.last().unwrap();
        assert_eq!(banger.leftovers(), Vec::<String>::new());
        if last["result"] == "succeeded" {
            break;
        }
        let message = last["failure"]["message"].as_str().unwrap();
        assert!(message.contains("No space left on device"), "{left}: {message}");
        assert!(last["failure"]["rollback"].as_array().is_none_or(Vec::is_empty), "{last}");
        assert_eq!(banger.json(&["image", "list"]).as_array().unwrap().len(), 1);
        assert!(disk.free() + MIB >= left, "{left}: {} bytes are free", disk.free());
        let stage = events.iter().rfind(|event| event["event"] == "stage_started").unwrap();
        stages.insert(stage["stage"].as_str().unwrap().to_owned());
    }
    println!("with less room it failed in {stages:?}");
    assert!(stages.contains("kernel") && stages.contains("rootfs"), "{stages:?}");
    assert!(banger.json(&["image", "show", "small", "--verify"])["damage"].is_null());
    banger.ok(&["daemon", "stop"]);
}
