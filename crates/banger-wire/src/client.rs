//! Requests and replies.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderName, UPGRADE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{ByteStream, Endpoint, EventStream, WireError};

/// The largest reply that is read.
const REPLY_LIMIT: usize = 16 << 20;

/// A connection that became a plain stream of bytes.
pub type Upgraded = TokioIo<hyper::upgrade::Upgraded>;

/// A client of one endpoint. Each request has a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    endpoint: Endpoint,
    timeout: Duration,
}

/// An answer with a status below 400.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
}

impl Reply {
    /// The body as JSON.
    ///
    /// # Errors
    /// It is not what was expected.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, WireError> {
        serde_json::from_slice(&self.body).map_err(|source| WireError::Json {
            body: String::from_utf8_lossy(&self.body).chars().take(200).collect(),
            source,
        })
    }
}

impl Client {
    /// A client whose connects and replies must each come within `timeout`.
    #[must_use]
    pub fn new(endpoint: Endpoint, timeout: Duration) -> Self {
        Self { endpoint, timeout }
    }

    /// The same with another limit.
    #[must_use]
    pub fn within(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sends a request and reads the whole reply.
    ///
    /// # Errors
    /// No answer, or one with a status of 400 or more.
    pub async fn send<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<Reply, WireError> {
        let exchange = async {
            let response = self.exchange(method, path, body, &[]).await?;
            read_reply(response).await
        };
        let reply = tokio::time::timeout(self.timeout, exchange).await;
        reply.unwrap_or(Err(WireError::TimedOut(self.timeout)))
    }

    /// `GET` as JSON.
    ///
    /// # Errors
    /// As [`Self::send`], or the body is not what was expected.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, WireError> {
        self.send::<()>(Method::GET, path, None).await?.json()
    }

    /// Turns a `GET` into a stream of bytes by an upgrade to `protocol`.
    ///
    /// # Errors
    /// No answer, or the upgrade was refused.
    pub async fn upgrade(&self, path: &str, protocol: &str) -> Result<Upgraded, WireError> {
        let headers = [(UPGRADE, protocol), (CONNECTION, "upgrade")];
        let exchange = async {
            let response = self.exchange::<()>(Method::GET, path, None, &headers).await?;
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(TokioIo::new(hyper::upgrade::on(response).await?));
            }
            let reply = read_reply(response).await?;
            let body = String::from_utf8_lossy(&reply.body).into_owned();
            Err(WireError::Refused { status: reply.status, message: body.clone(), body })
        };
        let upgraded = tokio::time::timeout(self.timeout, exchange).await;
        upgraded.unwrap_or(Err(WireError::TimedOut(self.timeout)))
    }

    /// Opens a stream of server-sent events. Only the head of the reply must
    /// come in time.
    ///
    /// # Errors
    /// No answer, or one with a status of 400 or more.
    pub async fn events(&self, path: &str) -> Result<EventStream, WireError> {
        self.open(path, &[]).await.map(EventStream::new)
    }

    /// The same, gone on with after the event `seq`.
    ///
    /// # Errors
    /// As [`Self::events`].
    pub async fn events_after(&self, path: &str, seq: u64) -> Result<EventStream, WireError> {
        let seq = seq.to_string();
        let headers = [(HeaderName::from_static("last-event-id"), seq.as_str())];
        self.open(path, &headers).await.map(EventStream::new)
    }

    /// Opens a reply that is read as it comes. Only its head must come in
    /// time.
    ///
    /// # Errors
    /// As [`Self::events`].
    pub async fn bytes(&self, path: &str) -> Result<ByteStream, WireError> {
        self.open(path, &[]).await.map(ByteStream::new)
    }

    async fn open(
        &self,
        path: &str,
        headers: &[(HeaderName, &str)],
    ) -> Result<Incoming, WireError> {
        let head = self.exchange::<()>(Method::GET, path, None, headers);
        let response = tokio::time::timeout(self.timeout, head).await;
        let response = response.unwrap_or(Err(WireError::TimedOut(self.timeout)))?;
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        let status = response.status();
        Err(read_reply(response).await.err().unwrap_or(WireError::Refused {
            status,
            message: "no stream".to_owned(),
            body: String::new(),
        }))
    }

    async fn exchange<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
        headers: &[(HeaderName, &str)],
    ) -> Result<Response<Incoming>, WireError> {
        let stream = self.endpoint.connect(self.timeout).await?;
        exchange_over(stream, method, path, body, headers).await
    }
}

/// `GET` over a stream that is open already.
///
/// # Errors
/// No answer, or one with a status of 400 or more.
pub(crate) async fn get_over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    path: &str,
    headers: &[(HeaderName, &str)],
) -> Result<Reply, WireError> {
    read_reply(exchange_over::<()>(stream, Method::GET, path, None, headers).await?).await
}

async fn exchange_over<B: Serialize>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    method: Method,
    path: &str,
    body: Option<&B>,
    headers: &[(HeaderName, &str)],
) -> Result<Response<Incoming>, WireError> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the connection; an error of it shows in the request.
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::builder().method(method).uri(path).header(HOST, "localhost");
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    let bytes = match body {
        None => Bytes::new(),
        Some(body) => {
            request = request.header(CONTENT_TYPE, "application/json");
            serde_json::to_vec(body).map_err(std::io::Error::from)?.into()
        }
    };
    let request = request.body(Full::new(bytes)).map_err(std::io::Error::other)?;
    Ok(sender.send_request(request).await?)
}

async fn read_reply(response: Response<Incoming>) -> Result<Reply, WireError> {
    let status = response.status();
    let collected = Limited::new(response.into_body(), REPLY_LIMIT).collect().await;
    let body = collected.map(http_body_util::Collected::to_bytes).map_err(|error| {
        if error.is::<LengthLimitError>() {
            WireError::TooLarge(REPLY_LIMIT)
        } else {
            WireError::Io(std::io::Error::other(error))
        }
    })?;
    if status.is_client_error() || status.is_server_error() {
        let body = String::from_utf8_lossy(&body).into_owned();
        return Err(WireError::Refused { status, message: message_of(&body), body });
    }
    Ok(Reply { status, body })
}

/// The message in an error's body: banger's, the agent's or Firecracker's.
/// Firecracker's transport errors are not valid JSON, so anything is taken.
fn message_of(body: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let field =
        ["message", "error", "fault_message"].iter().find_map(|key| value.get(key)?.as_str());
    field.unwrap_or(body.trim()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixListener;

    async fn server(reply: &'static str) -> (tempfile::TempDir, Client) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 1024];
            let _ = stream.read(&mut buffer).await.unwrap();
            stream.write_all(reply.as_bytes()).await.unwrap();
        });
        (dir, Client::new(Endpoint::Unix(path), Duration::from_secs(2)))
    }

    #[tokio::test]
    async fn json_comes_back() {
        let (_dir, client) = server("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n[1,2,3]").await;
        assert_eq!(client.get::<Vec<u8>>("/x").await.unwrap(), [1, 2, 3]);
    }

    #[tokio::test]
    async fn a_refusal_carries_its_message_even_when_it_is_not_json() {
        let body = "{\"fault_message\":\"no\nsuch drive\"}";
        let (_dir, client) = server(
            "HTTP/1.1 400 Bad\r\nContent-Length: 33\r\n\r\n{\"fault_message\":\"no\nsuch drive\"}",
        )
        .await;
        let error = client.get::<()>("/x").await.unwrap_err();
        assert_eq!(error.to_string(), body);
        let (_dir, client) =
            server("HTTP/1.1 404 No\r\nContent-Length: 21\r\n\r\n{\"message\":\"no such\"}").await;
        assert_eq!(client.get::<()>("/x").await.unwrap_err().to_string(), "no such");
    }

    #[tokio::test]
    async fn an_upgrade_is_a_stream() {
        let (_dir, client) =
            server("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nSSH-2.0")
                .await;
        let mut stream = client.upgrade("/stream/22", "x").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "SSH-2.0");
    }

    #[tokio::test]
    async fn garbage_is_an_error() {
        let (_dir, client) = server("ceci n'est pas HTTP\r\n\r\n").await;
        assert!(client.get::<()>("/x").await.is_err());
    }
}
