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

pub use theme::Theme;

/// From this width on the details are beside the list, which still has room for all its columns.
const WIDE: u16 = 196;
/// How wide they are then.
const BESIDE: u16 = 60;
/// How high a list is at least.
const SHORT: u16 = 7;
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
        // A short list leaves more to the details.
        let most = area.height.div_ceil(2);
        let list = match model.tab {
            Tab::Vms | Tab::Doctor => most,
            Tab::Images | Tab::Operations => wanted(model).max(SHORT).min(most),
        };
        Layout::vertical([Constraint::Length(list), Constraint::Fill(1)]).areas(area)
    };
    match model.tab {
        Tab::Vms => vms::draw(frame, model, theme, list),
        Tab::Images => images::draw(frame, model, theme, list),
        Tab::Operations => operations::draw(frame, model, theme, list),
        Tab::Doctor => return doctor::draw(frame, model, theme, area),
    }
    let (width, height) = (details.width.saturating_sub(2), details.height.saturating_sub(2));
    let lines = match model.tab {
        Tab::Operations => operations::excerpt(model, theme, width.into(), height.into()),
        _ => text::fold(details_of(model, theme, width), width.into()),
    };
    frame.render_widget(Paragraph::new(lines).block(block(theme, "details")), details);
}

/// How high a list is that shows all its lines.
fn wanted(model: &Model) -> u16 {
    let pending = if model.tab == Tab::Images { images::being_made(model).count() } else { 0 };
    // With its frame and its headings.
    u16::try_from(model.lines().len() + pending + 3).unwrap_or(u16::MAX)
}

fn whole_details(
    frame: &mut Frame<'_>,
    model: &mut Model,
    theme: Theme,
    area: Rect,
    before: &Hits,
) {
    model.settle();
    let width = area.width.saturating_sub(2);
    let lines = text::fold(details_of(model, theme, width), width.into());
    let height = usize::from(area.height.saturating_sub(2));
    let most = u16::try_from(lines.len().saturating_sub(height)).unwrap_or(u16::MAX);
    let from = model.details.unwrap_or(0).min(most);
    let watched = if model.tab == Tab::Operations { model.operation() } else { None };
    let goes_on = watched.is_some_and(|watched| watched.operation.outcome.is_none());
    // Who is at the end of what an operation says follows it, from the beginning if it goes on.
    let follows = match before.details {
        None => goes_on,
        Some((end, _)) => watched.is_some() && from >= end,
    };
    let title = match (goes_on, follows) {
        (false, _) => "details",
        (true, true) => "details · following",
        (true, false) => "details · standing still: G follows",
    };
    let from = if follows { most } else { from };
    model.details = Some(from);
    model.hits.details = Some((most, height));
    let paragraph = Paragraph::new(lines).scroll((from, 0));
    frame.render_widget(paragraph.block(block(theme, title)), area);
}

fn details_of(model: &Model, theme: Theme, width: u16) -> Vec<Line<'static>> {
    match model.tab {
        Tab::Vms => detail::lines(model, theme, width),
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
