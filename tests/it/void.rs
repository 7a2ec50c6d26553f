//! Images of Void Linux, from a mirror whose packages are made of Debian's.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use banger_testkit::{Mirror, Trouble, VoidMirror};

use crate::harness::{As, Plain, Sandbox, copy_tree, soaks};

const ROOTFS: &str = "live/20250202/void-x86_64-ROOTFS-20250202.tar.xz";
const KMOD: &str = "current/kmod-30_1.x86_64.xbps";

/// What a mirror has, made once and kept for later runs.
fn made() -> PathBuf {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = PathBuf::from("/var/tmp/banger-test-void-3");
    if dir.join("ready").exists() {
        return dir;
    }
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir(&dir).unwrap();
    let plain = Plain::new();
    VoidMirror::make(&dir, &plain.layer("base"), &plain.layer("runit-init")).unwrap();
    fs::write(dir.join("ready"), "").unwrap();
    dir
}

/// A mirror of a sandbox's own, which may be changed.
pub struct Served {
    folder: PathBuf,
    mirror: Mirror,
    keys: VoidMirror,
}

impl Served {
    pub fn new(dir: &Path) -> Self {
        let folder = dir.join("mirror");
        copy_tree(&made(), &folder, false);
        let mirror = Mirror::start(&folder).unwrap();
        let keys = VoidMirror::at(&folder);
        Self { folder, mirror, keys }
    }

    /// What it is served by.
    pub fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    /// The keys of the release and of the repository.
    pub fn keys(&self) -> [PathBuf; 2] {
        [self.keys.release_key(), self.keys.repository_key()]
    }

    /// The command that builds an image, with the keys that it takes.
    pub fn build(&self) -> Vec<String> {
        let [release, repository] = &self.keys().map(|path| path.to_str().unwrap().to_owned());
        ["image", "build", "void", "--size", "1G", "--mirror", &self.mirror.url, "--no-opencode"]
            .into_iter()
            .chain(["--key", release, "--key", repository])
            .map(str::to_owned)
            .collect()
    }

    /// Does something to a file for as long as `work` takes.
    fn with<T>(&self, path: &str, change: &dyn Fn(&mut Vec<u8>), work: impl FnOnce() -> T) -> T {
        let path = self.folder.join(path);
        let right = fs::read(&path).unwrap();
        let mut wrong = right.clone();
        change(&mut wrong);
        fs::write(&path, wrong).unwrap();
        let done = work();
        fs::write(&path, right).unwrap();
        done
    }
}

fn words(line: &[String]) -> Vec<&str> {
    line.iter().map(String::as_str).collect()
}

#[test]
fn void_is_built_from_its_mirror_and_runs() {
    // Nothing of it needs root.
    let who = if rustix::process::geteuid().is_root() { As::User } else { As::Me };
    let banger = Sandbox::bare(who);
    let served = Served::new(banger.dir());
    let built = banger.run(&words(&served.build()));
    assert_eq!(built.code, 0, "{}", built.stderr);
    for said in
        ["release", "index", "openssh-9.2p1_1", "kernel", "rootfs", "provision", "configured: -a"]
    {
        assert!(built.stderr.contains(said), "{said}: {}", built.stderr);
    }
    let shown = banger.json(&["image", "show", "void", "--verify"]);
    assert_eq!(shown["source"]["release"], "20250202");
    assert_eq!(shown["init"], "runit");
    let id = shown["id"].as_str().unwrap();
    let packages =
        fs::read_to_string(banger.state("images").join(id).join("packages.txt")).unwrap();
    insta::assert_snapshot!(packages, @r"
    base-files 0.144_1 x86_64
    ca-certificates 20250419_1 x86_64
    glibc 2.36_1 x86_64
    iproute2 6.1.0_1 x86_64
    kmod 30_1 x86_64
    libcrypto3 3.0.17_1 x86_64
    linux6.1 6.1.0_1 x86_64
    openssh 9.2p1_1 x86_64
    removed-packages 0.1_2 x86_64
    runit-void 20250212_1 x86_64
    xbps 0.59.2_1 x86_64
    ");

    let wait = ["--no-opencode", "--memory", "512M", "--wait", "ssh"];
    banger.ok(&[&["vm", "create", "vd", "--image", "void"], &wait[..]].concat());
    let exec = |script: &str| banger.ok(&["vm", "exec", "vd", "--", script]);
    let release = shown["boot_set"]["kernel_release"].as_str().unwrap();
    let identity = exec("hostname; ip -br -4 address show eth0 | awk '{print $3}'; uname -r");
    assert_eq!(identity, format!("vd\n10.0.2.15/24\n{release}"));
    // No consoles, no udevd.
    let services = exec("cat /proc/1/comm; sv status /etc/service/* | sed 's/: [(0-9].*//'");
    insta::assert_snapshot!(services.replace("/etc/service/", ""), @r"
    runit
    run: banger-agent
    down: banger-bootstrap
    run: banger-sshd
    ");
    // Files that somebody changed are kept, others are of the new version, and what that has no more
    // is gone, with the package that another took the place of.
    assert_eq!(exec("cat /etc/issue /etc/motd; ls /usr/lib/base"), "changed\nnew");
    assert_eq!(
        exec("grep ^root /etc/shadow; stat -c %a:%g /etc/shadow"),
        "root:*:20121:0:99999:7:::\n640:42"
    );
    assert_eq!(exec("modprobe dummy && ls /etc/ssh/ssh_host_*.pub | wc -l"), "1");
    // The packages were configured, by xbps' stand-in, in a boot of the image's own.
    let configured = "cat /etc/reconfigured; grep -c unpacked /var/db/xbps/pkgdb-0.38.plist; \
        test -e /var/lib/banger || ls /etc/runit/runsvdir/default /usr/lib/banger";
    insta::assert_snapshot!(exec(configured), @r"
    -f base-files
    -a
    0
    /etc/runit/runsvdir/default:
    banger-agent
    banger-bootstrap
    banger-sshd

    /usr/lib/banger:
    banger-agent
    bootstrap
    ");
    exec("echo kept > /etc/kept; echo kept > /root/kept");
    banger.ok(&["vm", "restart", "vd", "--wait", "ssh"]);
    assert_eq!(exec("cat /etc/kept /root/kept"), "kept\nkept");
    assert!(banger.ok(&["vm", "stop", "vd"]).contains("is stopped"));
    banger.ok(&["vm", "delete", "--yes", "vd"]);
    assert_eq!(banger.leftovers(), Vec::<String>::new());
}

/// opencode under runit. It is downloaded, and takes minutes to start here: `script/soak` runs it.
#[test]
fn void_runs_opencode() {
    if !soaks() {
        return;
    }
    let banger = Sandbox::bare(As::Me);
    let served = Served::new(banger.dir());
    let build = served.build();
    let build: Vec<_> = words(&build).into_iter().filter(|word| *word != "--no-opencode").collect();
    banger.ok(&build);
    let ready = |did: &str| {
        println!("{did}: {}", banger.json(&["vm", "show", "vd"])["run"]["ready"]);
        let ports = banger.json(&["vm", "ports", "vd"]);
        assert!(ports.to_string().contains("4096"), "{ports}");
    };
    banger.ok(&["vm", "create", "vd", "--image", "void"]);
    ready("created");
    let status = banger.ok(&["vm", "exec", "vd", "--", "sv status /etc/service/opencode"]);
    assert!(status.starts_with("run: /etc/service/opencode:"), "{status}");
    banger.ok(&["vm", "restart", "vd"]);
    ready("restarted");
    assert!(banger.ok(&["vm", "stop", "vd"]).contains("is stopped"));
    banger.ok(&["vm", "delete", "--yes", "vd"]);
    assert_eq!(banger.leftovers(), Vec::<String>::new());
}

#[test]
fn what_nobody_vouches_for_is_refused_and_not_kept() {
    let banger = Sandbox::bare(As::Me);
    let served = Served::new(banger.dir());
    let cache = banger.dir().join("cache/banger");
    let build = served.build();
    let fails = |line: &[String]| {
        let said = banger.fails(&words(line)).replace(&served.mirror.url, "MIRROR");
        let (_, error) = said.split_once("error: ").unwrap();
        let error = error.trim_end().replace("the image could not be made: ", "");
        // Checksums change with Debian's packages.
        let words = error.split(' ').map(|word| match word.strip_prefix("sha256:") {
            Some(hex) => format!("SUM{}", &hex[64..]),
            None => word.to_owned(),
        });
        words.collect::<Vec<_>>().join(" ")
    };
    let kept = |name: &str| walk(&cache).iter().any(|path| path.ends_with(name));
    let mut told = Vec::new();
    let mut tell = |what: &str, error: String| {
        told.push(format!("{what}:\n  {}", error.replace('\n', "\n  ")))
    };

    // Whom to trust.
    let and = |line: &[String], more: [&str; 2]| [line, &more.map(str::to_owned)].concat();
    let without = |key: &str| {
        let at = build.iter().position(|word| word.ends_with(key)).unwrap();
        [&build[..at - 1], &build[at + 1..]].concat()
    };
    tell("no key of the release", fails(&without("release.pub")));
    tell("no key of the repository", fails(&without("repository.pem")));
    let other = fails(&and(&without("release.pub"), ["--release", "20990101"]));
    tell("an unknown release", other);
    tell("a file that is no key", fails(&and(&build, ["--key", "/etc/hostname"])));

    // The release.
    let add = |bytes: &mut Vec<u8>| bytes.extend(b"SHA256 (x) = 00\n");
    let changed = served.with("live/20250202/sha256sum.txt", &add, || fails(&build));
    tell("checksums that were not signed", changed);
    fs::remove_dir_all(&cache).unwrap();
    let turn = |bytes: &mut Vec<u8>| bytes[100] ^= 1;
    tell("a damaged root file system", served.with(ROOTFS, &turn, || fails(&build)));
    assert!(!kept(".tar.xz") && !kept(".part"));

    // Packages. A download that is cut goes on where it was.
    served.mirror.trouble(KMOD, Some(Trouble::Missing));
    tell("a package that is not there", fails(&build));
    served.mirror.trouble(KMOD, Some(Trouble::Cut(50_000)));
    let signature = format!("{KMOD}.sig2");
    tell("a wrong signature", served.with(&signature, &turn, || fails(&build)));
    assert!(served.mirror.asked().contains(&format!("{KMOD} from 50000")));
    assert!(!kept("kmod-30_1.x86_64.xbps") && !kept(".part"));
    served.mirror.trouble(KMOD, None);
    let shorten = |bytes: &mut Vec<u8>| bytes.truncate(1000);
    tell("a package that is too short", served.with(KMOD, &shorten, || fails(&build)));
    assert!(!kept("kmod-30_1.x86_64.xbps") && !kept(".part"));
    let evil = fails(&and(&build, ["--package", "evil"]));
    tell("a package with a file out of the root", evil);
    assert!(!kept("evil-1.0_1.x86_64.xbps") && kept("kmod-30_1.x86_64.xbps.sig2"));
    tell("no such package", fails(&and(&build, ["--package", "no-such"])));
    tell("no name of a package", fails(&and(&build, ["--package", "a>=1"])));
    let index = |bytes: &mut Vec<u8>| bytes.truncate(500);
    let index = served.with("current/x86_64-repodata", &index, || fails(&build));
    let (index, _) = index.split_once(" unpacked: ").unwrap();
    tell("a damaged index", index.to_owned());
    insta::assert_snapshot!(told.join("\n"), @r"
    no key of the release:
      the checksums of the release 20250202 cannot be trusted: it is signed by the key 747365742D726F66, which is not trusted
      hint: give the public key that signs the release with '--key'
    no key of the repository:
      the packages of MIRROR/current/x86_64-repodata are signed by the key 89:e5:c3:83:4e:80:2c:14:8c:c0:cd:73:3c:e5:cd:90, which is not trusted
      hint: if it is a repository of yours, give its public key with '--key'
    an unknown release:
      there is no key for the release 20990101 of Void
      hint: give the public key that signs the release with '--key'
    a file that is no key:
      /etc/hostname is neither a public key of minisign nor one of a repository, in PEM or as xbps keeps it
    checksums that were not signed:
      the checksums of the release 20250202 cannot be trusted: the signature by the key 747365742D726F66 is wrong: the file is not the one that was signed
      hint: the mirror is damaged or malicious: choose another with '--mirror'
    a damaged root file system:
      MIRROR/live/20250202/void-x86_64-ROOTFS-20250202.tar.xz is not what it should be: expected SUM, got SUM; it was removed
      hint: the mirror is damaged, or was updated meanwhile: try again, or another with '--mirror'
    a package that is not there:
      cannot download MIRROR/current/kmod-30_1.x86_64.xbps: the server answered 404
      hint: the mirror is damaged, or was updated meanwhile: try again, or another with '--mirror'
    a wrong signature:
      no trusted key vouches for the package kmod-30_1.x86_64.xbps; it was removed
      hint: the mirror is damaged or malicious: choose another with '--mirror'
    a package that is too short:
      MIRROR/current/kmod-30_1.x86_64.xbps is not what it should be: expected SUM, got SUM; it was removed
      hint: the mirror is damaged, or was updated meanwhile: try again, or another with '--mirror'
    a package with a file out of the root:
      the package evil-1.0_1.x86_64.xbps is refused, and was removed: the package has the file '../../evil', which has no place in a root file system
      hint: the mirror is damaged or malicious: choose another with '--mirror'
    no such package:
      no repository has a package 'no-such'
    no name of a package:
      'a>=1' is not a package: expected a name as xbps knows it
    a damaged index:
      MIRROR/current/x86_64-repodata is of no use: the index of the repository cannot be
    ");

    assert_eq!(banger.json(&["image", "list"]).as_array().unwrap().len(), 0);
    assert_eq!(banger.leftovers(), Vec::<String>::new());
}

#[test]
fn a_build_is_cancelled_in_any_stage_and_leaves_nothing() {
    let banger = Sandbox::bare(As::Me);
    let served = Served::new(banger.dir());
    let build = served.build();
    for stage in ["release", "packages", "kernel", "rootfs", "provision"] {
        let log = banger.dir().join("started.log");
        let _ = fs::remove_file(&log);
        let pid = banger.start(&[&words(&build)[..], &["--json"]].concat());
        banger.until(&format!("the stage {stage} begins"), || {
            let said = fs::read_to_string(&log).unwrap_or_default();
            let begun = format!(r#""stage":"{stage}""#);
            said.lines().any(|line| line.contains("stage_started") && line.contains(&begun))
        });
        banger.interrupt(pid);
        banger.until("it is cancelled", || {
            let said = fs::read_to_string(&log).unwrap_or_default();
            assert!(!said.contains("succeeded") && !said.contains("failed"), "{said}");
            said.contains("cancelled") && banger.leftovers().is_empty()
        });
        assert_eq!(banger.json(&["image", "list"]).as_array().unwrap().len(), 0, "{stage}");
    }
}

/// The files below a folder.
fn walk(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.path() {
            path if path.is_dir() => walk(&path),
            path => vec![path.to_str().unwrap().to_owned()],
        })
        .collect()
}
