//! `banger vm stats`: what VMs use of this machine.

use std::process::ExitCode;

use banger_core::api;
use banger_core::size::Size;
use banger_core::vm::Vm;
use banger_wire::{Client, StatusCode, WireError};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::cli::Stats;
use crate::error::CommandError;
use crate::follow::OK;
use crate::{daemon, output};

/// How long CPU use is watched, in milliseconds.
const SAMPLE_MS: u64 = 500;

/// What is printed of a VM.
#[derive(Serialize)]
struct Row {
    name: String,
    id: String,
    #[serde(flatten)]
    stats: api::Stats,
}

pub async fn run(args: Stats) -> Result<ExitCode, CommandError> {
    let client = daemon::connect().await?;
    let named = !args.vms.is_empty();
    let vms = if named { chosen(&client, &args.vms).await? } else { running(&client).await? };
    let rows = sample(&client, vms, named).await?;
    if args.format.json {
        output::json(&rows);
    } else if rows.is_empty() {
        output::note("no VM runs");
    } else {
        output::line(&table(&rows));
    }
    Ok(OK)
}

async fn chosen(client: &Client, keys: &[String]) -> Result<Vec<Vm>, CommandError> {
    let mut vms: Vec<Vm> = Vec::new();
    for key in keys {
        vms.push(client.get(&format!("/v1/vms/{key}")).await?);
    }
    Ok(vms)
}

async fn running(client: &Client) -> Result<Vec<Vm>, CommandError> {
    let vms: Vec<Vm> = client.get("/v1/vms").await?;
    Ok(vms.into_iter().filter(|vm| vm.state.is_active()).collect())
}

/// The use of each, in the order given; all are watched at the same time. One
/// that is gone meanwhile is an error only if it was `named`.
async fn sample(client: &Client, vms: Vec<Vm>, named: bool) -> Result<Vec<Row>, CommandError> {
    let mut tasks = JoinSet::new();
    for (i, vm) in vms.iter().enumerate() {
        let path = format!("/v1/vms/{}/stats?sample_ms={SAMPLE_MS}", vm.id);
        let client = client.clone();
        tasks.spawn(async move { (i, client.get::<api::Stats>(&path).await) });
    }
    let mut rows = Vec::new();
    for (i, stats) in tasks.join_all().await {
        match stats {
            Ok(stats) => {
                let (name, id) = (vms[i].name.to_string(), vms[i].id.to_string());
                rows.push((i, Row { name, id, stats }));
            }
            Err(WireError::Refused { status: StatusCode::NOT_FOUND, .. }) if !named => {}
            Err(error) => return Err(error.into()),
        }
    }
    rows.sort_by_key(|(i, _)| *i);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

fn table(rows: &[Row]) -> String {
    let size = |bytes: u64| Size::bytes(bytes).to_string();
    let row = |row: &Row| {
        let stats = &row.stats;
        let both = |pair: fn(&api::Traffic) -> (u64, u64)| {
            let (one, other) = pair(stats.traffic.as_ref()?);
            Some(format!("{} / {}", size(one), size(other)))
        };
        let cells = [
            stats.cpu_percent.map(|percent| format!("{percent:.1} %")),
            stats.rss_bytes.map(size),
            Some(size(stats.disk.overlay_bytes)),
            Some(size(stats.disk.work_bytes)),
            both(|t| (t.disk_read_bytes, t.disk_written_bytes)),
            both(|t| (t.net_received_bytes, t.net_sent_bytes)),
            stats.uptime_s.map(|s| output::duration(s.saturating_mul(1000))),
        ];
        let cells = cells.map(|cell| cell.unwrap_or_else(|| "-".to_owned()));
        std::iter::once(row.name.clone()).chain(cells).collect()
    };
    let rows: Vec<_> = rows.iter().map(row).collect();
    let head =
        ["NAME", "CPU", "RSS", "OVERLAY", "WORK", "READ / WRITTEN", "RECEIVED / SENT", "UPTIME"];
    output::table(&head, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_core::api::{DiskUse, Traffic};

    #[test]
    fn a_stopped_vm_uses_disk_only() {
        let disk = DiskUse { overlay_bytes: 3 << 20, work_bytes: 5 << 29 };
        let stopped = api::Stats {
            cpu_ms: None,
            cpu_percent: None,
            rss_bytes: None,
            uptime_s: None,
            disk,
            traffic: None,
        };
        let runs = api::Stats {
            cpu_ms: Some(1),
            cpu_percent: Some(103.42),
            rss_bytes: Some(700 << 20),
            uptime_s: Some(3_660),
            disk,
            traffic: Some(Traffic {
                disk_read_bytes: 7 << 20,
                disk_written_bytes: 0,
                net_received_bytes: 3 << 30,
                net_sent_bytes: 9 << 10,
                throttled: 0,
            }),
        };
        let row = |name: &str, stats| Row { name: name.to_owned(), id: "1".to_owned(), stats };
        let rows = [row("dev", runs), row("old", stopped)];
        insta::assert_snapshot!(table(&rows), @"
        NAME  CPU      RSS      OVERLAY  WORK     READ / WRITTEN  RECEIVED / SENT  UPTIME
        dev   103.4 %  700 MiB  3 MiB    2.5 GiB  7 MiB / 0 B     3 GiB / 9 KiB    1 h 1 min
        old   -        -        3 MiB    2.5 GiB  -               -                -
        ");
        let json = serde_json::to_string(&rows[1]).unwrap();
        insta::assert_snapshot!(json, @r#"{"name":"old","id":"1","disk":{"overlay_bytes":3145728,"work_bytes":2684354560}}"#);
    }
}
