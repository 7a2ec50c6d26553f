//! `banger bench`: what banger costs, measured on this machine.
//! docs/performance.md says what each figure means.

mod bare;
mod by_hand;
mod create;
mod list;
mod machine;
mod progress;
mod session;
mod start;
mod statistics;
mod timed;
mod waterfall;

use std::process::ExitCode;
use std::time::Duration;

use banger_core::vm::SSH_PORT;
use banger_wire::agent::AgentClient;

use crate::cli::{Bench, BenchProxy};
use crate::error::CommandError;
use crate::follow::OK;
use crate::signals::End;
use banger_wire::relay::{Linger, relay};

/// How long the agent may take to open a stream, and the guest to be silent.
const PROXY_LIMIT: Duration = Duration::from_secs(10);

pub async fn run(command: Bench) -> Result<ExitCode, CommandError> {
    match command {
        Bench::Create(args) => create::run(args).await,
        Bench::Start(args) => start::run(args).await,
        Bench::List(args) => list::run(args).await,
        Bench::Proxy(args) => proxy(args).await,
    }
}

/// As `vm proxy`, but of a VM that the daemon need not know.
async fn proxy(args: BenchProxy) -> Result<ExitCode, CommandError> {
    let mut end = End::catch_hang_up_too()?;
    let guest = AgentClient::new(&args.socket, PROXY_LIMIT).stream(SSH_PORT).await?;
    let (stdin, stdout) = (tokio::io::stdin(), tokio::io::stdout());
    relay(guest, stdin, stdout, Linger::Silence(PROXY_LIMIT), end.told()).await?;
    Ok(OK)
}
