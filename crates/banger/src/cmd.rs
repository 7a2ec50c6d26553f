//! The commands.

mod change;
mod daemon;
mod forward;
mod guest;
mod image;
mod inspect;
mod ssh;
mod stats;
mod vm;

use std::process::ExitCode;

use crate::cli::{Cli, Command};
use crate::error::CommandError;
use crate::output;

/// Runs the command.
pub async fn run(cli: Cli) -> Result<ExitCode, CommandError> {
    match cli.command {
        Command::Vm(command) => vm::run(command).await,
        Command::Image(command) => image::run(command).await,
        Command::Daemon(command) => daemon::run(command).await,
        Command::Version => {
            output::line(&format!("banger {}", env!("CARGO_PKG_VERSION")));
            Ok(ExitCode::SUCCESS)
        }
    }
}
