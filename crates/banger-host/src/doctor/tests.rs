use super::*;
use crate::oldest;
use banger_core::doctor::Status;
use banger_core::size::Size;
use banger_exec::Tool;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

/// A host in a folder, on which everything works for an ordinary user.
struct FakeHost {
    dir: tempfile::TempDir,
    env: BTreeMap<&'static str, OsString>,
    tools: Tools,
    config: Result<Config, String>,
    agent: Option<String>,
    user: User,
    vmms: BTreeMap<Tool, Version>,
    storage: Storage,
    helper: Result<Ready, String>,
}

impl FakeHost {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_owned();
        let paths = Tool::ALL.iter().map(|tool| (*tool, format!("/bin/{}", tool.program())));
        let host = Self {
            tools: paths.fold(Tools::default(), |tools, (tool, path)| tools.with(tool, path)),
            env: BTreeMap::from([
                ("HOME", root.join("home").into()),
                ("XDG_RUNTIME_DIR", root.join("run").into()),
            ]),
            config: Ok(Config::default()),
            agent: None,
            user: User { uid: 1000, name: "me".to_owned() },
            vmms: BTreeMap::new(),
            storage: Storage {
                folder: root.join("home"),
                free: Size::gib(64),
                reflink: Some(true),
                writable: true,
            },
            helper: Ok(Ready { no_mapper: None, no_vmm: None, no_net: None, drops: Vec::new() }),
            dir,
        };
        for (path, text) in [
            ("dev/kvm", ""),
            ("sys/module/kvm_intel/refcnt", "0"),
            ("usr/bin/apt-get", ""),
            ("usr/share/keyrings/debian-archive-keyring.gpg", ""),
            ("etc/ssl/certs/ca-certificates.crt", ""),
            ("etc/subuid", "you:100000:65536\nme:165536:65536\n"),
            ("etc/subgid", "1000:165536:65536\n"),
            ("usr/local/lib/udev/rules.d/12-banger.rules", ""),
            ("run/.keep", ""),
        ] {
            host.write(path, text);
        }
        host
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn remove(&self, path: &str) {
        let path = self.dir.path().join(path);
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }
            .unwrap();
    }

    fn lacks(&mut self, tools: &[Tool]) {
        let kept = Tool::ALL.iter().filter(|tool| !tools.contains(tool));
        let kept = kept.map(|tool| (*tool, self.tools.path(*tool).unwrap()));
        self.tools = kept.fold(Tools::default(), |tools, (tool, path)| tools.with(tool, path));
    }

    fn report(&self) -> DoctorReport {
        let env = |name: &str| self.env.get(name).cloned();
        let dirs = Dirs::from_env(|name| env(name).map(PathBuf::from)).unwrap();
        examine(&Scene {
            root: self.dir.path(),
            env: &env,
            tools: &self.tools,
            dirs: &dirs,
            config: self.config.as_ref().map_err(Clone::clone),
            agent: (Path::new("/bin/banger-agent"), self.agent.clone()),
            user: &self.user,
            version: &|tool| self.vmms.get(&tool).copied().or(oldest(tool)),
            storage: Ok(&self.storage),
            helper: self.helper.as_ref().map_err(Clone::clone),
        })
    }

    /// The checks that have something to say, without the folder's name.
    fn complaints(&self) -> String {
        let line = |check: &Check| {
            let mark = if check.status == Status::Warning { "warning" } else { "missing" };
            let remedy = check.remedy.as_ref().map(|r| format!("\n  {r}")).unwrap_or_default();
            format!("{mark} {}: {}{remedy}", check.name, check.detail)
        };
        let checks = self.report().checks;
        let said = checks.iter().filter(|check| check.status != Status::Ok).map(line);
        let root = self.dir.path().to_str().unwrap();
        said.collect::<Vec<_>>().join("\n").replace(root, "")
    }
}

#[test]
fn a_host_that_has_everything_is_praised() {
    let host = FakeHost::new();
    assert_eq!(host.complaints(), "");
    let name = |check: Check| check.name;
    let names = host.report().checks.into_iter().map(name).collect::<Vec<_>>().join(", ");
    insta::assert_snapshot!(names, @"KVM, qemu-system-x86_64, vhost-device-vsock, qemu-img, e2fsck, resize2fs, ssh, ssh-keygen, mmdebstrap, tar, mke2fs, debugfs, newuidmap, unshare, rm, firecracker, banger-agent, debian-archive-keyring, ca-certificates, subordinate ids, user namespaces, sudo, configuration, SSH key, state folder, run-time folder");
}

#[test]
fn sudo_is_optional_and_told_how_to_get() {
    let mut host = FakeHost::new();
    host.helper = Err("sudo is not ready: a password is required\n".to_owned());
    insta::assert_snapshot!(host.complaints(), @"
    warning sudo: sudo is not ready: a password is required; without it root disks are qcow2 files or copies, and there is no network nat
      sudo make install, then banger doctor --sudoers | sudo tee /etc/sudoers.d/banger
    ");
    host.helper = FakeHost::new().helper;
    host.remove("usr/local/lib/udev");
    insta::assert_snapshot!(host.complaints(), @r"
    warning sudo: ready: root disks are snapshots by the device mapper, but udev has no rule for them (12-banger.rules)
      sudo make install
    ");
    let mut host = FakeHost::new();
    for drops in ["inet filter forward", "inet firewalld filter_FORWARD"] {
        let drops = vec![drops.to_owned()];
        host.helper = Ok(Ready { no_mapper: None, no_vmm: None, no_net: None, drops });
        assert!(host.complaints().contains("drops what it forwards"), "{}", host.complaints());
    }
    insta::assert_snapshot!(host.complaints(), @"
    warning sudo: ready: root disks are snapshots by the device mapper; with the network nat guests reach nothing outside: inet firewalld filter_FORWARD drops what it forwards
      sudo firewall-cmd --zone=trusted --add-interface=bgrbr1000
    ");
    let why = "this kernel has no device mapper".to_owned();
    host.helper = Ok(Ready { no_mapper: Some(why), no_vmm: None, no_net: None, drops: Vec::new() });
    assert_eq!(host.complaints(), "");
}

#[test]
fn what_is_not_installed_names_its_package() {
    let mut host = FakeHost::new();
    host.lacks(&[Tool::QemuSystem, Tool::Mmdebstrap, Tool::Newuidmap, Tool::Ssh]);
    host.remove("usr/share/keyrings");
    host.remove("etc/ssl");
    host.agent = Some("it is not there".to_owned());
    insta::assert_snapshot!(host.complaints(), @"
    missing qemu-system-x86_64: needed for running VMs
      sudo apt-get install --no-remove qemu-system-x86
    missing ssh: needed for entering VMs
      sudo apt-get install openssh-client
    missing mmdebstrap: needed for building Debian images
      sudo apt-get install mmdebstrap
    missing newuidmap: needed for building images without root (mmdebstrap and unshare run it)
      sudo apt-get install uidmap
    missing banger-agent: /bin/banger-agent: it is not there; it goes into every image
      in banger's sources: make build, then make install (or cargo xtask agent)
    missing debian-archive-keyring: needed for verifying Debian's packages
      sudo apt-get install debian-archive-keyring
    missing ca-certificates: needed for downloads over HTTPS
      sudo apt-get install ca-certificates
    ");
}

#[test]
fn cargo_installs_what_no_distribution_has() {
    let mut host = FakeHost::new();
    host.lacks(&[Tool::VhostDeviceVsock]);
    let checks = host.report().checks;
    let check = checks.iter().find(|check| check.status == Status::Missing).unwrap();
    let remedy = check.remedy.as_ref().unwrap();
    assert!(remedy.starts_with("cargo install --locked "), "{remedy}");
    assert!(remedy.ends_with(" vhost-device-vsock@0.3.0"), "{remedy}");
}

#[test]
fn root_needs_neither_sudo_nor_namespaces() {
    let mut host = FakeHost::new();
    host.user = User { uid: 0, name: "root".to_owned() };
    host.lacks(&[Tool::Tar, Tool::Newuidmap, Tool::Unshare]);
    host.remove("etc/subuid");
    insta::assert_snapshot!(host.complaints(), @"
    missing tar: needed for unpacking a root file system with its owners
      apt-get install tar
    ");
}

#[test]
fn a_host_without_apt_gets_no_command() {
    let mut host = FakeHost::new();
    host.lacks(&[Tool::Tar]);
    host.remove("usr/bin/apt-get");
    insta::assert_snapshot!(host.complaints(), @"
    missing tar: needed for unpacking a root file system with its owners
      install what Debian has in its package tar
    ");
}

#[test]
fn the_lack_of_kvm_is_a_warning_that_says_why() {
    let host = FakeHost::new();
    let why = || {
        let check = host.report().checks.remove(0);
        format!("{:?} {} [{}]", check.status, check.detail, check.remedy.unwrap_or_default())
            .replace(host.dir.path().to_str().unwrap(), "")
    };
    host.remove("sys/module/kvm_intel");
    host.write("sys/module/kvm_pvm/refcnt", "0");
    insta::assert_snapshot!(why(), @"Warning kvm_pvm is loaded, which is no hardware virtualisation; VMs are emulated, and slow []");
    host.remove("sys/module/kvm_pvm");
    host.write("proc/cpuinfo", "flags\t\t: fpu svm lm\n");
    insta::assert_snapshot!(why(), @"Warning neither kvm_intel nor kvm_amd is loaded: KVM here is not hardware virtualisation; VMs are emulated, and slow [sudo modprobe kvm_amd]");
    host.remove("dev/kvm");
    host.write("proc/cpuinfo", "flags\t\t: fpu vmx lm\n");
    insta::assert_snapshot!(why(), @"Warning /dev/kvm does not exist; VMs are emulated, and slow [sudo modprobe kvm_intel]");
    host.write("proc/cpuinfo", "flags\t\t: fpu vmxnot lm\n");
    insta::assert_snapshot!(why(), @"Warning this processor offers no hardware virtualisation; VMs are emulated, and slow []");
}

#[test]
fn an_ordinary_user_gets_a_free_range_of_ids() {
    let host = FakeHost::new();
    host.write("etc/subuid", "you:100000:65536\n");
    host.remove("etc/subgid");
    insta::assert_snapshot!(host.complaints(), @"
    missing subordinate ids: no range for me in /etc/subuid and /etc/subgid: needed for building images without root
      sudo usermod --add-subuids 165536-231071 --add-subgids 165536-231071 me
    ");
    host.write("etc/subuid", "you:100000:65536\nme:165536:65536\n");
    host.write("etc/subgid", "me:0:0\n");
    insta::assert_snapshot!(host.complaints(), @"
    missing subordinate ids: no range for me in /etc/subgid: needed for building images without root
      sudo usermod --add-subuids 231072-296607 --add-subgids 231072-296607 me
    ");
}

#[test]
fn namespaces_that_are_switched_off_are_named() {
    let host = FakeHost::new();
    host.write("proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n");
    insta::assert_snapshot!(host.complaints(), @"
    warning user namespaces: restricted by kernel.apparmor_restrict_unprivileged_userns: building images without root can fail
      sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0
    ");
    host.write("proc/sys/kernel/unprivileged_userns_clone", "0\n");
    insta::assert_snapshot!(host.complaints(), @"
    missing user namespaces: switched off by kernel.unprivileged_userns_clone: needed for building images without root
      sudo sysctl -w kernel.unprivileged_userns_clone=1
    ");
    host.write("proc/sys/user/max_user_namespaces", "0\n");
    insta::assert_snapshot!(host.complaints(), @"
    missing user namespaces: switched off by user.max_user_namespaces: needed for building images without root
      sudo sysctl -w user.max_user_namespaces=15000
    ");
}

#[test]
fn little_space_is_a_warning_and_none_of_ones_own_is_missing() {
    let mut host = FakeHost::new();
    host.storage.free = Size::mib(4800);
    host.storage.reflink = Some(false);
    insta::assert_snapshot!(host.complaints(), @"
    warning state folder: /home/.local/state/banger: 4.7 GiB free; copies share no blocks (no reflink)
      delete VMs or images, or set XDG_STATE_HOME to a folder on a larger file system
    ");
    host.storage.writable = false;
    insta::assert_snapshot!(host.complaints(), @"
    missing state folder: /home/.local/state/banger: /home cannot be written to
      set XDG_STATE_HOME to a folder of yours
    ");
}

#[test]
fn the_key_is_whole_and_private() {
    let mut host = FakeHost::new();
    let key = host.dir.path().join("home/my key");
    host.config = Ok(Config { ssh_key: Some(key.clone()), ..Config::default() });
    insta::assert_snapshot!(host.complaints(), @"
    missing SSH key: /home/my key is not there, but named in the configuration
      ssh-keygen -t ed25519 -f '/home/my key'
    ");
    host.write("home/my key", "");
    insta::assert_snapshot!(host.complaints(), @"
    missing SSH key: /home/my key.pub is not there: it goes into VMs
      ssh-keygen -y -f '/home/my key' > '/home/my key'.pub
    ");
    host.write("home/my key.pub", "");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    insta::assert_snapshot!(host.complaints(), @"
    missing SSH key: /home/my key is open to others: ssh refuses it
      chmod 600 '/home/my key'
    ");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(host.complaints(), "");
}

#[test]
fn a_broken_configuration_and_a_lost_run_time_folder_are_told() {
    let mut host = FakeHost::new();
    host.config = Err("unknown key 'memroy'; did you mean 'memory'?".to_owned());
    host.remove("run");
    insta::assert_snapshot!(host.complaints(), @"
    missing configuration: unknown key 'memroy'; did you mean 'memory'?
      correct /home/.config/banger/config.toml; without it the defaults serve
    warning run-time folder: XDG_RUNTIME_DIR is /run, which is not there
      log in anew, or unset XDG_RUNTIME_DIR
    ");
    host.env.insert("XDG_RUNTIME_DIR", "run".into());
    host.config = Ok(Config::default());
    insta::assert_snapshot!(host.complaints(), @"warning run-time folder: /home/.local/state/banger/run: XDG_RUNTIME_DIR is not an absolute path, and ignored");
    host.env.remove("XDG_RUNTIME_DIR");
    assert_eq!(host.complaints(), "");
}

#[test]
fn a_firecracker_that_is_configured_must_be_a_program() {
    let mut host = FakeHost::new();
    let path = host.dir.path().join("fc");
    host.config = Ok(Config { firecracker_bin: Some(path.clone()), ..Config::default() });
    insta::assert_snapshot!(host.complaints(), @r"
    warning firecracker: firecracker_bin is /fc, which is no program
      correct /home/.config/banger/config.toml
    ");
    host.write("fc", "");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(host.complaints(), "");
}

#[test]
fn a_qemu_that_is_too_old_is_told() {
    let mut host = FakeHost::new();
    host.vmms.insert(Tool::QemuSystem, Version(5, 2));
    insta::assert_snapshot!(host.complaints(), @r"
    warning qemu-system-x86_64: /bin/qemu-system-x86_64 is 5.2; 7.2 or newer is needed
      sudo apt-get install --no-remove qemu-system-x86
    ");
}
