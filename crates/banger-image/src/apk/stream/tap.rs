//! Reading with a look at the bytes that were used.

use std::io::{self, BufRead, Read};

use sha2::{Digest as _, Sha256};

use super::{Part, StreamError};

const BUFFER: usize = 64 << 10;

/// What becomes of the bytes that are used.
pub(super) enum Sink {
    /// They are kept, so many of them.
    Keep {
        bytes: Vec<u8>,
        limit: usize,
    },
    Hash(Sha256),
    Nothing,
}

/// A reader from which just as much is taken as is asked for, so that a decoder stops at the end of
/// its member.
pub(super) struct Tap<R> {
    inner: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    total: u64,
    failed: Option<io::Error>,
    pub sink: Sink,
}

impl<R> Tap<R> {
    pub(super) fn new(inner: R) -> Self {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Self { inner, buffer, start: 0, end: 0, total: 0, failed: None, sink: Sink::Nothing }
    }

    /// Bytes that were used.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The bytes that were kept; none if there were too many.
    pub(super) fn take_kept(&mut self) -> Option<Vec<u8>> {
        match std::mem::replace(&mut self.sink, Sink::Nothing) {
            Sink::Keep { bytes, limit } if bytes.len() <= limit => Some(bytes),
            _ => None,
        }
    }

    /// What an error of a decoder means that reads from here.
    pub(super) fn explain(&mut self, error: io::Error, part: Part) -> StreamError {
        match (self.failed.take(), error.kind()) {
            (Some(error), _) => StreamError::Read(error),
            (None, io::ErrorKind::UnexpectedEof) => StreamError::Truncated(part),
            (None, _) => StreamError::Damaged { part, reason: error.to_string() },
        }
    }
}

impl<R: Read> Read for Tap<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buffer)?;
        self.consume(n);
        Ok(n)
    }
}

impl<R: Read> BufRead for Tap<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if let Sink::Keep { bytes, limit } = &self.sink
            && bytes.len() > *limit
        {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        while self.start == self.end {
            match self.inner.read(&mut self.buffer) {
                Ok(n) => (self.start, self.end) = (0, n.min(BUFFER)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let kind = error.kind();
                    self.failed = Some(error);
                    return Err(kind.into());
                }
            }
            break;
        }
        Ok(self.buffer.get(self.start..self.end).unwrap_or_default())
    }

    fn consume(&mut self, n: usize) {
        let end = self.start.saturating_add(n).min(self.end);
        let used = self.buffer.get(self.start..end).unwrap_or_default();
        match &mut self.sink {
            Sink::Keep { bytes, limit } => {
                // One more than the limit tells that there were too many.
                let room = limit.saturating_add(1).saturating_sub(bytes.len()).min(used.len());
                bytes.extend_from_slice(used.get(..room).unwrap_or_default());
            }
            Sink::Hash(hash) => hash.update(used),
            Sink::Nothing => {}
        }
        self.total += used.len() as u64;
        self.start = end;
    }
}
