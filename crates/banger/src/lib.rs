//! `banger`: the command line, and everything on one screen. A library only so that the latter can
//! be measured (`benches/`).
#![forbid(unsafe_code)]

mod cli;
mod cmd;
mod complete;
mod daemon;
mod error;
mod follow;
mod output;
mod peer;
mod ports;
mod render;
mod signals;
pub mod tui;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;

/// Runs what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    match complete::answer() {
        Ok(false) => {}
        Ok(true) => return ExitCode::SUCCESS,
        Err(error) => return error.report(),
    }
    let args = if bare_on_a_terminal() {
        cli::Cli { now: false, command: cli::Command::Tui }
    } else {
        cli::Cli::parse()
    };
    // One thread: a command waits for the daemon most of the time, and threads take time to start.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::error(&format!("cannot start: {error}"), None);
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(cmd::run(args));
    // A read of standard input may be pending for ever.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(error) => error.report(),
    }
}

/// Whether nothing was asked for, by a person who can look.
fn bare_on_a_terminal() -> bool {
    let terminals = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    std::env::args_os().len() == 1 && terminals
}
