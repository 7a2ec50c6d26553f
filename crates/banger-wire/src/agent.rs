//! The agent in a guest, as the host sees it.

use std::path::Path;
use std::time::Duration;

use banger_core::agent::{Clock, Health, PORT, Port, STREAM_PROTOCOL};
use hyper::Method;
use hyper::header::HeaderName;

use crate::client::get_over;
use crate::{Client, Endpoint, Reply, Upgraded, WireError};

/// A client of one guest's agent.
#[derive(Debug, Clone)]
pub struct AgentClient(Client);

impl AgentClient {
    /// The agent behind the hybrid vsock socket `vsock`.
    #[must_use]
    pub fn new(vsock: &Path, timeout: Duration) -> Self {
        let endpoint = Endpoint::HybridVsock { socket: vsock.to_owned(), port: PORT };
        Self(Client::new(endpoint, timeout))
    }

    /// How the guest is.
    ///
    /// # Errors
    /// The agent does not answer.
    pub async fn health(&self) -> Result<Health, WireError> {
        self.0.get("/health").await
    }

    /// What listens in the guest.
    ///
    /// # Errors
    /// The agent does not answer.
    pub async fn ports(&self) -> Result<Vec<Port>, WireError> {
        self.0.get("/ports").await
    }

    /// Sets the guest's wall clock, in nanoseconds since 1970-01-01 00:00 UTC.
    ///
    /// # Errors
    /// The agent does not answer, or cannot set it.
    pub async fn set_clock(&self, unix_ns: u64) -> Result<(), WireError> {
        self.0.send(Method::PUT, "/clock", Some(&Clock { unix_ns })).await.map(drop)
    }

    /// Asks the guest to shut down.
    ///
    /// # Errors
    /// The agent does not answer.
    pub async fn shutdown(&self) -> Result<(), WireError> {
        self.0.send::<()>(Method::POST, "/shutdown", None).await.map(drop)
    }

    /// A stream of bytes to a TCP port of the guest.
    ///
    /// # Errors
    /// The agent does not answer, or nothing listens on the port.
    pub async fn stream(&self, port: u16) -> Result<Upgraded, WireError> {
        self.0.upgrade(&format!("/stream/{port}"), STREAM_PROTOCOL).await
    }

    /// `GET` from an HTTP server in the guest.
    ///
    /// # Errors
    /// Nothing listens on the port, no answer in time, or one with a status
    /// of 400 or more.
    pub async fn http_get(
        &self,
        port: u16,
        path: &str,
        headers: &[(HeaderName, &str)],
        limit: Duration,
    ) -> Result<Reply, WireError> {
        let exchange = async { get_over(self.stream(port).await?, path, headers).await };
        let reply = tokio::time::timeout(limit, exchange).await;
        reply.unwrap_or(Err(WireError::TimedOut(limit)))
    }
}
