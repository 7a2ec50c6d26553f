//! A line for each stage that ends, and for each warning.

use banger_core::fold::OperationView;
use banger_core::operation::{Event, EventKind};

use crate::output::duration;

/// Remembers nothing: each line follows from its event.
#[derive(Debug, Default)]
pub struct Plain;

impl Plain {
    /// The lines that an event gives.
    pub fn lines(&self, event: &Event, view: &OperationView) -> Vec<String> {
        match &event.kind {
            EventKind::StageDone { stage, ms } => vec![format!("{stage:<12} {}", duration(*ms))],
            EventKind::Warning { message } => vec![format!("warning: {message}")],
            EventKind::Log { line } if view.current().is_some() => vec![format!("  {line}")],
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_and_warnings_are_lines() {
        let kinds = [
            EventKind::StageStarted { stage: "boot".into() },
            EventKind::StageDone { stage: "boot".into(), ms: 412 },
            EventKind::Warning { message: "no KVM".into() },
            EventKind::StageStarted { stage: "opencode".into() },
            EventKind::StageDone { stage: "opencode".into(), ms: 28_412 },
        ];
        let (mut view, mut lines) = (OperationView::default(), Vec::new());
        for (i, kind) in kinds.into_iter().enumerate() {
            let event = Event { seq: i as u64 + 1, operation: None, at_ms: 0, kind };
            view.apply(&event);
            lines.extend(Plain.lines(&event, &view));
        }
        insta::assert_snapshot!(lines.join("\n"), @r"
        boot         412 ms
        warning: no KVM
        opencode     28.4 s
        ");
    }
}
