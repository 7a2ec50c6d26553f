//! banger on a real host with KVM and all that Linux has, as an ordinary user: with the one line
//! of sudoers that it asks for, and without.

use std::hash::{BuildHasher as _, DefaultHasher, Hash as _, Hasher as _, RandomState};
use std::io::Write as _;
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

use serde_json::Value;

use crate::harness::{Lab, Ran, Typist, rounds};
use crate::vm_life::life;

/// What an empty host says to [`Lab::left`].
pub const NOTHING: &str = "No devices found";

/// The lab's user `dev`.
struct Dev<'a>(&'a Lab);

impl Typist for Dev<'_> {
    fn run(&self, args: &[&str]) -> Ran {
        let line: Vec<_> = args.iter().map(|arg| quote(arg)).collect();
        self.0.run(&format!("cd /; exec as dev banger {} </dev/null", line.join(" ")))
    }
}

impl Lab {
    /// Runs a script of the user `dev`'s, which must succeed: what it printed.
    pub fn dev(&self, script: &str) -> String {
        self.as_user("dev", script)
    }

    fn as_user(&self, user: &str, script: &str) -> String {
        self.ok(&format!("cd /; exec as {user} bash -c {}", quote(script)))
    }

    pub fn show(&self, vm: &str) -> Value {
        serde_json::from_str(&self.dev(&format!("banger vm show {vm} --json"))).unwrap()
    }

    /// All that VMs take of a host, by those who know: nothing of it is asked of banger. The helper is
    /// given the time to end by itself.
    pub fn left(&self) -> String {
        self.ok(
            "for _ in $(seq 50); do pgrep -x banger-helper >/dev/null || break; sleep 0.5; done; \
             dmsetup ls; losetup --list --noheadings --output BACK-FILE; \
             ip -oneline link show | grep bgr; nft list tables | grep banger; \
             nft list ruleset | grep bgr; grep 1 /proc/sys/net/ipv4/ip_forward; \
             ps -C firecracker -o args=; ps -C banger-helper -o args=; \
             find /home/*/state/banger/vms /home/*/state/banger/run/vms -mindepth 1 -maxdepth 1; true",
        )
    }
}

fn quote(script: &str) -> String {
    format!("'{}'", script.replace('\'', "'\\''"))
}

#[test]
fn the_lab() {
    let lab = Lab::new();
    let lived = catch_unwind(AssertUnwindSafe(|| all_parts(&lab)));
    match lived {
        Ok(()) => {}
        Err(why) if lab.is_up() => resume_unwind(why),
        Err(_) => {
            println!("{}", lab.console());
            println!("the lab itself has died, which is the emulation's doing: once more");
            drop(lab);
            all_parts(&Lab::new());
        }
    }
}

fn all_parts(lab: &Lab) {
    println!("{}", lab.ok("firecracker --version | head -n 1; dmsetup version; uname -sr"));
    let part = |what: &str, work: fn(&Lab)| {
        let started = Instant::now();
        work(lab);
        println!("lab: {what}: {} s", started.elapsed().as_secs());
    };
    part("sudo is ready", sudo_is_ready);
    part("two VMs", two_vms);
    part("one life, and a power cut", one_life);
    part("the end of whatever runs", the_end_of_whatever_runs);
    part("again and again", again_and_again);
    part("without sudo", without_sudo);
}

fn sudo_is_ready(lab: &Lab) {
    assert_eq!(
        lab.dev("banger doctor --sudoers"),
        "dev ALL=(root) NOPASSWD: /usr/local/bin/banger-helper \"\""
    );
    let status: Value =
        serde_json::from_str(&lab.dev("banger daemon start >&2; banger daemon status --json"))
            .unwrap();
    assert_eq!(status["sudo"]["ready"], true, "{status}");
    let doctor = lab.dev("banger doctor || true");
    assert!(doctor.contains("ready: root disks are snapshots by the device mapper"), "{doctor}");
    assert!(doctor.contains("✓ left behind"), "{doctor}");
    // Nothing else may be done as root, and nobody else may.
    let refused = lab.run("as dev sudo -n id || as dev sudo -n /usr/local/bin/banger-helper x || as plain sudo -n /usr/local/bin/banger-helper");
    assert_eq!(refused.stderr.matches("a password is required").count(), 3, "{}", refused.stderr);
    // Nor if others than root could change what runs.
    let moved = lab.run("chmod g+w /usr/local/bin; as dev banger doctor --sudoers; status=$?; chmod g-w /usr/local/bin; exit $status");
    assert_eq!(moved.code, 1);
    assert!(
        moved.stderr.contains("/usr/local/bin can be changed by others than root"),
        "{}",
        moved.stderr
    );
}

pub const CREATE: &str = "banger vm create --image lab --vmm firecracker --vcpus 1 --memory 256M";

/// Two at once, entered, killed under, stopped, deleted.
fn two_vms(lab: &Lab) {
    lab.dev(&format!("{CREATE} one --wait ssh & one=$!; {CREATE} two --wait ssh && wait $one"));
    let one = lab.show("one");
    assert_eq!(one["spec"]["root_disk"], "dm-snapshot");
    assert_eq!(one["spec"]["root_disk_reason"], "instant on any file system, and sudo is ready");
    let devices = lab.ok("dmsetup ls | wc -l; losetup --list --noheadings | wc -l");
    assert_eq!(
        devices,
        "2\n4",
        "{}",
        lab.ok("as dev banger vm list; dmesg | tail; cat /home/dev/state/banger/bangerd.log")
    );
    // Nobody looks into what guests write.
    let looked = lab.ok("udevadm settle; udevadm info --export-db | sed -n '/^P:.*dm-/,/^$/p' | grep -c ID_FS; ls -l /dev/disk/by-uuid /dev/disk/by-label | grep -c 'dm-\\|loop' || true");
    assert_eq!(looked, "0\n0");
    // They are the user's, with the group that may use KVM, which the user is not in.
    assert_eq!(lab.ok("ps -C firecracker -o user=,supgrp="), "dev      kvm\ndev      kvm");
    assert_eq!(lab.dev("id -nG"), "dev");
    let scopes = "cat $(ps -C firecracker -o pid= | sed 's|.*|/proc/&/cgroup|; s| ||g') | grep -c /user@$(id -u dev).service/app.slice/banger-";
    let scopes = format!(
        "for _ in $(seq 100); do [ \"$({scopes})\" = 2 ] && break; sleep 0.2; done; {scopes}"
    );
    assert_eq!(
        lab.ok(&scopes),
        "2",
        "{}",
        lab.ok("systemctl status user@*; cat /home/dev/state/banger/bangerd.log")
    );
    strangers(lab, one["id"].as_str().unwrap());

    the_network(lab);
    let boot_id =
        || lab.dev("banger vm exec one -- cat /proc/sys/kernel/random/boot_id </dev/null");
    let first = boot_id();

    // The daemon's end is not theirs.
    lab.ok("pkill -9 -x bangerd");
    assert_eq!(lab.show("one")["state"]["state"], "running");
    assert_eq!(boot_id(), first);
    // The VMM's is the VM's.
    let pid = lab.show("two")["run"]["pid"].clone();
    lab.ok(&format!("kill -9 {pid}"));
    let ended = lab.dev("for _ in $(seq 100); do banger vm show two --json | grep -q crashed && break; sleep 0.2; done; banger vm show two --json");
    assert_eq!(serde_json::from_str::<Value>(&ended).unwrap()["state"]["cause"], "crashed");
    assert_eq!(lab.ok("dmsetup ls | wc -l; losetup --list --noheadings | wc -l"), "1\n2");

    lab.dev("banger vm stop one");
    assert_eq!(lab.ok("dmsetup ls; losetup --list --noheadings"), NOTHING);
    left_behind(lab);
    lab.dev("banger vm delete --yes one two");
    assert_eq!(lab.left(), NOTHING);
    assert_eq!(lab.ok("find /sys/fs/cgroup -name 'banger-*.scope'"), "");
}

/// What people do with a VM on QEMU, and then the host stops.
fn one_life(lab: &Lab) {
    let options = ["--image", "lab", "--vmm", "firecracker", "--vcpus", "1", "--memory", "256M"];
    life(&Dev(lab), &options, || {
        let address = lab.show("dev")["lease"]["address"].as_str().unwrap().to_owned();
        format!("{address}/24")
    });

    // The host loses its power: what was of that boot is gone, what is kept is there.
    lab.dev("banger vm exec dev -- sync </dev/null");
    lab.ok("sync");
    lab.power_cut();
    assert_eq!(lab.show("dev")["state"]["cause"], "host_rebooted");
    assert_eq!(
        lab.ok("dmsetup ls; losetup --list --noheadings; ip -o link | grep bgr || true"),
        NOTHING
    );
    lab.dev("banger vm start dev --wait ssh");
    assert_eq!(lab.dev("banger vm exec dev -- cat /root/work /etc/root </dev/null"), "kept\nkept");
    lab.dev("banger vm delete --yes dev");
    assert_eq!(lab.left(), NOTHING);
}

/// What no VM has is told and released, and no more than that.
fn left_behind(lab: &Lab) {
    let verbs = [
        r#"{"verb":"open","state_dir":"/home/dev/state/banger"}"#,
        r#"{"verb":"net_up","subnet":"172.30.9.0/24","dns":[],"host_ports":[]}"#,
        r#"{"verb":"tap_create","address":"172.30.9.2"}"#,
        r#"{"verb":"dm_create","vm":"0000000000000001","base":"BASE","overlay":"OVERLAY"}"#,
    ];
    let verbs = verbs.join("\n").replace("OVERLAY", "overlay");
    let made = lab.dev(&format!(
        "cd /home/dev/state/banger; truncate -s 64M overlay; base=$(ls images/*/rootfs.ext4); \
         printf '%s\n' {} | sed \"s|BASE|$base|\" | sudo -n /usr/local/bin/banger-helper",
        quote(&verbs)
    ));
    assert_eq!(made.matches(r#"{"done":"nothing"}"#).count(), 3, "{made}");
    let told = lab.dev("banger doctor || true");
    assert!(told.contains("! left behind"), "{told}");
    let uid = lab.ok("id -u dev");
    assert_eq!(
        lab.dev("banger doctor --fix | sort"),
        format!(
            "released the network bgrbr{uid}\n\
             released the root device bgr-{uid}-0000000000000001\n\
             released the tap bgr-ac1e0902"
        )
    );
    assert_eq!(
        lab.dev("rm /home/dev/state/banger/overlay; banger doctor --fix 2>&1"),
        "nothing is left behind"
    );
}

/// Both are reached by their addresses and reach what is outside, but neither each other nor what
/// else the host has to offer.
fn the_network(lab: &Lab) {
    let address = |vm: &str| lab.show(vm)["lease"]["address"].as_str().unwrap().to_owned();
    let (one, two) = (address("one"), address("two"));
    let gateway = format!("{}.1", one.rsplit_once('.').unwrap().0);
    // By name and by address, to the same host key.
    lab.dev("banger ssh-config --install 2>/dev/null");
    assert_eq!(lab.dev("ssh two.banger hostname </dev/null"), "two");
    let by_address = format!(
        "ssh -o ProxyCommand=none -o HostName={one} -o HostKeyAlias=one.banger one.banger hostname </dev/null"
    );
    assert_eq!(lab.dev(&by_address), "one");

    // Outside of the lab: a server on this machine, which the lab's own network leads to.
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let outside = server.local_addr().unwrap().port();
    let served = std::thread::spawn(move || {
        server.accept().unwrap().0.write_all(b"outside\n").unwrap();
    });
    lab.ok("for port in 7000 7001; do systemd-run --quiet --unit=port-$port \
                systemd-socket-activate --listen=$port --accept --inetd echo port $port; done; \
            until ss -ltn | grep -q :7000 && ss -ltn | grep -q :7001; do sleep 0.1; done");
    let host = lab.ok("hostname -I | tr ' ' '\n' | grep ^10.0.2");
    // Its own sshd, one that is outside, and a port of the host's that is allowed.
    let open = [(one.as_str(), 22), ("10.0.2.2", outside), (&gateway, 7000)];
    // Its neighbour's, the host's by each of its addresses, and a port that is not allowed.
    let closed = [(two.as_str(), 22), (&gateway, 22), (&host, 22), (&gateway, 7001)];
    let connect = |(to, port): (&str, u16), limit| {
        format!(
            "timeout {limit} bash -c 'head -c 7 < /dev/tcp/{to}/{port}' > /tmp/{to}-{port} 2>/dev/null & "
        )
    };
    let tell = |(to, port): (&str, u16)| format!("echo \"$(cat /tmp/{to}-{port})\"; ");
    // The neighbour again, asked of the host as a router.
    let route = format!("ip route add {two}/32 via {gateway} || echo failed; ");
    let script = [
        open.map(|to| connect(to, 120)).concat(),
        closed.map(|to| connect(to, 20)).concat(),
        "wait; ".to_owned(),
        open.map(tell).concat(),
        closed.map(tell).concat(),
        route,
        connect((&two, 22), 20),
        "wait; ".to_owned(),
        tell((&two, 22)),
        "cat /etc/resolv.conf".to_owned(),
    ];
    let said =
        lab.dev(&format!("banger vm exec one -- bash -c {} </dev/null", quote(&script.concat())));
    let reached: Vec<_> = said.lines().collect();
    assert_eq!(
        reached,
        ["SSH-2.0", "outside", "port 70", "", "", "", "", "", "nameserver 10.0.2.3"]
    );
    served.join().unwrap();
    // Where Docker drops what it does not know, there are two rules for ours.
    assert_eq!(lab.ok("nft list chain ip filter DOCKER-USER | grep -c bgrbr"), "2");
}

/// Another user, who may use the helper too, gets at nothing of it.
fn strangers(lab: &Lab, vm: &str) {
    let address = lab.show("one")["lease"]["address"].as_str().unwrap().to_owned();
    let answers = |user: &str, state_dir: &str, verbs: &[&str]| {
        let open = format!("{{\"verb\":\"open\",\"state_dir\":\"{state_dir}\"}}");
        let lines = [&[open.as_str()], verbs].concat().join("\n");
        let lines = lines.replace("VM", vm).replace("ADDRESS", &address);
        let helper = "sudo -n /usr/local/bin/banger-helper";
        let said = lab.as_user(user, &format!("printf '%s\\n' {} | {helper}", quote(&lines)));
        let subnet = format!("{}.0/24", address.rsplit_once('.').unwrap().0);
        let tap = lab.show("one")["lease"]["tap"].as_str().unwrap().to_owned();
        said.replace(vm, "VM")
            .replace(&address, "ADDRESS")
            .replace(&subnet, "SUBNET")
            .replace(&tap, "TAP")
    };
    lab.as_user(
        "eve",
        "cd && mkdir -p state/banger/vms && cd state/banger && chmod 700 . && touch own && \
         ln -s /etc/shadow link && ln -s /etc folder && mkfifo pipe",
    );
    const NOT_HERS: &str = "{\"refused\":\"the state folder cannot be used: it must be the caller's, \
        and nobody else's to write to\"}";
    assert_eq!(answers("eve", "/home/dev/state/banger", &[]), NOT_HERS);
    assert_eq!(answers("eve", "/root/.ssh/none", &[]), NOT_HERS);
    assert_eq!(
        answers("eve", "/etc", &[r#"{"verb":"dm_remove","vm":"VM"}"#]),
        format!("{NOT_HERS}\n{{\"refused\":\"the state folder comes first\"}}")
    );
    insta::assert_snapshot!(
        answers(
            "eve",
            "/home/eve/state/banger",
            &[
                r#"{"verb":"dm_remove","vm":"VM"}"#,
                r#"{"verb":"tap_remove","address":"ADDRESS"}"#,
                r#"{"verb":"net_up","subnet":"ADDRESS/24","dns":[],"host_ports":[]}"#,
                r#"{"verb":"dm_create","vm":"VM","base":"link","overlay":"own"}"#,
                r#"{"verb":"dm_create","vm":"VM","base":"folder/shadow","overlay":"own"}"#,
                r#"{"verb":"dm_create","vm":"VM","base":"../../../../etc/shadow","overlay":"own"}"#,
                r#"{"verb":"dm_create","vm":"VM","base":"/etc/shadow","overlay":"own"}"#,
                r#"{"verb":"dm_create","vm":"VM","base":"own","overlay":"pipe"}"#,
                r#"{"verb":"vmm_start","args":[],"log":"link"}"#,
                r#"{"verb":"run","program":"id"}"#,
            ]
        ),
        @r#"
    {"done":{"opened":{"protocol":2,"no_mapper":null,"no_vmm":null,"no_net":null,"drops":[]}}}
    {"done":"nothing"}
    {"refused":"TAP is not a tap of the caller's"}
    {"refused":"ADDRESS/24 is not a subnet: write SUBNET"}
    {"failed":"cannot open link below the state folder: Too many levels of symbolic links (os error 40)"}
    {"failed":"cannot open folder/shadow below the state folder: Too many levels of symbolic links (os error 40)"}
    {"refused":"../../../../etc/shadow is not a path below the state folder"}
    {"refused":"/etc/shadow is not a path below the state folder"}
    {"refused":"pipe is not a file of the caller's"}
    {"failed":"cannot open link below the state folder: Too many levels of symbolic links (os error 40)"}
    {"refused":"not a verb: unknown variant `run`, expected one of `open`, `dm_create`, `dm_remove`, `net_up`, `net_down`, `tap_create`, `tap_remove`, `vmm_start` at line 1 column 13"}
    "#
    );
    assert_eq!(lab.ok("dmsetup ls | wc -l"), "2");
    assert!(
        lab.ok("journalctl --sync; journalctl -q -t banger-helper | grep -c refused")
            .parse::<u32>()
            .unwrap()
            >= 8
    );
}

/// The daemon, Firecracker or the helper is killed at some moment of a create: a VM or nothing is
/// left of it, and nothing when it is deleted. `BANGER_SEED` takes a printed seed again.
fn the_end_of_whatever_runs(lab: &Lab) {
    let given = std::env::var("BANGER_SEED").ok().map(|seed| seed.parse().unwrap());
    let seed: u64 = given.unwrap_or_else(|| RandomState::new().hash_one(0));
    println!("BANGER_SEED={seed}");
    for round in 0..rounds(5, 50) {
        let mut hasher = DefaultHasher::new();
        (seed, round).hash(&mut hasher);
        let random = hasher.finish();
        let victim = ["bangerd", "firecracker", "banger-helper"][round % 3];
        let moment = (random % 8_000) as f64 / 1000.0;
        let there = lab.dev(&format!(
            "banger daemon start 2>/dev/null; {CREATE} k --wait agent >/dev/null 2>&1 & \
             sleep {moment}; banger vm list --json | grep -c '\"name\"' || true"
        ));
        let killed = lab.run(&format!("pkill -9 -x {victim}")).code == 0;
        println!("round {round}: {victim} after {moment} s (killed: {killed}, {there} VMs)");
        // What creates it may still be at it.
        let delete = "banger vm delete --yes k 2>/dev/null";
        lab.dev(&format!(
            "{delete}; for _ in $(seq 300); do pgrep -u $(id -u) -x banger >/dev/null || break; sleep 0.2; done; \
             {delete} || [ \"$(banger vm list --json)\" = '[]' ]"
        ));
        assert_eq!(lab.left(), NOTHING);
    }
}

/// Whole lives of two VMs at a time; in CI there have been enough by now.
fn again_and_again(lab: &Lab) {
    for round in 0..rounds(0, 20) {
        let both = |script: &str| {
            let one = script.replace("VM", "a");
            lab.dev(&format!("{one} & a=$!; {} && wait $a", script.replace("VM", "b")));
        };
        both(&format!("{CREATE} VM --wait ssh"));
        both("banger vm exec VM -- true </dev/null");
        both("banger vm stop VM");
        both("banger vm start VM --wait agent");
        both("banger vm delete --yes VM");
        assert_eq!(lab.left(), NOTHING);
        println!("cycle {round}");
    }
}

/// Another user, who may use KVM, and sudo for nothing.
fn without_sudo(lab: &Lab) {
    lab.dev("banger daemon stop");
    lab.ok("set -e; mkdir -p /home/plain/state /home/plain/config/banger; \
         cp /home/dev/config/banger/config.toml /home/plain/config/banger/; \
         mkdir -m 700 -p /root/plain/banger; cd /root/plain/banger; \
         cp -al /root/dev/state/banger/images .; rm -f images/*/work-seed.*; \
         cp /root/dev/state/banger/banger.db* .; \
         chown plain: .. . images images/* banger.db*; chown -R plain: /home/plain/config; \
         mount --bind /root/plain /home/plain/state");
    let plain = |script: &str| lab.as_user("plain", script);
    plain(&format!("{CREATE} solo --wait ssh"));
    let solo: Value = serde_json::from_str(&plain("banger vm show solo --json")).unwrap();
    assert_eq!(solo["spec"]["root_disk"], "clone");
    let reason = solo["spec"]["root_disk_reason"].as_str().unwrap();
    assert!(reason.contains("sudo is not ready"), "{reason}");
    assert_eq!(plain("banger vm exec solo -- hostname </dev/null"), "solo");
    let refused = lab.run("as plain banger vm create --image lab --root-disk dm-snapshot");
    assert_eq!(refused.code, 2);
    insta::assert_snapshot!(refused.stderr, @r"
    error: the root disk 'dm-snapshot' is not possible here: sudo is not ready: 'sudo -n -- /usr/local/bin/banger-helper' failed with exit status 1:
    sudo: a password is required
    hint: see 'banger doctor'
    ");
    assert_eq!(lab.ok("dmsetup ls"), NOTHING);
    plain("banger vm delete --yes solo");
    assert_eq!(lab.left(), NOTHING);
}
