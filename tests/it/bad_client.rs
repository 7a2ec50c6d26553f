//! Clients of the API that do not behave, and several that want different things.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fake::Guest;
use crate::harness::{As, Sandbox};

const PLAIN: [&str; 5] = ["--no-opencode", "--network", "none", "--memory", "512M"];

/// A request as bytes.
fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    let kind = "Content-Type: application/json";
    format!("{head}{kind}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

fn connect(banger: &Sandbox) -> UnixStream {
    let stream = UnixStream::connect(banger.socket()).unwrap();
    // Nothing that is tested takes this long.
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    stream
}

/// Sends bytes and reads to the end of the connection.
fn exchange(banger: &Sandbox, bytes: &[u8]) -> String {
    let mut stream = connect(banger);
    // Who is refused early may not be read to the end.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// The status and the message of an answer.
fn said(answer: &str) -> String {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.split(' ').nth(1).unwrap_or("no answer");
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    format!("{status} {}", body["message"].as_str().unwrap_or_default())
}

/// What the daemon has open, but for what it opens and closes as it goes.
fn descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

#[test]
fn requests_that_are_none_are_refused_and_leave_nothing_open() {
    let banger = Sandbox::bare(As::Me);
    banger.ok(&["daemon", "start"]);
    let pid = banger.daemon_pid();
    let before = descriptors(pid);

    // These are closed in the end, whatever their clients wait for.
    let mut halves = Vec::new();
    for half in [
        &b""[..],
        b"GE",
        b"GET /v1/vms HTTP/1.1\r\nHost: loc",
        b"POST /v1/vms HTTP/1.1\r\nHost: l\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
    ] {
        let mut stream = connect(&banger);
        stream.write_all(half).unwrap();
        halves.push(stream);
    }
    // These go away.
    for _ in 0..50 {
        connect(&banger).write_all(b"GET /v1/eve").unwrap();
        connect(&banger).write_all(b"GET /v1/events HTTP/1.1\r\nHost: l\r\n\r\n").unwrap();
        connect(&banger).write_all(&request("POST", "/v1/vms", "{}")[..90]).unwrap();
    }

    let nested = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let long = format!("{{\"name\": \"{}\"}}", "x".repeat(1 << 20));
    let mut lines = Vec::new();
    for body in [
        &nested,
        &format!("{{\"image\": {deep}}}"),
        &format!("{{\"packages\": {deep}, \"name\": \"x\"}}"),
        &long,
        &"\u{0}".repeat(100),
        &"{\"vcpus\": 1e999}".to_owned(),
        &"{\"vcpus\": -1}".to_owned(),
        &"{\"memory\": 1.5}".to_owned(),
        &"{\"name\": \"a\", \"name\": \"b\"}".to_owned(),
    ] {
        lines.push(said(&exchange(&banger, &request("POST", "/v1/vms", body))));
    }
    lines.push(said(&exchange(&banger, &request("POST", "/v1/images", &nested))));
    lines.push(said(&exchange(&banger, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")));
    let head = format!("GET /{} HTTP/1.1\r\nHost: l\r\n\r\n", "x".repeat(1 << 20));
    lines.push(said(&exchange(&banger, head.as_bytes())));
    insta::assert_snapshot!(lines.join("\n"), @r"
    400 the request's body is larger than 256 KiB
    400 Failed to deserialize the JSON body into the target type: image: invalid type: sequence, expected a string at line 1 column 10
    400 Failed to deserialize the JSON body into the target type: packages: unknown field `packages`, expected one of `name`, `image`, `vcpus`, `memory`, `disk`, `network`, `vmm`, `root_disk`, `overlay`, `limits`, `opencode`, `start` at line 1 column 11
    400 the request's body is larger than 256 KiB
    400 Failed to parse the request body as JSON: expected value at line 1 column 1
    400 Failed to parse the request body as JSON: vcpus: number out of range at line 1 column 15
    400 Failed to deserialize the JSON body into the target type: vcpus: invalid value: integer `-1`, expected u32 at line 1 column 12
    400 Failed to deserialize the JSON body into the target type: memory: invalid type: floating point `1.5`, expected u64 at line 1 column 14
    400 Failed to deserialize the JSON body into the target type: duplicate field `name` at line 1 column 20
    400 the request's body is larger than 256 KiB
    400 
    431
    ");

    for (i, mut half) in halves.into_iter().enumerate() {
        let mut answer = String::new();
        let _ = half.read_to_string(&mut answer);
        println!("half {i}: {}", said(&answer));
    }
    banger.until("all is closed", || descriptors(pid) <= before);
    assert_eq!(banger.daemon_pid(), pid);
    assert_eq!(banger.json(&["vm", "list"]), json!([]));
}

/// To go away cancels nothing, whatever it is that goes on.
#[test]
fn clients_that_leave_change_nothing() {
    let banger = Sandbox::with_fakes(Guest::Healthy);
    banger.ok(&["daemon", "start"]);
    let pid = banger.daemon_pid();
    let before = descriptors(pid);
    let vm = json!({
        "name": "dev", "memory": 512 << 20, "network": "none", "opencode": false, "start": "agent"
    });
    // Who has seen the start of the answer knows that it was begun.
    let begin = |method: &str, path: &str, body: &str| {
        let mut stream = connect(&banger);
        stream.write_all(&request(method, path, body)).unwrap();
        stream.read_exact(&mut [0]).unwrap();
    };
    begin("POST", "/v1/vms", &vm.to_string());
    let state = || {
        let shown = banger.run(&["vm", "show", "dev", "--json"]);
        let vm: Value = serde_json::from_str(&shown.stdout).unwrap_or_default();
        vm["state"]["state"].as_str().unwrap_or_default().to_owned()
    };
    banger.until("it runs", || state() == "running");

    // In each stage of a start somebody looks, and leaves after so many bytes.
    for bytes in [1, 200, 400, 600, 800, 1000] {
        banger.ok(&["vm", "stop", "dev"]);
        let begun = request("POST", "/v1/vms/dev/start", "{\"wait\": \"agent\"}");
        let answer = exchange(&banger, &begun);
        let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        let path = format!("/v1/operations/{}/events", body["id"].as_str().unwrap());
        let mut watcher = connect(&banger);
        watcher.write_all(&request("GET", &path, "")).unwrap();
        let _ = watcher.read(&mut vec![0; bytes]).unwrap();
        drop(watcher);
        banger.until("it runs", || state() == "running");
    }
    // And some who ask for what takes a moment.
    for path in ["/v1/vms/dev/stats?sample_ms=5000", "/v1/vms/dev/log?follow=true", "/v1/doctor"] {
        connect(&banger).write_all(&request("GET", path, "")).unwrap();
    }
    // Who leaves before may have come too late or not; nothing is done by half.
    for _ in 0..20 {
        for path in ["/v1/vms/dev/stop", "/v1/vms/dev/start", "/v1/vms/dev/kill"] {
            connect(&banger).write_all(&request("POST", path, "{\"wait\": \"agent\"}")).unwrap();
        }
    }
    banger.until("all is done and the VM is in one state", || {
        banger.json(&["daemon", "status"])["operations"] == 0
            && ["running", "stopped"].contains(&&*state())
    });
    begin("DELETE", "/v1/vms/dev", "");
    banger.until("it is gone", || banger.json(&["vm", "list"]) == json!([]));
    banger.until("nothing is left", || banger.leftovers().is_empty());
    banger.until("all is closed", || descriptors(pid) <= before);
    assert_eq!(banger.daemon_pid(), pid);
}

/// Each gets its will or a reason, and the VM ends in one state.
#[test]
fn clients_that_want_opposite_things_of_one_vm() {
    let banger = Sandbox::with_fakes(Guest::Healthy);
    banger.ok(&["daemon", "start"]);
    let pid = banger.daemon_pid();
    let create = [&["vm", "create", "dev", "--wait", "agent"], &PLAIN[..]].concat();
    let wishes: [&[&str]; 6] = [
        &create,
        &["vm", "start", "dev", "--wait", "agent"],
        &["vm", "stop", "dev"],
        &["vm", "kill", "dev"],
        &["vm", "restart", "dev", "--wait", "agent"],
        &["vm", "delete", "--yes", "dev"],
    ];
    let mut outcomes = BTreeSet::new();
    let clients = (0..6).map(|client| {
        let (banger, wishes) = (&banger, &wishes);
        move || {
            let mut seen = Vec::new();
            for turn in 0..8 {
                let wish = wishes[(client * 5 + turn * (client + 1)) % wishes.len()];
                let ran = banger.run(wish);
                let last =
                    ran.stderr.lines().filter(|l| l.starts_with("error")).collect::<String>();
                seen.push((wish[1].to_owned(), ran.code, last));
            }
            seen
        }
    });
    thread::scope(|scope| {
        let running: Vec<_> = clients.map(|client| scope.spawn(client)).collect();
        running.into_iter().for_each(|client| outcomes.extend(client.join().unwrap()));
    });
    for (wish, code, said) in &outcomes {
        println!("{wish}: {code} {said}");
        let reasons = [
            "error: the name 'dev' is taken",
            "error: there is no VM 'dev'",
            "error: the VM is gone",
            "error: the VM was removed",
            "error: cannot ",
            "error: cancelled",
            "",
        ];
        assert!(reasons.iter().any(|reason| said.starts_with(reason)), "{wish}: {said}");
        // Done, failed, not there, refused by the state, cancelled by another.
        assert!([0, 1, 3, 4, 130].contains(code), "{wish}: {code} {said}");
    }

    // What is there now obeys.
    let left = banger.json(&["vm", "list"]);
    if left != json!([]) {
        let state = left[0]["state"]["state"].as_str().unwrap();
        assert!(["running", "stopped"].contains(&state), "{left}");
        banger.ok(&["vm", "delete", "--yes", "dev"]);
    }
    assert_eq!(banger.leftovers(), Vec::<String>::new());
    assert_eq!(banger.json(&["daemon", "status"])["operations"], 0);
    assert_eq!(banger.daemon_pid(), pid);
    banger.ok(&create);
}
