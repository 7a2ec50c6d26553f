//! Stopping, killing and deleting a VM.

use std::time::{Duration, Instant};

use banger_core::vm::{StopCause, Transition};
use banger_host::is_alive;
use banger_wire::agent::AgentClient;

use crate::engine::oplog::OpLog;
use crate::engine::vm::VmCtx;
use crate::error::OpError;
use crate::vmm::qmp::Qmp;

/// How long the agent may take to take the request.
const AGENT_LIMIT: Duration = Duration::from_secs(5);
/// How long a guest may take to shut down.
const GUEST_LIMIT: Duration = Duration::from_secs(60);
/// How long the VMM may take to end when told to.
const VMM_LIMIT: Duration = Duration::from_secs(5);

impl VmCtx {
    /// Stops the VM in an orderly way. Fine if it is stopped.
    pub(crate) async fn stop_op(&self, log: &OpLog) {
        let result = if self.vm().state.is_active() { self.stop(log).await } else { Ok(()) };
        self.finish(log, result, Vec::new(), String::new()).await;
    }

    /// Ends the VMM at once. Fine if there is none.
    pub(crate) async fn kill_op(&self, log: &OpLog) {
        let result = if self.vm().state.is_active() { self.kill(log).await } else { Ok(()) };
        self.finish(log, result, Vec::new(), String::new()).await;
    }

    /// Deletes the VM, ending its VMM first if one runs.
    pub(crate) async fn delete_op(&self, log: &OpLog) {
        let result = async {
            if self.vm().state.is_active() {
                self.kill(log).await?;
            }
            self.transition(Some(log), Transition::Delete).await?;
            log.stage("release", async { released(self.remove(log).await?) }).await
        };
        let result = result.await;
        self.finish(log, result, Vec::new(), String::new()).await;
    }

    async fn kill(&self, log: &OpLog) -> Result<(), OpError> {
        log.stage("release", async { released(self.end_run(Some(log), StopCause::Killed).await?) })
            .await
    }

    /// Asks the guest, then the VMM, then kills.
    pub(crate) async fn stop(&self, log: &OpLog) -> Result<(), OpError> {
        self.transition(Some(log), Transition::Stop).await?;
        log.stage("shutdown", self.shut_down(log)).await?;
        let end = async { released(self.end_run(Some(log), StopCause::Requested).await?) };
        log.stage("release", end).await
    }

    async fn shut_down(&self, log: &OpLog) -> Result<(), OpError> {
        let sockets = self.sockets();
        let asked = AgentClient::new(&sockets.vsock, AGENT_LIMIT).shutdown().await;
        if let Err(error) = &asked {
            tracing::warn!(vm = %self.vm().id, %error, "the agent did not take the shutdown");
        }
        if asked.is_ok() && self.wait_end(log, GUEST_LIMIT).await? {
            return Ok(());
        }
        // What the release kills next needs no orderly end, so an error is only noted.
        let quit = async { Qmp::connect(&sockets.qmp).await?.execute("quit").await };
        if let Err(error) = quit.await {
            tracing::warn!(vm = %self.vm().id, %error, "the VMM did not take the quit");
        }
        self.wait_end(log, VMM_LIMIT).await.map(drop)
    }

    async fn wait_end(&self, log: &OpLog, limit: Duration) -> Result<bool, OpError> {
        let deadline = Instant::now() + limit;
        while self.process().as_ref().is_some_and(is_alive) {
            log.check()?;
            if Instant::now() > deadline {
                return Ok(false);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(true)
    }
}

/// A release that left something is a failure that lists what.
fn released(failures: Vec<String>) -> Result<(), OpError> {
    if failures.is_empty() { Ok(()) } else { Err(OpError::Release(failures.join("\n"))) }
}
