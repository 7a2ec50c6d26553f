//! The web console, as those see it who may not use it, and as those do who may.

use std::time::Duration;

use banger_core::id::VmId;
use banger_core::vm::{StopCause, Vm, VmState};
use banger_testkit::Life;
use bangerd::engine::Engine;
use bangerd::serve::web::Console;
use bangerd::store::vms;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::scene::{Scene, create};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

/// What came back.
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn header(&self, wanted: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
    }

    /// The cookie that it sets, as a browser sends it back.
    fn cookie(&self) -> String {
        let line = self.header("set-cookie").unwrap();
        assert!(line.contains("; HttpOnly") && line.contains("; SameSite=Strict"), "{line}");
        assert!(!line.contains("Domain"), "{line}");
        format!("Cookie: {}", line.split(';').next().unwrap())
    }

    /// The token of the form that is sent to `action`.
    fn token(&self, action: &str) -> &str {
        let (_, form) = self.body.split_once(&format!("action=\"{action}\"")).unwrap();
        form.split("value=\"").nth(1).unwrap().split('"').next().unwrap()
    }
}

/// A console on a socket of its own.
struct Site {
    port: u16,
    console: Console,
}

impl Site {
    async fn open(engine: &Engine) -> Self {
        let (console, listener) = Console::open(engine).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(console.clone().serve(listener));
        Self { port, console }
    }

    /// Sends these bytes, and reads to the end.
    async fn raw(&self, bytes: &[u8]) -> Reply {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut all = Vec::new();
        // What is refused before it was read may end by a reset.
        let _ = stream.read_to_end(&mut all).await;
        let text = String::from_utf8_lossy(&all).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Reply { status, head: head.to_owned(), body: body.to_owned() }
    }

    async fn ask(&self, host: &str, line: &str, headers: &[&str], body: &str) -> Reply {
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let text = format!(
            "{line} HTTP/1.1\r\nHost: {host}:{}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            self.port,
            body.len()
        );
        self.raw(text.as_bytes()).await
    }

    async fn get(&self, path: &str, headers: &[&str]) -> Reply {
        self.ask("banger.localhost", &format!("GET {path}"), headers, "").await
    }

    fn origin(&self) -> String {
        format!("Origin: http://banger.localhost:{}", self.port)
    }

    async fn post(&self, path: &str, headers: &[&str], body: &str) -> Reply {
        let line = format!("POST {path}");
        self.ask("banger.localhost", &line, &[headers, &[FORM]].concat(), body).await
    }

    /// Logs in. Returns the cookie.
    async fn log_in(&self) -> String {
        let url = self.console.invite().url;
        let path = url.split_once(&format!(":{}", self.port)).unwrap().1;
        let reply = self.get(path, &[]).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert_eq!(self.get(path, &[]).await.status, 401, "it was used up");
        reply.cookie()
    }
}

fn on_a_site(test: impl AsyncFnOnce(&Engine, &Site)) {
    let scene = Scene::new();
    let lived = scene.live(&Life::default(), async |engine| {
        create(engine, true).await;
        let site = Site::open(engine).await;
        test(engine, &site).await;
    });
    assert!(lived.is_some());
}

#[test]
fn who_has_not_logged_in_sees_nothing() {
    on_a_site(async |_, site| {
        let paths = [
            "/",
            "/vms",
            "/vms/dev",
            "/vms/dev/log",
            "/vms/dev/terminal",
            "/vms/new",
            "/images",
            "/images/debian",
            "/images/new/files",
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
        for path in ["/vms/dev/stop", "/vms/dev/delete", "/vms/new", "/images/new/debian"] {
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
        let reply = site.ask("localhost", "POST /vms/new", &[&cookie, FORM], "").await;
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
        let page = site.get("/logout", &[&cookie]).await;
        let form = format!("csrf={}", page.token("/logout"));
        assert_eq!(site.post("/logout", &[&cookie, &site.origin()], &form).await.status, 401);
        assert_eq!(site.get("/", &[&cookie]).await.status, 401);
    });
}

#[test]
fn requests_are_bounded_in_size_and_time() {
    on_a_site(async |_, site| {
        let cookie = site.log_in().await;
        let long = format!("X-Long: {}", "x".repeat(10_000));
        assert_eq!(site.get("/", &[&cookie, &long]).await.status, 431);
        let body = format!("csrf={}", "x".repeat(70_000));
        let reply = site.post("/vms/new", &[&cookie, &site.origin()], &body).await;
        assert_eq!(reply.status, 400, "{}", reply.body);
        // Heads that do not come are not waited for, nor is a form's end.
        let half = site.raw(b"GET / HTTP/1.1\r\nHost: banger.loc");
        let slow = async {
            let head = format!(
                "POST /vms/new HTTP/1.1\r\nHost: banger.localhost:{}\r\nContent-Length: 99\r\n{cookie}\r\n{}\r\n{FORM}\r\nConnection: close\r\n\r\ncsrf=",
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
        let path = "/images/new/files";
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
    on_a_site(async |_, site| {
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
        let entered = site.ask(host, &format!("GET {path}"), &[], "").await;
        let port_cookie = entered.cookie();
        let again = site.ask(host, &format!("GET {path}"), &[], "").await;
        assert_eq!(again.status, 403, "it was used up");
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
        let token = site.get("/logout", &[&cookie]).await.token("/logout").to_owned();
        site.post("/logout", &[&cookie, &site.origin()], &format!("csrf={token}")).await;
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
