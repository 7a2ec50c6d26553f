//! HTTP/1.1 with JSON over Unix sockets and over hybrid vsock: one small
//! client for banger's API, Firecracker's API and the agent in a guest.
#![forbid(unsafe_code)]

pub mod agent;
mod client;
mod connect;
mod events;
pub mod relay;
mod stream;

pub use client::{Client, Reply, Upgraded};
pub use connect::Endpoint;
pub use events::EventStream;
pub use hyper::header::{self, HeaderName};
pub use hyper::{Method, StatusCode};
pub use stream::ByteStream;

use std::path::PathBuf;
use std::time::Duration;

/// Why a request has no good answer.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Nobody answers at the socket.
    #[error("cannot connect to {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// The socket answers, but nothing listens on the guest's port (yet).
    #[error("nothing listens on vsock port {port} behind {}", path.display())]
    NoListener {
        /// The socket.
        path: PathBuf,
        /// The port in the guest.
        port: u32,
    },
    /// No answer in time.
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The other side does not speak HTTP as we do.
    #[error("the connection failed")]
    Http(#[from] hyper::Error),
    /// A broken connection.
    #[error("the connection failed")]
    Io(#[from] std::io::Error),
    /// A body that is not the JSON we expected.
    #[error("the answer cannot be read: {body}")]
    Json {
        /// The start of the body.
        body: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A status of 400 or more.
    #[error("{message}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// The body's message, or the body.
        message: String,
        /// The body.
        body: String,
    },
    /// The answer was larger than allowed.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}
