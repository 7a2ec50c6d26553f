//! Docker's registry, and the tools by which others push to it.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use banger_exec::{Cancel, Command, ExecError, HostRunner, Runner as _, Tool, Tools};
use tempfile::TempDir;

/// How long it may take to start, and how long it lasts at most.
const START: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_secs(1200);

/// A registry on a loopback address, gone with this.
pub struct Registry {
    /// Its host and port.
    pub address: String,
    dir: TempDir,
    cancel: Cancel,
    thread: Option<JoinHandle<Result<(), ExecError>>>,
}

impl Registry {
    /// Starts one. `auth` gives what its configuration says of whom it lets in, and may write files
    /// into the folder.
    ///
    /// # Errors
    /// It does not start: `script/setup --for test` installs it.
    pub fn start(auth: impl Fn(&Path) -> io::Result<String>) -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        // Free now, and hardly anybody else's in the next second.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let config = dir.path().join("config.yml");
        let text = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{address}'}}\n{}",
            dir.path().join("storage").display(),
            auth(dir.path())?,
        );
        std::fs::write(&config, text)?;
        let cancel = Cancel::default();
        let serve = others(Tool::DockerRegistry, dir.path()).arg("serve").arg(config);
        let serve = serve.timeout(LIMIT).cancel(&cancel);
        let thread = std::thread::spawn(move || {
            HostRunner::new(Tools::discover()).capture(&serve).map(drop)
        });
        let deadline = Instant::now() + START;
        while TcpStream::connect(&address).is_err() {
            if Instant::now() > deadline || thread.is_finished() {
                let said = thread.join().map(|ended| format!("{ended:?}"));
                return Err(io::Error::other(said.unwrap_or_default()));
            }
            sleep(Duration::from_millis(20));
        }
        Ok(Self { address, dir, cancel, thread: Some(thread) })
    }

    /// The file with the content of that SHA-256, in hexadecimal digits.
    #[must_use]
    pub fn blob(&self, hex: &str) -> PathBuf {
        let folder = Path::new("storage/docker/registry/v2/blobs/sha256").join(&hex[..2]);
        self.dir.path().join(folder).join(hex).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.cancel.cancel();
        // It ends by being cancelled.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A command of others whose own configuration and caches, in `home`, are not this person's.
#[must_use]
pub fn others(tool: Tool, home: &Path) -> Command {
    Command::new(tool).env("HOME", home).env("XDG_RUNTIME_DIR", home).env("TMPDIR", home)
}
