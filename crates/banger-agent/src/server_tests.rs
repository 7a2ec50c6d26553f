use super::*;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Mutex;

use banger_core::agent::{Health, PROTOCOL, Port, Service};

#[derive(Default)]
struct FakeGuest(Mutex<Vec<String>>);

impl Guest for FakeGuest {
    fn health(&self) -> Health {
        Health {
            version: "1".into(),
            protocol: PROTOCOL,
            boot_id: "b".into(),
            uptime_ms: 5,
            sshd: Service::Listening,
            opencode: Service::Absent,
        }
    }

    fn ports(&self) -> Vec<Port> {
        vec![Port { port: 22, address: "::".into(), process: None }]
    }

    fn set_clock(&self, clock: Clock) -> io::Result<()> {
        self.0.lock().unwrap().push(format!("clock {}", clock.unix_ns));
        if clock.unix_ns == 0 { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
    }

    fn shutdown(&self) {
        self.0.lock().unwrap().push("shutdown".into());
    }
}

struct Agent {
    socket: PathBuf,
    guest: Arc<FakeGuest>,
    _dir: tempfile::TempDir,
}

impl Agent {
    fn start() -> Self {
        Self::with(Limits { requests: 8, streams: 8 })
    }

    fn with(limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let guest = Arc::new(FakeGuest::default());
        let shared: Arc<dyn Guest> = Arc::clone(&guest) as _;
        std::thread::spawn(move || serve(&listener, &shared, limits));
        Self { socket, guest, _dir: dir }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream
    }

    /// The status line and the body of the answer.
    fn ask(&self, request: &[u8]) -> (String, String) {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }

    fn get(&self, path: &str) -> (String, String) {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
    }

    fn put_clock(&self, body: &str) -> (String, String) {
        let length = body.len();
        self.ask(
            format!("PUT /clock HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes(),
        )
    }

    /// A stream whose head has been answered with 101.
    fn stream(&self, port: u16, early: &str) -> UnixStream {
        let mut stream = self.connect();
        let head = "Connection: Upgrade\r\nUpgrade: banger-stream";
        write!(stream, "GET /stream/{port} HTTP/1.1\r\n{head}\r\n\r\n{early}").unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 ") && head.contains(STREAM_PROTOCOL), "{head}");
        stream
    }
}

#[test]
fn the_host_asks_and_tells() {
    let agent = Agent::start();
    let (status, body) = agent.get("/health");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert_eq!(
        body,
        r#"{"version":"1","protocol":1,"boot_id":"b","uptime_ms":5,"sshd":"listening","opencode":"absent"}"#
    );
    assert_eq!(agent.get("/ports").1, r#"[{"port":22,"address":"::"}]"#);
    assert_eq!(agent.put_clock(r#"{"unix_ns":7}"#), ("HTTP/1.1 204 No Content".into(), "".into()));
    let (status, body) = agent.put_clock(r#"{"unix_ns":0}"#);
    assert_eq!(status, "HTTP/1.1 500 Internal Server Error");
    assert_eq!(body, r#"{"error":"the clock cannot be set: permission denied"}"#);
    let (status, _) = agent.ask(b"POST /shutdown HTTP/1.1\r\n\r\n");
    assert_eq!(status, "HTTP/1.1 204 No Content");
    while agent.guest.0.lock().unwrap().len() < 3 {
        sleep(Duration::from_millis(1));
    }
    assert_eq!(*agent.guest.0.lock().unwrap(), ["clock 7", "clock 0", "shutdown"]);
}

#[test]
fn a_bad_request_gets_a_reason() {
    let agent = Agent::start();
    let code = |answer: (String, String)| {
        let error: AgentError = serde_json::from_str(&answer.1).unwrap();
        assert!(!error.error.is_empty());
        answer.0.split(' ').nth(1).unwrap().parse::<u16>().unwrap()
    };
    assert_eq!(code(agent.get("/")), 404);
    assert_eq!(code(agent.ask(b"POST /health HTTP/1.1\r\n\r\n")), 405);
    assert_eq!(code(agent.get("/stream/22")), 426);
    for port in ["0", "65536", "x", ""] {
        let request = format!("GET /stream/{port} HTTP/1.1\r\nUpgrade: banger-stream\r\n\r\n");
        assert_eq!(code(agent.ask(request.as_bytes())), 400, "{port}");
    }
    assert_eq!(code(agent.put_clock("{}")), 400);
    assert_eq!(code(agent.put_clock(r#"{"unix_ns":-1}"#)), 400);
    assert_eq!(code(agent.ask(b"nonsense\r\n\r\n")), 400);
    let large = [b"PUT /clock HTTP/1.1\r\nContent-Length: 70000\r\n\r\n" as &[u8], &[b'x'; 70000]];
    assert_eq!(code(agent.ask(&large.concat())), 413);
}

#[test]
fn no_bytes_upset_it() {
    let agent = Agent::start();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let valid = b"PUT /clock HTTP/1.1\r\nContent-Length: 13\r\nUpgrade: x\r\n\r\n{\"unix_ns\":7}";
    for round in 0..300_u64 {
        let mut bytes = valid.to_vec();
        if round % 3 == 0 {
            bytes = (0..random() % 4096).map(|_| random() as u8).collect();
        } else {
            for _ in 0..=random() % 8 {
                let at = random() as usize % bytes.len();
                bytes[at] = random() as u8;
            }
        }
        let (here, mut there) = UnixStream::pair().unwrap();
        there.write_all(&bytes).unwrap();
        there.shutdown(Shutdown::Write).unwrap();
        let guest = FakeGuest::default();
        let places = Places::new(2);
        let done = std::thread::spawn(move || {
            answer(Box::new(here), &guest, LIMIT, places.wait(), &places);
        });
        // A connection reset is as good an end as any.
        let _ = there.read_to_end(&mut Vec::new());
        done.join().unwrap();
    }
    assert_eq!(agent.get("/health").0, "HTTP/1.1 200 OK");
}

#[test]
fn a_stream_carries_bytes_and_both_ends() {
    let agent = Agent::start();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    // Answers only once it has seen the end of what it is sent.
    let echo = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        let mut all = Vec::new();
        peer.read_to_end(&mut all).unwrap();
        peer.write_all(&all).unwrap();
    });
    let mut stream = agent.stream(port, "early ");
    stream.write_all(&[b'x'; 200_000]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    assert!(back.starts_with(b"early xxx"));
    assert_eq!(back.len(), 200_006);
    echo.join().unwrap();
}

#[test]
fn a_server_that_speaks_first_and_hangs_up_is_heard() {
    let agent = Agent::start();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.accept().unwrap().0.write_all(b"SSH-2.0-x\r\n"));
    let mut text = String::new();
    agent.stream(port, "").read_to_string(&mut text).unwrap();
    assert_eq!(text, "SSH-2.0-x\r\n");
}

#[test]
fn a_closed_port_is_a_bad_gateway() {
    let agent = Agent::start();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let request = format!("GET /stream/{port} HTTP/1.1\r\nUpgrade: banger-stream\r\n\r\n");
    let (status, body) = agent.ask(request.as_bytes());
    assert_eq!(status, "HTTP/1.1 502 Bad Gateway");
    assert!(body.contains("refused"), "{body}");
}

/// A port that says nothing, and hangs up after its peer.
fn silent_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut peer in listener.incoming().flatten() {
            std::thread::spawn(move || peer.read_to_end(&mut Vec::new()));
        }
    });
    port
}

#[test]
fn streams_have_a_bound_and_leave_room_for_requests() {
    let agent = Agent::with(Limits { requests: 1, streams: 3 });
    let port = silent_port();
    let held: Vec<_> = (0..3).map(|_| agent.stream(port, "")).collect();
    let request = format!("GET /stream/{port} HTTP/1.1\r\nUpgrade: banger-stream\r\n\r\n");
    let (status, body) = agent.ask(request.as_bytes());
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    let error: AgentError = serde_json::from_str(&body).unwrap();
    assert!(error.error.contains("streams"), "{body}");
    assert_eq!(agent.get("/health").0, "HTTP/1.1 200 OK");
    assert_eq!(agent.ask(b"POST /shutdown HTTP/1.1\r\n\r\n").0, "HTTP/1.1 204 No Content");
    drop(held);
    // The places come back as the threads notice.
    let reopened = (0..500).any(|_| {
        sleep(Duration::from_millis(10));
        let (mut stream, mut head) = (agent.connect(), [0; 12]);
        stream.write_all(request.as_bytes()).unwrap();
        stream.read_exact(&mut head).is_ok() && head == *b"HTTP/1.1 101"
    });
    assert!(reopened);
}

#[test]
fn a_request_waits_for_its_place() {
    let agent = Agent::with(Limits { requests: 2, streams: 1 });
    let mut idle: Vec<_> = (0..2).map(|_| agent.connect()).collect();
    let mut waiting = agent.connect();
    waiting.write_all(b"GET /health HTTP/1.1\r\n\r\n").unwrap();
    waiting.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut answer = [0; 12];
    let kind = waiting.read_exact(&mut answer).unwrap_err().kind();
    assert_eq!(kind, io::ErrorKind::WouldBlock);
    waiting.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    idle.pop();
    waiting.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}
