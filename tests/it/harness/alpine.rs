//! A mirror of Alpine's whose packages have programs of Debian: where a real one would have musl,
//! it has glibc.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use banger_exec::{Command, Tool};
use banger_testkit::{Apk, ApkFile, ApkRepository};

use super::plain::{Plain, tool};

/// The release that it has.
pub const RELEASE: &str = "v3.22";

/// Where base and packages have the same folders by different names.
const LINKS: [(&str, &str); 5] = [
    ("bin", "usr/bin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib64"),
    ("sbin", "usr/sbin"),
    ("var/run", "/run"),
];
const FOLDERS: [&str; 19] = [
    "dev",
    "etc",
    "home",
    "mnt",
    "proc",
    "root",
    "run",
    "sys",
    "tmp",
    "usr",
    "usr/bin",
    "usr/lib",
    "usr/lib64",
    "usr/sbin",
    "var",
    "var/cache",
    "var/empty",
    "var/lib",
    "var/log",
];

/// Files of the base, by what their paths begin with. The libraries are those that the programs
/// here need.
const OF_BASE: [(&str, &[&str]); 6] = [
    ("iproute2", &["usr/bin/ip", "usr/sbin/ip"]),
    ("kmod", &["usr/bin/kmod", "usr/sbin/depmod", "usr/sbin/modprobe"]),
    ("openssh-server", &["usr/sbin/sshd", "usr/bin/ssh-keygen", "usr/lib/openssh/sftp-server"]),
    ("openrc", &["usr/sbin/start-stop-daemon"]),
    ("linux-virt", &["boot/vmlinuz-", "usr/lib/modules/"]),
    ("musl", &["usr/lib64/ld-linux-x86-64.so.2", "usr/lib/x86_64-linux-gnu/lib", LOADER]),
];
const LOADER: &str = "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";
const LIBRARIES: &str = "audit bpf bsd blkid c cap cap-ng com_err crypt crypto elf gcrypt gpg-error \
    gssapi_krb5 k5crypto keyutils krb5 krb5support lz4 lzma md mnl nsl nss_files pam pam_misc \
    pcre2-8 resolv selinux systemd tirpc uuid wrap z zstd";
/// Of the modules, those that a VM loads, and one to try.
const MODULES: [&str; 6] = ["virtio", "vsock", "failover", "rng-core", "dummy", "modules."];
const OF_OPENRC: [&str; 8] = [
    "etc/conf.d/",
    "etc/init.d/cgroups",
    "etc/init.d/savecache",
    "etc/rc.conf",
    "lib/rc/",
    "lib/x86_64-linux-gnu/lib",
    "bin/rc-status",
    "sbin/",
];

/// Programs that busybox is, but for those that others are.
const APPLETS: &str = "sh [ awk basename cat chgrp chmod chown cp cut date dd df dirname dmesg du \
    echo env expr false find getopt grep egrep fgrep gunzip gzip head hostname id install kill \
    killall ln ls md5sum mkdir mkfifo mknod mktemp more mount mv nice nohup od pidof ping printf ps \
    pwd readlink realpath rm rmdir sed seq sleep sort stat stty sync tail tar tee test time timeout \
    top touch tr true tty umount uname uniq uptime vi watch wc which xargs yes zcat logger usleep";
const SYSTEM_APPLETS: &str =
    "init halt poweroff reboot sysctl swapoff swapon syslogd losetup blockdev fsck ip modprobe";

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
    nobody:x:65534:65534:nobody:/:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\ntty:x:5:\nuucp:x:14:\nutmp:x:43:\nnobody:x:65534:\n";
/// Without it, sshd does not start.
const SSHD_USER: &str = "#!/bin/sh\n\
    echo 'sshd:x:22:22:sshd:/var/empty:/sbin/nologin' >>/etc/passwd\n\
    echo 'sshd:!::0:::::' >>/etc/shadow\necho 'sshd:x:22:' >>/etc/group\n\
    echo 'sshd has its user'\n";
const HELLO_USER: &str = "#!/bin/sh\n\
    echo 'hello:x:345:346::/:/sbin/nologin' >>/etc/passwd\necho 'hello:x:346:' >>/etc/group\n";
const SSHD: &str = r#"#!/sbin/openrc-run
command=/usr/sbin/sshd
pidfile=/run/sshd.pid

start_pre() {
    mkdir -p /run/sshd
    [ "$sshd_disable_keygen" = yes ] || ssh-keygen -A
}
"#;

/// Needs, as Alpine's does, what no VM of banger's has to start.
const SYSLOG: &str = r#"#!/sbin/openrc-run
command=/sbin/syslogd
command_args="$SYSLOGD_OPTS -n"
command_background=true
pidfile=/run/syslogd.pid

depend() {
    need clock hostname localmount
    provide logger
}
"#;
const CLOCK: &str = "#!/sbin/openrc-run\ndepend() { provide clock; }\nstart() { return 1; }\n";
const HOSTNAME: &str = "#!/sbin/openrc-run\nstart() { return 1; }\n";
const LOCALMOUNT: &str = "#!/sbin/openrc-run\nstart() { return 0; }\n";

/// The agent is among those that are ended.
const KILLPROCS: &str = "#!/sbin/openrc-run\nstart() { kill_all 15; sleep 1; kill_all 9; }\n";
const MOUNT_RO: &str = r#"#!/sbin/openrc-run
depend() {
    need killprocs savecache
}

start() {
    mount -o remount,ro /
}
"#;

/// Makes the mirror once and keeps it for later runs; its folder.
pub fn alpine_mirror() -> PathBuf {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = PathBuf::from("/var/tmp/banger-test-alpine-5");
    if dir.join("ready").exists() {
        return dir;
    }
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir(&dir).unwrap();
    make(&dir, &[]);
    fs::write(dir.join("ready"), "").unwrap();
    dir
}

/// Makes one in a folder whose packages also have files that are in another folder: by package,
/// where they go and what they are called.
pub fn alpine_mirror_with_musl(dir: &Path, libraries: &Path) {
    let of = |package, folder: &'static str, name: &str| {
        let content = fs::read(libraries.join(name)).unwrap();
        (package, ApkFile::File { path: format!("{folder}/{name}"), mode: 0o755, content })
    };
    let mut more = vec![of("musl", "usr/lib", "ld-musl-x86_64.so.1")];
    for entry in fs::read_dir(libraries).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let package = ["libgcc", "libstdc++"].into_iter().find(|package| name.starts_with(package));
        more.extend(package.map(|package| of(package, "usr/lib", &name)));
    }
    make(dir, &more);
}

fn make(dir: &Path, more: &[(&str, ApkFile)]) {
    let mut main = ApkRepository::new(dir, RELEASE, "main").unwrap();
    for mut package in packages(dir) {
        let mine = more.iter().filter(|(name, _)| *name == package.name);
        package.files.extend(mine.map(|(_, file)| file.clone()));
        main.add(&package).unwrap();
    }
    main.finish().unwrap();
    let mut community = ApkRepository::new(dir, RELEASE, "community").unwrap();
    community.add(&hello()).unwrap();
    community.add(&broken()).unwrap();
    community.finish().unwrap();
}

/// What has scripts, a user of its own, and a file that another package has, too, and may replace.
fn hello() -> Apk {
    Apk {
        name: "hello",
        version: "1.0-r0",
        depends: "alpine-base",
        scripts: vec![
            ("pre-install", HELLO_USER.to_owned()),
            ("post-install", "#!/bin/sh\necho \"$1 $PWD\" >/etc/hello\n".to_owned()),
        ],
        owner: "hello",
        files: vec![
            ApkFile::text("usr/bin/hello", 0o755, "#!/bin/sh\necho hello\n"),
            ApkFile::text("etc/motd", 0o644, "hello\n"),
        ],
        ..Apk::default()
    }
}

/// What cannot be configured.
fn broken() -> Apk {
    let script = "#!/bin/sh\necho 'nothing good comes of this'\nexit 3\n";
    Apk {
        name: "broken",
        version: "1.0-r0",
        scripts: vec![("post-install", script.to_owned())],
        files: vec![ApkFile::text("usr/share/broken", 0o644, "broken\n")],
        ..Apk::default()
    }
}

fn packages(dir: &Path) -> Vec<Apk> {
    let plain = Plain::new();
    let mut found: BTreeMap<&str, Vec<ApkFile>> = BTreeMap::new();
    pick(&plain.layer("base"), of_base, &mut found);
    let of_openrc = |path: &str| {
        let init = path.ends_with("/openrc-init") || path.ends_with("insserv");
        let ours = OF_OPENRC.iter().any(|beginning| path.starts_with(beginning)) && !init;
        ours.then_some("openrc")
    };
    pick(&plain.layer("openrc"), of_openrc, &mut found);
    let busybox = dir.join("busybox.tar");
    let extract = Command::new(Tool::Mmdebstrap).args(["--variant=extract", "--format=tar"]);
    tool(extract.args(["--include=busybox-static", "bookworm"]).arg(&busybox));
    pick(&busybox, |path| (path == "bin/busybox").then_some("busybox"), &mut found);
    fs::remove_file(&busybox).unwrap();

    let mut take = |name: &str, more: Vec<ApkFile>| {
        let mut files = found.remove(name).unwrap_or_default();
        files.extend(more);
        files
    };
    let text = ApkFile::text;
    let package =
        |name, depends, files| Apk { name, version: "1.0-r0", depends, files, ..Apk::default() };
    let folder = |path: &&str| ApkFile::Folder { path: (*path).to_owned() };
    let layout = FOLDERS.iter().map(folder);
    let layout = layout.chain(LINKS.map(|(path, target)| ApkFile::link(path, target))).collect();
    let of_system = |path: &str, text: &str| ApkFile::text(path, 0o644, text);
    let data = vec![
        of_system("etc/passwd", PASSWD),
        of_system("etc/fstab", ""),
        of_system("etc/group", GROUP),
        // Debian's OpenRC wants it.
        of_system("etc/insserv.conf", ""),
        text("etc/shadow", 0o640, "root:::0:::::\nnobody:!::0:::::\n"),
        of_system("etc/hosts", "127.0.0.1 localhost\n"),
        of_system("etc/motd", "alpine\n"),
        of_system("etc/os-release", "ID=alpine\nPRETTY_NAME=\"Alpine Linux v3.22\"\n"),
    ];
    let list = |names: &str, folder: &str| -> String {
        names.split_whitespace().map(|name| format!("{folder}/{name}\n")).collect()
    };
    let list = list(APPLETS, "bin") + &list(SYSTEM_APPLETS, "sbin");
    let list = vec![of_system("etc/busybox-paths.d/busybox", &list)];
    let base = "alpine-baselayout busybox busybox-openrc";
    let config = of_system("etc/ssh/sshd_config", "Include /etc/ssh/sshd_config.d/*.conf\n");
    let certificates = vec![of_system("etc/ssl/certs/ca.pem", "none\n")];
    let filesystems = vec![of_system("usr/share/e2fsprogs/about", "none\n")];
    let mkinitfs = vec![of_system("etc/mkinitfs/mkinitfs.conf", "features=\"base\"\n")];
    vec![
        package("alpine-base", base, Vec::new()),
        package("alpine-baselayout", "alpine-baselayout-data", layout),
        Apk { replaces: "hello", ..package("alpine-baselayout-data", "", data) },
        Apk {
            scripts: vec![("post-install", "#!/bin/sh\n/bin/busybox --install -s\n".to_owned())],
            ..package("busybox", "", take("busybox", list))
        },
        package(
            "busybox-openrc",
            "busybox openrc",
            [
                ("syslog", SYSLOG),
                ("hwclock", CLOCK),
                ("hostname", HOSTNAME),
                ("localmount", LOCALMOUNT),
            ]
            .map(|(name, script)| text(&format!("etc/init.d/{name}"), 0o755, script))
            .into(),
        ),
        package("ca-certificates", "", certificates),
        package("e2fsprogs", "", filesystems),
        package("iproute2", "so:libc.so.6", take("iproute2", Vec::new())),
        Apk {
            triggers: "/lib/modules/* /lib/none/*",
            scripts: vec![("trigger", "#!/bin/sh\necho \"$@\" >/etc/triggered\n".to_owned())],
            ..package("kmod", "so:libc.so.6", take("kmod", Vec::new()))
        },
        package("linux-virt", "initramfs-generator", take("linux-virt", Vec::new())),
        Apk {
            provides: "initramfs-generator",
            provider_priority: 900,
            ..package("mkinitfs", "", mkinitfs)
        },
        package("libgcc", "so:libc.so.6", Vec::new()),
        package("libstdc++", "libgcc", Vec::new()),
        Apk { provides: "so:libc.so.6=6", ..package("musl", "", take("musl", Vec::new())) },
        package(
            "openrc",
            "so:libc.so.6",
            take(
                "openrc",
                vec![
                    text("etc/init.d/killprocs", 0o755, KILLPROCS),
                    text("etc/init.d/mount-ro", 0o755, MOUNT_RO),
                ],
            ),
        ),
        package("openssh", "openssh-server", Vec::new()),
        Apk {
            scripts: vec![("pre-install", SSHD_USER.to_owned())],
            ..package("openssh-server", "so:libc.so.6", take("openssh-server", vec![config]))
        },
        Apk {
            install_if: "openssh-server openrc",
            ..package("openssh-server-openrc", "", vec![text("etc/init.d/sshd", 0o755, SSHD)])
        },
    ]
}

/// The package of a path of the base.
fn of_base(path: &str) -> Option<&'static str> {
    let begins = |beginnings: &[&str]| beginnings.iter().any(|start| path.starts_with(start));
    let (package, _) = OF_BASE.iter().find(|(_, beginnings)| begins(beginnings))?;
    let name = path.rsplit('/').next().unwrap_or_default();
    let wanted = match *package {
        "musl" if path.ends_with("ld-linux-x86-64.so.2") => true,
        "musl" => {
            let library = name.strip_prefix("lib").and_then(|name| name.split_once(['.', '-']));
            let known = |word: &str| {
                let rest = name.strip_prefix("lib").and_then(|name| name.strip_prefix(word));
                rest.is_some_and(|rest| rest.starts_with(".so") || rest.starts_with("-0."))
            };
            let flat = path.matches('/').count() == 3;
            flat && library.is_some() && LIBRARIES.split_whitespace().any(known)
        }
        "linux-virt" if path.starts_with("usr/") => MODULES.iter().any(|m| name.contains(m)),
        "openrc" | "iproute2" | "kmod" | "openssh-server" => {
            OF_BASE.iter().any(|(_, paths)| paths.contains(&path))
        }
        _ => true,
    };
    wanted.then_some(*package)
}

/// Takes files out of a tar file, each for the package that is named for it.
fn pick<'a>(
    tar: &Path,
    package: impl Fn(&str) -> Option<&'a str>,
    found: &mut BTreeMap<&'a str, Vec<ApkFile>>,
) {
    let mut archive = tar::Archive::new(fs::File::open(tar).unwrap());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_str().unwrap_or_default().to_owned();
        let path = path.trim_start_matches("./").trim_end_matches('/').to_owned();
        let Some(package) = package(&path) else { continue };
        let kind = entry.header().entry_type();
        let file = if kind.is_symlink() {
            let target = entry.link_name().unwrap().unwrap();
            ApkFile::link(&path, target.to_str().unwrap())
        } else if kind.is_file() {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let mode = entry.header().mode().unwrap();
            let kernel = path.starts_with("boot/vmlinuz-");
            let path = if kernel { "boot/vmlinuz-virt".to_owned() } else { path };
            ApkFile::File { path, mode, content }
        } else {
            continue;
        };
        found.entry(package).or_default().push(file);
    }
}
