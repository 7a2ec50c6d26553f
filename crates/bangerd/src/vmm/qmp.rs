//! QEMU's monitor protocol (QEMU docs/interop/qmp-spec.rst): JSON, a message a line.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

/// The longest that a command may take.
const LIMIT: Duration = Duration::from_secs(5);

/// QEMU's monitor did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// The socket.
    #[error("the monitor of QEMU does not answer: {0}")]
    Io(#[from] std::io::Error),
    /// No answer in time.
    #[error("the monitor of QEMU did not answer within {} s", LIMIT.as_secs())]
    TimedOut,
    /// An answer that says no.
    #[error("QEMU refused '{command}': {reason}")]
    Refused {
        /// The command.
        command: String,
        /// What QEMU said.
        reason: String,
    },
}

/// A connection to a monitor. QEMU takes one at a time.
#[derive(Debug)]
pub struct Qmp {
    stream: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects and agrees on capabilities.
    ///
    /// # Errors
    /// Nobody answers, or not as a monitor does.
    pub async fn connect(socket: &Path) -> Result<Self, QmpError> {
        let connect = async {
            let mut qmp = Self { stream: BufReader::new(UnixStream::connect(socket).await?) };
            let greeting = qmp.read().await?;
            if greeting.get("QMP").is_none() {
                return Err(QmpError::Io(std::io::Error::other("no greeting")));
            }
            Ok(qmp)
        };
        let mut qmp =
            tokio::time::timeout(LIMIT, connect).await.map_err(|_| QmpError::TimedOut)??;
        qmp.execute("qmp_capabilities").await?;
        Ok(qmp)
    }

    /// Runs a command without arguments and returns what it returns.
    ///
    /// # Errors
    /// No answer, or QEMU refuses.
    pub async fn execute(&mut self, command: &str) -> Result<Value, QmpError> {
        let exchange = async {
            let line = format!("{}\n", json!({ "execute": command }));
            self.stream.get_mut().write_all(line.as_bytes()).await?;
            loop {
                // Events come between commands and answers.
                let mut message = self.read().await?;
                if let Some(value) = message.get_mut("return") {
                    return Ok(value.take());
                }
                if let Some(error) = message.get("error") {
                    let reason =
                        error.get("desc").and_then(Value::as_str).unwrap_or("no reason given");
                    let (command, reason) = (command.to_owned(), reason.to_owned());
                    return Err(QmpError::Refused { command, reason });
                }
            }
        };
        tokio::time::timeout(LIMIT, exchange).await.map_err(|_| QmpError::TimedOut)?
    }

    async fn read(&mut self) -> Result<Value, QmpError> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        serde_json::from_str(&line).map_err(|error| QmpError::Io(error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;

    async fn monitor(lines: &'static [&'static str]) -> Result<Value, QmpError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qmp");
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            for line in lines {
                stream.write_all(line.as_bytes()).await.unwrap();
                stream.write_all(b"\n").await.unwrap();
            }
            stream.shutdown().await.unwrap();
            // As long as the client is there: it has not written all yet.
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.unwrap();
        });
        Qmp::connect(&path).await?.execute("query-status").await
    }

    #[tokio::test]
    async fn events_between_answers_are_passed_over() {
        let lines = &[
            r#"{"QMP": {"version": {}}}"#,
            r#"{"return": {}}"#,
            r#"{"event": "RESUME"}"#,
            r#"{"return": {"status": "running"}}"#,
        ];
        assert_eq!(monitor(lines).await.unwrap()["status"], "running");
    }

    #[tokio::test]
    async fn refusals_and_garbage_are_errors() {
        let refusal = &[
            r#"{"QMP": {}}"#,
            r#"{"return": {}}"#,
            r#"{"error": {"class": "X", "desc": "no such command"}}"#,
        ];
        let error = monitor(refusal).await.unwrap_err().to_string();
        assert_eq!(error, "QEMU refused 'query-status': no such command");
        assert!(monitor(&["hello"]).await.is_err());
        assert!(monitor(&[r#"{"QMP": {}}"#]).await.is_err());
    }
}
