//! Many at once, and again and again: nothing adds up.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use crate::harness::{As, Sandbox, rounds, soaks};

const VMS: usize = 8;
const PLAIN: [&str; 5] = ["--no-opencode", "--network", "none", "--memory", "512M"];

/// What the daemon holds.
#[derive(Debug)]
pub struct Held {
    pub descriptors: usize,
    pub rss_kib: u64,
}

pub fn held(banger: &Sandbox) -> Held {
    let proc = format!("/proc/{}", banger.daemon_pid());
    let status = fs::read_to_string(format!("{proc}/status")).unwrap();
    let rss = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    Held {
        descriptors: fs::read_dir(format!("{proc}/fd")).unwrap().count(),
        rss_kib: rss.split_whitespace().nth(1).unwrap().parse().unwrap(),
    }
}

#[test]
fn many_vms_at_once_and_again_and_again() {
    let banger = Sandbox::new(As::Me);
    if soaks() {
        // Eight opencodes, each more than a minute of a processor's time before it listens.
        banger.configure("ready_seconds = 1200\n");
    }
    let at_once = |names: &[String], work: &(dyn Fn(&str) + Sync)| {
        thread::scope(|scope| {
            names.iter().for_each(|name| drop(scope.spawn(move || work(name))));
        });
    };

    let names: Vec<_> = (0..VMS).map(|i| format!("vm{i}")).collect();
    let (wait, options) = if soaks() { ("ready", &[][..]) } else { ("ssh", &PLAIN[..]) };
    at_once(&names, &|name| {
        banger.ok(&[&["vm", "create", name, "--wait", wait], options].concat());
    });
    for name in &names {
        assert_eq!(banger.ok(&["vm", "exec", name, "--", "hostname"]), *name);
    }
    let list = banger.json(&["vm", "list"]);
    let ready =
        |vm: &serde_json::Value| vm["run"]["ready"].as_array().unwrap().last().unwrap().clone();
    for vm in list.as_array().unwrap() {
        println!("{}: {}", vm["name"], ready(vm));
    }
    at_once(&names, &|name| drop(banger.ok(&["vm", "delete", "--yes", name])));
    assert_eq!(banger.leftovers(), Vec::<String>::new());

    // The first batch warms up.
    let cycles = rounds(8, 100);
    let before = held(&banger);
    let mut settled = None;
    for batch in 0..cycles / 4 {
        let names: Vec<_> = (0..4).map(|i| format!("c{batch}-{i}")).collect();
        at_once(&names, &|name| {
            banger.ok(&[&["vm", "create", name, "--no-start"], &PLAIN[..]].concat());
            banger.ok(&["vm", "start", name, "--wait", "agent"]);
            banger.ok(&["vm", "stop", name]);
            banger.ok(&["vm", "delete", "--yes", name]);
        });
        assert_eq!(banger.leftovers(), Vec::<String>::new());
        let now = held(&banger);
        println!("after {} cycles: {now:?}", (batch + 1) * 4);
        settled = settled.or(Some(now));
    }
    let (settled, after) = (settled.unwrap(), held(&banger));
    assert!(after.descriptors <= before.descriptors + 2, "{before:?} {after:?}");
    assert!(after.rss_kib <= settled.rss_kib + 4096, "{settled:?} {after:?}");
}

#[test]
fn two_hundred_event_streams_at_once() {
    const STREAMS: usize = 200;
    let banger = Sandbox::new(As::Me);
    banger.ok(&["vm", "list"]);
    let before = held(&banger);
    let open = |_| {
        let mut stream = UnixStream::connect(banger.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        stream
    };
    let mut streams: Vec<_> = (0..STREAMS).map(open).collect();
    banger.ok(&["vm", "create", "dev", "--no-start"]);
    banger.ok(&["vm", "rename", "dev", "new"]);
    banger.ok(&["vm", "delete", "--yes", "new"]);
    let mut first = None;
    for stream in &mut streams {
        let (mut text, mut buffer) = (String::new(), [0; 4096]);
        while !(text.contains("vm_changed") && text.matches("\"finished\"").count() == 2) {
            let n = stream.read(&mut buffer).unwrap();
            assert!(n > 0, "ended early: {text}");
            text.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
        // Chunks and heads differ, the events do not.
        let events: Vec<_> =
            text.lines().filter(|line| line.starts_with("data:")).map(str::to_owned).collect();
        assert_eq!(first.get_or_insert_with(|| events.clone()), &events);
    }
    drop(streams);
    banger.until("the daemon has closed its ends", || {
        held(&banger).descriptors <= before.descriptors + 2
    });
}
