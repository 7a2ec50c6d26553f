//! What can go wrong between us and a registry.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Passes bytes on, and cuts connections.
pub struct Proxy {
    pub address: String,
    asked: Arc<Mutex<Vec<u8>>>,
}

impl Proxy {
    /// Cuts the first `cuts` connections that bring more than `limit` bytes.
    pub fn start(server: &str, limit: usize, cuts: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (asked, cuts) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(cuts)));
        let (log, server) = (Arc::clone(&asked), server.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, upstream) = (client.unwrap(), TcpStream::connect(&server).unwrap());
                let (log, cuts) = (Arc::clone(&log), Arc::clone(&cuts));
                let (mut from, mut to) =
                    (client.try_clone().unwrap(), upstream.try_clone().unwrap());
                std::thread::spawn(move || {
                    relay(&mut from, &mut to, |bytes| log.lock().unwrap().extend_from_slice(bytes));
                });
                std::thread::spawn(move || {
                    let (mut from, mut to) = (upstream, client);
                    let mut count = 0;
                    let left = |n: usize| n.checked_sub(1);
                    relay_while(&mut from, &mut to, |bytes| {
                        count += bytes.len();
                        count <= limit
                            || cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_err()
                    });
                });
            }
        });
        Self { address, asked }
    }

    /// The bytes from which a rest was asked for.
    pub fn ranges(&self) -> Vec<u64> {
        let text = String::from_utf8(self.asked.lock().unwrap().clone()).unwrap().to_lowercase();
        let ranges = text.lines().filter_map(|line| line.strip_prefix("range: bytes="));
        ranges.map(|range| range.trim_end_matches('-').parse().unwrap()).collect()
    }
}

/// Gives everybody a token. Returns its address, and the requests that it gets.
pub fn token_server() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let realm = format!("http://{}/token", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
            log.lock().unwrap().extend(head.into_iter().next());
            let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 14\r\n\r\n{\"token\": \"x\"}";
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (realm, asked)
}

fn relay(from: &mut TcpStream, to: &mut TcpStream, mut seen: impl FnMut(&[u8])) {
    relay_while(from, to, |bytes| {
        seen(bytes);
        true
    });
}

/// Until an end, or until `on` says that it is enough.
fn relay_while(from: &mut TcpStream, to: &mut TcpStream, mut on: impl FnMut(&[u8]) -> bool) {
    let mut buffer = [0; 16 << 10];
    while let Ok(n) = from.read(&mut buffer) {
        if n == 0 || to.write_all(&buffer[..n]).is_err() || !on(&buffer[..n]) {
            break;
        }
    }
    // One of them may be closed already.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
