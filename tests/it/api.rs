//! The API as curl sees it. Every reply is held against the OpenAPI document.

use std::time::Duration;

use banger_exec::{Command, HostRunner, Runner as _, Tool, Tools};
use serde_json::{Value, json};

use crate::harness::{As, Sandbox};
use crate::openapi::Document;

/// What curl says when its `--max-time` is over.
const TIMED_OUT: i32 = 28;
const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

/// Something that was answered.
struct Answer {
    status: u16,
    /// Without its parameters.
    content: Option<String>,
    allow: Option<String>,
    body: String,
}

/// curl on a daemon's socket.
struct Curl<'a>(&'a Sandbox);

impl Curl<'_> {
    fn send(&self, method: &str, target: &str, headers: &[&str], body: Option<&str>) -> Answer {
        let mut curl = Command::new(Tool::Curl)
            .args(["--silent", "--show-error", "--include", "--unix-socket"])
            .arg(self.0.socket())
            .args(["--request", &method.to_uppercase()])
            .timeout(Duration::from_secs(300))
            .also_ok(TIMED_OUT);
        for header in headers {
            curl = curl.args(["--header", header]);
        }
        if let Some(body) = body {
            curl = curl.args(["--data-raw", body]);
        }
        if headers.contains(&"X-Endless: yes") {
            curl = curl.args(["--max-time", "2"]);
        }
        let output = HostRunner::new(Tools::discover())
            .capture(&curl.arg(format!("http://localhost{target}")))
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let header = |wanted: &str| {
            let mut headers = head.lines().filter_map(|line| line.split_once(": "));
            let found = headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
            Some(found.1.split(';').next().unwrap().to_owned())
        };
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            content: header("content-type"),
            allow: header("allow"),
            body: body.to_owned(),
        }
    }
}

/// The API of a daemon, and what it says of itself.
struct Api<'a> {
    curl: Curl<'a>,
    document: Document,
}

impl<'a> Api<'a> {
    fn new(banger: &'a Sandbox) -> Self {
        let curl = Curl(banger);
        let served = curl.send("get", "/v1/openapi.json", &[], None);
        assert_eq!(served.body, include_str!("../../docs/openapi.json"));
        let document = Document::new(serde_json::from_str(&served.body).unwrap());
        document.reply("get", "/v1/openapi.json", served.status, served.content.as_deref());
        Self { curl, document }
    }

    /// Sends a request as it should be; the reply must have this status, and
    /// be as described.
    fn call(&self, method: &str, target: &str, body: Value, status: u16) -> Value {
        if !body.is_null() {
            self.document.check_request(method, target, &body);
        }
        self.call_raw(method, target, (!body.is_null()).then(|| body.to_string()), status)
    }

    /// The same for a request that may be anything.
    fn call_raw(&self, method: &str, target: &str, body: Option<String>, status: u16) -> Value {
        let headers: &[_] = if body.is_some() { &["Content-Type: application/json"] } else { &[] };
        let answer = self.curl.send(method, target, headers, body.as_deref());
        let said = format!("{method} {target}");
        assert_eq!(answer.status, status, "{said}: {}", answer.body);
        let schema = self.document.reply(method, target, status, answer.content.as_deref());
        if answer.content.as_deref() != Some(JSON) {
            return Value::String(answer.body);
        }
        let value = serde_json::from_str(&answer.body).unwrap();
        self.document.conforms(&said, &schema, &value);
        value
    }

    fn get(&self, target: &str) -> Value {
        self.call("get", target, Value::Null, 200)
    }

    /// A request that cannot be done: its error's kind and message.
    fn refused(&self, method: &str, target: &str, body: Value, status: u16) -> String {
        let error =
            self.call_raw(method, target, (!body.is_null()).then(|| body.to_string()), status);
        let text = |field: &str| error[field].as_str().unwrap_or_default().to_owned();
        format!("{}: {}", text("kind"), text("message"))
    }

    /// What a stream of events brings after one of them.
    fn events(&self, target: &str, after: Option<u64>) -> Vec<Value> {
        let after = after.map(|id| format!("Last-Event-ID: {id}"));
        let mut headers: Vec<_> = after.as_deref().into_iter().collect();
        if target.starts_with("/v1/events") || target == "/v1/stats" {
            headers.push("X-Endless: yes");
        }
        let answer = self.curl.send("get", target, &headers, None);
        let schema = self.document.reply("get", target, answer.status, answer.content.as_deref());
        assert_eq!(answer.content.as_deref(), Some(EVENTS));
        let field = |block: &str, name: &str| {
            block.lines().find_map(|line| Some(line.strip_prefix(name)?.trim_start().to_owned()))
        };
        let mut events = Vec::new();
        for block in answer.body.split_terminator("\n\n") {
            let Some(data) = field(block, "data:") else { continue };
            let event: Value = serde_json::from_str(&data).unwrap();
            self.document.conforms(target, &schema, &event);
            let seq = event.get("seq").map(Value::to_string);
            assert_eq!(field(block, "id:"), seq);
            events.push(event);
        }
        events
    }

    /// Begins an operation and follows it to its end; its last event.
    fn done(&self, method: &str, target: &str, body: Value) -> Value {
        let id = self.call(method, target, body, 202)["id"].as_str().unwrap().to_owned();
        let last = self.events(&format!("/v1/operations/{id}/events"), None).pop().unwrap();
        assert_eq!(last["event"], "finished");
        last
    }
}

/// A VM that takes little.
fn plain(name: &str) -> Value {
    json!({ "name": name, "memory": 512 << 20, "network": "none", "opencode": false })
}

#[test]
fn the_api_is_as_it_is_described() {
    let banger = Sandbox::new(As::Me);
    banger.configure("web_listen = \"127.0.0.1:0\"\n");
    banger.ok(&["daemon", "start"]);
    let api = Api::new(&banger);

    let daemon = api.get("/v1/daemon");
    assert_eq!((&daemon["operations"], &daemon["running"]), (&json!(0), &json!(0)));
    assert!(!api.get("/v1/doctor")["checks"].as_array().unwrap().is_empty());
    let login = api.call("post", "/v1/web/login", Value::Null, 200);
    let home = daemon["web"]["url"].as_str().unwrap();
    assert!(login["url"].as_str().unwrap().starts_with(&format!("{home}login?token=")), "{login}");
    assert_eq!(api.get("/v1/leftovers"), json!([]));
    assert_eq!(api.call("post", "/v1/leftovers/release", Value::Null, 200), json!([]));
    let images = api.get("/v1/images");
    assert_eq!(images[0], api.get("/v1/images/debian"));

    // A VM that is made and not started.
    let mut request = plain("dev");
    request["start"] = Value::Null;
    let created = api.done("post", "/v1/vms", request.clone());
    let vm = &created["object"]["vm"];
    assert_eq!(vm["state"], json!({ "state": "stopped", "cause": "new" }));
    assert_eq!(&api.get("/v1/vms/dev"), vm);
    assert_eq!(&api.get("/v1/vms")[0], vm);
    let id = vm["id"].as_str().unwrap();
    assert_eq!(&api.get(&format!("/v1/vms/{}", &id[..6])), vm);
    assert_eq!(api.get("/v1/images/debian")["used_by"], json!(["dev"]));

    // Its operation is remembered; its events can be read again, from anywhere.
    let operations = api.get("/v1/operations");
    let operation = operations.as_array().unwrap().iter().find(|o| o["vm"] == id).unwrap();
    assert_eq!(operation["outcome"]["result"], "succeeded");
    assert_eq!(api.get("/v1/operations?unfinished=true"), json!([]));
    let path = format!("/v1/operations/{}", operation["id"].as_str().unwrap());
    assert_eq!(&api.get(&path), operation);
    let events = api.events(&format!("{path}/events"), None);
    let last = events.last().unwrap();
    assert_eq!((&last["event"], &last["object"]["vm"]), (&json!("finished"), vm));
    let second = events[1]["seq"].as_u64();
    assert_eq!(api.events(&format!("{path}/events"), second), events[2..]);

    // What is there of a VM that does not run.
    assert!(api.get("/v1/vms/dev/stats")["cpu_ms"].is_null());
    assert_eq!(api.get("/v1/vms/dev/log"), "");
    assert_eq!(api.get("/v1/vms/dev/secrets"), json!({}));
    assert_eq!(api.get("/v1/vms/dev/ssh")["host_key_alias"], id);
    let changed = api.call("patch", "/v1/vms/dev", json!({ "name": "box", "vcpus": 2 }), 200);
    assert_eq!((&changed["name"], &changed["spec"]["vcpus"]), (&json!("box"), &json!(2)));

    // It runs.
    let started = api.call("post", "/v1/vms/box/start", json!({ "wait": "agent" }), 202);
    let busy = api.refused("post", "/v1/daemon/stop", json!({ "now": false }), 409);
    assert_eq!(busy, "conflict: operations are under way: 1");
    let busy = api.refused("post", "/v1/vms/box/restart", json!({ "wait": "ssh" }), 409);
    assert!(busy.contains("it is being started"), "{busy}");
    let path = format!("/v1/operations/{}/events", started["id"].as_str().unwrap());
    let last = api.events(&path, None).pop().unwrap();
    assert_eq!(last["object"]["vm"], api.get("/v1/vms/box"));
    assert_eq!(last["object"]["vm"]["state"]["state"], "running");
    assert_eq!(api.get("/v1/daemon")["running"], 1);
    api.get("/v1/vms/box/ports");
    assert!(api.get("/v1/vms/box/stats?sample_ms=200")["cpu_percent"].is_number());
    assert_ne!(api.get("/v1/vms/box/log?lines=5"), "");
    let grown = api.refused("patch", "/v1/vms/box", json!({ "vcpus": 1 }), 409);
    assert_eq!(grown, "conflict: cannot change 'box' while it is running");
    let all = api.events("/v1/events", Some(0));
    assert!(all.iter().any(|event| event["event"] == "state_changed"));
    assert_eq!(all.last().unwrap()["seq"], api.get("/v1/daemon")["last_event"]);
    assert_eq!(api.events("/v1/events?recent=2", None), all[all.len() - 2..]);

    // What it takes of this host, as it is and as it becomes.
    let host = &api.get("/v1/dashboard")["host"];
    assert_eq!((&host["vms"], &host["running"], &host["vcpus"]), (&json!(1), &json!(1), &json!(2)));
    let ticks = api.events("/v1/stats", None);
    assert_eq!(&ticks[0]["host"]["capacity"]["memory"], &host["capacity"]["memory"]);
    let stats = &ticks.last().unwrap()["vms"][0];
    assert_eq!(stats["vm"], id);
    assert!(stats["cpu_percent"].is_number() && stats["disk"]["overlay_bytes"].is_u64());

    // It ends, in more than one way.
    let stopped = api.done("post", "/v1/vms/box/stop", Value::Null);
    assert_eq!(stopped["object"]["vm"]["state"]["cause"], "requested");
    api.call("post", "/v1/vms/box/restart", json!({ "wait": "ssh" }), 202);
    let killed = api.done("post", "/v1/vms/box/kill", Value::Null);
    assert_eq!(killed["object"]["vm"]["state"]["state"], "stopped");
    mistakes(&api);
    let deleted = api.done("delete", "/v1/vms/box", Value::Null);
    assert_eq!((&deleted["result"], &deleted["object"]), (&json!("succeeded"), &Value::Null));
    assert_eq!(banger.leftovers(), Vec::<String>::new());

    let packages = api.get("/v1/images/debian/packages");
    assert!(packages.as_array().unwrap().iter().any(|one| one["name"] == "openssh-server"));

    // An image that is banger's own already, and those of other things.
    let promoted = api.done("post", "/v1/images/debian/promote", Value::Null);
    assert_eq!(promoted["object"]["image"]["name"], "debian");
    for (body, status) in [
        (json!({ "files": { "name": "x", "rootfs": "x", "kernel": "/x" } }), 400),
        (json!({ "void": { "name": "x", "keys": ["x"], "opencode": false } }), 400),
        (
            json!({ "alpine": { "name": "x", "release": "v3.22", "keys": ["x"], "opencode": false } }),
            400,
        ),
        (json!({ "vm": { "name": "x", "vm": "none" } }), 404),
        (json!({ "image": { "name": "x", "image": "debian", "size": 1_u64 << 30 } }), 400),
        (json!({ "registry": { "name": "x", "reference": "A B" } }), 400),
        (json!({ "registry": { "name": "x", "reference": "a", "boot_set": "none" } }), 404),
        (json!({ "archive": { "name": "x", "path": "x" } }), 400),
    ] {
        api.call("post", "/v1/images", body, status);
    }

    // A build that is given up, and the end.
    let build = json!({ "debian": {
        "name": "other", "suite": "bookworm", "packages": [], "size": 2_u64 << 30, "opencode": false
    } });
    let build = api.call("post", "/v1/images", build, 202);
    let path = format!("/v1/operations/{}", build["id"].as_str().unwrap());
    api.call("delete", &path, Value::Null, 202);
    let last = api.events(&format!("{path}/events"), None).pop().unwrap();
    assert_eq!(last["result"], "cancelled");
    api.call("delete", "/v1/images/debian", Value::Null, 204);
    assert_eq!(api.get("/v1/images"), json!([]));
    api.call("post", "/v1/daemon/stop", json!({ "now": false }), 204);
    assert_eq!(api.document.unseen(), Vec::<String>::new());
}

/// What cannot be is said in one way everywhere. There is a VM `box`.
fn mistakes(api: &Api<'_>) {
    let none = Value::Null;
    let mut lines = Vec::new();
    for (method, target, body, status) in [
        ("get", "/v1/vms/nobody", &none, 404),
        ("post", "/v1/vms/nobody/stop", &none, 404),
        ("get", "/v1/images/nixos", &none, 404),
        ("get", "/v1/operations/1", &none, 404),
        ("get", "/v1/operations/0000000000000000/events", &none, 404),
        ("post", "/v1/vms", &json!({ "image": "nixos" }), 404),
        ("post", "/v1/vms", &plain("box"), 409),
        ("get", "/v1/vms/box/ports", &none, 409),
        ("delete", "/v1/images/debian", &none, 409),
        ("post", "/v1/vms", &json!({ "vcpus": 99 }), 400),
        ("post", "/v1/vms", &json!({ "name": "Dev" }), 400),
        ("post", "/v1/vms", &json!({ "colour": "red" }), 400),
        ("post", "/v1/vms/box/start", &none, 400),
        ("patch", "/v1/vms/box", &json!({}), 400),
        ("get", "/v1/vms/%FF", &none, 400),
        ("get", "/v1/vms/box/log?lines=many", &none, 400),
        ("get", "/v1/vms/box/stats?simple_ms=1", &none, 400),
        ("get", "/v1/operations?finished=true", &none, 400),
        ("get", "/v1/events?recent=all", &none, 400),
    ] {
        let sent = if body.is_null() { String::new() } else { format!(" {body}") };
        let refused = api.refused(method, target, body.clone(), status);
        lines.push(format!("{method} {target}{sent}\n  {status} {refused}"));
    }
    let broken = api.call_raw("post", "/v1/vms", Some("{".to_owned()), 400);
    lines.push(format!("post /v1/vms {{\n  400 {}", broken["message"].as_str().unwrap()));
    insta::assert_snapshot!(lines.join("\n"), @r#"
    get /v1/vms/nobody
      404 not_found: there is no VM 'nobody'
    post /v1/vms/nobody/stop
      404 not_found: there is no VM 'nobody'
    get /v1/images/nixos
      404 not_found: there is no image 'nixos'
    get /v1/operations/1
      404 not_found: there is no operation 1
    get /v1/operations/0000000000000000/events
      404 not_found: there is no operation 0000000000000000
    post /v1/vms {"image":"nixos"}
      404 not_found: there is no image 'nixos'
    post /v1/vms {"memory":536870912,"name":"box","network":"none","opencode":false}
      409 conflict: the name 'box' is taken
    get /v1/vms/box/ports
      409 conflict: 'box' is stopped
    delete /v1/images/debian
      409 conflict: the image is used by box
    post /v1/vms {"vcpus":99}
      400 invalid: 99 vcpus is not possible: choose 1 to 32
    post /v1/vms {"name":"Dev"}
      400 invalid: Failed to deserialize the JSON body into the target type: name: 'Dev' is not a valid name: use lowercase letters only at line 1 column 14
    post /v1/vms {"colour":"red"}
      400 invalid: Failed to deserialize the JSON body into the target type: colour: unknown field `colour`, expected one of `name`, `image`, `vcpus`, `memory`, `disk`, `network`, `vmm`, `root_disk`, `overlay`, `limits`, `opencode`, `start` at line 1 column 9
    post /v1/vms/box/start
      400 invalid: Expected request with `Content-Type: application/json`
    patch /v1/vms/box {}
      400 invalid: nothing is to be changed: give a name, vcpus, memory, disk or overlay
    get /v1/vms/%FF
      400 invalid: Invalid URL: Invalid UTF-8 in `vm`
    get /v1/vms/box/log?lines=many
      400 invalid: Failed to deserialize query string: lines: invalid digit found in string
    get /v1/vms/box/stats?simple_ms=1
      400 invalid: Failed to deserialize query string: simple_ms: unknown field `simple_ms`, expected `sample_ms`
    get /v1/operations?finished=true
      400 invalid: Failed to deserialize query string: finished: unknown field `finished`, expected `unfinished`
    get /v1/events?recent=all
      400 invalid: Failed to deserialize query string: recent: invalid digit found in string
    post /v1/vms {
      400 Failed to parse the request body as JSON: EOF while parsing an object at line 1 column 1
    "#);

    // What is not in the document is refused in the same form.
    let schema = json!({ "$ref": "#/components/schemas/ApiError" });
    for (method, target, status) in [("get", "/v1/vm", 404), ("put", "/v1/vms/box", 405)] {
        let answer = api.curl.send(method, target, &[], None);
        assert_eq!((answer.status, answer.content.as_deref()), (status, Some(JSON)));
        let error = serde_json::from_str(&answer.body).unwrap();
        api.document.conforms(target, &schema, &error);
        let allowed = answer.allow.unwrap_or_default();
        assert_eq!(allowed.contains("PATCH"), status == 405, "{allowed}");
    }
}
