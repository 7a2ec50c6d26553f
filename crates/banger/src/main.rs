//! `banger`: the command line.
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

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match complete::answer() {
        Ok(false) => {}
        Ok(true) => return ExitCode::SUCCESS,
        Err(error) => return error.report(),
    }
    let args = cli::Cli::parse();
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
