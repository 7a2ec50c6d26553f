//! What the doctor found; and the lists that have one line a thing.

use banger_core::doctor::Status;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::super::model::Model;
use super::detail::pair;
use super::text::{fold, row};
use super::{Theme, block};

pub fn draw(frame: &mut Frame<'_>, model: &mut Model, theme: Theme, area: Rect) {
    let [list_area, below] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(6)]).areas(area);
    let rows = model.shown_checks().into_iter().map(|check| {
        let (mark, style) = (mark(check.status), theme.status(check.status));
        Line::from(vec![
            Span::styled(format!(" {mark} "), style),
            Span::raw(format!("{:<24} ", check.name)),
            Span::styled(check.detail.clone(), theme.faint()),
        ])
    });
    let rows = rows.collect();
    let empty = if model.examining { " looking …" } else { " nothing was looked at: r looks" };
    let title = if model.examining { "doctor, looking …" } else { "doctor" };
    list(frame, model, theme, list_area, title, rows, empty);
    let lines = fold(details(model, theme), below.width.saturating_sub(2).into());
    frame.render_widget(Paragraph::new(lines).block(block(theme, "details")), below);
}

fn mark(status: Status) -> char {
    match status {
        Status::Ok => '✓',
        Status::Warning => '!',
        Status::Missing => '✗',
    }
}

pub fn details(model: &Model, theme: Theme) -> Vec<Line<'static>> {
    let checks = model.shown_checks();
    let Some(check) = checks.get(model.cursor().line) else { return Vec::new() };
    let mut lines = vec![
        pair(theme, "check", Span::styled(check.name.clone(), theme.title())),
        pair(theme, "found", Span::styled(check.detail.clone(), theme.status(check.status))),
    ];
    lines.extend(
        check
            .remedy
            .iter()
            .map(|remedy| pair(theme, "hint", Span::styled(remedy.clone(), theme.key()))),
    );
    lines
}

/// A list of one line a thing, with a cursor.
pub fn list(
    frame: &mut Frame<'_>,
    model: &mut Model,
    theme: Theme,
    area: Rect,
    title: &str,
    rows: Vec<Line<'static>>,
    empty: &str,
) {
    let at = model.settle().unwrap_or(0);
    let filter = model.cursor().filter.value().to_owned();
    let title = match filter.as_str() {
        "" => format!("{title} {}", rows.len()),
        filter => format!("{title} {} · /{filter}", rows.len()),
    };
    let block = block(theme, &title);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    model.hits.list = inner;
    let (count, height) = (rows.len(), usize::from(inner.height).max(1));
    let cursor = model.cursor_mut();
    cursor.top =
        cursor.top.min(at).max((at + 1).saturating_sub(height)).min(count.saturating_sub(height));
    let top = cursor.top;
    if rows.is_empty() {
        frame.render_widget(Paragraph::new(Span::styled(empty.to_owned(), theme.faint())), inner);
        return;
    }
    let visible: Vec<_> = rows.into_iter().skip(top).take(height).collect();
    frame.render_widget(Paragraph::new(visible), inner);
    frame.buffer_mut().set_style(row(inner, at.saturating_sub(top)), theme.chosen());
}
