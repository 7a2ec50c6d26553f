//! From an operation's events to what a person sees of it.

use crate::operation::{Event, EventKind, Outcome};

/// A stage, as seen so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageView {
    /// Its name.
    pub name: String,
    /// When it began, milliseconds since 1970-01-01 00:00 UTC.
    pub started_at_ms: u64,
    /// How long it took, once done.
    pub ms: Option<u64>,
    /// Units done and in all.
    pub progress: Option<(u64, Option<u64>)>,
}

/// An operation, as seen so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OperationView {
    /// The last event applied; ask for what comes after it.
    pub last_seq: u64,
    /// Its stages, in the order they began.
    pub stages: Vec<StageView>,
    /// Warnings so far.
    pub warnings: Vec<String>,
    /// The last line of output.
    pub last_line: Option<String>,
    /// How it ended, once it has.
    pub outcome: Option<Outcome>,
}

impl OperationView {
    /// Applies an event. One that was applied before changes nothing, so that
    /// a reader may ask again for more than it needs.
    pub fn apply(&mut self, event: &Event) {
        if event.seq <= self.last_seq {
            return;
        }
        self.last_seq = event.seq;
        match &event.kind {
            EventKind::StageStarted { stage } => {
                // What was said in another stage is not of this one.
                self.last_line = None;
                self.stages.push(StageView {
                    name: stage.clone(),
                    started_at_ms: event.at_ms,
                    ms: None,
                    progress: None,
                });
            }
            EventKind::StageDone { stage, ms } => {
                if let Some(view) = self.open_stage(stage) {
                    view.ms = Some(*ms);
                }
            }
            EventKind::Progress { stage, done, total } => {
                if let Some(view) = self.open_stage(stage) {
                    view.progress = Some((*done, *total));
                }
            }
            EventKind::Log { line } => self.last_line = Some(line.clone()),
            EventKind::Warning { message } => self.warnings.push(message.clone()),
            EventKind::Begun { .. }
            | EventKind::StateChanged { .. }
            | EventKind::OverlayFilling { .. }
            | EventKind::VmChanged { .. }
            | EventKind::VmDeleted { .. }
            | EventKind::ImageChanged { .. }
            | EventKind::ImageDeleted { .. } => {}
            EventKind::Finished { outcome } => self.outcome = Some(outcome.clone()),
        }
    }

    /// The stage under way, if there is one.
    #[must_use]
    pub fn current(&self) -> Option<&StageView> {
        self.stages.iter().rev().find(|stage| stage.ms.is_none())
    }

    fn open_stage(&mut self, name: &str) -> Option<&mut StageView> {
        self.stages.iter_mut().rev().find(|stage| stage.name == name && stage.ms.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::OperationId;
    use proptest::prelude::*;

    fn events() -> Vec<Event> {
        let stage = || "boot".to_owned();
        let kinds = [
            EventKind::StageStarted { stage: stage() },
            EventKind::Progress { stage: stage(), done: 1, total: Some(2) },
            EventKind::StageDone { stage: stage(), ms: 7 },
            EventKind::StageStarted { stage: "ssh".into() },
            EventKind::Warning { message: "slow".into() },
            EventKind::Finished { outcome: Outcome::Cancelled },
        ];
        let event = |(i, kind)| Event {
            seq: i as u64 + 1,
            operation: Some(OperationId::from_bits(1)),
            at_ms: 1000 + i as u64,
            kind,
        };
        kinds.into_iter().enumerate().map(event).collect()
    }

    #[test]
    fn events_add_up() {
        let mut view = OperationView::default();
        for event in &events()[..5] {
            view.apply(event);
        }
        assert_eq!(view.stages[0].ms, Some(7));
        assert_eq!(view.current().map(|s| s.name.as_str()), Some("ssh"));
        assert_eq!(view.warnings, ["slow"]);
        assert_eq!(view.outcome, None);
    }

    proptest! {
        /// A reader that lost its connection resumes anywhere and sees the same.
        #[test]
        fn resuming_with_overlap_changes_nothing(cut in 0_usize..6, back in 0_usize..6) {
            let events = events();
            let mut whole = OperationView::default();
            events.iter().for_each(|e| whole.apply(e));
            let mut resumed = OperationView::default();
            events[..cut].iter().for_each(|e| resumed.apply(e));
            events[cut.saturating_sub(back)..].iter().for_each(|e| resumed.apply(e));
            prop_assert_eq!(whole, resumed);
        }
    }

    /// Order is by number, and how long a stage took is measured by who does it.
    #[test]
    fn a_clock_that_is_set_back_changes_nothing() {
        let (mut ahead, mut back) = (OperationView::default(), OperationView::default());
        for event in &events() {
            ahead.apply(event);
            back.apply(&Event { at_ms: 1000 - event.seq, ..event.clone() });
        }
        ahead.stages.iter_mut().for_each(|stage| stage.started_at_ms = 0);
        back.stages.iter_mut().for_each(|stage| stage.started_at_ms = 0);
        assert_eq!(ahead, back);
    }

    #[test]
    fn the_last_event_carries_its_outcome() {
        let events = events();
        let json = serde_json::to_string(&events[5]).unwrap();
        insta::assert_snapshot!(json, @r#"{"seq":6,"operation":"0000000000000001","at_ms":1005,"event":"finished","result":"cancelled"}"#);
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), events[5]);
    }
}
