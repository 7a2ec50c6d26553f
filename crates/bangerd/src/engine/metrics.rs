//! What Firecracker counts (its docs/metrics.md): it writes a line of JSON each minute, or when it
//! is told to, of what came since the last. They are read from a pipe, so that none stays on a disk,
//! and added up.

use std::collections::HashMap;
use std::time::Duration;

use banger_core::api::Traffic;
use banger_core::id::VmId;
use banger_core::vm::{Vm, Vmm};
use banger_host::drain;
use serde::Deserialize;

use crate::engine::resources::blocking;
use crate::engine::{Engine, lock};
use crate::vmm::Sockets;
use crate::vmm::firecracker::{Action, Firecracker, Put};

/// How often they are read. The pipe holds what comes in ten minutes.
const PAUSE: Duration = Duration::from_secs(60);

/// What has been counted of each VM since this daemon or the VM's run began.
pub(super) type Counted = HashMap<VmId, Traffic>;

/// A line, as far as it is of interest.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Line {
    block: Block,
    net: Net,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Block {
    read_bytes: u64,
    write_bytes: u64,
    rate_limiter_throttled_events: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Net {
    rx_bytes_count: u64,
    tx_bytes_count: u64,
    rx_rate_limiter_throttled: u64,
    tx_rate_limiter_throttled: u64,
}

/// Adds what a text of lines says. A line that makes no sense says nothing.
fn add(to: &mut Traffic, text: &str) {
    for line in text.lines() {
        let Line { block, net } = serde_json::from_str(line).unwrap_or_default();
        to.disk_read_bytes += block.read_bytes;
        to.disk_written_bytes += block.write_bytes;
        to.net_received_bytes += net.rx_bytes_count;
        to.net_sent_bytes += net.tx_bytes_count;
        to.throttled += block.rate_limiter_throttled_events
            + net.rx_rate_limiter_throttled
            + net.tx_rate_limiter_throttled;
    }
}

/// Where a VM that runs is asked what it has counted; nothing if it does not count.
fn sockets(vm: &Vm) -> Option<Sockets> {
    let run = vm.run.as_ref()?;
    (vm.spec.vmm == Vmm::Firecracker).then(|| Sockets::of_run(run))
}

impl Engine {
    /// Keeps the pipes of all VMs from filling, for ever.
    pub async fn read_metrics(self) {
        loop {
            tokio::time::sleep(PAUSE).await;
            let vms = self.vms();
            for vm in &vms {
                self.count(vm).await;
            }
            // What was counted of a run ends with it.
            lock(&self.0.counted)
                .retain(|id, _| vms.iter().any(|vm| vm.id == *id && vm.run.is_some()));
        }
    }

    /// What a VM's devices have moved; nothing if nobody counts it.
    pub(super) async fn traffic(&self, vm: &Vm) -> Option<Traffic> {
        let sockets = sockets(vm)?;
        let flush = Put::Action { action_type: Action::FlushMetrics };
        // One that does not answer has counted all the same, as of a minute ago.
        if let Err(error) = Firecracker::at(&sockets.api).put(&flush).await {
            tracing::warn!(vm = %vm.id, %error, "its metrics are not the latest");
        }
        self.count(vm).await
    }

    /// What was counted of a VM when it was asked last.
    pub(super) fn traffic_so_far(&self, vm: &Vm) -> Option<Traffic> {
        sockets(vm).and_then(|_| lock(&self.0.counted).get(&vm.id).copied())
    }

    async fn count(&self, vm: &Vm) -> Option<Traffic> {
        let pipe = sockets(vm)?.metrics;
        let text = blocking(move || Ok(drain(&pipe)?)).await.ok()?;
        let mut counted = lock(&self.0.counted);
        let traffic = counted.entry(vm.id.clone()).or_default();
        add(traffic, &text);
        Some(*traffic)
    }

    /// Begins to count anew: a run begins.
    pub(crate) fn forget_traffic(&self, vm: &VmId) {
        lock(&self.0.counted).remove(vm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_add_up_and_nonsense_counts_nothing() {
        let line = r#"{"utc_timestamp_ms":1,"block":{"read_bytes":4096,"write_bytes":1,"queue_event_count":7},
            "net":{"rx_bytes_count":10,"tx_bytes_count":20,"tx_rate_limiter_throttled":3},"vcpu":{}}"#
            .replace('\n', "");
        let mut traffic = Traffic::default();
        add(&mut traffic, &format!("{line}\n{{\"block\": \"x\"}}\n\n{line}\n{{\"net\":"));
        let expected = Traffic {
            disk_read_bytes: 8192,
            disk_written_bytes: 2,
            net_received_bytes: 20,
            net_sent_bytes: 40,
            throttled: 6,
        };
        assert_eq!(traffic, expected);
    }
}
