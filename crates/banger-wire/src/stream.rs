//! Reading a reply as it comes.

use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};

use crate::WireError;

/// A reply's body, piece by piece.
#[derive(Debug)]
pub struct ByteStream {
    body: Incoming,
}

impl ByteStream {
    pub(crate) fn new(body: Incoming) -> Self {
        Self { body }
    }

    /// The next bytes, or nothing at the end.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn next(&mut self) -> Result<Option<Bytes>, WireError> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(bytes) = frame?.into_data() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}
