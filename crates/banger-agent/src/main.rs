//! `banger-agent`: init of the initramfs when it is process 1, else the agent.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use banger_agent::guest::System;
use banger_agent::limits::{Limits, raise_open_files};
use banger_agent::{explain, init, server, transport};

const HELP: &str = "\
The companion of banger in a guest.

Usage: banger-agent serve       answer the host on vsock port 1024
       banger-agent --version
       banger-agent --help

As process 1 of an initramfs it loads modules, mounts the root, writes what
banger gives the guest, and hands over to the root's init.
";

fn main() -> ExitCode {
    if rustix::process::getpid().is_init() {
        return init::run();
    }
    let mut args = std::env::args_os().skip(1);
    let first = args.next();
    let (text, code) = match first.as_deref().and_then(|arg| arg.to_str()) {
        Some("serve") => return serve(),
        Some("--version" | "-V") => {
            (concat!("banger-agent ", env!("CARGO_PKG_VERSION"), "\n"), ExitCode::SUCCESS)
        }
        Some("--help" | "-h") => (HELP, ExitCode::SUCCESS),
        _ => (HELP, ExitCode::from(2)),
    };
    // Nobody is left to tell when the output is closed.
    let _ = io::stdout().write_all(text.as_bytes());
    code
}

fn serve() -> ExitCode {
    let limits = Limits::for_open_files(raise_open_files());
    let error = match transport::Vsock::listen() {
        Ok(listener) => {
            // Beside the answers, one of which the host may want before it takes the ring.
            std::thread::spawn(transport::Vsock::ring);
            server::serve(&listener, &(Arc::new(System::default()) as _), limits)
        }
        Err(error) => error,
    };
    // The service manager's log, if it keeps one.
    let _ = writeln!(io::stderr(), "banger-agent: {}", explain(&error));
    ExitCode::FAILURE
}
