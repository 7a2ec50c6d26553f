//! The commands.

mod bench;
pub mod change;
pub mod config;
mod daemon;
pub mod doctor;
pub mod forward;
pub mod guest;
pub mod image;
mod inspect;
pub mod ssh;
mod ssh_config;
mod stats;
pub mod vm;
pub mod web;

use std::process::ExitCode;

use crate::cli::{Cli, Command};
use crate::error::CommandError;
use crate::{complete, output};

/// Runs the command.
pub async fn run(cli: Cli) -> Result<ExitCode, CommandError> {
    if cli.now {
        crate::daemon::replace_now();
    }
    match cli.command {
        Command::Tui => crate::tui::run().await,
        Command::Vm(command) => vm::run(command).await,
        Command::Image(command) => image::run(command).await,
        Command::Daemon(command) => daemon::run(command, cli.now).await,
        Command::Doctor(format) => doctor::run(format).await,
        Command::Bench(command) => bench::run(command).await,
        Command::Config(command) => config::run(command),
        Command::Web(args) => web::run(args).await,
        Command::SshConfig(args) => ssh_config::run(args),
        Command::Completions(args) => {
            let called = std::env::args_os().next().unwrap_or_else(|| "banger".into());
            output::line(complete::script(args.shell, called)?.trim_end());
            Ok(ExitCode::SUCCESS)
        }
        Command::Version => {
            output::line(&format!("banger {} {}", env!("CARGO_PKG_VERSION"), env!("BANGER_BUILD")));
            Ok(ExitCode::SUCCESS)
        }
    }
}
