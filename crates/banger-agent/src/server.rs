//! The server: a thread per connection, one request per connection.

use std::io::{self, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread::{Builder, sleep};
use std::time::Duration;

use banger_core::agent::{AgentError, Clock, STREAM_PROTOCOL};
use serde::Serialize;

use crate::guest::Guest;
use crate::http::{self, Request, Status};
use crate::stream;
use crate::transport::{Listener, Stream};

/// The most connections at once.
pub const MAX_CONNECTIONS: usize = 256;
/// How long a request may take to arrive, and its answer to leave.
const LIMIT: Duration = Duration::from_secs(10);
/// Failures in a row after which the listener is given up.
const MAX_FAILURES: usize = 100;

const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ";

/// What to do with a request.
enum Answer {
    Json(Status, Vec<u8>),
    Shutdown,
    Stream(TcpStream),
}

/// Answers connections until the listener fails for good.
pub fn serve(listener: &dyn Listener, guest: &Arc<dyn Guest>) -> io::Error {
    // Each connection holds a clone: the count is the connections and one.
    let slots = Arc::new(());
    let mut failures = 0;
    loop {
        let stream = match listener.accept() {
            Ok(stream) => stream,
            Err(error) if failures >= MAX_FAILURES => return error,
            Err(_) => {
                failures += 1;
                sleep(Duration::from_millis(50));
                continue;
            }
        };
        failures = 0;
        if Arc::strong_count(&slots) > MAX_CONNECTIONS {
            refuse(stream);
            continue;
        }
        let (slot, guest) = (Arc::clone(&slots), Arc::clone(guest));
        // Without a thread for it the connection closes, which says enough.
        let _ = Builder::new().stack_size(stream::STACK).spawn(move || {
            answer(stream, &*guest, LIMIT);
            drop(slot);
        });
    }
}

fn refuse(mut stream: Box<dyn Stream>) {
    let busy = failure(Status(503, "Service Unavailable"), "too many connections");
    let moment = Some(Duration::from_millis(100));
    if let (Ok(()), Answer::Json(status, json)) = (stream.set_limits(moment, moment), busy) {
        // The peer may have left.
        let _ = http::write_answer(&mut *stream, status, &json);
    }
}

/// Answers one connection. What fails here fails because the peer left.
fn answer(mut stream: Box<dyn Stream>, guest: &dyn Guest, limit: Duration) {
    let request = match http::read_request(&mut *stream, limit) {
        Ok(request) => request,
        Err(error) => {
            if let Some(status) = error.status()
                && stream.set_limits(Some(limit), Some(limit)).is_ok()
            {
                let body = json(&AgentError { error: error.to_string() });
                let _ = http::write_answer(&mut *stream, status, &body);
                http::linger(&mut *stream);
            }
            return;
        }
    };
    if stream.set_limits(Some(limit), Some(limit)).is_err() {
        return;
    }
    match route(&request, guest) {
        Answer::Json(status, json) => drop(http::write_answer(&mut *stream, status, &json)),
        Answer::Shutdown => {
            let _ = http::write_answer(&mut *stream, Status::NO_CONTENT, &[]);
            drop(stream);
            guest.shutdown();
        }
        Answer::Stream(server) => drop(open_stream(stream, server, request.rest)),
    }
}

fn open_stream(mut client: Box<dyn Stream>, server: TcpStream, early: Vec<u8>) -> io::Result<()> {
    client.write_all(&[SWITCH, STREAM_PROTOCOL.as_bytes(), b"\r\n\r\n"].concat())?;
    client.set_limits(None, None)?;
    stream::relay(client, Box::new(server), early)
}

fn route(request: &Request, guest: &dyn Guest) -> Answer {
    let path = request.path.as_str();
    match (request.method.as_str(), path) {
        ("GET", "/health") => Answer::Json(Status::OK, json(&guest.health())),
        ("GET", "/ports") => Answer::Json(Status::OK, json(&guest.ports())),
        ("PUT", "/clock") => set_clock(&request.body, guest),
        ("POST", "/shutdown") => Answer::Shutdown,
        ("GET", _) if path.starts_with("/stream/") => to_port(&path["/stream/".len()..], request),
        (_, "/health" | "/ports" | "/clock" | "/shutdown") => {
            failure(Status(405, "Method Not Allowed"), &format!("{path} has no such method"))
        }
        _ => failure(Status(404, "Not Found"), &format!("there is no {path} here")),
    }
}

fn set_clock(body: &[u8], guest: &dyn Guest) -> Answer {
    let clock: Clock = match serde_json::from_slice(body) {
        Ok(clock) => clock,
        Err(error) => return failure(Status::BAD_REQUEST, &format!("not a clock: {error}")),
    };
    match guest.set_clock(clock) {
        Ok(()) => Answer::Json(Status::NO_CONTENT, Vec::new()),
        Err(error) => failure(
            Status(500, "Internal Server Error"),
            &format!("the clock cannot be set: {error}"),
        ),
    }
}

fn to_port(port: &str, request: &Request) -> Answer {
    let wanted = request.upgrade.as_deref();
    if !wanted.is_some_and(|protocol| protocol.eq_ignore_ascii_case(STREAM_PROTOCOL)) {
        let text = format!("a stream needs 'Upgrade: {STREAM_PROTOCOL}'");
        return failure(Status(426, "Upgrade Required"), &text);
    }
    let Some(port) = port.parse().ok().filter(|port| *port != 0) else {
        return failure(Status::BAD_REQUEST, &format!("'{port}' is not a port"));
    };
    match stream::connect(port) {
        Ok(server) => Answer::Stream(server),
        Err(error) => {
            let text = format!("cannot connect to port {port} of the guest: {error}");
            failure(Status(502, "Bad Gateway"), &text)
        }
    }
}

fn failure(status: Status, error: &str) -> Answer {
    Answer::Json(status, json(&AgentError { error: error.to_owned() }))
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // The protocol's types have string keys only, so this does not fail.
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
