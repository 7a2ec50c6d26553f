//! A whole host for the tests: a VM that has KVM, a device mapper, loop devices, taps and
//! nftables of its own, in which banger runs VMs.
//!
//! QEMU's emulation offers AMD's SVM, so the kernel of the image has a real `/dev/kvm` in it.

use std::fs;
use std::path::Path;

use banger_exec::{Command, HostRunner, Runner as _, Tool, Tools};

use super::base::{base, copy_tree};
use super::process::LIMIT;
use super::programs::programs;
use super::{As, Ran, Sandbox, Stock};

/// Makes the lab of a VM that has just booted.
const SET_UP: &str = r#"
set -e
modprobe kvm_amd
# A kernel that is broken is to end.
echo 1 > /proc/sys/kernel/panic_on_oops
# What Docker makes of a host's packet filter.
nft -f - <<'END'
table ip filter {
    chain DOCKER-USER { }
    chain FORWARD { type filter hook forward priority filter; policy drop; jump DOCKER-USER; }
}
END
[ -c /dev/kvm ]
install -m 755 /root/bin/* /usr/local/bin/
install -D -m 644 -t /usr/local/lib/udev/rules.d /root/12-banger.rules
udevadm control --reload
for user in dev eve plain; do id $user >/dev/null 2>&1 || useradd --create-home --shell /bin/bash $user; done
usermod --append --groups kvm plain
for user in dev eve; do echo "$user ALL=(root) NOPASSWD: /usr/local/bin/banger-helper \"\"" > /etc/sudoers.d/$user; done
mount --bind /root/dev /home/dev
if ! [ -d /home/dev/config ]; then
    mkdir -p /home/dev/config/banger
    # One emulation inside another.
    printf 'ready_seconds = 400\nhost_ports = [7000]\n' > /home/dev/config/banger/config.toml
    chmod 700 /home/dev/state /home/dev/state/banger
    chown -R dev: /home/dev/
fi
cat > /usr/local/bin/as <<'END'
#!/bin/sh
user=$1
shift
exec setpriv --reuid="$user" --regid="$user" --init-groups env -i PATH=/usr/local/bin:/usr/bin:/bin \
    HOME="/home/$user" XDG_STATE_HOME="/home/$user/state" XDG_CONFIG_HOME="/home/$user/config" "$@"
END
chmod 755 /usr/local/bin/as
# The user's systemd, and its bus, as on a workstation: dev's stays when dev has logged out.
mkdir -p /etc/systemd/system/user@.service.d
printf '[Service]\nEnvironment=XDG_RUNTIME_DIR=/run/user/%%i\n' > /etc/systemd/system/user@.service.d/lab.conf
printf '[Socket]\nListenStream=%%t/bus\n[Install]\nWantedBy=sockets.target\n' > /etc/systemd/user/dbus.socket
printf '[Service]\nExecStart=dbus-daemon --session --address=systemd: --nofork --nopidfile\n' > /etc/systemd/user/dbus.service
systemctl --global --quiet enable dbus.socket
systemctl daemon-reload
loginctl enable-linger dev
manager=$(id -u dev)
for _ in $(seq 100); do [ -S /run/user/$manager/bus ] && break; sleep 0.2; done
# The manager gets onto the bus when that runs.
setpriv --reuid=dev --regid=dev --init-groups env XDG_RUNTIME_DIR=/run/user/$manager systemctl --user start dbus.service
"#;

/// The lab.
pub struct Lab {
    outer: Sandbox,
}

impl Lab {
    /// Makes the VM, puts programs and an image into it, and boots it.
    pub fn new() -> Self {
        Self::with(|_| ())
    }

    /// One with more on its disk, which is put into the folder that `more` gets: its `/root`.
    pub fn with(more: impl Fn(&Path)) -> Self {
        let outer = Sandbox::with(As::Me, Stock::Lab);
        // With two CPUs its kernel dies now and then, of a GS that is not its own: QEMU's emulation
        // of SVM does not bear it (7.2).
        let options =
            ["--image", "lab", "--vcpus", "1", "--memory", "3G", "--disk", "8G", "--no-start"];
        outer.ok(&[&["vm", "create", "lab"], &options[..]].concat());
        let id = outer.json(&["vm", "show", "lab"])["id"].as_str().unwrap().to_owned();
        carry(&outer, &outer.state("vms").join(id).join("work.ext4"), more);
        let lab = Self { outer };
        lab.boot();
        lab
    }

    fn boot(&self) {
        self.outer.ok(&["vm", "start", "lab", "--wait", "ssh"]);
        self.ok(SET_UP);
    }

    /// Whether it does what it is told.
    pub fn is_up(&self) -> bool {
        self.run("true").code == 0
    }

    /// The end of what its kernel said.
    pub fn console(&self) -> String {
        self.outer.run(&["vm", "logs", "-n", "60", "lab"]).stdout
    }

    /// Cuts the power, and boots again.
    pub fn power_cut(&self) {
        self.outer.ok(&["vm", "kill", "lab"]);
        self.boot();
    }

    /// Runs a script of root's in it.
    pub fn run(&self, script: &str) -> Ran {
        self.outer.run(&["vm", "exec", "lab", "--", "bash", "-c", script])
    }

    /// Runs a script of root's in it, which must succeed: what it printed.
    pub fn ok(&self, script: &str) -> String {
        let ran = self.run(script);
        assert_eq!(ran.code, 0, "{script}:\n{}{}", ran.stdout, ran.stderr);
        ran.stdout.trim_end().to_owned()
    }
}

/// Makes the lab's work disk: the programs, and the state folder of its user `dev`.
fn carry(outer: &Sandbox, disk: &Path, more: impl Fn(&Path)) {
    let tree = outer.dir().join("carried");
    let state = tree.join("dev/state/banger");
    copy_tree(&base(As::Me, Stock::Lab).join("state/banger"), &state, true);
    fs::create_dir(tree.join("bin")).unwrap();
    for name in ["banger", "bangerd", "banger-agent", "banger-helper"] {
        fs::copy(programs(As::Me).join(name), tree.join("bin").join(name)).unwrap();
    }
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../udev/12-banger.rules");
    fs::copy(rules, tree.join("12-banger.rules")).unwrap();
    let tools = Tools::discover();
    let firecracker = tools.path(Tool::Firecracker).expect("run 'script/setup --for test' first");
    fs::copy(firecracker, tree.join("bin/firecracker")).unwrap();
    more(&tree);
    fs::remove_file(disk).unwrap();
    let make = Command::new(Tool::Mke2fs)
        .args(["-q", "-t", "ext4", "-E", "root_owner=0:0", "-d"])
        .args([&tree, disk])
        .arg("8G")
        .timeout(LIMIT);
    HostRunner::new(tools).capture(&make).unwrap();
    fs::remove_dir_all(tree).unwrap();
}
