//! `banger vm ssh`, `vm exec` and the proxy that carries them over vsock.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use banger_core::api::SshAccess;
use banger_core::ssh::{arguments, proxy_line};
use banger_core::vm::SSH_PORT;
use banger_exec::{Command, Tool, Tools};
use banger_wire::Client;

use crate::cmd::guest::{agent, running};
use crate::daemon;
use crate::error::CommandError;
use crate::follow::OK;
use crate::signals::End;
use banger_wire::relay::{Linger, relay};

/// How long the guest may be silent after our input has ended.
const LINGER: Duration = Duration::from_secs(10);

/// Becomes `ssh`, so that exit status, terminal and signals are its own.
pub async fn enter(
    key: &str,
    command: &[String],
    terminal: bool,
) -> Result<ExitCode, CommandError> {
    let client = daemon::connect().await?;
    let ssh = self::command(&client, key, command, terminal).await?;
    Err(banger_exec::replace(&Tools::discover(), &ssh).into())
}

/// The `ssh` that enters a VM.
pub async fn command(
    client: &Client,
    key: &str,
    command: &[String],
    terminal: bool,
) -> Result<Command, CommandError> {
    let vm = running(client, key).await?;
    let access: SshAccess = client.get(&format!("/v1/vms/{}/ssh", vm.id)).await?;
    let own = std::env::current_exe()?;
    let terminal = terminal && std::io::stdin().is_terminal();
    let proxy =
        proxy_line(&own.to_string_lossy(), &["vm", "proxy", vm.id.as_str(), &SSH_PORT.to_string()]);
    let args = arguments(vm.name.as_str(), &access, &proxy, command, terminal);
    Ok(Command::new(Tool::Ssh).args(args))
}

/// Connects standard input and output to a port of the guest.
pub async fn proxy(key: &str, port: u16) -> Result<ExitCode, CommandError> {
    // Caught before there is a connection that would be left in the guest.
    let mut end = End::catch_hang_up_too()?;
    let client = daemon::connect().await?;
    let vm = running(&client, key).await?;
    let guest = agent(&vm).stream(port).await?;
    let (stdin, stdout) = (tokio::io::stdin(), tokio::io::stdout());
    relay(guest, stdin, stdout, Linger::Silence(LINGER), end.told()).await?;
    Ok(OK)
}
