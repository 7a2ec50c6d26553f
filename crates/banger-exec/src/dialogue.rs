//! A program that is asked line by line.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::process::{Child, ChildStdin, ChildStdout, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use crate::capture::describe;
use crate::session::base;
use crate::{Command, ExecError, Tools};

/// How long a program that is asked nothing more has to end.
const GRACE: Duration = Duration::from_secs(5);
/// The longest answer.
const ANSWER_LIMIT: usize = 1 << 20;

/// A program that answers each line with a line. It is asked to end, by the end of its input,
/// when this is dropped; a program whose user ends without that sees the same.
#[derive(Debug)]
pub struct Dialogue {
    child: Child,
    /// Gone when the program is to end.
    input: Option<ChildStdin>,
    output: ChildStdout,
    command: Command,
}

impl Dialogue {
    /// Starts the program.
    ///
    /// # Errors
    /// It is not installed or cannot be started.
    pub fn start(tools: &Tools, command: Command) -> Result<Self, ExecError> {
        let mut process = base(&tools.path(command.tool())?, &command);
        process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let start = |source| ExecError::Start { command: command.to_string(), source };
        let mut child = process.spawn().map_err(start)?;
        match (child.stdin.take(), child.stdout.take()) {
            (input @ Some(_), Some(output)) => Ok(Self { child, input, output, command }),
            _ => Err(start(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Says a line and waits for the answer, without its end.
    ///
    /// # Errors
    /// The program ended, or does not answer in time. No answer can be told from a late one
    /// after that: it is of no use any more.
    pub fn ask(&mut self, line: &str, limit: Duration) -> Result<Vec<u8>, ExecError> {
        let asked = self.say(line).and_then(|()| self.hear(limit));
        match asked {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(ExecError::TimedOut {
                command: self.command.to_string(),
                limit,
                stderr: String::new(),
            }),
            Err(_) => Err(self.ended()),
        }
    }

    /// Whether the program is there to be asked. One that ends just now may be taken to be.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    fn say(&mut self, line: &str) -> io::Result<()> {
        let input = self.input.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        input.write_all(format!("{line}\n").as_bytes())
    }

    /// The next line; nothing if it does not come in time.
    fn hear(&mut self, limit: Duration) -> io::Result<Option<Vec<u8>>> {
        let deadline = Instant::now() + limit;
        let mut answer = Vec::new();
        while answer.last() != Some(&b'\n') {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = left.try_into().map_err(io::Error::other)?;
            let mut fds = [PollFd::from_borrowed_fd(self.output.as_fd(), PollFlags::IN)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let mut buffer = [0; 4096];
            let n = self.output.read(&mut buffer)?;
            if n == 0 || answer.len() > ANSWER_LIMIT {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            answer.extend_from_slice(&buffer[..n]);
        }
        answer.pop();
        Ok(Some(answer))
    }

    /// Why the program ended.
    fn ended(&mut self) -> ExecError {
        let mut stderr = String::new();
        let status = match self.stop() {
            None => "no end".to_owned(),
            Some(status) => {
                if let Some(pipe) = self.child.stderr.take() {
                    // What cannot be read is not shown.
                    let _ = pipe.take(64 << 10).read_to_string(&mut stderr);
                }
                describe(status)
            }
        };
        ExecError::Failed {
            command: self.command.to_string(),
            status,
            stdout: String::new(),
            stderr,
        }
    }

    /// Tells it to end, and waits for that; nothing if it does not. It may be root's, and not ours
    /// to kill.
    fn stop(&mut self) -> Option<ExitStatus> {
        drop(self.input.take());
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().ok()? {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tool;

    fn script(text: &str) -> (tempfile::TempDir, Dialogue) {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tar");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let tools = Tools::default().with(Tool::Tar, path);
        let dialogue = Dialogue::start(&tools, Command::new(Tool::Tar)).unwrap();
        (dir, dialogue)
    }

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn each_line_is_answered_and_the_end_of_input_is_the_end() {
        let (dir, mut program) =
            script("while read line; do echo \"you said $line\"; done; echo over > \"$0.over\"");
        for line in ["one", "two"] {
            let answer = program.ask(line, LIMIT).unwrap();
            assert_eq!(String::from_utf8(answer).unwrap(), format!("you said {line}"));
        }
        drop(program);
        assert!(dir.path().join("tar.over").exists(), "it did not end by itself");
    }

    #[test]
    fn one_that_ends_says_why() {
        let (_dir, mut program) = script("echo a password is required >&2; exit 1");
        let error = program.ask("hello", LIMIT).unwrap_err().to_string();
        assert!(error.contains("a password is required"), "{error}");
        assert!(error.contains("exit status 1"), "{error}");
    }

    #[test]
    fn one_that_does_not_answer_is_not_waited_for() {
        let (_dir, mut program) = script("read line; sleep 1");
        let error = program.ask("hello", Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, ExecError::TimedOut { .. }), "{error}");
    }
}
