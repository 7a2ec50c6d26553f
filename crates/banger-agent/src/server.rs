//! The server: a thread per connection, one request per connection.
//!
//! A connection holds a request's place until it is answered or, if it becomes
//! a stream, until it has a stream's place.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::thread::{Builder, sleep};
use std::time::Duration;

use banger_core::agent::{AgentError, Clock, STREAM_PROTOCOL};
use serde::Serialize;

use crate::guest::Guest;
use crate::http::{self, Request, Status};
use crate::limits::{Limits, Place, Places};
use crate::stream;
use crate::transport::{Listener, Stream};

/// How long a request may take to arrive, and its answer to leave.
const LIMIT: Duration = Duration::from_secs(10);
/// Failures in a row after which the listener is given up.
const MAX_FAILURES: usize = 100;

const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ";

/// What to do with a request.
enum Answer {
    Json(Status, Vec<u8>),
    Shutdown,
    /// To this port.
    Stream(u16),
}

/// Answers connections until the listener fails for good. One for which there
/// is no place waits in the listener's queue: requests are limited in time.
pub fn serve(listener: &dyn Listener, guest: &Arc<dyn Guest>, limits: Limits) -> io::Error {
    let (requests, streams) = (Places::new(limits.requests), Places::new(limits.streams));
    let mut failures = 0;
    loop {
        let place = requests.wait();
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
        let (streams, guest) = (Arc::clone(&streams), Arc::clone(guest));
        // Without a thread for it the connection closes, which says enough.
        let _ = Builder::new()
            .stack_size(stream::STACK)
            .spawn(move || answer(stream, &*guest, LIMIT, place, &streams));
    }
}

/// Answers one connection, which holds `place`. What fails here fails because
/// the peer left.
fn answer(
    mut stream: Box<dyn Stream>,
    guest: &dyn Guest,
    limit: Duration,
    place: Place,
    streams: &Arc<Places>,
) {
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
        Answer::Stream(port) => match streams.take() {
            Some(as_stream) => {
                drop(place);
                let _ = open_stream(stream, port, request.rest);
                drop(as_stream);
            }
            None => {
                let text = "as many streams are open as the agent can carry: close some";
                let _ = write_failure(&mut *stream, Status(503, "Service Unavailable"), text);
            }
        },
    }
}

fn open_stream(mut client: Box<dyn Stream>, port: u16, early: Vec<u8>) -> io::Result<()> {
    let server = match stream::connect(port) {
        Ok(server) => server,
        Err(error) => {
            let text = format!("cannot connect to port {port} of the guest: {error}");
            return write_failure(&mut *client, Status(502, "Bad Gateway"), &text);
        }
    };
    client.write_all(&[SWITCH, STREAM_PROTOCOL.as_bytes(), b"\r\n\r\n"].concat())?;
    client.set_limits(None, None)?;
    stream::relay(client, Box::new(server), early)
}

fn write_failure(stream: &mut dyn Stream, status: Status, error: &str) -> io::Result<()> {
    http::write_answer(stream, status, &json(&AgentError { error: error.to_owned() }))
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
    match port.parse() {
        Ok(port) if port != 0 => Answer::Stream(port),
        _ => failure(Status::BAD_REQUEST, &format!("'{port}' is not a port")),
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
