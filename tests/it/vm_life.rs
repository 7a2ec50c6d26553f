//! The main job: a VM is made, entered, restarted and deleted.

use serde_json::Value;

use crate::harness::{As, Sandbox, Typist};

/// A VM from its making to its end, on either driver. `create` are the options of its making;
/// `address` is that of its network, as its guest shows it.
pub fn life(banger: &impl Typist, create: &[&str], address: impl Fn() -> String) {
    let created = banger.run(&[&["vm", "create", "dev", "--wait", "ssh"], create].concat());
    assert_eq!(
        created.stdout, "dev is running; enter it with: banger vm ssh dev\n",
        "{}",
        created.stderr
    );
    // A guest that did not boot well is booted again, with a warning.
    let stages: Vec<_> = created
        .stderr
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| *word != "warning:")
        .collect();
    assert!(stages.ends_with(&["disks", "prepare", "boot", "agent", "ssh"]), "{stages:?}");

    let inside = |line: &str| banger.ok(&["vm", "ssh", "dev", "--", line]);
    insta::allow_duplicates! {
        insta::assert_snapshot!(inside("whoami; hostname; echo $HOME; stat -c %a /usr/lib/banger/bootstrap; \
             ls /etc/ssh/*_key; grep -c ip= /proc/cmdline; \
             awk '$2 == \"/root\" {print $1, $3}' /proc/mounts"), @r"
        root
        dev
        /root
        755
        /etc/ssh/ssh_host_ed25519_key
        0
        /dev/vdb ext4
        ");
    }
    // Without a home folder of the person's a shell is pleasant all the same.
    let shown = inside(
        "TERM=dumb bash -lic 'alias ls; echo \"${PS1@P}\"' 2>/dev/null; ip -br -4 address show eth0",
    );
    let shown: Vec<_> = shown.lines().map(|line| line.split_whitespace()).collect();
    let shown: Vec<_> =
        shown.into_iter().map(|words| words.collect::<Vec<_>>().join(" ")).collect();
    let network = format!("eth0 UP {}", address());
    assert_eq!(shown, ["alias ls='ls --color=auto'", "dev:~#", &network]);

    // The exit status is the command's, and several words are words.
    assert_eq!(banger.run(&["vm", "exec", "dev", "--", "sh", "-c", "exit 42"]).code, 42);
    assert_eq!(
        banger.ok(&["vm", "exec", "dev", "--", "printf", "%s|", "a b", "$HOME"]),
        "a b|$HOME|"
    );

    // What is written to the work disk and to the root survives a restart.
    inside("echo kept > /root/work; echo kept > /etc/root");
    let boot_id = || banger.json(&["vm", "show", "dev"])["run"]["boot_id"].clone();
    let first = boot_id();
    let restarted = banger.run(&["vm", "restart", "dev"]);
    assert_eq!(restarted.code, 0, "{}", restarted.stderr);
    assert_ne!(boot_id(), first);
    assert_eq!(inside("cat /root/work /etc/root"), "kept\nkept");
}

/// With all that it has.
fn transcript(who: As) {
    let banger = Sandbox::new(who);
    life(&banger, &[], || "10.0.2.15/24".to_owned());
    let inside = |line: &str| banger.ok(&["vm", "ssh", "dev", "--", line]);
    assert_eq!(inside("systemctl is-system-running --wait"), "running");

    // opencode answers to who knows the password, and to nobody else.
    let shown = banger.json(&["vm", "show", "dev", "--secrets"]);
    let password = shown["secrets"]["opencode_password"].as_str().unwrap();
    assert_eq!(password.len(), 32);
    let ask = |credentials: &str| {
        let url = "http://127.0.0.1:4096/global/health";
        let line = format!(
            "curl -s -o /tmp/body -w %{{http_code}} {credentials} {url}; echo; cat /tmp/body"
        );
        inside(&line)
    };
    let answer = ask(&format!("-u opencode:{password}"));
    let (code, body) = answer.split_once('\n').unwrap();
    assert_eq!(code, "200");
    assert_eq!(serde_json::from_str::<Value>(body).unwrap()["healthy"], true);
    assert_eq!(ask("").lines().next(), Some("401"));
    assert_eq!(ask("-u opencode:wrong").lines().next(), Some("401"));

    // Secrets are on no command line, and in no file that others can read.
    let line = banger.ok(&["vm", "exec", "dev", "--", "cat", "/proc/cmdline"]);
    assert!(!line.contains(password), "{line}");
    assert!(!shown["spec"].to_string().contains(password));

    let refused = banger.run(&["vm", "delete", "dev"]);
    assert_eq!(refused.code, 2);
    insta::allow_duplicates! {
        insta::assert_snapshot!(refused.stderr, @r"
        error: will not delete dev with all that is on the work disk unasked
        hint: add --yes
        ");
    }
    assert!(!banger.leftovers().is_empty(), "the search for leftovers finds nothing at all");
    assert_eq!(banger.ok(&["vm", "delete", "dev", "--yes"]), "dev is deleted");
    assert_eq!(banger.leftovers(), Vec::<String>::new());
    assert_eq!(banger.run(&["vm", "show", "dev"]).code, 3);
}

#[test]
fn vm_of_whoever_runs_the_tests() {
    transcript(As::Me);
}

/// Without root: image and VM are an ordinary user's.
#[test]
fn vm_of_an_ordinary_user() {
    if rustix::process::geteuid().is_root() {
        transcript(As::User);
    }
}

#[test]
fn a_vm_without_network_is_entered_and_seen_to_shut_itself_down() {
    let banger = Sandbox::new(As::Me);
    let events = banger.ok(&[
        "vm",
        "create",
        "--network",
        "none",
        "--no-opencode",
        "--memory",
        "512M",
        "--root-disk",
        "clone",
        "--json",
    ]);
    // The last event carries the whole VM, with the name that was generated for it.
    let last: Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "finished");
    let vm = &last["object"]["vm"];
    let name = vm["name"].as_str().unwrap();
    assert_eq!(&banger.json(&["vm", "show", name]), vm);
    assert_eq!(vm["state"]["state"], "running");
    assert_eq!(vm["spec"]["memory"], 512 << 20);
    assert_eq!(vm["spec"]["root_disk"], "clone");
    assert_eq!(vm["spec"]["root_disk_reason"], "asked for");

    // By name, id and the start of the id.
    let id = vm["id"].as_str().unwrap();
    for key in [name, id, &id[..6]] {
        assert_eq!(banger.ok(&["vm", "ssh", key, "--", "ls /sys/class/net"]), "lo");
    }

    banger.run(&["vm", "ssh", name, "--", "poweroff"]);
    let state = || banger.json(&["vm", "show", name])["state"].clone();
    banger.until("the guest has shut down", || state()["state"] == "stopped");
    assert_eq!(state()["cause"], "guest_shutdown");
    assert_eq!(banger.run(&["vm", "ssh", name]).code, 4);

    banger.ok(&["vm", "start", name, "--wait", "agent"]);
    banger.ok(&["vm", "kill", name]);
    assert_eq!(state()["cause"], "killed");
}

#[test]
fn mistakes_are_explained_and_leave_nothing() {
    let banger = Sandbox::new(As::Me);
    let fails = |args: &[&str]| {
        let ran = banger.run(args);
        format!("{} {}", ran.code, ran.stderr)
    };
    insta::assert_snapshot!(fails(&["vm", "create", "--image", "nixos"]), @r"
    3 error: there is no image 'nixos'
    hint: build it with 'banger image build debian --name nixos', or see 'banger image list'
    ");
    insta::assert_snapshot!(fails(&["vm", "create", "--vcpus", "1000"]), @"2 error: 1000 vcpus is not possible: choose 1 to 32");
    insta::assert_snapshot!(fails(&["vm", "create", "--memory", "0"]), @"2 error: 0 B of memory is not possible: choose 256 MiB to 1 TiB");
    insta::assert_snapshot!(fails(&["vm", "start", "nobody"]), @r"
    3 error: there is no VM 'nobody'
    hint: see 'banger vm list'
    ");
    banger.ok(&["vm", "create", "taken", "--no-start"]);
    insta::assert_snapshot!(fails(&["vm", "create", "taken"]), @r"
    4 error: the name 'taken' is taken
    hint: choose another name, or delete the one that has it
    ");
    insta::assert_snapshot!(fails(&["image", "delete", "debian"]), @r"
    4 error: the image is used by taken
    hint: delete those VMs first
    ");
    insta::assert_snapshot!(fails(&["image", "build", "debian"]), @r"
    4 error: the name 'debian' is taken
    hint: choose another name, or delete the one that has it
    ");
    // What is so already is fine.
    assert_eq!(banger.ok(&["vm", "stop", "taken"]), "taken is stopped");
}
