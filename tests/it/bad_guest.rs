//! A guest that is not what it should be.

use std::fs::{self, File};
use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::bad_host::without_stages;
use crate::fake::Guest;
use crate::harness::{As, Sandbox};

const PLAIN: [&str; 5] = ["--no-opencode", "--network", "none", "--memory", "512M"];

#[test]
fn a_guest_that_does_not_answer_or_answers_nonsense_is_undone() {
    for (guest, said) in [(Guest::Silent, "no answer"), (Guest::Garbage, "invalid HTTP")] {
        let banger = Sandbox::with_fakes(guest);
        banger.configure("ready_seconds = 2");
        let create = [&["vm", "create", "dev"], &PLAIN[..]].concat();
        let refused = without_stages(&banger.fails(&create));
        assert!(
            refused.contains("the VM did not reach 'agent' within 2 s: ") && refused.contains(said),
            "{refused}"
        );
        assert!(refused.contains("hint: the console tells more"), "{refused}");
        assert_eq!(banger.leftovers(), Vec::<String>::new());

        // One that was complete stays, with the cause.
        banger.ok(&[&create[..], &["--no-start"]].concat());
        banger.fails(&["vm", "start", "dev"]);
        let state = banger.json(&["vm", "show", "dev"])["state"].clone();
        assert_eq!(state["cause"], "start_failed", "{state}");
        assert!(state["detail"].as_str().unwrap().contains(said), "{state}");
        let running = |left: &String| left.contains("run/banger") || left.contains("qmp.sock");
        assert_eq!(banger.leftovers().into_iter().find(running), None);
    }
}

#[test]
fn an_agent_of_another_version_is_told_of_and_serves() {
    let banger = Sandbox::with_fakes(Guest::OtherVersion);
    let created = banger.run(&[&["vm", "create", "dev", "--wait", "agent"], &PLAIN[..]].concat());
    assert_eq!(created.code, 0, "{}", created.stderr);
    let warning = created.stderr.lines().find(|line| line.starts_with("warning")).unwrap();
    insta::assert_snapshot!(warning, @"warning: the agent in the guest is 0.0.1 and speaks version 2 of its protocol, this banger version 1; update banger");
    assert_eq!(banger.json(&["vm", "show", "dev"])["state"]["state"], "running");
    // What it does not know is told in its own words.
    insta::assert_snapshot!(banger.fails(&["vm", "ports", "dev"]), @r"
    1 error: the ports of 'dev' cannot be told: there is no guest
    hint: see 'banger vm logs dev'
    ");
}

/// What a log may have, and a moment's worth of what comes.
const BOUND: u64 = 5 << 20;

#[test]
fn a_console_that_is_flooded_stays_small_and_can_be_followed() {
    let banger = Sandbox::with_fakes(Guest::Healthy);
    banger.ok(&[&["vm", "create", "dev", "--wait", "agent"], &PLAIN[..]].concat());
    let id = banger.json(&["vm", "show", "dev"])["id"].as_str().unwrap().to_owned();
    let path = banger.state(&format!("vms/{id}/console.log"));
    // As QEMU does it.
    let mut console = File::options().create(true).append(true).open(&path).unwrap();
    writeln!(console, "first").unwrap();
    let followed = banger.dir().join("started.log");
    banger.start(&["vm", "logs", "dev", "--follow"]);
    let seen = |what: &str| fs::read_to_string(&followed).unwrap_or_default().contains(what);
    banger.until("the first line is seen", || seen("first"));

    for i in 0..100_000 {
        writeln!(console, "{i:08} {}", "x".repeat(90)).unwrap();
    }
    banger.until("the log is cut", || fs::metadata(&path).unwrap().len() < BOUND);
    writeln!(console, "and on it goes").unwrap();
    banger.until("the last line is seen", || seen("and on it goes"));
    // Once, and after all that came before.
    let text = fs::read_to_string(&followed).unwrap();
    assert_eq!(text.matches("and on it goes").count(), 1);
    assert_eq!(text.matches("00099999 ").count(), 1);
    let last = banger.ok(&["vm", "logs", "dev", "--lines", "2"]);
    assert!(last.starts_with("00099999 ") && last.ends_with("and on it goes"), "{last}");
    // The end of a follower is the end of the VM.
    banger.ok(&["vm", "delete", "--yes", "dev"]);
    banger.until("nothing is left", || banger.leftovers().is_empty());
}

/// The same with the real thing: QEMU goes on behind what is left.
#[test]
fn a_real_console_goes_on_behind_the_cut() {
    let banger = Sandbox::new(As::Me);
    banger.ok(&[&["vm", "create", "dev", "--wait", "ssh"], &PLAIN[..]].concat());
    let id = banger.json(&["vm", "show", "dev"])["id"].as_str().unwrap().to_owned();
    let path = banger.state(&format!("vms/{id}/console.log"));
    let mut console = File::options().append(true).open(&path).unwrap();
    console.write_all(&vec![b'\n'; usize::try_from(BOUND).unwrap()]).unwrap();
    banger.until("the log is cut", || fs::metadata(&path).unwrap().len() < BOUND / 2);
    banger.ok(&["vm", "exec", "dev", "--", "sh", "-c", "echo still here > /dev/console"]);
    banger.until("it is written on", || {
        banger.ok(&["vm", "logs", "dev", "--lines", "3"]).contains("still here")
    });
    // Nothing but the console's own writes: no hole where the log was.
    assert!(!fs::read(&path).unwrap().contains(&0));
    assert!(fs::metadata(&path).unwrap().len() < BOUND / 2);
}

/// The kernel of an emulated guest measures its timer in a tenth of a second, early
/// in its boot. If the host stops it just then, the guest hangs, or its time runs away.
#[test]
fn a_guest_that_lost_its_timer_to_a_busy_host_boots_again() {
    let banger = Sandbox::new(As::Me);
    banger.configure("ready_seconds = 100");
    banger.start(&[&["vm", "create", "dev", "--wait", "ssh"], &PLAIN[..]].concat());
    let show = || banger.run(&["vm", "show", "dev", "--json"]).stdout;
    banger.until("it boots", || show().contains("\"starting\"") && show().contains("\"pid\""));
    let (qemu, began) = (banger.pid_of("qemu-system"), Instant::now());
    banger.starve(qemu, || began.elapsed() > Duration::from_secs(10));
    banger.until("it runs", || show().contains("\"running\""));
    // Whichever boot it came up with, its time passes as it does here.
    let began = Instant::now();
    banger.ok(&["vm", "exec", "dev", "--", "sleep", "3"]);
    let slept = began.elapsed();
    assert!(Duration::from_secs(2) < slept && slept < Duration::from_secs(30), "{slept:?}");
    println!("{}", fs::read_to_string(banger.dir().join("started.log")).unwrap());
}
