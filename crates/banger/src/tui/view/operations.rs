//! The list of operations, and the stages of one.

use banger_core::lists::Watched;
use banger_core::operation::Outcome;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::super::model::Model;
use super::super::words;
use super::Theme;
use super::detail::{heading, pair};
use super::text::{bar, clock, fit, spinner};
use crate::output::duration;

/// How wide the bar of a stage is.
const BAR: usize = 24;

pub fn draw(frame: &mut Frame<'_>, model: &mut Model, theme: Theme, area: Rect) {
    let rows: Vec<Line<'_>> = model
        .shown_operations()
        .into_iter()
        .map(|watched| {
            let Watched { operation, view } = watched;
            let mark = match &operation.outcome {
                None => spinner(model.now_ms),
                Some(Outcome::Succeeded { .. }) => '✓',
                Some(Outcome::Failed { .. }) => '✗',
                Some(Outcome::Cancelled) => '–',
            };
            let how = match &operation.outcome {
                None => view.current().map(|stage| stage.name.clone()).unwrap_or_default(),
                Some(outcome) => words::outcome(outcome),
            };
            let style = theme.outcome(operation.outcome.as_ref());
            Line::from(vec![
                Span::styled(format!(" {mark} "), style),
                Span::styled(format!("{} ", clock(operation.started_at_ms)), theme.faint()),
                Span::raw(format!("{:<26} ", fit(&words::title(operation), 26))),
                Span::styled(how, style),
            ])
        })
        .collect();
    super::doctor::list(frame, model, theme, area, "operations", rows, " nothing was done lately");
}

pub fn details(model: &Model, theme: Theme) -> Vec<Line<'static>> {
    let Some(watched) = model.operation() else { return Vec::new() };
    let Watched { operation, view } = watched;
    let mut lines = vec![
        pair(theme, "what", Span::styled(words::title(operation), theme.title())),
        pair(theme, "began", format!("{} UTC", clock(operation.started_at_ms))),
    ];
    lines.extend(stages(watched, model.now_ms, theme));
    for warning in &view.warnings {
        lines.push(Line::from(Span::styled(format!(" warning: {warning}"), theme.warning())));
    }
    match &operation.outcome {
        None => lines.extend(
            view.last_line
                .iter()
                .map(|line| Line::from(Span::styled(format!("   {line}"), theme.faint()))),
        ),
        Some(Outcome::Failed { failure }) => {
            lines.push(heading(theme, "failed"));
            let left = failure.rollback.iter().map(|left| format!("not undone: {left}"));
            let text: Vec<_> = failure.message.lines().map(str::to_owned).chain(left).collect();
            lines.extend(
                text.into_iter()
                    .map(|line| Line::from(Span::styled(format!(" {line}"), theme.bad()))),
            );
            lines.extend(failure.remedy.iter().map(|remedy| pair(theme, "hint", remedy.clone())));
            lines.extend(failure.console.lines().map(|line| Line::from(format!(" │ {line}"))));
        }
        Some(outcome) => {
            let style = theme.outcome(Some(outcome));
            lines.push(Line::from(Span::styled(format!(" it {}", words::outcome(outcome)), style)));
        }
    }
    lines
}

/// A line a stage, as the command line has them.
pub fn stages(watched: &Watched, now_ms: u64, theme: Theme) -> Vec<Line<'static>> {
    let ended = watched.operation.outcome.is_some();
    let line = |stage: &banger_core::fold::StageView| {
        let name = format!("{:<12} ", stage.name);
        if let Some(ms) = stage.ms {
            return Line::from(vec![
                Span::styled(" ✓ ", theme.good()),
                Span::raw(name),
                Span::styled(duration(ms), theme.faint()),
            ]);
        }
        if ended {
            return Line::from(vec![Span::styled(" ✗ ", theme.bad()), Span::raw(name)]);
        }
        let since = now_ms.saturating_sub(stage.started_at_ms) / 1000 * 1000;
        let mut line = Line::from(vec![
            Span::styled(format!(" {} ", spinner(now_ms)), theme.busy()),
            Span::raw(name),
            Span::styled(format!("{:<8} ", duration(since)), theme.faint()),
        ]);
        if let Some((done, Some(of))) = stage.progress {
            line.spans.extend(bar(theme, theme.busy(), done, done, of, BAR));
            let percent = u128::from(done) * 100 / u128::from(of.max(1));
            line.push_span(Span::raw(format!(" {percent:>3} %")));
        }
        line
    };
    watched.view.stages.iter().map(line).collect()
}
