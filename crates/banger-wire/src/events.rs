//! Reading server-sent events (WHATWG HTML, 9.2).

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use crate::WireError;

/// The largest event that is read.
const EVENT_LIMIT: usize = 4 << 20;

/// A stream of events whose data is JSON.
#[derive(Debug)]
pub struct EventStream {
    body: Incoming,
    parser: Parser,
}

impl EventStream {
    pub(crate) fn new(body: Incoming) -> Self {
        Self { body, parser: Parser::default() }
    }

    /// The next event's data, or nothing at the end of the stream.
    ///
    /// # Errors
    /// The connection broke, or the data is not what was expected.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, WireError> {
        loop {
            if let Some(data) = self.parser.next() {
                let parsed = serde_json::from_str(&data);
                return parsed.map(Some).map_err(|source| WireError::Json { body: data, source });
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            if let Some(bytes) = frame?.data_ref() {
                self.parser.push(bytes);
                if self.parser.pending.len() > EVENT_LIMIT {
                    return Err(WireError::TooLarge(EVENT_LIMIT));
                }
            }
        }
    }
}

/// Splits a stream into events; keeps only their data.
#[derive(Debug, Default)]
struct Parser {
    pending: Vec<u8>,
}

impl Parser {
    fn push(&mut self, bytes: &[u8]) {
        self.pending.extend(bytes.iter().filter(|byte| **byte != b'\r'));
    }

    fn next(&mut self) -> Option<String> {
        loop {
            let end = self.pending.windows(2).position(|pair| pair == b"\n\n")?;
            let event: Vec<u8> = self.pending.drain(..end + 2).collect();
            let text = String::from_utf8_lossy(&event);
            let data: Vec<_> = text
                .lines()
                .filter_map(|line| line.strip_prefix("data:"))
                .map(|data| data.strip_prefix(' ').unwrap_or(data))
                .collect();
            // Comments and keep-alives have no data.
            if !data.is_empty() {
                return Some(data.join("\n"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_whole_however_they_are_cut() {
        let text = b": hello\n\nid: 1\ndata: {\"a\":\ndata: 1}\n\nevent: x\r\ndata:2\r\n\r\ndata: unfinished";
        for size in 1..text.len() {
            let mut parser = Parser::default();
            let mut events = Vec::new();
            for chunk in text.chunks(size) {
                parser.push(chunk);
                events.extend(std::iter::from_fn(|| parser.next()));
            }
            assert_eq!(events, ["{\"a\":\n1}", "2"], "chunks of {size}");
        }
    }
}
