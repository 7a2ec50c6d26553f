//! The daemon, as the command line sees it: a client that starts it when needed.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use banger_core::api::{DaemonStatus, StopDaemon};
use banger_core::dirs::Dirs;
use banger_exec::{Command, ExecError, HostRunner, Runner as _, Tool, Tools};
use banger_wire::{Client, Endpoint, Method, WireError};
use tokio::signal::unix::{SignalKind, signal};

use crate::error::CommandError;
use crate::output;

/// What this command was built from (see `build.rs`).
pub const BUILD: &str = env!("BANGER_BUILD");
static REPLACE_NOW: AtomicBool = AtomicBool::new(false);

/// How long an ordinary request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// How long the daemon may take to start: it takes up and unwinds VMs first.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a daemon that breaks connections off may take to be gone.
const ENDING_LIMIT: Duration = Duration::from_secs(5);
/// How long it may take to end: it unwinds what is under way first.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// banger's folders.
pub fn dirs() -> Result<Dirs, CommandError> {
    let dirs = Dirs::from_env(|name| std::env::var_os(name).map(PathBuf::from));
    dirs.map_err(|error| CommandError::new(error.to_string()))
}

/// A client of the daemon's API. A daemon that was started with another
/// run-time folder wrote down where its socket is.
pub fn client(dirs: &Dirs) -> Client {
    let own = dirs.socket();
    let written =
        || std::fs::read(dirs.lock()).ok().map(|path| PathBuf::from(OsString::from_vec(path)));
    let socket =
        if own.exists() { own } else { written().filter(|path| path.exists()).unwrap_or(own) };
    Client::new(Endpoint::Unix(socket), REQUEST_LIMIT)
}

/// The daemon's status; nothing if it does not run.
pub async fn status(dirs: &Dirs) -> Result<Option<DaemonStatus>, CommandError> {
    status_at(dirs, "/v1/daemon").await
}

/// The same, and whether sudo is ready, which is tried.
pub async fn status_with_sudo(dirs: &Dirs) -> Result<Option<DaemonStatus>, CommandError> {
    status_at(dirs, "/v1/daemon?sudo=true").await
}

async fn status_at(dirs: &Dirs, path: &str) -> Result<Option<DaemonStatus>, CommandError> {
    let deadline = Instant::now() + ENDING_LIMIT;
    loop {
        match client(dirs).get(path).await {
            Ok(status) => return Ok(Some(status)),
            Err(WireError::Connect { source, .. }) if says_gone(&source) => return Ok(None),
            // It was ending as we came; a moment later nobody is there, or the next one.
            Err(WireError::Http(_) | WireError::Io(_)) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn says_gone(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
}

/// A client of a daemon that runs and is not older than we are: starts it if
/// it does not run, and replaces it if it is.
pub async fn connect() -> Result<Client, CommandError> {
    connect_and_tell(&output::note).await
}

/// The same; how it goes is told by `tell`.
pub async fn connect_and_tell(tell: &(dyn Fn(&str) + Sync)) -> Result<Client, CommandError> {
    let dirs = dirs()?;
    match status(&dirs).await? {
        None => drop(start(&dirs).await?),
        // The bangerd on disk may be as old as the one that runs, or older.
        Some(status) if status.build.as_str() < BUILD && status.build < installed_build()? => {
            replace(&dirs, tell).await?;
        }
        Some(_) => {}
    }
    Ok(client(&dirs))
}

/// The build of the `bangerd` that a start would run.
fn installed_build() -> Result<String, CommandError> {
    let version = Command::new(Tool::Bangerd).arg("--version");
    let output = HostRunner::new(Tools::discover()).capture(&version)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.split_whitespace().last().unwrap_or_default().to_owned())
}

/// Replaces a daemon of an older build. VMs run on; operations are waited for.
async fn replace(dirs: &Dirs, tell: &(dyn Fn(&str) + Sync)) -> Result<(), CommandError> {
    let now = REPLACE_NOW.load(Ordering::Relaxed);
    let mut told = false;
    while let Some(status) = status(dirs).await? {
        if status.operations == 0 || now {
            stop(dirs, now).await?;
            break;
        }
        if !told {
            tell("the daemon is of an older build and at work: waiting (--now cancels that)");
            told = true;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    start(dirs).await?;
    tell("the daemon was of an older build and is replaced; VMs run on");
    Ok(())
}

/// An older daemon is to be replaced at once, whatever it is doing.
pub fn replace_now() {
    REPLACE_NOW.store(true, Ordering::Relaxed);
}

/// What the daemon gets of our environment: the same folders, programs and
/// network, and no more. Others can read a process's environment.
fn inherited(name: &str) -> bool {
    let names = [
        "HOME",
        "PATH",
        "USER",
        "LOGNAME",
        "NPM_CONFIG_USERCONFIG",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ];
    let lower = name.to_ascii_lowercase();
    names.contains(&name)
        || name.starts_with("XDG_")
        || name.starts_with("BANGER")
        || lower.ends_with("_proxy")
}

/// The daemon's program with the environment that it gets.
pub fn program() -> Command {
    with_environment(Command::new(Tool::Bangerd))
}

/// A program of ours with what it needs of our environment.
pub fn with_environment(mut command: Command) -> Command {
    for (name, value) in std::env::vars_os() {
        if let Some(name) = name.to_str().filter(|name| inherited(name)) {
            command = command.env(name, value);
        }
    }
    command
}

/// Starts the daemon and waits until it answers.
pub async fn start(dirs: &Dirs) -> Result<DaemonStatus, CommandError> {
    let elsewhere = || {
        let state = dirs.state.display();
        format!("make {state} yours and writable, or set XDG_STATE_HOME to another folder")
    };
    DirBuilder::new().recursive(true).mode(0o700).create(&dirs.state).map_err(|error| {
        let message = format!("cannot create {}: {error}", dirs.state.display());
        CommandError::new(message).remedy(elsewhere())
    })?;
    let log = dirs.daemon_log();
    let from = std::fs::metadata(&log).map_or(0, |m| m.len());
    let pid = match HostRunner::new(Tools::discover()).detach(&program(), &log) {
        Err(error @ ExecError::Log { .. }) => {
            return Err(CommandError::from(error).remedy(elsewhere()));
        }
        other => other?,
    };
    reap(pid);
    let deadline = Instant::now() + START_LIMIT;
    loop {
        if let Some(status) = status(dirs).await? {
            return Ok(status);
        }
        // Another command may have started one at the same moment: then that one will answer.
        let ended = ended(pid) && !is_held(&dirs.lock());
        if ended || Instant::now() > deadline {
            let what = if ended { "ended at once" } else { "does not answer" };
            let Words { messages, remedy } = log_tail(&log, from);
            let message = format!("the daemon {what}:\n{messages}");
            let remedy = remedy.unwrap_or_else(|| format!("its log is {}", log.display()));
            return Err(CommandError::new(message).remedy(remedy).code(5));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether a daemon holds the lock.
fn is_held(lock: &Path) -> bool {
    let Ok(file) = File::open(lock) else { return false };
    matches!(file.try_lock(), Err(TryLockError::WouldBlock))
}

/// Stops the daemon and waits until it is gone. Returns whether it ran.
pub async fn stop(dirs: &Dirs, now: bool) -> Result<bool, CommandError> {
    if status(dirs).await?.is_none() {
        return Ok(false);
    }
    client(dirs).send(Method::POST, "/v1/daemon/stop", Some(&StopDaemon { now })).await?;
    let deadline = Instant::now() + STOP_LIMIT;
    while is_held(&dirs.lock()) {
        if Instant::now() > deadline {
            return Err(CommandError::new("the daemon does not end").code(5));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(true)
}

/// Reaps a program that outlives us, if it does not.
pub fn reap(pid: u32) {
    tokio::spawn(async move {
        let Ok(mut children) = signal(SignalKind::child()) else { return };
        while !banger_exec::reap(pid) {
            children.recv().await;
        }
    });
}

/// Whether a child of ours has ended, and is reaped or not.
fn ended(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    matches!(state, None | Some('Z' | 'X'))
}

/// What the daemon logged.
#[derive(Debug, PartialEq, Eq)]
struct Words {
    messages: String,
    /// What the last of them says to do.
    remedy: Option<String>,
}

/// The messages that the daemon logged since `from`.
fn log_tail(log: &Path, from: u64) -> Words {
    let text = std::fs::read(log).unwrap_or_default();
    let from = usize::try_from(from).unwrap_or(0).min(text.len());
    words(&String::from_utf8_lossy(&text[from..]))
}

fn words(text: &str) -> Words {
    let field = |line: &str, name: &str| {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(value.get("fields")?.get(name)?.as_str()?.to_owned())
    };
    // What is no JSON tells of something that went wrong, too.
    let matters = |line: &&str| {
        let value = serde_json::from_str::<serde_json::Value>(line);
        value.map_or(true, |value| value.get("level").is_none_or(|level| level == "ERROR"))
    };
    let lines: Vec<_> = text.lines().filter(matters).collect();
    let last = &lines[lines.len().saturating_sub(5)..];
    let message = |line: &&str| field(line, "message").unwrap_or_else(|| (*line).to_owned());
    Words {
        messages: last.iter().map(message).collect::<Vec<_>>().join("\n"),
        remedy: last.last().and_then(|line| field(line, "remedy")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_daemon_said_last_is_shown_with_its_remedy() {
        let said = words(
            r#"not JSON
{"level":"INFO","fields":{"message":"so far"}}
{"level":"ERROR","fields":{"message":"it is full","remedy":"make room"}}
"#,
        );
        assert_eq!(said.messages, "not JSON\nit is full");
        assert_eq!(said.remedy.as_deref(), Some("make room"));
        assert_eq!(words(""), Words { messages: String::new(), remedy: None });
    }
}
