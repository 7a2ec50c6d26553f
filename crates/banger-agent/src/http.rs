//! As much of HTTP/1.1 as the agent's protocol needs: one bounded request and
//! one answer per connection (RFC 9112).

use std::io::{self, ErrorKind, Write as _};
use std::time::{Duration, Instant};

use crate::transport::Stream;

/// The most bytes of a request's line and headers.
pub const MAX_HEAD: usize = 16 << 10;
/// The most bytes of a request's body.
pub const MAX_BODY: usize = 64 << 10;
const MAX_HEADERS: usize = 64;

/// A request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Its method.
    pub method: String,
    /// Its target.
    pub path: String,
    /// The protocol that it wants to change to.
    pub upgrade: Option<String>,
    /// Its body.
    pub body: Vec<u8>,
    /// Bytes that came after it.
    pub rest: Vec<u8>,
}

/// A request that is not answered as it wants.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The connection ended within the request.
    #[error("the connection ended within the request")]
    Closed(#[source] io::Error),
    /// It took too long to arrive.
    #[error("the request did not arrive in time")]
    TimedOut,
    /// It is not HTTP.
    #[error("not an HTTP/1 request: {0}")]
    Syntax(#[from] httparse::Error),
    /// Its length cannot be told.
    #[error("the length of the request's body is not clear")]
    Length,
    /// Its head is too long.
    #[error("the request's head is longer than {MAX_HEAD} bytes")]
    HeadTooLong,
    /// Its body is too long.
    #[error("the request's body is longer than {MAX_BODY} bytes")]
    BodyTooLong,
}

impl HttpError {
    /// The status that says so, if anybody is left to read it.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        Some(match self {
            Self::Closed(_) => return None,
            Self::TimedOut => Status(408, "Request Timeout"),
            Self::Syntax(_) | Self::Length => Status::BAD_REQUEST,
            Self::HeadTooLong => Status(431, "Request Header Fields Too Large"),
            Self::BodyTooLong => Status(413, "Content Too Large"),
        })
    }
}

/// A status code and its phrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u16, pub &'static str);

impl Status {
    /// 200.
    pub const OK: Self = Self(200, "OK");
    /// 204.
    pub const NO_CONTENT: Self = Self(204, "No Content");
    /// 400.
    pub const BAD_REQUEST: Self = Self(400, "Bad Request");
}

/// What of a head decides how to read on.
struct Head {
    request: Request,
    length: usize,
    body: usize,
}

/// Reads a request, all of it within `limit`.
///
/// # Errors
/// It is not a request that the agent answers.
pub fn read_request(stream: &mut dyn Stream, limit: Duration) -> Result<Request, HttpError> {
    let deadline = Instant::now() + limit;
    let mut bytes = Vec::with_capacity(1024);
    let head = loop {
        match parse_head(&bytes)? {
            Some(head) => break head,
            None if bytes.len() >= MAX_HEAD => return Err(HttpError::HeadTooLong),
            None => read_some(stream, &mut bytes, deadline)?,
        }
    };
    let end = head.length + head.body;
    while bytes.len() < end {
        read_some(stream, &mut bytes, deadline)?;
    }
    let rest = bytes.split_off(end);
    let body = bytes.split_off(head.length);
    Ok(Request { body, rest, ..head.request })
}

fn parse_head(bytes: &[u8]) -> Result<Option<Head>, HttpError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = parsed.parse(bytes)? else { return Ok(None) };
    if length > MAX_HEAD {
        return Err(HttpError::HeadTooLong);
    }
    let mut request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        path: parsed.path.unwrap_or_default().to_owned(),
        ..Request::default()
    };
    let mut body = None;
    for header in &*parsed.headers {
        let name = header.name;
        if name.eq_ignore_ascii_case("upgrade") {
            request.upgrade = Some(String::from_utf8_lossy(header.value).trim().to_owned());
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(HttpError::Length);
        } else if name.eq_ignore_ascii_case("content-length") {
            let length = parse_length(header.value).ok_or(HttpError::Length)?;
            if body.replace(length).is_some_and(|other| other != length) {
                return Err(HttpError::Length);
            }
        }
    }
    match body.unwrap_or(0) {
        body if body > MAX_BODY => Err(HttpError::BodyTooLong),
        body => Ok(Some(Head { request, length, body })),
    }
}

fn parse_length(value: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(value).ok()?.trim();
    // Longer numbers do not fit: they are too long in any case.
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(usize::MAX))
}

fn read_some(
    stream: &mut dyn Stream,
    bytes: &mut Vec<u8>,
    deadline: Instant,
) -> Result<(), HttpError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(HttpError::TimedOut);
    }
    stream.set_limits(Some(left), Some(left)).map_err(HttpError::Closed)?;
    let mut buffer = [0; 4096];
    match stream.read(&mut buffer) {
        Ok(0) => Err(HttpError::Closed(ErrorKind::UnexpectedEof.into())),
        Ok(n) => {
            bytes.extend_from_slice(&buffer[..n]);
            Ok(())
        }
        Err(error) => match error.kind() {
            ErrorKind::Interrupted => Ok(()),
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Err(HttpError::TimedOut),
            _ => Err(HttpError::Closed(error)),
        },
    }
}

/// Writes an answer that ends the connection.
///
/// # Errors
/// The connection is gone.
pub fn write_answer(
    stream: &mut dyn Stream,
    Status(code, phrase): Status,
    json: &[u8],
) -> io::Result<()> {
    let mut answer = format!("HTTP/1.1 {code} {phrase}\r\nConnection: close\r\n").into_bytes();
    if code != 204 {
        let length = json.len();
        write!(answer, "Content-Type: application/json\r\nContent-Length: {length}\r\n")?;
    }
    answer.extend_from_slice(b"\r\n");
    answer.extend_from_slice(json);
    stream.write_all(&answer)?;
    stream.flush()
}

/// Reads what the peer still sends, for a moment: to close with bytes unread
/// could take the answer away from it.
pub fn linger(stream: &mut dyn Stream) {
    let deadline = Instant::now() + Duration::from_secs(1);
    if stream.finish().is_err() {
        return;
    }
    let mut bytes = Vec::new();
    while bytes.len() < 4 * MAX_BODY && read_some(stream, &mut bytes, deadline).is_ok() {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn read(bytes: &[u8]) -> Result<Request, HttpError> {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        let bytes = bytes.to_vec();
        std::thread::spawn(move || here.write_all(&bytes));
        read_request(&mut there, Duration::from_secs(5))
    }

    #[test]
    fn what_follows_the_head_is_kept() {
        let request =
            read(b"GET /stream/22 HTTP/1.1\r\nUPGRADE: banger-stream\r\n\r\nSSH-2").unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/stream/22"));
        assert_eq!(request.upgrade.as_deref(), Some("banger-stream"));
        assert_eq!(request.rest, b"SSH-2");
        let request = read(b"PUT /clock HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}x").unwrap();
        assert_eq!((request.body, request.rest), (b"{}".to_vec(), b"x".to_vec()));
    }

    #[test]
    fn what_is_wrong_has_its_status() {
        let status = |bytes: &[u8]| read(bytes).unwrap_err().status().map(|s| s.0);
        let put = |headers: &str| format!("PUT /clock HTTP/1.1\r\n{headers}\r\n\r\n").into_bytes();
        assert_eq!(status(b"\x16\x03\x01 TLS"), Some(400));
        assert_eq!(status(&put("Content-Length: -1")), Some(400));
        assert_eq!(status(&put("Content-Length: 1\r\nContent-Length: 2")), Some(400));
        assert_eq!(status(&put("Transfer-Encoding: chunked")), Some(400));
        assert_eq!(status(&put("Content-Length: 65537")), Some(413));
        assert_eq!(status(&put("Content-Length: 99999999999999999999999")), Some(413));
        assert_eq!(status(&put(&format!("X: {}", "x".repeat(MAX_HEAD)))), Some(431));
        assert_eq!(status(&[b'A'; MAX_HEAD + 1]), Some(431));
        assert_eq!(status(b"GET / HT"), None);
    }

    #[test]
    fn a_slow_request_times_out() {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        here.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        let error = read_request(&mut there, Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, HttpError::TimedOut), "{error}");
    }
}
