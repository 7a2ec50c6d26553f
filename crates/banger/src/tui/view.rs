//! The screen, drawn from the model.

mod detail;
mod dialogs;
mod doctor;
mod head;
mod images;
mod list;
mod log;
mod operations;
mod text;
mod theme;
mod vms;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Block, BorderType, Paragraph};

use super::model::{Model, Tab};
use super::mouse::Hits;
use super::words;

pub(super) use text::wrap;
pub use theme::Theme;

/// From this width on the details are beside the list, which still has room for all its columns.
const WIDE: u16 = 196;
/// How wide they are then.
const BESIDE: u16 = 60;
/// From this width on the details beneath a list are in two columns.
const TWO: u16 = 110;
/// What the TUI needs to be of any use.
const LEAST: (u16, u16) = (40, 10);

/// Draws the model, and writes down where the mouse meets what.
pub fn view(frame: &mut Frame<'_>, model: &mut Model, theme: Theme) {
    let area = frame.area();
    let before = std::mem::take(&mut model.hits);
    model.too_small = area.width < LEAST.0 || area.height < LEAST.1;
    if model.too_small {
        let text = format!(
            "banger needs {} × {}\nhere are {} × {}\nq quits",
            LEAST.0, LEAST.1, area.width, area.height
        );
        frame.render_widget(Paragraph::new(text), area);
        return;
    }
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(2), Constraint::Fill(1), Constraint::Length(1)])
            .areas(area);
    head::draw(frame, model, theme, head);
    match (&model.log, model.details) {
        (Some(_), _) => log::draw(frame, model, theme, body),
        (None, Some(_)) => whole_details(frame, model, theme, body, &before),
        (None, None) => list_and_details(frame, model, theme, body),
    }
    head::foot(frame, model, theme, foot);
    dialogs::draw(frame, model, theme, area);
}

fn list_and_details(frame: &mut Frame<'_>, model: &mut Model, theme: Theme, area: Rect) {
    let [list, details] = if area.width >= WIDE {
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(BESIDE)]).areas(area)
    } else {
        // A short list leaves its room to the details: its frame and heading, and a line to come.
        let pending = if model.tab == Tab::Images { images::being_made(model).count() } else { 0 };
        let lines = u16::try_from(model.lines().len() + pending).unwrap_or(u16::MAX);
        let list = lines.saturating_add(4).clamp(6, (area.height / 2).max(6));
        Layout::vertical([Constraint::Length(list), Constraint::Fill(1)]).areas(area)
    };
    match model.tab {
        Tab::Vms => vms::draw(frame, model, theme, list),
        Tab::Images => images::draw(frame, model, theme, list),
        Tab::Operations => operations::draw(frame, model, theme, list),
        Tab::Doctor => {
            doctor::draw(frame, model, theme, area);
            model.hits.page = model.hits.list.height;
            return;
        }
    }
    model.hits.page = model.hits.list.height;
    let inner = Block::bordered().inner(details);
    let rows = usize::from(inner.height);
    if model.tab == Tab::Operations {
        let two = inner.width >= TWO;
        let width = if two { inner.width / 2 } else { inner.width };
        let room = (usize::from(width - u16::from(two)), rows);
        let excerpt = operations::excerpt(model, theme, room, two);
        frame.render_widget(block(theme, "details"), details);
        return in_columns(frame, excerpt, inner, width);
    }
    let lines_in = |width| folded(details_of(model, theme, Rect { width, ..inner }), width);
    let (mut width, mut room, mut lines) = (inner.width, rows, lines_in(inner.width));
    if lines.len() > rows && inner.width >= TWO {
        // A second column takes what the first has no room for.
        (width, room) = (inner.width / 2, rows * 2);
        lines = lines_in(width - 1);
    }
    let key = model.cursor().key.clone();
    if model.beside.0 != key {
        model.beside = (key, 0);
    }
    let more = lines.len().saturating_sub(room);
    let from = usize::from(model.beside.1).min(more);
    model.beside.1 = u16::try_from(from).unwrap_or(u16::MAX);
    model.hits.details = inner;
    let title = match more {
        0 => "details".to_owned(),
        more => format!("details · {} more: Enter", words::lines(more)),
    };
    frame.render_widget(block(theme, &title), details);
    lines.drain(..from);
    let second = lines.split_off(lines.len().min(rows));
    in_columns(frame, [lines, second], inner, width);
}

/// Draws a column of a width, and another beside it.
fn in_columns(
    frame: &mut Frame<'_>,
    [first, second]: [Vec<Line<'static>>; 2],
    area: Rect,
    width: u16,
) {
    let place = Rect { width, ..area };
    frame.render_widget(Paragraph::new(first), place);
    let beside = Rect { x: area.x + width, ..place }.intersection(area);
    frame.render_widget(Paragraph::new(second), beside);
}

/// Details in lines of so many columns; what is folded stands beneath what it says.
fn folded(lines: Vec<Line<'static>>, width: u16) -> Vec<Line<'static>> {
    text::fold_to(lines, width.into(), detail::INDENT)
}

fn whole_details(
    frame: &mut Frame<'_>,
    model: &mut Model,
    theme: Theme,
    area: Rect,
    before: &Hits,
) {
    model.settle();
    let inner = Block::bordered().inner(area);
    let lines = folded(details_of(model, theme, inner), inner.width);
    let most = lines.len().saturating_sub(inner.height.into());
    let most = u16::try_from(most).unwrap_or(u16::MAX);
    let from = model.details.unwrap_or(0).min(most);
    let watched = if model.tab == Tab::Operations { model.operation() } else { None };
    let goes_on = watched.is_some_and(|watched| watched.operation.outcome.is_none());
    // Who is at the end of what an operation says follows it, from the beginning if it goes on.
    let follows = match before.end {
        None => goes_on,
        Some(end) => watched.is_some() && from >= end,
    };
    let title = match (goes_on, follows) {
        (true, true) => "details · following · Esc back",
        (true, false) => "details · standing still: G follows · Esc back",
        (false, _) if most > 0 => "details · ↑ ↓ scroll · Esc back",
        (false, _) => "details · Esc back",
    };
    let from = if follows { most } else { from };
    model.details = Some(from);
    model.hits.end = Some(most);
    model.hits.page = inner.height;
    let paragraph = Paragraph::new(lines).scroll((from, 0));
    frame.render_widget(paragraph.block(block(theme, title)), area);
}

fn details_of(model: &Model, theme: Theme, area: Rect) -> Vec<Line<'static>> {
    match model.tab {
        Tab::Vms => detail::lines(model, theme, area.width, area.height),
        Tab::Images => images::details(model, theme),
        Tab::Operations => operations::details(model, theme),
        Tab::Doctor => doctor::details(model, theme),
    }
}

/// A frame with a title.
fn block(theme: Theme, title: &str) -> Block<'static> {
    Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(theme.faint())
        .title(Line::styled(format!(" {title} "), theme.title()))
}
