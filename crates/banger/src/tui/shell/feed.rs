//! What the daemon tells, for as long as the TUI lives: lists once for each connection, then events
//! and numbers as they come.

use std::time::Duration;

use banger_core::api::ImageInfo;
use banger_core::dashboard::{Dashboard, Tick};
use banger_core::operation::{Event, Operation};
use banger_core::vm::Vm;
use banger_wire::{Client, WireError};
use tokio::sync::mpsc;

use super::super::model::Snapshot;
use super::super::update::Input;
use crate::daemon;
use crate::error::chain;

/// How many of the last events are asked for at first.
const RECENT: u32 = 1000;
/// Between two tries to reach the daemon.
const PAUSE: Duration = Duration::from_millis(300);
/// A stream brings a sign of life in this time; events at least each 15 s.
const SILENCE: Duration = Duration::from_secs(5);

/// Why the connection ended.
enum End {
    /// The TUI is gone.
    Left,
    /// The daemon is.
    Broken(String),
}

impl From<WireError> for End {
    fn from(error: WireError) -> Self {
        Self::Broken(chain(&error))
    }
}

/// Feeds the model until it is gone.
pub async fn feed(to: mpsc::Sender<Input>) {
    let mut seen = None;
    loop {
        let End::Broken(why) = connected(&to, &mut seen).await else { return };
        if to.send(Input::Away(why)).await.is_err() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// One connection, from its begin to its end.
async fn connected(to: &mpsc::Sender<Input>, seen: &mut Option<u64>) -> End {
    match try_connected(to, seen).await {
        Ok(()) => End::Left,
        Err(end) => end,
    }
}

async fn try_connected(to: &mpsc::Sender<Input>, seen: &mut Option<u64>) -> Result<(), End> {
    let dirs = daemon::dirs().map_err(|error| End::Broken(error.message().to_owned()))?;
    let client = daemon::client(&dirs);
    // In this order: what is listed has the effects of all events up to the status, and the stream
    // brings those since.
    let dashboard: Dashboard = client.get("/v1/dashboard").await?;
    // Another database begins anew.
    let from = seen.filter(|seen| *seen <= dashboard.daemon.last_event);
    let mut events = match from {
        Some(seq) => client.events_after("/v1/events", seq).await?,
        None => client.events(&format!("/v1/events?recent={RECENT}")).await?,
    };
    let mut ticks = client.events("/v1/stats").await?;
    let snapshot = lists(&client, dashboard).await?;
    let give = async |input| to.send(input).await.map_err(|_| End::Left);
    give(Input::Loaded(Box::new(snapshot))).await?;
    loop {
        tokio::select! {
            event = events.next::<Event>() => {
                let event = event?.ok_or_else(gone)?;
                *seen = Some(event.seq);
                give(Input::Event(Box::new(event))).await?;
            }
            tick = tokio::time::timeout(SILENCE, ticks.next::<Tick>()) => {
                let tick = tick.map_err(|_| End::Broken("it is silent".to_owned()))??;
                give(Input::Tick(Box::new(tick.ok_or_else(gone)?))).await?;
            }
        }
    }
}

fn gone() -> End {
    End::Broken("it ended".to_owned())
}

async fn lists(client: &Client, dashboard: Dashboard) -> Result<Snapshot, WireError> {
    let vms: Vec<Vm> = client.get("/v1/vms").await?;
    let images: Vec<ImageInfo> = client.get("/v1/images").await?;
    let operations: Vec<Operation> = client.get("/v1/operations?unfinished=true").await?;
    Ok(Snapshot { dashboard, vms, images, operations })
}
