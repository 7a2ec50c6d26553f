//! What the doctor found.

use banger_core::doctor::{CLEAN_UP, Status};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::super::model::Model;
use super::super::words::first_line;
use super::detail::pair;
use super::list::Listing;
use super::text::{fit, fold, pad};
use super::{Theme, block};

/// How wide the name of a check is.
const NAME: usize = 24;
/// The fewest lines of the details: they would jump all the time otherwise.
const DETAILS: u16 = 6;

pub fn draw(frame: &mut Frame<'_>, model: &mut Model, theme: Theme, area: Rect) {
    model.settle();
    let lines = fold(details(model, theme), area.width.saturating_sub(2).into());
    let needed = u16::try_from(lines.len() + 2).unwrap_or(u16::MAX);
    let below = needed.max(DETAILS).min(area.height / 2);
    let [list_area, below] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(below)]).areas(area);
    let room = usize::from(area.width).saturating_sub(2 + 3 + NAME + 1);
    let checks = model.shown_checks();
    let rows = checks.iter().map(|check| {
        let (mark, style) = (mark(check.status), theme.status(check.status));
        Line::from(vec![
            Span::styled(format!(" {mark} "), style),
            Span::raw(format!("{} ", pad(&check.name, NAME))),
            Span::styled(fit(first_line(&check.detail), room), theme.faint()),
        ])
    });
    let listing = Listing {
        title: title(model),
        rows: rows.collect(),
        empty: match (model.examining, &model.doctor) {
            (true, None) => " looking …",
            (false, None) => " nothing was looked at: r looks",
            (_, Some(_)) => " none has these words: Esc shows all",
        },
        ..Listing::default()
    };
    listing.draw(frame, model, theme, list_area);
    frame.render_widget(Paragraph::new(lines).block(block(theme, "details")), below);
}

fn title(model: &Model) -> String {
    let looks = if model.examining { ", looking …" } else { "" };
    let Some(report) = &model.doctor else { return format!("doctor{looks}") };
    let warnings = match report.count(Status::Warning) {
        1 => "1 warning".to_owned(),
        count => format!("{count} warnings"),
    };
    let found = match (report.count(Status::Missing), report.count(Status::Warning)) {
        (0, 0) => "everything is here".to_owned(),
        (0, _) => format!("nothing is missing, {warnings}"),
        (missing, 0) => format!("{missing} missing"),
        (missing, _) => format!("{missing} missing, {warnings}"),
    };
    format!("doctor · {found}{looks}")
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
    let mut lines = vec![pair(theme, "check", Span::styled(check.name.clone(), theme.title()))];
    // A message of a parser has lines of its own.
    for (i, line) in check.detail.lines().enumerate() {
        let name = if i == 0 { "found" } else { "" };
        lines.push(pair(theme, name, Span::styled(line.to_owned(), theme.status(check.status))));
    }
    if let Some(remedy) = &check.remedy {
        let mut hint = pair(theme, "hint", Span::styled(remedy.clone(), theme.key()));
        if remedy == CLEAN_UP {
            hint.push_span(Span::raw(" (x does it)"));
        }
        lines.push(hint);
    }
    lines
}
