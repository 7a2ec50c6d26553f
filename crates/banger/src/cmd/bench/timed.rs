//! An operation, timed as its client sees it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use banger_core::fold::{OperationView, StageView};
use banger_core::operation::{Event, Object, Operation, Outcome};
use banger_core::vm::Vm;
use banger_wire::{Client, Method};
use serde::Serialize;

use crate::error::CommandError;

/// An operation that succeeded.
pub struct Timed {
    /// When it was asked for, milliseconds since 1970-01-01 00:00 UTC.
    pub asked_at_ms: u64,
    /// From the request until its last event was here.
    pub total: Duration,
    /// Its stages.
    pub view: OperationView,
}

impl Timed {
    /// Asks for an operation and follows it to its end, which must be good.
    pub async fn run<B: Serialize>(
        client: &Client,
        (method, path): (Method, &str),
        body: Option<&B>,
    ) -> Result<Self, CommandError> {
        let (asked_at_ms, asked) = (now_ms(), Instant::now());
        let operation: Operation = client.send(method, path, body).await?.json()?;
        let path = format!("/v1/operations/{}/events", operation.id);
        let mut events = client.events(&path).await?;
        let mut view = OperationView::default();
        while view.outcome.is_none() {
            match events.next::<Event>().await? {
                Some(event) => view.apply(&event),
                None => return Err(CommandError::new("the operation's end was not seen").code(5)),
            }
        }
        let timed = Self { asked_at_ms, total: asked.elapsed(), view };
        match &timed.view.outcome {
            Some(Outcome::Failed { failure }) => Err(CommandError::new(failure.message.clone())),
            Some(Outcome::Cancelled) => Err(CommandError::new("somebody cancelled it").code(130)),
            Some(Outcome::Succeeded { .. }) | None => Ok(timed),
        }
    }

    /// The VM that it ended with.
    pub fn vm(&self) -> Result<Vm, CommandError> {
        match &self.view.outcome {
            Some(Outcome::Succeeded { object: Some(object) }) => match object.as_ref() {
                Object::Vm(vm) => Ok(vm.clone()),
                Object::Image(_) => Err(CommandError::new("an image is no VM")),
            },
            _ => Err(CommandError::new("the operation ended without a VM")),
        }
    }

    /// How long it took as a whole, in milliseconds.
    pub fn total_ms(&self) -> f64 {
        super::statistics::ms(self.total)
    }

    /// Whose time it was; none if it started no VM.
    pub fn shares(&self) -> Option<Shares> {
        shares(&self.view.stages, self.asked_at_ms, self.total_ms())
    }
}

/// Whose time an operation that starts a VM took, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shares {
    /// The daemon's, until the start began: all that making a VM takes.
    pub create: f64,
    /// The daemon's, of the start.
    pub start: f64,
    /// The guest's: from when its VMM had been started until what was waited
    /// for was reached.
    pub guest: f64,
}

fn shares(stages: &[StageView], asked_at_ms: u64, total: f64) -> Option<Shares> {
    let at = |name: &str| stages.iter().find(|s| s.name == name).map(|s| s.started_at_ms);
    // Written down once the VMM runs, so the daemon's share is rather too large than too small.
    let (start, boot) = (at("prepare")?, at("boot")?);
    let last = stages.last()?;
    let reached = last.started_at_ms + last.ms?;
    let guest = reached.checked_sub(boot)? as f64;
    let create = start.checked_sub(asked_at_ms)? as f64;
    Some(Shares { create, start: total - create - guest, guest })
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(name: &str, started_at_ms: u64, ms: u64) -> StageView {
        StageView { name: name.to_owned(), started_at_ms, ms: Some(ms), progress: None }
    }

    #[test]
    fn all_but_the_guests_boot_is_the_daemons() {
        let stages = [
            stage("disks", 1_005, 40),
            stage("prepare", 1_050, 20),
            stage("boot", 1_071, 100),
            stage("agent", 1_175, 3_000),
            stage("ssh", 4_180, 1_000),
        ];
        // Asked for at 1,000; its end was seen 10 ms after SSH answered at 5,180.
        let found = shares(&stages, 1_000, 4_190.0).unwrap();
        assert_eq!(found, Shares { create: 50.0, start: 31.0, guest: 4_109.0 });
        // A start alone has no disks; a making alone has no shares to tell apart.
        let alone = shares(&stages[1..], 1_046, 4_144.0).unwrap();
        assert_eq!(alone, Shares { create: 4.0, start: 31.0, guest: 4_109.0 });
        assert_eq!(shares(&stages[..1], 1_000, 50.0), None);
        // A clock that was set back meanwhile makes no sense of it.
        assert_eq!(shares(&stages, 9_000, 4_190.0), None);
    }
}
