//! The programs that banger may run, and where they are.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::ExecError;

macro_rules! tools {
    ($($variant:ident $name:literal $package:literal $purpose:literal;)*) => {
        /// A program that banger may run. There is no shell among them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Tool {
            $(#[doc = concat!("`", $name, "`: ", $purpose, ".")] $variant,)*
        }

        impl Tool {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name of its file.
            #[must_use]
            pub const fn program(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The Debian package that has it.
            #[must_use]
            pub const fn package(self) -> &'static str {
                match self { $(Self::$variant => $package,)* }
            }

            /// What banger needs it for.
            #[must_use]
            pub const fn purpose(self) -> &'static str {
                match self { $(Self::$variant => $purpose,)* }
            }
        }
    };
}

tools! {
    Banger "banger" "banger" "the command line, in tests";
    BangerHelper "banger-helper" "banger" "what needs root";
    Bangerd "bangerd" "banger" "the daemon";
    Blockdev "blockdev" "util-linux" "the size of a device, in 'bench create --by-hand'";
    Bridge "bridge" "iproute2" "the network nat";
    Busctl "busctl" "systemd" "units of systemd's for VMs";
    Cargo "cargo" "cargo" "building banger itself";
    Cp "cp" "coreutils" "copying a disk, in 'bench create --by-hand'";
    Chromedriver "chromedriver" "chromium-driver" "driving a browser, in tests";
    Curl "curl" "curl" "walking the API, in tests";
    Debugfs "debugfs" "e2fsprogs" "reading and patching ext4 images without mounting them";
    Dmsetup "dmsetup" "dmsetup" "root disks by the device mapper";
    DockerRegistry "docker-registry" "docker-registry" "pulling from a real registry, in tests";
    E2fsck "e2fsck" "e2fsprogs" "checking a work disk before it is resized";
    Firecracker "firecracker" "firecracker (a release of its project)" "running VMs on hosts with KVM";
    Ip "ip" "iproute2" "the network nat";
    Losetup "losetup" "mount" "loop devices, in 'bench create --by-hand'";
    Mke2fs "mke2fs" "e2fsprogs" "making root file systems and work seeds";
    Mmdebstrap "mmdebstrap" "mmdebstrap" "building Debian images";
    Newuidmap "newuidmap" "uidmap" "building images without root (mmdebstrap and unshare run it)";
    Nft "nft" "nftables" "the network nat";
    QemuImg "qemu-img" "qemu-utils" "qcow2 root overlays";
    QemuSystem "qemu-system-x86_64" "qemu-system-x86" "running VMs";
    Resize2fs "resize2fs" "e2fsprogs" "growing work disks";
    Setpriv "setpriv" "util-linux" "running the tests as an ordinary user";
    Skopeo "skopeo" "skopeo" "pushing and converting images, in tests";
    Useradd "useradd" "passwd" "making an ordinary user for the tests";
    Rm "rm" "coreutils" "removing files of an unpacked root that belong to subordinate users";
    Ssh "ssh" "openssh-client" "entering VMs";
    SshKeygen "ssh-keygen" "openssh-client" "making SSH keys";
    Sudo "sudo" "sudo" "running banger-helper as root";
    Tar "tar" "tar" "unpacking a root file system with its owners";
    Tmux "tmux" "tmux" "a terminal for the TUI, in tests";
    Umoci "umoci" "umoci" "making and unpacking images, in tests";
    Unshare "unshare" "util-linux" "a user namespace in which an ordinary user can own a root file system";
    VhostDeviceVsock "vhost-device-vsock" "vhost-device-vsock (cargo install)" "reaching the agent in VMs (vsock for QEMU without kernel support)";
    XdgOpen "xdg-open" "xdg-utils" "opening the web console, or a VM's port, in a browser";
    GuestReboot "reboot" "the guest's init" "shutting a guest down from inside";
    GuestInit "init" "the guest's init" "handing over from the initramfs";
    GuestProvision "provision" "the image" "finishing a root in a boot of its own";
}

/// The programs found, by absolute path, once. One that was missing is looked
/// for again when it is asked for: it may have been installed since.
#[derive(Debug, Clone, Default)]
pub struct Tools {
    folders: Vec<PathBuf>,
    found: BTreeMap<Tool, PathBuf>,
}

/// Whether a path is that of a file that we may run.
#[must_use]
pub fn is_program(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

fn find(folders: &[PathBuf], tool: Tool) -> Option<PathBuf> {
    let mut candidates = folders.iter().map(|dir| dir.join(tool.program()));
    candidates.find(|path| is_program(path))
}

impl Tools {
    /// Looks in each folder of `folders`, in order.
    #[must_use]
    pub fn in_folders(folders: impl IntoIterator<Item = PathBuf>) -> Self {
        let folders: Vec<_> = folders.into_iter().filter(|dir| dir.is_absolute()).collect();
        let found =
            Tool::ALL.iter().filter_map(|tool| Some((*tool, find(&folders, *tool)?))).collect();
        Self { folders, found }
    }

    /// Looks beside our own program, on `PATH`, in the system's `sbin` folders
    /// (an ordinary user's PATH often lacks them), then in banger's tools folder.
    #[must_use]
    pub fn discover() -> Self {
        let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
        Self::in_folders(
            beside
                .into_iter()
                .chain(std::env::split_paths(&path))
                .chain(system)
                .chain(tools_folder().map(|folder| folder.join("bin"))),
        )
    }

    /// The path of a program.
    ///
    /// # Errors
    /// It was not found.
    pub fn path(&self, tool: Tool) -> Result<PathBuf, ExecError> {
        let known = self.found.get(&tool).cloned();
        known.or_else(|| find(&self.folders, tool)).ok_or(ExecError::NotInstalled(tool))
    }

    /// Uses `path` for `tool`.
    #[must_use]
    pub fn with(mut self, tool: Tool, path: impl Into<PathBuf>) -> Self {
        self.found.insert(tool, path.into());
        self
    }
}

/// The folder that `script/setup` fills with what the distribution does not
/// have; the programs are in its `bin`.
#[must_use]
pub fn tools_folder() -> Option<PathBuf> {
    let var = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
    let folder = var("BANGER_TOOLS").map(PathBuf::from).or_else(|| {
        let data = var("XDG_DATA_HOME").map(PathBuf::from);
        let data = data.or_else(|| Some(PathBuf::from(var("HOME")?).join(".local/share")))?;
        Some(data.join("banger/tools"))
    })?;
    Some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_first_executable_wins_and_a_missing_one_says_how_to_get_it() {
        let dir = tempfile::tempdir().unwrap();
        let make = |folder: &str, mode| {
            let path = dir.path().join(folder);
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("tar"), "").unwrap();
            std::fs::set_permissions(path.join("tar"), std::fs::Permissions::from_mode(mode))
                .unwrap();
            path
        };
        let folders = [make("plain", 0o644), make("first", 0o755), make("second", 0o755)];
        let tools = Tools::in_folders(folders);
        assert_eq!(tools.path(Tool::Tar).unwrap(), dir.path().join("first/tar"));
        let missing = tools.path(Tool::Mke2fs).unwrap_err().to_string();
        assert!(missing.contains("mke2fs") && missing.contains("e2fsprogs"), "{missing}");
        std::fs::copy(dir.path().join("first/tar"), dir.path().join("second/mke2fs")).unwrap();
        assert_eq!(tools.path(Tool::Mke2fs).unwrap(), dir.path().join("second/mke2fs"));
    }
}
