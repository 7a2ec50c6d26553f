//! Images of Alpine's packages, from a mirror of our own.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use banger_testkit::{Apk, ApkFile, ApkRepository, Mirror, Trouble};

use crate::harness::{
    ALPINE_RELEASE as RELEASE, As, Sandbox, alpine_mirror, alpine_mirror_with_musl,
};

const PLAIN: [&str; 6] = ["--no-opencode", "--memory", "512M", "--wait", "ssh", "--json"];

/// Builds from a mirror, with more arguments.
fn build<'a>(mirror: &'a Mirror, more: &[&'a str]) -> Vec<&'a str> {
    let build = ["image", "build", "alpine", "--no-opencode", "--mirror", &mirror.url];
    [&build, more].concat()
}

/// The file of the key by which the mirror signs.
pub fn key(banger: &Sandbox) -> String {
    let key = banger.dir().join(ApkRepository::KEY);
    fs::write(&key, ApkRepository::PUBLIC).unwrap();
    key.display().to_string()
}

/// The packages in the cache.
fn cached(banger: &Sandbox) -> Vec<String> {
    let files = fs::read_dir(banger.dir().join("cache/banger/apk")).into_iter().flatten();
    let mut names: Vec<_> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

#[test]
fn an_image_of_alpines_packages_boots_and_is_provisioned() {
    let banger = Sandbox::bare(As::Me);
    let mirror = Mirror::start(&alpine_mirror()).unwrap();
    let key = key(&banger);
    let cut = format!("{RELEASE}/main/x86_64/busybox-1.0-r0.apk");
    mirror.trouble(&cut, Some(Trouble::Cut(1 << 20)));
    let step = |step: &str, more: &[&str]| {
        let options = [&["--step", step, "--name", "alp"], more].concat();
        banger.run(&[&["image", "build", "alpine"], &options[..]].concat())
    };
    let fails = |name: &str, more: &[&str]| {
        let ran = step(name, more);
        assert_eq!(ran.code, 1, "{}{}", ran.stdout, ran.stderr);
        let (said, error) = ran.stderr.split_once("error: ").unwrap();
        (said.to_owned(), error.trim_end().to_owned())
    };
    let does = |name: &str, more: &[&str]| {
        let ran = step(name, more);
        assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
        (ran.stderr, ran.stdout.trim_end().to_owned())
    };
    let of = [
        "--mirror",
        &mirror.url,
        "--key",
        &key,
        "--package",
        "hello",
        "--size",
        "1G",
        "--no-opencode",
    ];
    let (_, nothing) = fails("register", &[]);
    let (of_kernel, kernel) = does("kernel", &of);
    let (_, half) = fails("register", &[]);
    let (of_rootfs, _) = does("rootfs", &[&of[..], &["--package", "broken"]].concat());
    let (heard, broken) = fails("register", &[]);
    let (_, rootfs) = does("rootfs", &of);
    let (of_register, register) = does("register", &[]);
    insta::assert_snapshot!([nothing, kernel, half, broken, rootfs, register].join("\n"), @"
    the image could not be made: there is no kernel for it yet: do the step 'kernel' first
    the kernel of 'alp' is there; next: banger image build alpine --name alp --step rootfs
    the image could not be made: there is no rootfs for it yet: do the step 'rootfs' first
    the configuration of packages failed with exit status 1:
    sshd has its user
    nothing good comes of this
    scripts of packages failed: 016-broken-1.0-r0.post-install
    the root file system of 'alp' is there; next: banger image build alpine --name alp --step register
    the image 'alp' is there; try: banger vm create --image alp
    ");
    assert!(heard.contains("nothing good comes of this"), "{heard}");
    for (told, stages) in [
        (of_kernel, &["index", "packages", "kernel"][..]),
        (of_rootfs, &["index", "packages", "rootfs"]),
        (of_register, &["register", "describe", "provision", "sshd has its user", "clean"]),
    ] {
        stages.iter().for_each(|stage| assert!(told.contains(stage), "{stage}: {told}"));
    }
    assert_eq!(fs::read_dir(banger.state("parts")).unwrap().count(), 0);
    let resumed = format!("{cut} from {}", 1 << 20);
    assert!(mirror.asked().contains(&resumed), "{:?}", mirror.asked());

    let shown = banger.json(&["image", "show", "alp", "--verify"]);
    assert_eq!(shown["source"], serde_json::json!({ "kind": "alpine", "release": RELEASE }));
    assert_eq!(shown["init"], "openrc");
    let folder = banger.state("images").join(shown["id"].as_str().unwrap());
    let packages = fs::read_to_string(folder.join("packages.txt")).unwrap();
    assert!(packages.contains("\nhello 1.0-r0 x86_64\n"), "{packages}");
    assert!(packages.contains("\nopenssh-server-openrc 1.0-r0 x86_64\n"), "{packages}");

    banger.ok(&[&["vm", "create", "alp", "--image", "alp"], &PLAIN[..]].concat());
    let exec = |script: &str| banger.ok(&["vm", "exec", "alp", "--", script]);
    let identity = exec("hostname; ip -o -4 address show eth0 | awk '{print $4}'; uname -r");
    let release = shown["boot_set"]["kernel_release"].as_str().unwrap();
    assert_eq!(identity, format!("alp\n10.0.2.15/24\n{release}"));
    let services = exec("rc-status --all --nocolor | tr -s ' '");
    for service in ["sshd", "syslog", "localmount", "banger-agent", "banger-bootstrap"] {
        let started = |line: &str| line.contains(&format!(" {service} [ started"));
        assert!(services.lines().any(started), "{service}: {services}");
    }
    assert!(!services.contains("hwclock"), "{services}");
    assert_eq!(exec("cat /proc/1/comm /etc/motd; readlink /bin/sh"), "init\nalpine\n/bin/busybox");
    assert_eq!(exec("/sbin/modprobe dummy && ls /etc/ssh/ssh_host_*.pub | wc -l"), "1");
    let repositories = exec("cat /etc/apk/repositories; ls /etc/apk/keys");
    let known = ["main", "community"].map(|name| format!("{}/{RELEASE}/{name}\n", mirror.url));
    assert_eq!(repositories, format!("{}{}", known.concat(), ApkRepository::KEY));

    // Nobody is root without a key.
    let shadow = exec("grep ^root /etc/shadow; stat -c %a /etc/shadow");
    assert_eq!(shadow, "root:*::0:::::\n640");

    // 'apk upgrade' leaves the modules of the kernel that is booted.
    assert_eq!(exec("grep linux /etc/apk/world"), "linux-virt=1.0-r0");

    // The scripts of the packages were run where they belong, and once.
    let provisioned = exec("cat /etc/hello /etc/triggered; grep -c ^sshd /etc/passwd");
    assert_eq!(provisioned, format!("1.0-r0 /\n/lib/modules/{release}\n1"));
    assert_eq!(
        exec("ls /usr/lib/banger; ls -A /var/lib/banger; command -v /bin/cal"),
        "banger-agent\nbootstrap\n/bin/cal"
    );
    banger.ok(&["vm", "restart", "alp", "--wait", "ssh"]);
    let owned = exec("hello; cat /etc/hello; stat -c %u:%g /usr/bin/hello");
    assert_eq!(owned, "hello\n1.0-r0 /\n345:346");
    assert!(banger.ok(&["vm", "stop", "alp"]).contains("is stopped"));
    banger.ok(&["vm", "delete", "--yes", "alp"]);
    assert_eq!(banger.leftovers(), Vec::<String>::new());
}

/// A mirror of packages with a file each, but for one that may be anything. They make no system:
/// a build ends where the kernel is looked for.
fn tiny(folder: &Path, special: &Apk) -> ApkRepository {
    let names = ["alpine-base", "ca-certificates", "e2fsprogs", "iproute2", "kmod", "openssh"];
    let mut main = ApkRepository::new(folder, RELEASE, "main").unwrap();
    for name in names.into_iter().chain(["linux-virt"]) {
        let files = vec![ApkFile::text(&format!("usr/share/{name}"), 0o644, name)];
        main.add(&Apk { name, version: "1-r0", files, ..Apk::default() }).unwrap();
    }
    main.finish().unwrap();
    let mut community = ApkRepository::new(folder, RELEASE, "community").unwrap();
    community.add(special).unwrap();
    community.finish().unwrap();
    community
}

fn special(path: &str, content: &str) -> Apk {
    let files = vec![ApkFile::text(path, 0o644, content)];
    Apk { name: "special", version: "1-r0", files, ..Apk::default() }
}

#[test]
fn what_a_mirror_has_wrong_is_refused_and_not_kept() {
    let banger = Sandbox::bare(As::Me);
    let folder = banger.dir().join("mirror");
    let good = special("usr/share/special", &"good ".repeat(100_000));
    let community = tiny(&folder, &good);
    let mirror = Mirror::start(&folder).unwrap();
    let key = key(&banger);
    let trusted = ["--key", key.as_str(), "--package", "special"];
    let path = format!("{RELEASE}/community/x86_64/special-1-r0.apk");
    let refused = |what: &str, more: &[&str]| {
        let said = banger.fails(&build(&mirror, more)).replace(&mirror.url, "MIRROR");
        assert_eq!(banger.leftovers(), Vec::<String>::new(), "{what}");
        let kept = cached(&banger);
        assert!(!kept.iter().any(|name| name.starts_with("special")), "{what}: {kept:?}");
        let (_, error) = said.split_once("error: ").unwrap_or_else(|| panic!("{what}: {said}"));
        format!("{what}: {}", error.trim_end())
    };

    let mut said = Vec::new();
    said.push(refused("an unknown key", &["--package", "special"]));
    said.push(refused("no such package", &["--key", &key, "--package", "nonsense"]));
    said.push(refused("no such release", &[&trusted[..], &["--release", "v9.9"]].concat()));
    let no_key = banger.dir().join("no-key.rsa.pub");
    fs::write(&no_key, "none").unwrap();
    said.push(refused("no key", &["--key", no_key.to_str().unwrap()]));
    community.forge().unwrap();
    said.push(refused("a wrong signature", &trusted));
    community.finish().unwrap();
    mirror.trouble(&path, Some(Trouble::Missing));
    said.push(refused("no such file", &trusted));
    mirror.trouble(&path, None);
    let file = folder.join(&path);
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    said.push(refused("a truncated package", &trusted));
    ApkRepository::new(&folder, RELEASE, "community")
        .and_then(|mut other| other.add(&special("usr/share/special", "another")))
        .unwrap();
    said.push(refused("another package", &trusted));
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    fs::write(&file, &flipped).unwrap();
    said.push(refused("a changed package", &trusted));
    tiny(&folder, &special("../../../etc/special", "evil"));
    said.push(refused("a path that leads elsewhere", &trusted));
    insta::assert_snapshot!(said.join("\n"), @"
    an unknown key: the image could not be made: cannot use MIRROR/v3.22/main/x86_64/APKINDEX.tar.gz: the index of packages is not to be trusted: it is signed by 'test@example.org-1.rsa.pub', which is not among the keys that are trusted
    hint: if that key is of whoever runs your mirror, trust it with '--key FILE', a file of the same name
    no such package: the image could not be made: no package provides 'nonsense'
    no such release: the image could not be made: cannot download MIRROR/v9.9/main/x86_64/APKINDEX.tar.gz: the server answered 404
    hint: look whether the mirror has the release; a package that is gone from it comes back as a newer one soon: try again later
    no key: the image could not be made: 'no-key.rsa.pub' is not a public key for RSA: it has to be a PEM file that begins with 'BEGIN PUBLIC KEY'
    a wrong signature: the image could not be made: cannot use MIRROR/v3.22/community/x86_64/APKINDEX.tar.gz: the index of packages is not to be trusted: its signature by 'test@example.org-1.rsa.pub' is wrong: it was changed after it was signed
    hint: try again later, or use another mirror with '--mirror URL'
    no such file: the image could not be made: cannot download MIRROR/v3.22/community/x86_64/special-1-r0.apk: the server answered 404
    hint: look whether the mirror has the release; a package that is gone from it comes back as a newer one soon: try again later
    a truncated package: the image could not be made: cannot use MIRROR/v3.22/community/x86_64/special-1-r0.apk, which was removed from the cache: the package cannot be used: it is incomplete: it ends within its data
    hint: try again later, or use another mirror with '--mirror URL'
    another package: the image could not be made: cannot use MIRROR/v3.22/community/x86_64/special-1-r0.apk, which was removed from the cache: the package is not the one in the index: its hash is Q16jA+7xWcnztWvtqGxsg2NbzJNao=, and should be Q1aeAytya8OJLSgcLNXxcIvFuR5NY=
    hint: try again later, or use another mirror with '--mirror URL'
    a changed package: the image could not be made: cannot use MIRROR/v3.22/community/x86_64/special-1-r0.apk, which was removed from the cache: the package cannot be used: its data cannot be read: corrupt gzip stream does not have a matching checksum
    hint: try again later, or use another mirror with '--mirror URL'
    a path that leads elsewhere: the image could not be made: cannot use MIRROR/v3.22/community/x86_64/special-1-r0.apk, which was removed from the cache: the package has a file that it may not have: '../../../etc/special' is not a path below the root
    hint: try again later, or use another mirror with '--mirror URL'
    ");

    // A mirror that says nothing more is given up as soon as that is asked for.
    tiny(&folder, &good);
    mirror.trouble(&path, Some(Trouble::Stall(1000)));
    let before = mirror.asked().len();
    let pid = banger.start(&[&build(&mirror, &trusted)[..], &["--json"]].concat());
    banger.until("the package is asked for", || mirror.asked()[before..].contains(&path));
    let asked = Instant::now();
    banger.interrupt(pid);
    banger.until("it is cancelled", || {
        let log = fs::read_to_string(banger.dir().join("started.log")).unwrap_or_default();
        log.contains("cancelled") && banger.leftovers().is_empty()
    });
    assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());

    // All is right again: it ends for want of a kernel, and the package is kept, and not asked for
    // again.
    mirror.trouble(&path, None);
    for _ in 0..2 {
        let ended = banger.fails(&build(&mirror, &trusted));
        assert!(ended.contains("the unpacked packages have no boot/vmlinuz-virt"), "{ended}");
    }
    let kept = cached(&banger);
    assert_eq!(kept.iter().filter(|name| name.starts_with("special")).count(), 1, "{kept:?}");
    let resumed = format!("{path} from ");
    let asked = mirror.asked();
    assert_eq!(asked.iter().filter(|asked| asked.starts_with(&resumed)).count(), 1, "{asked:?}");
}

/// opencode's build for musl, where `BANGER_MUSL` names a folder that `script/musl` has filled.
#[test]
fn opencode_runs_with_musl() {
    let Some(libraries) = std::env::var_os("BANGER_MUSL") else { return };
    let banger = Sandbox::bare(As::Me);
    let folder = banger.dir().join("mirror");
    fs::create_dir(&folder).unwrap();
    alpine_mirror_with_musl(&folder, Path::new(&libraries));
    let mirror = Mirror::start(&folder).unwrap();
    let key = key(&banger);
    banger.ok(&["image", "build", "alpine", "--mirror", &mirror.url, "--key", &key]);
    banger.ok(&["vm", "create", "alp", "--image", "alpine"]);
    println!("{}", banger.json(&["vm", "show", "alp"])["run"]["ready"]);
    let exec = |script: &str| banger.ok(&["vm", "exec", "alp", "--", script]);
    assert_eq!(exec("readlink /proc/$(pidof opencode)/exe"), "/usr/local/bin/opencode");
    assert!(exec("grep -o ld-musl.* /proc/$(pidof opencode)/maps").contains("ld-musl-x86_64"));
    let ports = banger.json(&["vm", "ports", "alp"]);
    assert!(ports.to_string().contains("4096"), "{ports}");
    banger.ok(&["vm", "restart", "alp"]);
    println!("{}", banger.json(&["vm", "show", "alp"])["run"]["ready"]);
    assert!(banger.ok(&["vm", "stop", "alp"]).contains("is stopped"));
}
