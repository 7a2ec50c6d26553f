//! A command to run: data, so that tests can look at it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::Tool;

/// How long a program may run when nothing else is said.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// Tells running work to stop. Clones share one flag.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks the work to stop, for good.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Called with each line of standard error while a program runs.
pub(crate) type OnLine = Arc<dyn Fn(&str) + Send + Sync>;

/// A program and its arguments. The environment is empty but for `PATH`,
/// `HOME`, `LC_ALL=C` and what [`Command::env`] adds.
#[derive(Clone)]
pub struct Command {
    tool: Tool,
    args: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) dir: Option<PathBuf>,
    pub(crate) timeout: Duration,
    pub(crate) cancel: Cancel,
    pub(crate) stdin: Vec<u8>,
    pub(crate) stdin_file: Option<PathBuf>,
    pub(crate) on_line: Option<OnLine>,
    pub(crate) also_ok: Option<i32>,
}

impl Command {
    /// A command without arguments.
    #[must_use]
    pub fn new(tool: Tool) -> Self {
        Self {
            tool,
            args: Vec::new(),
            env: Vec::new(),
            dir: None,
            timeout: DEFAULT_TIMEOUT,
            cancel: Cancel::default(),
            stdin: Vec::new(),
            stdin_file: None,
            on_line: None,
            also_ok: None,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Runs it in a folder.
    #[must_use]
    pub fn dir(mut self, dir: &Path) -> Self {
        self.dir = Some(dir.to_owned());
        self
    }

    /// How long it may run.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Kills it when `cancel` is set.
    #[must_use]
    pub fn cancel(mut self, cancel: &Cancel) -> Self {
        self.cancel = cancel.clone();
        self
    }

    /// An exit status that is a success too: some programs tell more than that
    /// they failed.
    #[must_use]
    pub fn also_ok(mut self, status: i32) -> Self {
        self.also_ok = Some(status);
        self
    }

    /// What it reads from standard input; nothing otherwise.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// The file that it reads as standard input, whatever is in [`Self::stdin`].
    #[must_use]
    pub fn stdin_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.stdin_file = Some(path.into());
        self
    }

    /// Calls `f` with each line of standard error as it comes.
    #[must_use]
    pub fn on_line(mut self, f: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.on_line = Some(Arc::new(f));
        self
    }

    /// The program.
    #[must_use]
    pub fn tool(&self) -> Tool {
        self.tool
    }

    /// The variables of the environment that were set.
    #[must_use]
    pub fn environment(&self) -> &[(OsString, OsString)] {
        &self.env
    }

    /// The arguments.
    #[must_use]
    pub fn arguments(&self) -> &[OsString] {
        &self.args
    }
}

impl fmt::Display for Command {
    /// The command line as one would type it, for messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.tool.program())?;
        for arg in &self.args {
            write!(f, " {}", quote(&arg.to_string_lossy()))?;
        }
        Ok(())
    }
}

/// A word of a command line as one would type it.
#[must_use]
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Command({self})")
    }
}

/// What a program wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// Standard output, at most 16 MiB of it.
    pub stdout: Vec<u8>,
    /// The last 64 KiB of standard error, as text.
    pub stderr: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_shows_as_one_would_type_it() {
        let command = Command::new(Tool::Ssh).args(["-o", "User root", "it's", ""]);
        assert_eq!(command.to_string(), r"ssh -o 'User root' 'it'\''s' ''");
    }
}
