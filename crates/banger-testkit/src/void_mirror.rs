//! What a mirror of Void Linux has, in its formats, with programs of Debian in it.
//!
//! It is written without the readers of `banger-image`, which it is to try. The release has what
//! Void's have: a system without kernel and sshd, an older version of a package than the repository,
//! one that is no more, consoles that are enabled, and a password that everybody knows.

mod debian;
mod package;
mod sign;
mod tree;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use liblzma::write::XzEncoder;
use tar::Builder;

use package::{Package, Packed};
use tree::{Node, Tree};

/// The release that it has.
const RELEASE: &str = "20250202";
/// What `base-files` has for people to change.
const BASE_CONFIG: [&str; 2] = ["etc/issue", "etc/motd"];

/// See `1` of void-runit: what it takes to run services.
const STAGE_1: &str = r#"#!/bin/sh
PATH=/usr/bin:/usr/sbin
mountpoint -q /proc || mount -t proc proc /proc
mountpoint -q /sys || mount -t sysfs sys /sys
mountpoint -q /run || mount -t tmpfs -o mode=0755 run /run
mountpoint -q /dev || mount -t devtmpfs dev /dev
mkdir -p -m0755 /run/runit /dev/pts /dev/shm
mountpoint -q /dev/pts || mount -t devpts -o mode=0620,gid=5 devpts /dev/pts
mount -o remount,ro / && mount -o remount,rw / || echo "the root is busy" > /dev/console
# Where Debian's runit looks for them.
install -m000 /dev/null /run/runit.stopit
install -m000 /dev/null /run/runit.reboot
"#;
const STAGE_2: &str = r"#!/bin/sh
PATH=/usr/bin:/usr/sbin
mkdir -p /run/runit/runsvdir
ln -sfn /etc/runit/runsvdir/current /run/runit/runsvdir/current
exec env - PATH=$PATH runsvdir -P /run/runit/runsvdir/current 'log: ..............................'
";
const STAGE_3: &str = r"#!/bin/sh
PATH=/usr/bin:/usr/sbin
sv force-stop /run/runit/runsvdir/current/*
sv exit /run/runit/runsvdir/current/*
umount /root
sync
mount -o remount,ro /
";
const SSHD_RUN: &str = "#!/bin/sh\nssh-keygen -A >/dev/null 2>&1\nexec /usr/sbin/sshd -D\n";

/// Stands in for xbps' own, which cannot be had as a package of Debian's: it runs no script of a
/// package, but writes down what it is asked, has all packages configured, and enables what
/// `runit-void` would.
const XBPS_RECONFIGURE: &str = r#"#!/bin/sh
echo "$@" >>/etc/reconfigured
echo "configured: $*"
[ "$1" = -a ] || exit 0
sed -i 's/>unpacked</>installed</' /var/db/xbps/pkgdb-0.38.plist
ln -s /etc/sv/udevd /etc/sv/agetty-tty1 /etc/runit/runsvdir/default/
"#;

/// A mirror in a folder, to be served by [`crate::Mirror`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoidMirror {
    folder: PathBuf,
}

impl VoidMirror {
    /// Makes one in an empty folder, of two tar files: `root` is a Debian with a kernel, openssh,
    /// iproute2 and kmod, and `runit` has its packages of runit.
    ///
    /// # Errors
    /// The tar files cannot be read or lack something, or the folder cannot be written to.
    pub fn make(folder: &Path, root: &Path, runit: &Path) -> io::Result<Self> {
        let mut root = Tree::read(root, debian::of_root)?;
        let kernel = debian::kernel(&mut root)?;
        let repository = repository(&mut root, kernel);
        let mirror = Self { folder: folder.to_owned() };
        mirror.write_repository(&repository)?;
        mirror.write_release(&installed(root, &Tree::read(runit, debian::of_runit)?))?;
        fs::write(mirror.release_key(), sign::release_key()?)?;
        fs::write(mirror.repository_key(), sign::PUBLIC)?;
        Ok(mirror)
    }

    /// The one that was made in a folder before.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The public key that signs releases.
    #[must_use]
    pub fn release_key(&self) -> PathBuf {
        self.folder.join("release.pub")
    }

    /// The public key that signs packages.
    #[must_use]
    pub fn repository_key(&self) -> PathBuf {
        self.folder.join("repository.pem")
    }

    fn write_repository(&self, packages: &[Package]) -> io::Result<()> {
        let folder = self.folder.join("current");
        fs::create_dir_all(&folder)?;
        let packed = packages.iter().map(Package::pack).collect::<io::Result<Vec<_>>>()?;
        for Packed { file_name, file, .. } in &packed {
            fs::write(folder.join(file_name), file)?;
            fs::write(folder.join(format!("{file_name}.sig2")), sign::package(file)?)?;
        }
        let names = packages.iter().map(|package| package.name);
        let index = package::index(&names.zip(&packed).collect::<Vec<_>>())?;
        fs::write(folder.join("x86_64-repodata"), index)
    }

    fn write_release(&self, packages: &[Package]) -> io::Result<()> {
        let folder = self.folder.join("live").join(RELEASE);
        fs::create_dir_all(&folder)?;
        let mut tree = base();
        let mut records = Vec::new();
        for package in packages {
            tree.extend(&package.files);
            let path = format!("var/db/xbps/.{}-files.plist", package.name);
            tree.add(&path, Node::file(0o644, package.list()));
            records.push((package.name, package.installed()));
        }
        let database = package::plist(&package::dict(&records));
        tree.add("var/db/xbps/pkgdb-0.38.plist", Node::file(0o644, database));
        // Changed by somebody, or made by scripts: so is what people can log in by.
        tree.add("etc/issue", Node::file(0o644, "changed\n"));
        let mut tar = Builder::new(Vec::new());
        tree.write(&mut tar)?;
        let mut xz = XzEncoder::new(Vec::new(), 0);
        io::Write::write_all(&mut xz, &tar.into_inner()?)?;
        let rootfs = xz.finish()?;
        let name = format!("void-x86_64-ROOTFS-{RELEASE}.tar.xz");
        let sums = format!("SHA256 ({name}) = {}\n", package::sha256(&rootfs));
        fs::write(folder.join(name), rootfs)?;
        fs::write(folder.join("sha256sum.sig"), sign::release(sums.as_bytes())?)?;
        fs::write(folder.join("sha256sum.txt"), sums)
    }
}

/// What scripts of packages made when the release was.
fn base() -> Tree {
    let mut tree = Tree::default();
    for path in ["boot", "dev", "home", "mnt", "proc", "run", "sys", "var/log"] {
        tree.add(path, Node::Folder(0o755));
    }
    tree.add("root", Node::Folder(0o700));
    tree.add("tmp", Node::Folder(0o1777));
    tree.add("var/tmp", Node::Folder(0o1777));
    for (path, target) in
        [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")]
    {
        tree.add(path, Node::Link(target.to_owned()));
    }
    for number in 1..=6 {
        let path = format!("etc/runit/runsvdir/default/agetty-tty{number}");
        tree.add(&path, Node::Link(format!("/etc/sv/agetty-tty{number}")));
    }
    tree.add("etc/runit/runsvdir/default/udevd", Node::Link("/etc/sv/udevd".to_owned()));
    let shadow = "root:$6$abc$def:20121:0:99999:7:::\nbin:*:20121:0:99999:7:::\n";
    tree.add("etc/shadow", Node::File { mode: 0o640, owner: (0, 42), content: shadow.into() });
    tree
}

/// What the release has installed. The tree is what the repository does not have.
fn installed(root: Tree, runit: &Tree) -> Vec<Package> {
    let mut runit = runit.clone();
    for (path, script) in
        [("etc/runit/1", STAGE_1), ("etc/runit/2", STAGE_2), ("etc/runit/3", STAGE_3)]
    {
        runit.add(path, Node::file(0o755, script));
    }
    // Where Debian's `sv` looks for services.
    runit.add("etc/service", Node::Link("/run/runit/runsvdir/current".to_owned()));
    for number in 1..=6 {
        let run = format!("etc/sv/agetty-tty{number}/run");
        runit.add(&run, Node::file(0o755, "#!/bin/sh\necho a console > /etc/console\n"));
    }
    let mut old = Tree::default();
    old.add("etc/issue", Node::file(0o644, "old\n"));
    old.add("etc/motd", Node::file(0o644, "old\n"));
    old.add("usr/lib/base/old", Node::file(0o644, "gone with the next version\n"));
    let mut xbps = Tree::default();
    xbps.add("usr/bin/xbps-reconfigure", Node::file(0o755, XBPS_RECONFIGURE));
    let mut forgotten = Tree::default();
    forgotten.add("usr/lib/base/forgotten", Node::file(0o644, "nobody builds it any more\n"));
    vec![
        Package {
            name: "base-files",
            version: "0.143_1",
            files: old,
            config: &BASE_CONFIG,
            ..Package::default()
        },
        Package { name: "glibc", version: "2.36_1", files: root, ..Package::default() },
        Package { name: "forgotten", version: "1.0_1", files: forgotten, ..Package::default() },
        Package { name: "removed-packages", version: "0.1_1", ..Package::default() },
        Package { name: "runit-void", version: "20250212_1", files: runit, ..Package::default() },
        Package { name: "xbps", version: "0.59.2_1", files: xbps, ..Package::default() },
    ]
}

/// What the repository has.
fn repository(root: &mut Tree, kernel: Tree) -> Vec<Package> {
    let mut base = Tree::default();
    base.add("etc/issue", Node::file(0o644, "new\n"));
    base.add("etc/motd", Node::file(0o644, "new\n"));
    base.add(
        "usr/lib/os-release",
        Node::file(0o644, "NAME=\"Void\"\nPRETTY_NAME=\"Void Linux\"\n"),
    );
    let under = |folders: &'static [&'static str]| {
        move |path: &str| folders.iter().any(|folder| path.starts_with(folder))
    };
    let crypto = root.take(|path| path.contains("/libcrypto.so"));
    let mut openssh = root.take(under(&[
        "etc/ssh/",
        "etc/pam.d/sshd",
        "usr/bin/sftp",
        "usr/bin/ssh",
        "usr/lib/openssh/",
        "usr/sbin/sshd",
    ]));
    openssh.add("etc/sv/sshd/run", Node::file(0o755, SSHD_RUN));
    let ip = root.take(|path| matches!(path, "usr/bin/ip" | "usr/sbin/ip"));
    let kmod = root.take(|path| {
        ["kmod", "modprobe", "lsmod", "insmod", "rmmod", "depmod", "modinfo"].iter().any(|name| {
            path.strip_prefix("usr/sbin/").or(path.strip_prefix("usr/bin/")) == Some(name)
        })
    });
    let mut certificates = Tree::default();
    certificates.add("usr/share/ca-certificates/a.crt", Node::file(0o644, "none\n"));
    let evil = ("../../evil", Node::file(0o644, "out of the root\n"));
    vec![
        Package {
            name: "base-files",
            version: "0.144_1",
            files: base,
            config: &BASE_CONFIG,
            ..Package::default()
        },
        Package {
            name: "ca-certificates",
            version: "20250419_1",
            files: certificates,
            install: Some("#!/bin/sh\nupdate-ca-certificates --fresh\n"),
            ..Package::default()
        },
        Package { name: "evil", version: "1.0_1", hidden: vec![evil], ..Package::default() },
        Package { name: "iproute2", version: "6.1.0_1", files: ip, ..Package::default() },
        Package { name: "kmod", version: "30_1", files: kmod, ..Package::default() },
        Package {
            name: "libcrypto3",
            version: "3.0.17_1",
            files: crypto,
            libraries: &["libcrypto.so.3"],
            ..Package::default()
        },
        // It needs what there is not: the kernel must come without it.
        Package {
            name: "linux",
            version: "6.1_1",
            needs: &["linux-base>=2021.07.21_1", "linux6.1>=6.1.0_1"],
            ..Package::default()
        },
        Package {
            name: "linux6.1",
            version: "6.1.0_1",
            files: kernel,
            install: Some("#!/bin/sh\nexit 0\n"),
            ..Package::default()
        },
        Package {
            name: "openssh",
            version: "9.2p1_1",
            files: openssh,
            config: &[
                "etc/pam.d/sshd",
                "etc/ssh/moduli",
                "etc/ssh/ssh_config",
                "etc/ssh/sshd_config",
            ],
            needs: &["libcrypto3>=3.0.0_1"],
            needs_libraries: &["libcrypto.so.3"],
            install: Some("#!/bin/sh\nmkdir -p var/chroot/ssh\n"),
            ..Package::default()
        },
        Package {
            name: "removed-packages",
            version: "0.1_2",
            replaces: &["forgotten<=1.0_1"],
            ..Package::default()
        },
    ]
}
