//! Waiting for a guest: the agent, the SSH server, the opencode server.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use banger_core::agent::{Health, Service};
use banger_core::console::without_sequences;
use banger_core::guest::{INIT_SAYS, WRONG_TIMER};
use banger_core::resource::ProcessId;
use banger_core::vm::OPENCODE_PORT;
use banger_host::HostOps;
use banger_wire::agent::AgentClient;
use banger_wire::header::AUTHORIZATION;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tokio::net::UnixListener;

use crate::engine::oplog::OpLog;
use crate::error::{OpError, chain};

/// The first attempt's limit: before the guest's vsock driver is up, a connect
/// may stay without an answer for ever. On a machine with much to do a guest may
/// need longer, so it doubles with each attempt that was in vain.
const ATTEMPT: Duration = Duration::from_secs(2);
const LONGEST_ATTEMPT: Duration = Duration::from_secs(30);
/// The least and the most between attempts. A guest that is slow to answer is
/// left alone for as long as it took.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How much of a console is shown with a failure.
const TAIL_BYTES: u64 = 4096;
const TAIL_LINES: usize = 25;
/// How much of a console is looked at for signs of a bad boot.
const FIRST_WORDS: u64 = 64 << 10;

/// Waits for one guest that is starting.
pub struct Probe<'a> {
    /// The operation: its cancel ends the wait.
    pub log: &'a OpLog,
    /// The host that the VMM runs on.
    pub host: Arc<dyn HostOps>,
    /// The VMM: its end ends the wait.
    pub process: &'a ProcessId,
    /// The vsock process: without it there is nothing to wait for.
    pub vsock_process: Option<ProcessId>,
    /// How long each stage may take.
    pub limit: Duration,
    /// The hybrid vsock socket.
    pub vsock: PathBuf,
}

impl Probe<'_> {
    /// Waits for the agent, which rings at `doorbell`, while the guest boots well.
    ///
    /// # Errors
    /// Not in time, cancelled, or the VMM ended; so too below. Besides, the
    /// guest did not boot well.
    pub async fn agent(&self, doorbell: &UnixListener, signs: &Signs) -> Result<Health, OpError> {
        tokio::select! {
            answered = self.rung(doorbell) => match (answered, signs.wrong_timer()) {
                (Err(OpError::Ended { .. }), Some(why)) => Err(OpError::Misbooted { why }),
                (answered, _) => answered,
            },
            why = signs.bad() => Err(OpError::Misbooted { why }),
        }
    }

    async fn rung(&self, doorbell: &UnixListener) -> Result<Health, OpError> {
        // To connect before the guest's vsock is set up would break it. An agent that does not
        // ring is old, or the ring was lost: it is looked for all the same in the end.
        let patience = self.limit / 2;
        let rung = async { doorbell.accept().await.map(drop).map_err(|e| e.to_string()) };
        // If there will be none any more, what follows says why.
        let _ = tokio::time::timeout(patience, self.unless_over(rung)).await;
        let limit = self.limit - patience;
        self.poll(
            "agent",
            limit,
            |agent| async move { agent.health().await.map_err(|e| chain(&e)) },
        )
        .await
    }

    /// Waits until the SSH server accepts connections, by what the agent says:
    /// one that were made to see would take the guest as long as a person's first.
    ///
    /// # Errors
    /// As [`Self::agent`].
    pub async fn ssh(&self) -> Result<(), OpError> {
        self.poll("ssh", self.limit, |agent| async move {
            let health = agent.health().await.map_err(|e| chain(&e))?;
            match health.sshd {
                Service::Listening => Ok(()),
                state => Err(format!("sshd is {state:?}").to_lowercase()),
            }
        })
        .await
    }

    /// Waits for the opencode server to be healthy.
    ///
    /// # Errors
    /// As [`Self::agent`].
    pub async fn opencode(&self, password: &str) -> Result<(), OpError> {
        let credentials = BASE64_STANDARD.encode(format!("opencode:{password}"));
        let basic = format!("Basic {credentials}");
        self.poll("opencode", self.limit, |agent| {
            let basic = basic.clone();
            async move {
                let headers = [(AUTHORIZATION, basic.as_str())];
                let reply = agent
                    .http_get(OPENCODE_PORT, "/global/health", &headers, LONGEST_ATTEMPT)
                    .await;
                let health: serde_json::Value =
                    reply.and_then(|reply| reply.json()).map_err(|e| chain(&e))?;
                let healthy = health.get("healthy").and_then(serde_json::Value::as_bool);
                if healthy == Some(true) { Ok(()) } else { Err(format!("it says {health}")) }
            }
        })
        .await
    }

    async fn poll<T, F: Future<Output = Result<T, String>>>(
        &self,
        stage: &'static str,
        limit: Duration,
        attempt: impl Fn(AgentClient) -> F,
    ) -> Result<T, OpError> {
        let deadline = Instant::now() + limit;
        let mut patience = ATTEMPT;
        loop {
            self.log.check()?;
            let began = Instant::now();
            let tried = attempt(AgentClient::new(&self.vsock, patience));
            let last = match tokio::time::timeout(patience, self.unless_over(tried)).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(last)) => last,
                Err(_) => {
                    patience = LONGEST_ATTEMPT.min(patience * 2);
                    "no answer".to_owned()
                }
            };
            if !self.host.is_alive(self.process) {
                let how = self.host.ended(self.process).await.ok().flatten();
                return Err(OpError::Ended {
                    how: how.unwrap_or_else(|| "its VMM is gone".to_owned()),
                });
            }
            if self.vsock_process.as_ref().is_some_and(|process| !self.host.is_alive(process)) {
                return Err(OpError::VsockEnded);
            }
            if Instant::now() > deadline {
                return Err(OpError::NotReady { stage, limit: self.limit, last });
            }
            tokio::time::sleep(began.elapsed().clamp(PAUSE, LONGEST_PAUSE)).await;
        }
    }

    /// An attempt that is given up when the operation is cancelled or a process ends.
    async fn unless_over<T>(
        &self,
        attempt: impl Future<Output = Result<T, String>>,
    ) -> Result<T, String> {
        let cancelled = async {
            while !self.log.cancel().is_cancelled() {
                tokio::time::sleep(PAUSE * 2).await;
            }
        };
        let no_vsock = async {
            match &self.vsock_process {
                Some(process) => drop(self.host.ended(process).await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            tried = attempt => tried,
            () = cancelled => Err("cancelled".to_owned()),
            _ = self.host.ended(self.process) => Err("the VMM ended".to_owned()),
            () = no_vsock => Err("its vsock process ended".to_owned()),
        }
    }
}

/// What a guest that boots shows of itself on its console.
pub struct Signs {
    /// The console's log.
    pub console: PathBuf,
    /// Where this boot begins in it.
    pub from: u64,
    /// How long its init may be silent.
    pub silence: Option<Duration>,
}

impl Signs {
    /// Completes when the guest is seen not to boot well, and says why.
    pub(crate) async fn bad(&self) -> String {
        let began = Instant::now();
        loop {
            tokio::time::sleep(PAUSE * 4).await;
            if let Some(why) = self.bad_after(began.elapsed()) {
                return why;
            }
        }
    }

    fn bad_after(&self, elapsed: Duration) -> Option<String> {
        let silent = |limit: &Duration| elapsed > *limit && !self.text().contains(INIT_SAYS);
        self.wrong_timer().or_else(|| {
            let limit = self.silence.filter(silent)?;
            Some(format!("its kernel hangs (no init within {} s)", limit.as_secs()))
        })
    }

    pub(crate) fn wrong_timer(&self) -> Option<String> {
        let text = self.text();
        let line = text.lines().find(|line| line.contains(WRONG_TIMER))?;
        Some(line.trim().trim_start_matches(INIT_SAYS).to_owned())
    }

    /// What the console said first in this boot.
    fn text(&self) -> String {
        let read = || {
            let mut file = std::fs::File::open(&self.console)?;
            file.seek(SeekFrom::Start(self.from))?;
            let mut text = Vec::new();
            file.take(FIRST_WORDS).read_to_end(&mut text)?;
            std::io::Result::Ok(text)
        };
        String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
    }
}

/// Whether a console tells that the guest's kernel gave up (kernel/panic.c).
#[must_use]
pub fn panicked(console: &str) -> bool {
    console.contains("Kernel panic - not syncing")
}

/// Whether the last that a console tells is that the guest's kernel restarted or went off by
/// itself (kernel/reboot.c).
#[must_use]
pub fn went(console: &str) -> bool {
    let last = console.lines().next_back().unwrap_or_default();
    ["reboot: Restarting system", "reboot: Power down"].iter().any(|said| last.contains(said))
}

/// The last lines of a console or log behind `from` bytes, without colours and control
/// characters; nothing if it cannot be read.
#[must_use]
pub fn console_tail(path: &Path, from: u64) -> String {
    let tail = read_tail(path, from).unwrap_or_default();
    let text = without_sequences(&String::from_utf8_lossy(&tail));
    let text: String = text.chars().filter(|c| *c == '\n' || !c.is_control()).collect();
    let lines: Vec<_> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

fn read_tail(path: &Path, from: u64) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    // A file that is shorter was begun anew.
    let from = if from > length { 0 } else { from };
    file.seek(SeekFrom::Start(from.max(length.saturating_sub(TAIL_BYTES))))?;
    let mut tail = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut tail)?;
    Ok(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_of_a_guest_that_went() {
        assert!(went("login:\n[ 9.1] reboot: Restarting system"));
        assert!(went("[ 9.1] reboot: Power down"));
        assert!(!went("[ 9.1] reboot: Power down\n[ 0.1] Linux"));
        assert!(!went(""));
    }

    #[test]
    fn a_bad_boot_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let (console, minute) = (dir.path().join("console"), Duration::from_secs(60));
        let after = |seconds, silence| {
            let signs = Signs { console: console.clone(), from: 4, silence };
            signs.bad_after(Duration::from_secs(seconds))
        };
        assert_eq!(after(99, None), None, "there may be no console yet");
        std::fs::write(&console, format!("{INIT_SAYS}old\nnew\n")).unwrap();
        assert_eq!(after(59, Some(minute)), None);
        let hangs = "its kernel hangs (no init within 60 s)";
        assert_eq!(after(61, Some(minute)).as_deref(), Some(hangs));
        std::fs::write(&console, format!("old\n{INIT_SAYS}30 ms: started\r\n")).unwrap();
        assert_eq!(after(61, Some(minute)), None);
        let wrong = format!("{WRONG_TIMER}: 1 Hz");
        std::fs::write(&console, format!("old\n{INIT_SAYS}{wrong}\r\n")).unwrap();
        assert_eq!(after(1, None), Some(wrong));
    }

    #[test]
    fn the_tail_is_the_last_lines_without_control_characters() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console");
        let text: String = (0..100).map(|i| format!("\x1b[1mline {i}\r\n\r\n")).collect();
        std::fs::write(&path, text).unwrap();
        let tail = console_tail(&path, 0);
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert!(tail.ends_with("\nline 99") && !tail.contains('\x1b'), "{tail}");
        let length = std::fs::metadata(&path).unwrap().len();
        assert_eq!(console_tail(&path, length - 6), "99");
        assert_eq!(console_tail(&path, length + 4).lines().count(), TAIL_LINES);
        assert_eq!(console_tail(&dir.path().join("none"), 0), "");
    }
}
