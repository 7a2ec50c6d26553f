//! The VM that a command goes into.

use std::path::Path;
use std::time::Duration;

use banger_core::vm::Vm;
use banger_wire::Client;
use banger_wire::agent::AgentClient;

use crate::error::CommandError;

/// How long the agent may take to open a stream.
const STREAM_LIMIT: Duration = Duration::from_secs(10);

/// The VM that `key` means, which must have a run.
pub async fn running(client: &Client, key: &str) -> Result<Vm, CommandError> {
    let vm: Vm = client.get(&format!("/v1/vms/{key}")).await?;
    if vm.run.is_some() {
        return Ok(vm);
    }
    let message = format!("'{}' is {}", vm.name, vm.state.name());
    Err(CommandError::new(message).remedy(format!("banger vm start {}", vm.name)).code(4))
}

/// Its agent.
pub fn agent(vm: &Vm) -> AgentClient {
    let vsock = vm.run.as_ref().map(|run| run.vsock.as_str()).unwrap_or_default();
    AgentClient::new(Path::new(vsock), STREAM_LIMIT)
}
