//! The list of operations, and the stages and the output of one.

use banger_core::fold::StageView;
use banger_core::lists::Watched;
use banger_core::operation::{Failure, Outcome};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::super::model::Model;
use super::super::words;
use super::Theme;
use super::detail::{INDENT, heading, pair};
use super::list::Listing;
use super::text::{ago, bar, fold_to, pad, spinner};
use crate::output::duration;

/// How wide the bar of a stage is.
const BAR: usize = 24;
/// What stands before a line of output.
const OUTPUT: &str = "   ";
/// From this width on there is room for all columns.
const ALL_COLUMNS: usize = 60;
/// How wide the columns are that tell times.
const TIMES: (usize, usize) = (10, 11);

pub fn draw(frame: &mut Frame<'_>, model: &mut Model, theme: Theme, area: Rect) {
    let width = usize::from(area.width.saturating_sub(2));
    let times = width >= ALL_COLUMNS;
    let what = (width / 3).clamp(16, 40);
    let fixed = 3 + what + 1 + if times { TIMES.0 + TIMES.1 + 2 } else { 0 };
    let state = width.saturating_sub(fixed);
    let columns = |texts: [&str; 4]| {
        let [is, age, took] = [pad(texts[1], state), pad(texts[2], TIMES.0), texts[3].to_owned()];
        let rest = if times { format!(" {age} {took:>0$}", TIMES.1) } else { String::new() };
        [format!("{} ", pad(texts[0], what)), is, rest]
    };
    let shown = model.shown_operations();
    let rows = shown.iter().map(|watched| {
        let Watched { operation, view, .. } = watched;
        let mark = match &operation.outcome {
            None => spinner(model.now_ms),
            Some(Outcome::Succeeded { .. }) if !view.warnings.is_empty() => '!',
            Some(Outcome::Succeeded { .. }) => '✓',
            Some(Outcome::Failed { .. }) => '✗',
            Some(Outcome::Cancelled) => '–',
        };
        let age = ago(operation.started_at_ms, model.now_ms);
        let took = took(watched, model.now_ms).unwrap_or_else(|| "-".to_owned());
        let style = theme.outcome(operation.outcome.as_ref());
        let [what, is, rest] = columns([&words::title(operation), &state_of(watched), &age, &took]);
        Line::from(vec![
            Span::styled(format!(" {mark} "), style),
            Span::raw(what),
            Span::styled(is, style),
            Span::styled(rest, theme.faint()),
        ])
    });
    let listing = Listing {
        title: title(model),
        head: Some(format!("   {}", columns(["WHAT", "STATE", "AGE", "TOOK"]).concat())),
        rows: rows.collect(),
        empty: " nothing was done lately",
        ..Listing::default()
    };
    listing.draw(frame, model, theme, area);
}

fn title(model: &Model) -> String {
    match (model.active().count(), model.lists.operations.len()) {
        (_, 0) => "operations".to_owned(),
        (0, all) => format!("operations · {all}, none under way"),
        (active, all) => format!("operations · {active} under way of {all}"),
    }
}

/// What an operation does now, or how it ended.
fn state_of(watched: &Watched) -> String {
    match &watched.operation.outcome {
        None => doing(watched),
        Some(outcome) => match watched.view.warnings.len() {
            0 => words::outcome(outcome),
            1 => format!("{}; 1 warning", words::outcome(outcome)),
            count => format!("{}; {count} warnings", words::outcome(outcome)),
        },
    }
}

/// The stage under way, and how far it is.
pub fn doing(watched: &Watched) -> String {
    let Some(stage) = watched.view.current() else { return "under way".to_owned() };
    match percent(stage) {
        Some(percent) => format!("{} {percent} %", stage.name),
        None => stage.name.clone(),
    }
}

fn percent(stage: &StageView) -> Option<u128> {
    let (done, of) = stage.progress?;
    Some(u128::from(done) * 100 / u128::from(of?.max(1)))
}

/// How long it took, or has taken so far.
fn took(watched: &Watched, now_ms: u64) -> Option<String> {
    let began = watched.operation.started_at_ms;
    match (&watched.operation.outcome, watched.ended_at_ms) {
        // Tenths of what goes on would only flicker.
        (None, _) => Some(duration(now_ms.saturating_sub(began) / 1000 * 1000)),
        (Some(_), ended) => Some(duration(ended?.saturating_sub(began))),
    }
}

/// All that is known of the operation at the cursor.
pub fn details(model: &Model, theme: Theme) -> Vec<Line<'static>> {
    let Some(watched) = model.operation() else { return Vec::new() };
    let mut lines = head(watched, model.now_ms, theme);
    lines.extend(output(watched, usize::MAX, theme));
    lines
}

/// The same in so many columns and lines, the output beside the rest or beneath it. Of what is left
/// out, the end of the output would be missed most.
pub fn excerpt(
    model: &Model,
    theme: Theme,
    (width, height): (usize, usize),
    beside: bool,
) -> [Vec<Line<'static>>; 2] {
    let Some(watched) = model.operation() else { return Default::default() };
    let mut lines = fold_to(head(watched, model.now_ms, theme), width, INDENT);
    let mut said = fold_to(output(watched, height, theme), width, OUTPUT.len());
    let room = if beside { height } else { height.saturating_sub(lines.len()).max(height / 3) };
    said.drain(..said.len().saturating_sub(room));
    let room = if beside { height } else { height.saturating_sub(said.len()) };
    if lines.len() > room && room > 1 {
        let left_out = lines.len() - room + 1;
        let mark = Line::styled(format!(" … {left_out} lines (Enter shows all)"), theme.faint());
        // What goes on, and warnings, are at the end; why it failed is at the beginning, and where
        // at the end.
        let from = match watched.operation.outcome {
            None => 1,
            Some(Outcome::Failed { .. }) => room.saturating_sub(2).max(1),
            Some(_) => 3.min(room - 1),
        };
        lines.splice(from..from + left_out, [mark]);
    }
    lines.truncate(room);
    if !beside {
        lines.append(&mut said);
    }
    [lines, said]
}

/// What an operation is, how it ended, its stages and warnings.
fn head(watched: &Watched, now_ms: u64, theme: Theme) -> Vec<Line<'static>> {
    let Watched { operation, view, .. } = watched;
    let mut began = ago(operation.started_at_ms, now_ms);
    if let (Some(_), Some(took)) = (&operation.outcome, took(watched, now_ms)) {
        began.push_str(&format!(", took {took}"));
    }
    let mut lines = vec![
        pair(theme, "what", Span::styled(words::title(operation), theme.title())),
        pair(theme, "began", began),
    ];
    match &operation.outcome {
        None => {}
        Some(Outcome::Failed { failure }) => lines.extend(why(failure, theme)),
        Some(outcome) => {
            let text = words::outcome(outcome);
            lines.push(pair(theme, "state", Span::styled(text, theme.outcome(Some(outcome)))));
        }
    }
    lines.extend(stages(watched, now_ms, theme));
    for (i, line) in view.warnings.iter().flat_map(|warning| warning.lines().enumerate()) {
        let text = if i == 0 { format!(" ! warning: {line}") } else { format!("   {line}") };
        lines.push(Line::styled(text, theme.warning()));
    }
    lines
}

/// Why an operation failed.
fn why(failure: &Failure, theme: Theme) -> Vec<Line<'static>> {
    let mut lines = vec![heading(theme, "failed")];
    let left = failure.rollback.iter().map(|left| format!("not undone: {left}"));
    let text = failure.message.lines().map(str::to_owned).chain(left);
    lines.extend(text.map(|line| Line::styled(format!(" {line}"), theme.bad())));
    lines.extend(failure.remedy.iter().map(|remedy| pair(theme, "hint", remedy.clone())));
    lines.extend(failure.console.lines().map(|line| Line::from(format!(" │ {line}"))));
    lines
}

/// The last lines of what its programs said, at most so many.
fn output(watched: &Watched, most: usize, theme: Theme) -> Vec<Line<'static>> {
    let said = &watched.output;
    let count = said.lines().len();
    let title = match (count, said.forgotten()) {
        (0, 0) => return Vec::new(),
        (_, 0) => "output".to_owned(),
        (0, forgotten) => format!("output: {forgotten} lines, which are not kept any more"),
        (_, forgotten) => format!("output, after {forgotten} lines that are not kept any more"),
    };
    let lines = said.lines().skip(count.saturating_sub(most));
    let lines = lines.map(|line| Line::styled(format!("{OUTPUT}{line}"), theme.faint()));
    std::iter::once(heading(theme, &title)).chain(lines).collect()
}

/// A line a stage, as the command line has them.
pub fn stages(watched: &Watched, now_ms: u64, theme: Theme) -> Vec<Line<'static>> {
    let ended = watched.operation.outcome.is_some();
    let line = |stage: &StageView| {
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
            line.push_span(Span::raw(format!(" {:>3} %", percent(stage).unwrap_or(0))));
        }
        line
    };
    watched.view.stages.iter().map(line).collect()
}
