//! The web console, in a real browser.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::{As, Browser, Sandbox, soaks};
use crate::load::held;

/// One whose console is on a port of its own.
fn sandbox() -> Sandbox {
    let banger = Sandbox::new(As::Me);
    banger.configure("web_listen = \"127.0.0.1:0\"\nready_seconds = 600\n");
    banger.ok(&["daemon", "start"]);
    banger
}

/// The URL of a way in.
fn login(banger: &Sandbox) -> String {
    banger.ok(&["web", "--no-open"])
}

#[test]
fn a_day_in_the_browser() {
    let banger = sandbox();
    let status = banger.ok(&["daemon", "status"]);
    let browser = Browser::start(banger.dir());
    let url = login(&banger);
    let home = format!("{}/", url.split("/login").next().unwrap());
    assert!(status.contains(&home), "{status}");
    let at = |path: &str| browser.go(&format!("{home}{path}"));

    // In, once; the address tells nothing of how.
    browser.go(&url);
    browser.until_shown("Create a VM");
    assert_eq!(browser.url(), home);
    browser.check_access();

    // A VM is made, and its stages come by themselves.
    at("new/vm");
    browser.fill("#name", "dev");
    browser.fill("#memory", "900G");
    browser.until_shown("all but gone");
    browser.check_access();
    browser.picture("create");
    browser.fill("#memory", "1G");
    browser.click("button[value=create]");
    // A click need not wait for the next page.
    browser.until_shown("Create VM dev");
    browser.run("window.loadedOnce = true");
    browser.until_shown("agent");
    browser.until_shown("Cancel");
    browser.check_access();
    browser.picture("operation");
    browser.until_shown("Go to the VM dev");
    assert_eq!(browser.run("return window.loadedOnce"), true, "the page was loaded anew");
    browser.click("a.button");
    browser.until_shown("running");
    browser.until_shown("4096 opencode");
    // What it takes, second by second.
    let points =
        "return document.querySelector('polyline')?.getAttribute('points').split(' ').length";
    banger.until("the charts have lines", || browser.run(points).as_u64() > Some(9));
    browser.check_access();
    browser.picture("vm");

    // opencode opens logged in, on a host of its own.
    browser.click(".ports a");
    browser.switch();
    browser.until_shown("session");
    assert!(browser.url().starts_with("http://dev--4096.localhost:"), "{}", browser.url());
    assert!(!browser.url().contains("ticket"), "{}", browser.url());
    let cookies = browser.run("return document.cookie");
    assert!(!cookies.to_string().contains("banger"), "{cookies}");
    // From there nothing of the console can be had.
    let script = format!(
        "const done = arguments[arguments.length - 1]; \
         fetch('{home}vms', {{ credentials: 'include' }}).then(() => done('had'), () => done('refused'))"
    );
    assert_eq!(browser.run_async(&script), "refused");
    browser.picture("opencode");
    browser.switch();
    browser.complaints();

    // A shell, in the page.
    at("vms/dev/terminal");
    browser.until_shown("dev:~#");
    browser.type_into(".xterm-helper-textarea", "echo $((6 * 7)) > answer; cat answer\n");
    browser.until_shown("42");
    browser.check_access();
    browser.picture("terminal");
    assert_eq!(banger.ok(&["vm", "exec", "dev", "--", "cat", "answer"]), "42");

    // Its console goes on while it is looked at.
    at("vms/dev/log");
    browser.until_shown("handing over");
    banger.ok(&["vm", "exec", "dev", "--", "sh", "-c", "echo '<b>seen</b>' > /dev/console"]);
    browser.until_shown("<b>seen</b>");
    browser.check_access();
    browser.picture("log");

    // The lists.
    for (path, name) in
        [("", "dashboard"), ("images/debian", "image"), ("new/image/files", "register")]
    {
        at(path);
        browser.until_shown("banger");
        browser.check_access();
        browser.picture(name);
    }
    browser.click("button[value=rootfs]");
    browser.until_shown("Choose a file");
    browser.check_access();
    browser.picture("picker");
    for path in OTHER_PAGES {
        at(path);
        browser.until_shown("banger");
        browser.check_access();
    }
    at("");
    browser.prefer("dark");
    browser.picture("dashboard-dark");
    browser.prefer("light");

    // An image is built, watched, and given up.
    at("new/image/debian");
    browser.fill("#name", "other");
    browser.click(".acts button[value=make]");
    browser.until_shown("bootstrap");
    browser.until_shown("All of it, as text");
    let lines = "return document.querySelector('#said').innerText.split('\\n').length";
    banger.until("it has said something", || browser.run(lines).as_u64() > Some(3));
    browser.check_access();
    browser.picture("build");
    browser.click("button.danger");
    browser.until_shown("Cancelled");
    assert_eq!(banger.json(&["image", "list"]).as_array().unwrap().len(), 1);

    // The VM gets another name, and goes.
    at("vms/dev");
    browser.click("summary");
    browser.fill("details #name", "work");
    browser.click("details button");
    banger.until("its page has another name", || browser.url().ends_with("/vms/work"));
    browser.click("a.danger");
    browser.until_shown("Delete work?");
    browser.picture("delete");
    browser.click("button.danger");
    browser.until_shown("Done.");
    assert_eq!(banger.json(&["vm", "list"]), serde_json::json!([]));

    // Scripts and policy were content all the time; opencode's page lost its VM.
    let complaints = browser.complaints();
    let refused =
        |line: &str| ["/vms/none - ", "/debian/delete - "].iter().any(|p| line.contains(p));
    let ours = complaints.iter().filter(|line| line.contains(&home) && !refused(line));
    let ours: Vec<_> = ours.collect();
    assert_eq!(ours, Vec::<&String>::new());
    at("logout");
    browser.click("main button");
    browser.until_shown("Not logged in");
    at("vms");
    browser.until_shown("banger web");
    // No secret is in what the daemon wrote.
    let log = std::fs::read_to_string(banger.state("bangerd.log")).unwrap();
    let token = url.split("token=").nth(1).unwrap();
    assert!(!log.contains(token), "{log}");
}

/// Pages without a picture.
const OTHER_PAGES: [&str; 16] = [
    "vms",
    "vms/dev/delete",
    "vms/none",
    "images",
    "images/debian/packages",
    "images/debian/delete",
    "new/image",
    "new/image/debian",
    "new/image/alpine",
    "new/image/void",
    "new/image/image",
    "new/image/vm",
    "new/image/registry",
    "new/image/archive",
    "operations",
    "logout",
];

/// A browser that is logged in and runs no script of a page's: the way to each page.
fn without_scripts(banger: &Sandbox) -> (Browser, String) {
    let browser = Browser::start(banger.dir());
    browser.without_scripts();
    let url = login(banger);
    browser.go(&url);
    browser.until_shown("Create a VM");
    (browser, format!("{}/", url.split("/login").next().unwrap()))
}

/// Nothing of VMs; the browser, whose programs name the sandbox, takes its time to end.
fn nothing_is_left(banger: &Sandbox, browser: Browser) {
    drop(browser);
    banger.until("nothing is left", || banger.leftovers().is_empty());
}

/// Every act of a VM, with no script of a page's. It boots three times: `script/soak` runs it.
#[test]
fn vms_are_run_without_scripts() {
    if !soaks() {
        return;
    }
    let banger = sandbox();
    let (browser, home) = without_scripts(&banger);
    let at = |path: &str| browser.go(&format!("{home}{path}"));
    // Pages stay as they are, so it is gone there again: not before a click was heard.
    let until_is = |state: &str| {
        banger.until(&format!("dev is {state}"), || {
            banger.json(&["vm", "show", "dev"])["state"]["state"] == state
        });
        at("vms/dev");
        assert_eq!(browser.run("return document.querySelector('main .badge').innerText"), state);
    };

    browser.press("Create a VM");
    browser.fill("#name", "dev");
    browser.fill("#memory", "lots");
    browser.press("Create");
    browser.until_shown("Memory: 'lots' is not a size");
    browser.fill("#memory", "512M");
    browser.click("#opencode");
    browser.press("Look at the host first");
    browser.until_shown("512 MiB of");
    browser.press("Create");
    // An operation's page comes anew by itself.
    browser.press("Go to the VM dev");
    until_is("running");
    let boot = || banger.json(&["vm", "show", "dev"])["run"]["boot_id"].as_str().map(str::to_owned);
    let first = boot();
    browser.press("Restart dev");
    banger.until("dev has booted again", || boot().is_some_and(|boot| Some(boot) != first));
    until_is("running");
    browser.press("Stop dev");
    until_is("stopped");
    browser.press("Resize");
    browser.fill("#memory", "600M");
    browser.fill("#vcpus", "1");
    browser.click("form[action$=resize] button:not([name])");
    banger.until("dev is resized", || {
        let spec = banger.json(&["vm", "show", "dev"])["spec"].clone();
        spec["memory"] == 600 << 20 && spec["vcpus"] == 1
    });
    browser.press("Start dev");
    until_is("running");
    assert_eq!(banger.ok(&["vm", "exec", "dev", "--", "nproc"]), "1");
    browser.press("Kill dev");
    until_is("stopped");
    browser.press("Delete…");
    browser.press("Delete dev");
    browser.until_shown("Done.");
    nothing_is_left(&banger, browser);
}

/// Images that are made, promoted and deleted, with no script of a page's.
#[test]
fn images_are_made_without_scripts() {
    let banger = sandbox();
    banger.ok(&["vm", "create", "dev", "--no-start"]);
    let (browser, home) = without_scripts(&banger);
    let at = |path: &str| browser.go(&format!("{home}{path}"));
    at("new/image/vm");
    browser.fill("#name", "copy");
    browser.click("option[value=dev]");
    browser.press("Make it");
    browser.press("Go to the image copy");
    browser.until_shown("the VM dev");

    // Files that are picked: it begins to look where the path that is there leads.
    let debian = banger.json(&["image", "show", "debian"])["id"].as_str().unwrap().to_owned();
    let files = banger.state("images").join(debian);
    at("new/image/files");
    browser.fill("#name", "mine");
    browser.fill("#rootfs", files.join("rootfs.ext4").to_str().unwrap());
    browser.fill("#kernel", files.to_str().unwrap());
    browser.click("button[value=kernel]");
    browser.press("vmlinux");
    browser.press("Make it");
    browser.press("Go to the image mine");
    browser.press("Promote mine");
    browser.press("Go to the image mine");
    banger.until("its page is shown", || browser.url().ends_with("/images/mine"));
    assert!(!browser.text().contains("Promote"), "{}", browser.text());
    for image in ["mine", "copy"] {
        at(&format!("images/{image}"));
        browser.press("Delete…");
        browser.press(&format!("Delete {image}"));
        browser.until_shown("Make an image");
        assert!(!browser.text().contains(image), "{}", browser.text());
    }

    // The other forms ask for what is in them; it cannot be had here, and that is told.
    let nowhere = "http://127.0.0.1:1/";
    let none = banger.dir().join("none.tar");
    for (kind, field, value, said) in [
        ("debian", "mirror", nowhere, "the mirror cannot be reached"),
        ("alpine", "mirror", nowhere, "use another mirror with '--mirror URL'"),
        ("void", "mirror", nowhere, "use another mirror with '--mirror'"),
        ("image", "copies", "/none:/none", "/none"),
        ("registry", "reference", "127.0.0.1:1/dev:1", "127.0.0.1:1"),
        ("archive", "path", none.to_str().unwrap(), "none.tar"),
    ] {
        at(&format!("new/image/{kind}"));
        browser.fill("#name", "other");
        browser.fill(&format!("#{field}"), value);
        if kind == "image" {
            browser.click("option[value=debian]");
        }
        browser.press("Make it");
        let alert = "return document.querySelector('main [role=alert]')?.innerText ?? ''";
        banger.until(&format!("it is told what is wrong with the {kind}"), || {
            browser.run(alert).as_str().unwrap().contains(said)
        });
    }
    assert_eq!(banger.json(&["image", "list"]).as_array().unwrap().len(), 1);
    banger.ok(&["vm", "delete", "--yes", "dev"]);
    nothing_is_left(&banger, browser);
}

/// A port that is taken is told.
#[test]
fn a_port_that_is_taken_is_a_warning() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let banger = Sandbox::new(As::Me);
    banger.configure(&format!("web_listen = \"{}\"\n", taken.local_addr().unwrap()));
    banger.ok(&["daemon", "start"]);
    let status = banger.ok(&["daemon", "status"]);
    assert!(status.contains("not served: cannot listen at 127.0.0.1:"), "{status}");
    let refused = banger.fails(&["web", "--no-open"]);
    assert!(refused.starts_with("4 error: cannot listen at"), "{refused}");
    assert!(refused.contains("hint: set 'web_listen'"), "{refused}");
    let doctor = banger.run(&["doctor"]).stdout;
    assert!(doctor.contains("web console") && doctor.contains("cannot listen at"), "{doctor}");
    banger.configure("web_listen = \"0.0.0.0:7777\"\n");
    let refused = banger.fails(&["daemon", "restart"]);
    assert!(refused.contains("an address of loopback"), "{refused}");
    banger.configure("web_listen = \"off\"\n");
    banger.ok(&["daemon", "start"]);
    assert!(banger.ok(&["daemon", "status"]).contains("web console off"));
}

/// Fifty pages that are looked at take no more from one minute to the next.
#[test]
fn fifty_pages_at_once_take_no_more_and_more() {
    let banger = sandbox();
    banger.ok(&["vm", "create", "dev", "--no-start"]);
    let url = login(&banger);
    let (host, path) = url.trim_start_matches("http://").split_once('/').unwrap();
    let port: u16 = host.rsplit_once(':').unwrap().1.parse().unwrap();
    let open = |path: &str, cookie: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let head = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\n{cookie}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let mut head = [0; 4096];
    let n = open(path, "").read(&mut head).unwrap();
    let head = String::from_utf8_lossy(&head[..n]).into_owned();
    let (_, cookie) = head.split_once("set-cookie: ").unwrap();
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    let before = held(&banger);
    let streams: Vec<_> =
        (0..50).map(|i| open(["live/dashboard", "live/vms/dev"][i % 2], &cookie)).collect();
    let read_for = |time: Duration| {
        let end = Instant::now() + time;
        let mut total = 0;
        while Instant::now() < end {
            for mut stream in &streams {
                stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
                total += stream.read(&mut [0; 65536]).unwrap_or(0);
            }
        }
        total
    };
    let minute = Duration::from_secs(if soaks() { 60 } else { 10 });
    assert!(read_for(minute) > 50 * 1000, "the streams say nothing");
    let settled = held(&banger);
    read_for(minute);
    let after = held(&banger);
    println!("{before:?} {settled:?} {after:?}");
    assert!(after.rss_kib <= settled.rss_kib + 4096, "{settled:?} {after:?}");
    drop(streams);
    banger.until("the daemon has closed its ends", || {
        held(&banger).descriptors <= before.descriptors + 2
    });
}
