//! Where the time of an operation goes, stage by stage.

use serde::Serialize;

use super::statistics::Summary;
use super::timed::Timed;
use crate::output;

/// The width of the bars, in characters.
const WIDTH: f64 = 40.0;

/// A stage over all runs, in milliseconds.
#[derive(Debug, Serialize)]
pub struct Stage {
    pub stage: String,
    /// From the request to its start.
    pub from_ms: Summary,
    /// From its start to its end.
    pub ms: Summary,
}

/// The stages of operations that all had the same ones.
pub fn stages(runs: &[Timed]) -> Vec<Stage> {
    let names = runs.first().map(|run| run.view.stages.iter().map(|s| s.name.clone()));
    let summary = |name: &str, of: fn(&Timed, &banger_core::fold::StageView) -> f64| {
        let stages = runs.iter().filter_map(|run| {
            Some((run, run.view.stages.iter().find(|stage| stage.name == name)?))
        });
        Summary::of(&stages.map(|(run, stage)| of(run, stage)).collect::<Vec<_>>())
    };
    let stage = |stage: String| {
        let from = |run: &Timed, s: &banger_core::fold::StageView| {
            s.started_at_ms.saturating_sub(run.asked_at_ms) as f64
        };
        Some(Stage {
            from_ms: summary(&stage, from)?,
            ms: summary(&stage, |_, s| s.ms.unwrap_or_default() as f64)?,
            stage,
        })
    };
    names.into_iter().flatten().filter_map(stage).collect()
}

/// The medians as bars, the last of which ends at `total`.
pub fn draw(stages: &[Stage], total: f64) -> String {
    let place = |ms: f64| ((ms / total.max(1.0)) * WIDTH).clamp(0.0, WIDTH) as usize;
    let row = |stage: &Stage| {
        let (from, took) = (stage.from_ms.median, stage.ms.median);
        let length = place(from + took).saturating_sub(place(from));
        let bar = match length {
            0 => "▏".to_owned(),
            length => "█".repeat(length),
        };
        let cells = [from, took, stage.ms.p95].map(duration);
        std::iter::once(stage.stage.clone())
            .chain(cells)
            .chain([format!("{}{bar}", " ".repeat(place(from)))])
            .collect()
    };
    let rows: Vec<_> = stages.iter().map(row).collect();
    output::table(&["STAGE", "FROM", "MEDIAN", "P95", ""], &rows)
}

/// As people read it, with tenths where they matter.
pub fn duration(ms: f64) -> String {
    if ms < 100.0 { format!("{ms:.1} ms") } else { output::duration(ms.round() as u64) }
}

/// A table of summaries in milliseconds.
pub fn table(rows: &[(&str, &Summary)]) -> String {
    let row = |(name, summary): &(&str, &Summary)| {
        let cells = [summary.median, summary.p95, summary.min, summary.max].map(duration);
        std::iter::once((*name).to_owned()).chain(cells).collect()
    };
    let rows: Vec<_> = rows.iter().map(row).collect();
    output::table(&["", "MEDIAN", "P95", "MIN", "MAX"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_core::fold::{OperationView, StageView};
    use std::time::Duration;

    fn run(disks: u64) -> Timed {
        let stage = |name: &str, started_at_ms, ms| StageView {
            name: name.to_owned(),
            started_at_ms,
            ms: Some(ms),
            progress: None,
        };
        let stages = vec![
            stage("disks", 1_010, disks),
            stage("boot", 1_012 + disks, 400),
            stage("agent", 1_512, 2_500),
        ];
        let view = OperationView { stages, ..OperationView::default() };
        Timed { asked_at_ms: 1_000, total: Duration::from_millis(4_020), view }
    }

    #[test]
    fn the_medians_are_a_waterfall() {
        let stages = stages(&[run(40), run(60), run(50)]);
        assert_eq!(stages[0].ms.p95, 60.0);
        insta::assert_snapshot!(draw(&stages, 4_020.0), @r"
        STAGE  FROM     MEDIAN   P95
        disks  10.0 ms  50.0 ms  60.0 ms  ▏
        boot   62.0 ms  400 ms   400 ms   ████
        agent  512 ms   2.5 s    2.5 s         ████████████████████████
        ");
    }
}
