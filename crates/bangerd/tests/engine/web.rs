//! The web console, as those see it who may not use it, and as those do who may.

use std::time::Duration;

use banger_core::id::VmId;
use banger_core::vm::{StopCause, Vm, VmState};
use banger_testkit::Life;
use bangerd::engine::Engine;
use bangerd::store::vms;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::scene::{Scene, create, create_named};
use crate::site::{FORM, Site, on_a_site};

#[test]
fn who_has_not_logged_in_sees_nothing() {
    on_a_site(async |_, site| {
        let paths = [
            "/",
            "/vms",
            "/vms/dev",
            "/vms/dev/log",
            "/vms/dev/terminal",
            "/new/vm",
            "/images",
            "/images/debian",
            "/new/image/files",
            "/operations",
            "/live/dashboard",
            "/live/vms/dev",
            "/vms/dev/ports/80",
            "/vms/dev/log/download",
            "/none",
        ];
        for path in paths {
            for cookie in [&[][..], &["Cookie: banger_session=0123456789abcdef"]] {
                let reply = site.get(path, cookie).await;
                assert_eq!(reply.status, 401, "{path}");
                assert!(!reply.body.contains("bookworm") && !reply.body.contains("csrf"), "{path}");
            }
        }
        for path in ["/vms/dev/stop", "/vms/dev/delete", "/new/vm", "/new/image/debian"] {
            let reply = site.post(path, &[&site.origin()], "csrf=1").await;
            assert_eq!(reply.status, 401, "{path}");
        }
        // What one is told to go on to is a page of ours.
        assert!(!site.get("//evil.example/", &[]).await.body.contains("evil"));
        // Every reply has what keeps a browser from being talked into something.
        let reply = site.get("/login?token=none", &[]).await;
        assert_eq!(reply.status, 401);
        let policy = reply.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(reply.header("x-frame-options"), Some("DENY"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert!(!reply.body.contains("<style") && !reply.body.contains(" style="));
        assert!(!reply.body.contains("<script>"));
    });
}

#[test]
fn other_hosts_lead_nowhere() {
    on_a_site(async |_, site| {
        let cookie = site.log_in().await;
        for host in ["evil.example", "banger.localhost.evil.example", "192.168.1.2", "x.localhost"]
        {
            let reply = site.ask(host, "GET /", &[&cookie], "").await;
            assert_eq!(reply.status, 421, "{host}");
        }
        // The address leads to the name, without what came along.
        let reply = site.ask("127.0.0.1", "GET /vms?token=x", &[], "").await;
        assert_eq!(reply.status, 307);
        let to = format!("http://banger.localhost:{}/vms", site.port);
        assert_eq!(reply.header("location"), Some(to.as_str()));
        let reply = site.ask("localhost", "POST /new/vm", &[&cookie, FORM], "").await;
        assert_eq!(reply.status, 421);
        // A browser is told who is there by the host alone, not by the request's target.
        let reply = site.ask("evil.example", "GET http://banger.localhost/", &[&cookie], "").await;
        assert_eq!(reply.status, 421);
    });
}

#[test]
fn a_form_comes_from_our_own_page_with_its_token() {
    on_a_site(async |engine, site| {
        let cookie = site.log_in().await;
        let (ours, vm) = (site.origin(), engine.vm("dev").await.unwrap().vm);
        let stop = format!("/vms/{}/stop", vm.id);
        let page = site.get("/vms/dev", &[&cookie]).await;
        let token = page.token(&stop).to_owned();
        let good = format!("csrf={token}");
        let guest = format!("Origin: http://dev--80.localhost:{}", site.port);
        let kill = format!("csrf={}", page.token(&format!("/vms/{}/kill", vm.id)));
        let refused: [(&[&str], &str); 9] = [
            (&[&cookie], &good),
            (&[&cookie, "Origin: null"], &good),
            (&[&cookie, "Origin: http://evil.example"], &good),
            (&[&cookie, &guest], &good),
            (&[&cookie, &ours, "Sec-Fetch-Site: same-site"], &good),
            (&[&cookie, &ours, "Sec-Fetch-Site: cross-site"], &good),
            (&[&cookie, &ours], "csrf=0"),
            (&[&cookie, &ours], ""),
            (&[&cookie, &ours], &kill),
        ];
        for (headers, body) in refused {
            assert_eq!(site.post(&stop, headers, body).await.status, 403, "{headers:?} {body}");
        }
        // Another session's token is none of this one.
        let other = site.log_in().await;
        assert_eq!(site.post(&stop, &[&other, &ours], &good).await.status, 403);
        // What another page leads to is not logged in, whatever cookie a browser lets it have.
        let led = site.get("/vms/dev", &[&cookie, "Sec-Fetch-Site: cross-site"]).await;
        assert_eq!(led.status, 401);
        assert_eq!(engine.vms()[0].state, VmState::Running);
        let reply = site.post(&stop, &[&cookie, &ours], &good).await;
        assert_eq!((reply.status, reply.header("location")), (303, Some("/vms/dev")));
        while engine.vms()[0].state != VmState::Stopped(StopCause::Requested) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // A WebSocket says where it comes from, too.
        let upgrade = ["Upgrade: websocket", "Sec-WebSocket-Version: 13", &cookie, &guest];
        let socket = format!("/vms/{}/terminal/socket", vm.id);
        assert_eq!(site.get(&socket, &upgrade).await.status, 403);
    });
}

#[test]
fn who_logs_out_is_out() {
    on_a_site(async |_, site| {
        let cookie = site.log_in().await;
        assert_eq!(site.log_out(&cookie).await, 401);
        assert_eq!(site.get("/", &[&cookie]).await.status, 401);
    });
}

#[test]
fn what_goes_on_ends_with_the_session() {
    on_a_site(async |_, site| {
        let cookie = site.log_in().await;
        let (port_cookie, host) = (site.enter(&cookie, 8080).await, "dev--8080.localhost");
        let own = format!("Origin: http://{host}:{}", site.port);
        let upgrade = ["Connection: upgrade", "Upgrade: websocket", &own, &port_cookie];
        let mut streams = Vec::new();
        for path in ["/live/vms/dev", "/live/vms/dev/log", "/live/images"] {
            let begun = site.begin("banger.localhost", &format!("GET {path}"), &[&cookie]).await;
            assert!(begun.1.starts_with("HTTP/1.1 200 "), "{}", begun.1);
            streams.push((begun.0, path));
        }
        let (mut socket, head) = site.begin(host, "GET /socket", &upgrade).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        site.log_out(&cookie).await;
        for (mut stream, path) in streams {
            // Its page says that it is old, and comes to its end.
            let mut text = String::new();
            while !text.contains("event: end") {
                let mut block = [0; 4096];
                let n = stream.read(&mut block).await.unwrap();
                assert!(n > 0, "{path}: {text}");
                text.push_str(&String::from_utf8_lossy(&block[..n]));
            }
            let (_, stale) = text.split_once("event: stale").unwrap();
            assert!(stale.contains("you are logged out"), "{path}: {text}");
            assert!(stale.contains("<div class=\"acts\"></div>"), "{path}: {text}");
        }
        assert_eq!(socket.read(&mut [0]).await.unwrap(), 0);
    });
}

#[test]
fn what_is_wrong_in_a_form_is_shown_with_it() {
    on_a_site(async |engine, site| {
        let (cookie, vm) = (site.log_in().await, engine.vm("dev").await.unwrap().vm);
        let [rename, resize] = ["rename", "resize"].map(|act| format!("/vms/{}/{act}", vm.id));
        let wrong = [
            (&rename, "name=Not+a+name", "value=\"Not a name\"", "Name: "),
            (&rename, "name=", "value=\"\"", "Name is missing"),
            (&resize, "vcpus=3&memory=&disk=9G", "value=\"3\"", "Memory is missing"),
            (&resize, "vcpus=3&memory=much&disk=9G", "value=\"much\"", "Memory: "),
        ];
        for (path, fields, kept, why) in wrong {
            let token = site.get("/vms/dev", &[&cookie]).await.token(path).to_owned();
            let form = format!("csrf={token}&{fields}");
            let reply = site.post(path, &[&cookie, &site.origin()], &form).await;
            assert_eq!(reply.status, 400, "{fields}: {}", reply.body);
            assert!(reply.body.contains(kept) && reply.body.contains(why), "{}", reply.body);
            assert!(reply.body.contains("<details open>"), "{}", reply.body);
        }
        assert_eq!(engine.vm("dev").await.unwrap().vm.spec, vm.spec);
    });
}

#[test]
fn requests_are_bounded_in_size_and_time() {
    on_a_site(async |_, site| {
        let cookie = site.log_in().await;
        let long = format!("X-Long: {}", "x".repeat(10_000));
        assert_eq!(site.get("/", &[&cookie, &long]).await.status, 431);
        let body = format!("csrf={}", "x".repeat(70_000));
        let reply = site.post("/new/vm", &[&cookie, &site.origin()], &body).await;
        assert_eq!(reply.status, 400, "{}", reply.body);
        // Heads that do not come are not waited for, nor is a form's end.
        let half = site.raw(b"GET / HTTP/1.1\r\nHost: banger.loc");
        let slow = async {
            let head = format!(
                "POST /new/vm HTTP/1.1\r\nHost: banger.localhost:{}\r\nContent-Length: 99\r\n{cookie}\r\n{}\r\n{FORM}\r\nConnection: close\r\n\r\ncsrf=",
                site.port,
                site.origin()
            );
            site.raw(head.as_bytes()).await
        };
        let (half, slow) = tokio::join!(half, slow);
        assert!(half.status == 0 || half.status == 408, "{}", half.head);
        assert!(slow.body.contains("the form did not arrive"), "{}", slow.body);
        // Others are served meanwhile and afterwards.
        assert_eq!(site.get("/", &[&cookie]).await.status, 200);
    });
}

#[test]
fn the_picker_shows_nothing_outside_of_its_roots() {
    on_a_site(async |_, site| {
        let cookie = site.log_in().await;
        let path = "/new/image/files";
        let token = site.get(path, &[&cookie]).await.token(path).to_owned();
        for dir in ["/etc", "/", "/tmp/../etc", "/proc/self/root/etc", "/tmp/../../etc/ssh", "etc"]
        {
            let form = format!("csrf={token}&name=mine&pick=rootfs&dir={dir}");
            let reply = site.post(path, &[&cookie, &site.origin()], &form).await;
            assert_eq!(reply.status, 200);
            assert!(!reply.body.contains("passwd") && !reply.body.contains("ssh_config"), "{dir}");
        }
        // What was filled in comes back with what was chosen.
        let form = format!("csrf={token}&name=mine&kernel=%2Fk&rootfs=%2Ftmp%2Fa.img");
        let reply = site.post(path, &[&cookie, &site.origin()], &form).await;
        assert!(reply.body.contains("value=\"/tmp/a.img\"") && reply.body.contains("value=\"/k\""));
    });
}

#[test]
fn a_guests_port_is_seen_by_whom_the_console_sends_there() {
    on_a_site(async |engine, site| {
        create_named(engine, "other", true).await;
        let cookie = site.log_in().await;
        let host = "dev--8080.localhost";
        // Not without the console, nor with its own cookie, nor one that there is no VM for.
        for (host, headers) in
            [(host, &[][..]), (host, &[cookie.as_str()]), ("none--80.localhost", &[])]
        {
            let reply = site.ask(host, "GET /", headers, "").await;
            assert_eq!(reply.status, 403, "{host} {headers:?}");
            assert!(reply.header("content-security-policy").is_some());
        }
        let led = site.get("/vms/dev/ports/8080", &[&cookie]).await;
        assert_eq!(led.status, 303);
        let to = led.header("location").unwrap();
        let path = to.split_once(&format!(":{}", site.port)).unwrap().1;
        assert!(to.starts_with("http://dev--8080.localhost:"), "{to}");
        // What the browser has of another VM of that name goes before the cookie comes.
        let cleared = site.ask(host, &format!("GET {path}"), &[], "").await;
        let what = r#""cache", "cookies", "storage""#;
        assert_eq!(cleared.header("clear-site-data"), Some(what));
        assert_eq!(cleared.header("set-cookie"), None);
        let next = cleared.body.split("url=").nth(1).unwrap().split('"').next().unwrap();
        let next = next.replace("&amp;", "&");
        assert!(next.starts_with(path), "{next}");
        let entered = site.ask(host, &format!("GET {next}"), &[], "").await;
        let port_cookie = entered.cookie();
        assert_eq!(entered.header("clear-site-data"), None);
        let again = site.ask(host, &format!("GET {next}"), &[], "").await;
        assert_eq!(again.status, 403, "it was used up");
        // Nothing goes where the browser was at this VM before.
        let known = entered.head.split("banger_vm=").nth(1).unwrap().split(';').next().unwrap();
        let known = format!("Cookie: banger_vm={known}");
        let led = site.get("/vms/dev/ports/8080", &[&cookie]).await;
        let (_, path) = led.header("location").unwrap().split_once(&site.port.to_string()).unwrap();
        let at_once = site.ask(host, &format!("GET {path}"), &[&known], "").await;
        assert_eq!(at_once.header("clear-site-data"), None);
        assert!(at_once.cookie().contains("banger_port="));
        // A script of the guest that would outlive it is not served.
        let worker = [port_cookie.as_str(), "Service-Worker: script"];
        assert_eq!(site.ask(host, "GET /worker.js", &worker, "").await.status, 403);
        // A form of a page that names no origin is its own, if the browser says so.
        for (from, status) in [("same-origin", 200), ("cross-site", 403)] {
            let site_header = format!("Sec-Fetch-Site: {from}");
            let form = [port_cookie.as_str(), "Origin: null", &site_header];
            assert_eq!(site.ask(host, "POST /", &form, "").await.status, status, "{from}");
        }
        // The guest sees what it was asked, without our cookie.
        let both = format!("{port_cookie}; own=1");
        let seen = site.ask(host, "GET /path?query=1", &[&both, "X-Mine: 1"], "").await;
        assert_eq!(seen.status, 200);
        let asked: Vec<_> = seen.body.lines().collect();
        assert_eq!(asked[0], "GET /path?query=1 HTTP/1.1");
        assert!(asked.iter().any(|line| line.eq_ignore_ascii_case("cookie: own=1")), "{asked:?}");
        assert!(asked.iter().any(|line| line.eq_ignore_ascii_case("x-mine: 1")), "{asked:?}");
        assert!(!seen.body.contains("banger_port"), "{}", seen.body);
        assert_eq!(seen.header("set-cookie"), Some("a=1"));
        // A WebSocket goes through, of a page of the guest's own host.
        let own = format!("Origin: http://{host}:{}", site.port);
        let head = format!(
            "GET /socket HTTP/1.1\r\nHost: {host}:{}\r\nConnection: upgrade\r\nUpgrade: websocket\r\n{port_cookie}\r\n",
            site.port
        );
        let foreign = site.raw(format!("{head}{}\r\n\r\n", site.origin()).as_bytes()).await;
        assert_eq!(foreign.status, 403);
        let mut socket = TcpStream::connect(("127.0.0.1", site.port)).await.unwrap();
        socket.write_all(format!("{head}{own}\r\n\r\n").as_bytes()).await.unwrap();
        let mut text = String::new();
        while !text.ends_with("\r\n\r\n") {
            text.push(char::from(socket.read_u8().await.unwrap()));
        }
        assert!(text.starts_with("HTTP/1.1 101 "), "{text}");
        socket.write_all(b"there and back").await.unwrap();
        let mut back = [0; 14];
        socket.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"there and back");
        drop(socket);
        // Events come as they are sent.
        let mut events = TcpStream::connect(("127.0.0.1", site.port)).await.unwrap();
        let head =
            format!("GET /events HTTP/1.1\r\nHost: {host}:{}\r\n{port_cookie}\r\n\r\n", site.port);
        events.write_all(head.as_bytes()).await.unwrap();
        let mut text = String::new();
        while !text.contains("data: one\n\n") {
            text.push(char::from(events.read_u8().await.unwrap()));
        }
        assert!(text.contains("text/event-stream"), "{text}");
        drop(events);
        // Nor another VM, which has its own.
        let other = site.ask("other--8080.localhost", "GET /", &[&port_cookie], "").await;
        assert_eq!(other.status, 403);
        let led = site.get("/vms/dev/ports/8080", &[&cookie]).await;
        let (_, path) = led.header("location").unwrap().split_once(&site.port.to_string()).unwrap();
        let ticket = format!("GET {path}");
        assert_eq!(
            site.ask("other--8080.localhost", &ticket, &[&port_cookie], "").await.status,
            403
        );
        // Nothing else is open by that: no other port, no other page, not the console.
        let other = site.ask("dev--8081.localhost", "GET /", &[&port_cookie], "").await;
        assert_eq!(other.status, 403);
        let evil = [port_cookie.as_str(), "Origin: http://evil.example"];
        assert_eq!(site.ask(host, "POST /", &evil, "").await.status, 403);
        assert_eq!(site.get("/", &[&port_cookie]).await.status, 401);
        // SSH is nothing for a browser.
        assert_eq!(site.get("/vms/dev/ports/22", &[&cookie]).await.status, 400);
        assert_eq!(site.ask("dev--22.localhost", "GET /", &[&port_cookie], "").await.status, 421);
        // It ends with the session.
        site.log_out(&cookie).await;
        assert_eq!(site.ask(host, "GET /", &[&port_cookie], "").await.status, 403);
    });
}

/// Makes VMs `vm-000`, `vm-001` … that are stopped.
async fn many(engine: &Engine, count: u64) {
    let row = engine.vm("dev").await.unwrap();
    let made = engine.store.run(move |db| {
        for i in 0..count {
            let mut other = row.clone();
            let (id, name) = (VmId::from_bits(i + 1), format!("vm-{i:03}").parse());
            let state = VmState::Stopped(StopCause::Requested);
            other.vm = Vm { id, name: name.unwrap(), state, run: None, ..other.vm };
            vms::insert(db, &other)?;
        }
        Ok(())
    });
    made.await.unwrap();
}

#[test]
fn a_dashboard_of_500_vms_is_small() {
    let scene = Scene::new();
    scene
        .live(&Life::default(), async |engine| {
            create(engine, false).await;
            many(engine, 499).await;
        })
        .unwrap();
    let lived = scene.live(&Life::default(), async |engine| {
        let site = Site::open(engine).await;
        let cookie = site.log_in().await;
        let page = site.get("/", &[&cookie]).await;
        assert!(page.body.contains("vm-498") && page.body.contains("dev"));
        let size = page.head.len() + page.body.len();
        assert!(size <= 200_000, "{size}");
    });
    assert!(lived.is_some());
}
