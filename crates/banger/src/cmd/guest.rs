//! The VM that a command goes into.

use std::path::Path;
use std::time::Duration;

use banger_core::vm::{PauseCause, Vm, VmState};
use banger_wire::Client;
use banger_wire::agent::AgentClient;

use crate::error::CommandError;

/// How long the agent may take to open a stream.
const STREAM_LIMIT: Duration = Duration::from_secs(10);

/// The VM that `key` means, which must have a run.
pub async fn running(client: &Client, key: &str) -> Result<Vm, CommandError> {
    let vm: Vm = client.get(&format!("/v1/vms/{key}")).await?;
    if let VmState::Paused(cause) = &vm.state {
        let message = format!("'{}' is paused: {cause}", vm.name);
        let more = format!("banger vm resize-overlay {} --size SIZE", vm.name);
        let remedy = match cause {
            PauseCause::OverlayFull { .. } => more,
            PauseCause::DiskFull { .. } => "it goes on when there is room on that disk".to_owned(),
        };
        return Err(CommandError::new(message).remedy(remedy).code(4));
    }
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
