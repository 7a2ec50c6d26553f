//! The web console on a socket of its own, and what a browser does with it.

use banger_testkit::Life;
use bangerd::engine::Engine;
use bangerd::serve::web::Console;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::scene::{Scene, create};

pub const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

/// What came back.
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn header(&self, wanted: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
    }

    /// The cookie that it sets, as a browser sends it back.
    pub fn cookie(&self) -> String {
        let line = self.header("set-cookie").unwrap();
        assert!(line.contains("; HttpOnly") && line.contains("; SameSite=Strict"), "{line}");
        assert!(!line.contains("Domain"), "{line}");
        format!("Cookie: {}", line.split(';').next().unwrap())
    }

    /// The token of the form that is sent to `action`.
    pub fn token(&self, action: &str) -> &str {
        let (_, form) = self.body.split_once(&format!("action=\"{action}\"")).unwrap();
        form.split("value=\"").nth(1).unwrap().split('"').next().unwrap()
    }
}

/// A console on a socket of its own.
pub struct Site {
    pub port: u16,
    console: Console,
}

impl Site {
    pub async fn open(engine: &Engine) -> Self {
        let (console, listener) = Console::open(engine).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(console.clone().serve(listener));
        Self { port, console }
    }

    /// Sends these bytes, and reads to the end.
    pub async fn raw(&self, bytes: &[u8]) -> Reply {
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

    pub async fn ask(&self, host: &str, line: &str, headers: &[&str], body: &str) -> Reply {
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let text = format!(
            "{line} HTTP/1.1\r\nHost: {host}:{}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            self.port,
            body.len()
        );
        self.raw(text.as_bytes()).await
    }

    pub async fn get(&self, path: &str, headers: &[&str]) -> Reply {
        self.ask("banger.localhost", &format!("GET {path}"), headers, "").await
    }

    /// Sends a request, and reads the head of its reply.
    pub async fn begin(&self, host: &str, line: &str, headers: &[&str]) -> (TcpStream, String) {
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let text = format!("{line} HTTP/1.1\r\nHost: {host}:{}\r\n{headers}\r\n", self.port);
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            head.push(char::from(stream.read_u8().await.unwrap()));
        }
        (stream, head)
    }

    pub async fn log_out(&self, cookie: &str) -> u16 {
        let page = self.get("/logout", &[cookie]).await;
        let form = format!("csrf={}", page.token("/logout"));
        self.post("/logout", &[cookie, &self.origin()], &form).await.status
    }

    /// A cookie for a port of the VM.
    pub async fn enter(&self, cookie: &str, port: u16) -> String {
        let led = self.get(&format!("/vms/dev/ports/{port}"), &[cookie]).await;
        let (_, path) = led.header("location").unwrap().split_once(&self.port.to_string()).unwrap();
        let line = format!("GET {path}&cleared=1");
        self.ask(&format!("dev--{port}.localhost"), &line, &[], "").await.cookie()
    }

    pub fn origin(&self) -> String {
        format!("Origin: http://banger.localhost:{}", self.port)
    }

    pub async fn post(&self, path: &str, headers: &[&str], body: &str) -> Reply {
        let line = format!("POST {path}");
        self.ask("banger.localhost", &line, &[headers, &[FORM]].concat(), body).await
    }

    /// Logs in. Returns the cookie.
    pub async fn log_in(&self) -> String {
        let url = self.console.invite().url;
        let path = url.split_once(&format!(":{}", self.port)).unwrap().1;
        let reply = self.get(path, &[]).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert_eq!(self.get(path, &[]).await.status, 401, "it was used up");
        reply.cookie()
    }
}

/// Tries something on a site with a VM `dev` that runs.
pub fn on_a_site(test: impl AsyncFnOnce(&Engine, &Site)) {
    let scene = Scene::new();
    let lived = scene.live(&Life::default(), async |engine| {
        create(engine, true).await;
        let site = Site::open(engine).await;
        test(engine, &site).await;
    });
    assert!(lived.is_some());
}
