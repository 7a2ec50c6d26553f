//! A browser that is driven by the W3C's WebDriver protocol: Chromium by its chromedriver. A dozen
//! requests of JSON need no library.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use banger_exec::{Command, HostRunner, Runner as _, Tool, Tools};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::process::signal;

/// How long a page may take to show what is waited for: opencode starts slowly where it is emulated.
const LIMIT: Duration = Duration::from_secs(400);

/// Finds accessibility violations that are serious; from the package axe-core of npm.
const AXE: &str = include_str!("../../vendor/axe.min.js");

/// What the driver says where the page is just becoming another one.
const NAVIGATES: &str = "aborted by navigation";

/// What the driver says of an element that is no longer there.
const REPLACED: [&str; 2] = ["stale element", "does not belong to the document"];

/// A browser with a window of its own.
pub struct Browser {
    driver: i32,
    /// The URL of its session.
    session: String,
}

impl Browser {
    /// Starts one; its driver logs to `dir`.
    pub fn start(dir: &Path) -> Self {
        let log = dir.join("chromedriver.log");
        let runner = HostRunner::new(Tools::discover());
        let command = Command::new(Tool::Chromedriver).args(["--port=0"]).env("HOME", dir);
        let driver = runner.detach(&command, &log).unwrap().cast_signed();
        let port = wait("the browser's driver to start", || {
            let said = fs::read_to_string(&log).unwrap_or_default();
            let (_, port) = said.split_once("started successfully on port ")?;
            Some(port.trim_end().trim_end_matches('.').to_owned())
        });
        let options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"];
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": options },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let base = format!("http://127.0.0.1:{port}/session");
        let made = send("POST", &base, Some(&capabilities));
        let session = format!("{base}/{}", made["sessionId"].as_str().unwrap());
        Self { driver, session }
    }

    fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let url = format!("{}{path}", self.session);
        wait(&format!("an answer to {path}"), || match try_send(method, &url, body) {
            Err(error) if error.contains(NAVIGATES) => None,
            answer => Some(answer.unwrap_or_else(|error| panic!("{method} {url}: {error}"))),
        })
    }

    /// Goes to a URL.
    pub fn go(&self, url: &str) {
        self.send("POST", "/url", Some(&json!({ "url": url })));
    }

    /// Where it is.
    pub fn url(&self) -> String {
        self.send("GET", "/url", None).as_str().unwrap().to_owned()
    }

    /// What a script returns.
    pub fn run(&self, script: &str) -> Value {
        self.send("POST", "/execute/sync", Some(&json!({ "script": script, "args": [] })))
    }

    /// What a script hands to its last argument.
    pub fn run_async(&self, script: &str) -> Value {
        self.send("POST", "/execute/async", Some(&json!({ "script": script, "args": [] })))
    }

    /// What a person reads on the page.
    pub fn text(&self) -> String {
        // There is no body between two pages.
        let script = "return document.body?.innerText ?? ''";
        self.run(script).as_str().unwrap_or_default().to_owned()
    }

    /// What a selector finds. The page may be on its way: a click need not wait for the next one.
    fn element(&self, css: &str) -> String {
        let wanted = json!({ "using": "css selector", "value": css });
        let url = format!("{}/element", self.session);
        self.wait(&format!("'{css}'"), || id(&try_send("POST", &url, Some(&wanted)).ok()?))
    }

    /// Clicks on something; nothing if it was replaced meanwhile, as when something has just changed.
    fn try_click(&self, element: &str) -> Option<()> {
        let url = format!("{}/element/{element}/click", self.session);
        match try_send("POST", &url, Some(&json!({}))) {
            Ok(_) => Some(()),
            Err(error) if error.contains(NAVIGATES) => Some(()),
            Err(error) if REPLACED.iter().any(|known| error.contains(known)) => None,
            Err(error) => panic!("{element}: {error}"),
        }
    }

    /// Clicks on what a selector finds.
    pub fn click(&self, css: &str) {
        self.wait(&format!("a click on '{css}'"), || self.try_click(&self.element(css)));
    }

    /// Clicks on the first button or link of the page's own that has these words.
    pub fn press(&self, words: &str) {
        let script = "return [...document.querySelectorAll('main :is(button, a, summary):not(.hidden)')]\
            .find((e) => e.checkVisibility() && e.innerText.trim().replace(/\\s+/g, ' ') === arguments[0])";
        let wanted = json!({ "script": script, "args": [words] });
        let url = format!("{}/execute/sync", self.session);
        self.wait(&format!("a click on '{words}'"), || {
            self.try_click(&id(&try_send("POST", &url, Some(&wanted)).ok()?)?)
        });
    }

    /// Types into what a selector finds, after what is there.
    pub fn type_into(&self, css: &str, text: &str) {
        let path = format!("/element/{}/value", self.element(css));
        self.send("POST", &path, Some(&json!({ "text": text })));
    }

    /// Clears a field and types into it.
    pub fn fill(&self, css: &str, text: &str) {
        self.send("POST", &format!("/element/{}/clear", self.element(css)), Some(&json!({})));
        self.type_into(css, text);
    }

    /// Waits until the page shows a text.
    pub fn until_shown(&self, text: &str) {
        self.wait(&format!("'{text}'"), || self.text().contains(text).then_some(()));
    }

    fn wait<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> T {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < deadline, "waited in vain for {what}:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Goes on with the other window of the two.
    pub fn switch(&self) {
        let here = self.send("GET", "/window", None);
        let other = wait("another window", || {
            let all = self.send("GET", "/window/handles", None);
            all.as_array().unwrap().iter().find(|handle| **handle != here).cloned()
        });
        self.send("POST", "/window", Some(&json!({ "handle": other })));
    }

    fn devtools(&self, command: &str, parameters: &Value) {
        let body = json!({ "cmd": command, "params": parameters });
        self.send("POST", "/goog/cdp/execute", Some(&body));
    }

    fn resize(&self, width: u64, height: u64) {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Runs no more scripts of pages.
    pub fn without_scripts(&self) {
        self.devtools("Emulation.setScriptExecutionDisabled", &json!({ "value": true }));
    }

    /// Shows pages as to somebody who prefers `scheme`.
    pub fn prefer(&self, scheme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", &features);
    }

    /// Takes pictures of the page at two widths, if `BANGER_SCREENSHOTS` names a folder for them.
    /// Nothing may be wider than the page.
    pub fn picture(&self, name: &str) {
        for width in [1280, 390] {
            self.resize(width, 800);
            let script =
                "const e = document.documentElement; return [e.scrollWidth, e.scrollHeight]";
            let size = self.run(script);
            let [wide, high] = [0, 1].map(|i| size[i].as_u64().unwrap());
            assert!(wide <= width, "{name} is {wide} wide at {width}");
            let Some(folder) = std::env::var_os("BANGER_SCREENSHOTS").map(PathBuf::from) else {
                continue;
            };
            self.resize(width, high.clamp(600, 2000));
            let png = self.send("GET", "/screenshot", None);
            let png = BASE64_STANDARD.decode(png.as_str().unwrap()).unwrap();
            fs::write(folder.join(format!("{name}-{width}.png")), png).unwrap();
        }
        self.resize(1280, 800);
    }

    /// Fails if axe-core finds something serious on the page, light or dark.
    pub fn check_access(&self) {
        for scheme in ["light", "dark"] {
            self.prefer(scheme);
            // By the driver, which the page's policy does not bind.
            self.run(AXE);
            let script = "const done = arguments[arguments.length - 1]; axe.run().then((r) => done(\
                r.violations.filter((v) => ['serious', 'critical'].includes(v.impact)).map((v) =>\
                v.id + ': ' + v.nodes.map((n) => n.html).join(' ').slice(0, 400))))";
            let found = self.run_async(script);
            assert_eq!(found, json!([]), "{scheme}: {}", self.url());
        }
        self.prefer("light");
    }

    /// What the browser complained of, scripts and policy among it.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.send("POST", "/se/log", Some(&json!({ "type": "browser" })));
        let messages = log.as_array().unwrap().iter().map(|entry| entry["message"].to_string());
        messages.collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Without it the browser would outlive its driver; either may be gone.
        let _ = try_send("DELETE", &self.session, None);
        let _ = signal(self.driver, Signal::TERM);
    }
}

/// The id of an element, by the driver's answer; none if there is no element.
fn id(found: &Value) -> Option<String> {
    Some(found.as_object()?.values().next()?.as_str()?.to_owned())
}

fn wait<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn send(method: &str, url: &str, body: Option<&Value>) -> Value {
    try_send(method, url, body).unwrap_or_else(|error| panic!("{method} {url}: {error}"))
}

/// The value that the driver answers with, or what is wrong.
fn try_send(method: &str, url: &str, body: Option<&Value>) -> Result<Value, String> {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let answer = match (method, body) {
        ("POST", body) => {
            let body = body.map(Value::to_string).unwrap_or_default();
            agent.post(url).header("Content-Type", "application/json").send(body)
        }
        ("DELETE", _) => agent.delete(url).call(),
        _ => agent.get(url).call(),
    };
    let mut answer = answer.map_err(|error| error.to_string())?;
    let text = answer.body_mut().with_config().limit(64 << 20).read_to_string().unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    match answer.status().is_success() {
        true => Ok(value["value"].clone()),
        false => Err(value["value"]["message"].to_string()),
    }
}
