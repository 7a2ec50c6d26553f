//! `bangerd`: the daemon. The command line starts it when it is needed.
#![forbid(unsafe_code)]

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use banger_core::dirs::{Dirs, DirsError};
use bangerd::daemon::{self, DaemonError};
use bangerd::doctor;
use bangerd::error::chain;
use bangerd::serve::api::BUILD;
use bangerd::serve::openapi;
use tracing_subscriber::EnvFilter;

const USAGE: &str = "\
bangerd: the daemon of banger

usage: bangerd [doctor --json | doctor --sudoers | openapi | --version | --help]

It serves the API on a Unix socket in $XDG_RUNTIME_DIR/banger (else in the
state folder) and logs to standard error; 'banger' starts it when needed.
BANGERD_LOG sets what is logged (default: info).
'doctor' prints what works on this machine and what is missing, and ends:
'banger doctor' runs it while no daemon does. With --sudoers it prints the line
that lets this user's daemon run banger-helper, if that is safe.
'openapi' prints the description of the API, OpenAPI 3.1.
";

// One thread: what takes long runs in programs and on the threads for what blocks, and a wait that
// ends on another thread ends later.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => {}
        ["doctor", "--json"] => return print(doctor()),
        ["doctor", "--sudoers"] => return print(sudoers()),
        ["openapi"] => return print(openapi::json().map_err(Into::into)),
        ["--version"] => return say(&version(), 0),
        ["--help" | "-h"] => return say(USAGE, 0),
        _ => return say(USAGE, 2),
    }
    let filter = EnvFilter::try_from_env("BANGERD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // On a disk that is full, to complain of the log in the log would be a panic.
        .log_internal_errors(false)
        .init();
    // A bug ends the daemon, not some task that others wait for: the next one takes up what
    // runs and unwinds the rest, as after any crash.
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!("{panic}");
        std::process::exit(70);
    }));
    let run = async { daemon::run(dirs().map_err(DaemonError::from)?).await };
    let code = match run.await {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!(remedy = error.remedy(), "{}", chain(&error));
            1
        }
    };
    // Work that blocks may still be running; the lock goes with the process.
    std::process::exit(code)
}

fn dirs() -> Result<Dirs, DirsError> {
    Dirs::from_env(|name| std::env::var_os(name).map(PathBuf::from))
}

fn doctor() -> Result<String, Box<dyn Error>> {
    let json = serde_json::to_string(&doctor::report(&dirs()?))?;
    Ok(format!("{json}\n"))
}

fn sudoers() -> Result<String, Box<dyn Error>> {
    Ok(format!("{}\n", doctor::sudoers()?))
}

fn print(text: Result<String, Box<dyn Error>>) -> ExitCode {
    match text {
        Ok(text) => say(&text, 0),
        Err(error) => {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "{}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// The command line reads the build from it.
fn version() -> String {
    format!("bangerd {} {BUILD}\n", env!("CARGO_PKG_VERSION"))
}

fn say(text: &str, code: u8) -> ExitCode {
    use std::io::Write as _;
    // Nobody is left to tell if the terminal is gone.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::from(code)
}
