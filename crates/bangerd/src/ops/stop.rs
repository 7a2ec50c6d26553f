//! Stopping, killing and deleting a VM.

use std::time::{Duration, Instant};

use banger_core::operation::EventKind;
use banger_core::vm::{PauseCause, StopCause, Transition, VmState, Vmm};
use banger_wire::agent::AgentClient;

use crate::engine::oplog::OpLog;
use crate::engine::vm::{VmCtx, released};
use crate::error::OpError;
use crate::vmm::firecracker::{Action, Firecracker, Put};
use crate::vmm::qmp::Qmp;

/// How long the agent may take to take the request.
const AGENT_LIMIT: Duration = Duration::from_secs(5);
/// How long a guest may take to shut down.
const GUEST_LIMIT: Duration = Duration::from_secs(60);
/// How long a guest may take to shut down when its power button is pressed,
/// which it may not have noticed.
const BUTTON_LIMIT: Duration = Duration::from_secs(20);
/// How long the VMM may take to end when told to.
const VMM_LIMIT: Duration = Duration::from_secs(5);

const CTRL_ALT_DEL: Put = Put::Action { action_type: Action::SendCtrlAltDel };

impl VmCtx {
    /// Stops the VM in an orderly way. Fine if it is stopped.
    pub(crate) async fn stop_op(&self, log: &OpLog) {
        let stop = async {
            self.recover(Some(log)).await?;
            if self.vm().state.is_active() { self.stop(log).await } else { Ok(()) }
        };
        let result = stop.await;
        self.finish(log, result, Vec::new(), String::new()).await;
    }

    /// Ends the VMM at once. Fine if there is none.
    pub(crate) async fn kill_op(&self, log: &OpLog) {
        let kill = async {
            self.recover(Some(log)).await?;
            if !self.vm().state.is_active() {
                return Ok(());
            }
            let end = async { released(self.end_run(Some(log), StopCause::Killed).await?) };
            log.stage("release", end).await
        };
        let result = kill.await;
        self.finish(log, result, Vec::new(), String::new()).await;
    }

    /// Deletes the VM, ending its VMM first if one runs.
    pub(crate) async fn delete_op(&self, log: &OpLog) {
        let delete = async {
            // The last moment to think better of it.
            log.check()?;
            log.stage("release", async { released(self.remove(Some(log)).await?) }).await
        };
        let result = delete.await;
        self.finish(log, result, Vec::new(), String::new()).await;
    }

    /// Asks the guest, then the VMM, then kills. If that is cancelled, the VM
    /// runs on: what was asked of the guest may still end it.
    pub(crate) async fn stop(&self, log: &OpLog) -> Result<(), OpError> {
        log.check()?;
        let full = matches!(self.vm().state, VmState::Paused(PauseCause::DiskFull { .. }));
        let cut = full && !self.can_write().await;
        if self.vm().state != VmState::Stopping {
            self.transition(Some(log), Transition::Stop).await?;
        }
        let shut_down = match cut {
            true => {
                let message = "the host's disk is full: the VM is stopped as by a power cut";
                Ok(log.append(EventKind::Warning { message: message.to_owned() }).await?)
            }
            false => log.stage("shutdown", self.shut_down(Some(log))).await,
        };
        if let Err(error) = shut_down {
            self.transition(Some(log), Transition::StopAborted).await?;
            return Err(error);
        }
        let end = async { released(self.end_run(Some(log), StopCause::Requested).await?) };
        log.stage("release", end).await
    }

    /// Ends the VMM in an orderly way if it can be, within bounds. Stops
    /// waiting when the operation, if there is one, is cancelled.
    pub(crate) async fn shut_down(&self, log: Option<&OpLog>) -> Result<(), OpError> {
        let sockets = self.sockets();
        // A guest that stands still cannot shut down.
        if (self.fills() || self.vm().spec.vmm == Vmm::Qemu)
            && let Err(error) = self.stand_still(false).await
        {
            tracing::warn!(vm = %self.vm().id, %error, "it does not go on, to be shut down");
        }
        let asked = AgentClient::new(&sockets.vsock, AGENT_LIMIT).shutdown().await;
        if let Err(error) = &asked {
            tracing::warn!(vm = %self.vm().id, %error, "the agent did not take the shutdown");
        }
        if asked.is_ok() && self.wait_end(log, GUEST_LIMIT).await? {
            return Ok(());
        }
        // What the release kills in the end needs no orderly end, so an error is only noted.
        let vmm = self.vm().spec.vmm;
        let orders: &[_] = match vmm {
            Vmm::Qemu => &[("system_powerdown", BUTTON_LIMIT), ("quit", VMM_LIMIT)],
            Vmm::Firecracker => &[("SendCtrlAltDel", BUTTON_LIMIT)],
        };
        for (order, limit) in orders.iter().copied() {
            let told = async {
                match vmm {
                    Vmm::Qemu => drop(Qmp::connect(&sockets.qmp).await?.execute(order).await?),
                    Vmm::Firecracker => Firecracker::at(&sockets.api).put(&CTRL_ALT_DEL).await?,
                }
                Ok::<_, OpError>(())
            };
            if let Err(error) = told.await {
                tracing::warn!(vm = %self.vm().id, %error, order, "the VMM did not take it");
            } else if self.wait_end(log, limit).await? {
                break;
            }
        }
        Ok(())
    }

    async fn wait_end(&self, log: Option<&OpLog>, limit: Duration) -> Result<bool, OpError> {
        let deadline = Instant::now() + limit;
        while self.process().is_some_and(|process| self.engine.host.is_alive(&process)) {
            log.map_or(Ok(()), OpLog::check)?;
            if Instant::now() > deadline {
                return Ok(false);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(true)
    }
}
