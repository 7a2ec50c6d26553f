//! Chores of banger's own build: `cargo xtask TASK`.

mod agent;
mod openapi;

use std::io::{self, Write as _};
use std::process::ExitCode;

const HELP: &str = "\
Chores of banger's own build.

Usage: cargo xtask TASK

Tasks:
  agent    build the guest's static agent and put it beside bangerd
  openapi  write the description of the API to docs/openapi.json
";

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let result = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["agent"] => agent::build(),
        ["openapi"] => openapi::write(),
        ["--help" | "-h" | "help"] => {
            // Nobody is left to tell when the output is closed.
            let _ = io::stdout().write_all(HELP.as_bytes());
            return ExitCode::SUCCESS;
        }
        _ => {
            let _ = io::stderr().write_all(HELP.as_bytes());
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
