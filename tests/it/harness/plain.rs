//! A root that knows nothing of banger: Debian's, with Debian's own kernel and initramfs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use banger_exec::{Command, HostRunner, Runner as _, Tool, Tools};

const LIMIT: Duration = Duration::from_secs(900);
const PACKAGES: &str =
    "initramfs-tools,iproute2,kmod,linux-image-cloud-amd64,openssh-server,systemd-sysv,udev";

pub fn tool(command: Command) -> Vec<u8> {
    HostRunner::new(Tools::discover()).capture(&command.timeout(LIMIT)).unwrap().stdout
}

/// Tar files of Debian, made once and kept for later runs.
pub struct Plain(PathBuf);

impl Plain {
    pub fn new() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = PathBuf::from("/var/tmp/banger-test-plain-2");
        let plain = Self(dir.clone());
        if dir.join("ready").exists() {
            return plain;
        }
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        let whole = dir.join("whole.tar");
        let mmdebstrap = || Command::new(Tool::Mmdebstrap).arg("--format=tar");
        let no = ["doc", "man", "locale"].map(|what| format!("path-exclude=/usr/share/{what}/*"));
        let base = mmdebstrap()
            .args(["--variant=minbase", "--aptopt=Acquire::Languages \"none\""])
            .args(no.iter().map(|exclude| format!("--dpkgopt={exclude}")))
            .arg(format!("--include={PACKAGES}"))
            .arg("bookworm")
            .arg(plain.layer("base"));
        tool(base);
        for name in ["openrc", "runit-init"] {
            let unpack = mmdebstrap().args(["--variant=extract", &format!("--include={name}")]);
            tool(unpack.arg("bookworm").arg(&whole));
            over(&whole, &plain.layer(name));
            fs::remove_file(&whole).unwrap();
        }
        plain.make_rootfs();
        fs::write(dir.join("ready"), "").unwrap();
        plain
    }

    /// The base as a file system.
    pub fn rootfs(&self) -> PathBuf {
        self.0.join("rootfs.ext4")
    }

    fn make_rootfs(&self) {
        let tree = self.0.join("tree");
        fs::create_dir(&tree).unwrap();
        let root = |tool: Tool| match rustix::process::geteuid().is_root() {
            true => Command::new(tool),
            false => Command::new(Tool::Unshare).args([
                "--user",
                "--map-root-user",
                "--map-auto",
                "--",
                tool.program(),
            ]),
        };
        let unpack = root(Tool::Tar).args(["-x", "-p", "--numeric-owner", "--exclude=./dev/*"]);
        tool(unpack.arg("-f").arg(self.layer("base")).arg("-C").arg(&tree));
        let mke2fs = root(Tool::Mke2fs).args(["-q", "-t", "ext4", "-E", "root_owner=0:0", "-d"]);
        tool(mke2fs.arg(&tree).arg(self.rootfs()).arg("2G"));
        tool(root(Tool::Rm).arg("-rf").arg(&tree));
    }

    /// The file of `base`, or of the packages of another init, to be laid over it.
    pub fn layer(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.tar"))
    }

    /// Takes a file out of the base.
    pub fn take(&self, beginning: &str, to: &Path) {
        let mut archive = tar::Archive::new(fs::File::open(self.layer("base")).unwrap());
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            if entry.path_bytes().starts_with(beginning.as_bytes()) {
                std::io::copy(&mut entry, &mut fs::File::create_new(to).unwrap()).unwrap();
                return;
            }
        }
        panic!("there is no {beginning}");
    }
}

/// Packages as a layer: without the folders that are links in the base, and with what the script
/// of the package makes.
fn over(packages: &Path, to: &Path) {
    let mut layer = tar::Builder::new(fs::File::create_new(to).unwrap());
    let mut archive = tar::Archive::new(fs::File::open(packages).unwrap());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        let links = ["./", "./bin/", "./lib/", "./lib64/", "./sbin/"].map(Path::new);
        if links.contains(&&*path) {
            continue;
        }
        let mut header = entry.header().clone();
        match entry.link_name().unwrap().map(std::borrow::Cow::into_owned) {
            Some(target) => layer.append_link(&mut header, &path, target).unwrap(),
            None => layer.append_data(&mut header, &path, &mut entry).unwrap(),
        }
    }
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    layer.append_link(&mut header, "etc/runit/runsvdir/current", "default").unwrap();
    layer.finish().unwrap();
}
