//! `bangerd`: the daemon. The command line starts it when it is needed.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use banger_core::dirs::Dirs;
use bangerd::daemon;
use bangerd::error::chain;
use tracing_subscriber::EnvFilter;

const USAGE: &str = "\
bangerd: the daemon of banger

usage: bangerd [--version | --help]

It serves the API on a Unix socket in $XDG_RUNTIME_DIR/banger (else in the
state folder) and logs to standard error; 'banger' starts it when needed.
BANGERD_LOG sets what is logged (default: info).
";

#[tokio::main]
async fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        None => {}
        Some("--version") => return say(&format!("bangerd {}\n", env!("CARGO_PKG_VERSION")), 0),
        Some("--help" | "-h") => return say(USAGE, 0),
        Some(_) => return say(USAGE, 2),
    }
    let filter = EnvFilter::try_from_env("BANGERD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
    // A bug ends the daemon, not some task that others wait for: the next one takes up what
    // runs and unwinds the rest, as after any crash.
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!("{panic}");
        std::process::exit(70);
    }));
    let run = async {
        let dirs = Dirs::from_env(|name| std::env::var_os(name).map(PathBuf::from))?;
        daemon::run(dirs).await
    };
    let code = match run.await {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!("{}", chain(&error));
            1
        }
    };
    // Work that blocks may still be running; the lock goes with the process.
    std::process::exit(code)
}

fn say(text: &str, code: u8) -> ExitCode {
    use std::io::Write as _;
    // Nobody is left to tell if the terminal is gone.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::from(code)
}
