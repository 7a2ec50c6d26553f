//! The screen, drawn from the model.

mod detail;
mod dialogs;
mod doctor;
mod head;
mod images;
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

pub(super) use text::wrap;
pub use theme::Theme;

/// From this width on the details are beside the list, which still has room for all its columns.
const WIDE: u16 = 196;
/// How wide they are then.
const BESIDE: u16 = 60;
/// What the TUI needs to be of any use.
const LEAST: (u16, u16) = (40, 10);

/// Draws the model, and writes down where the mouse meets what.
pub fn view(frame: &mut Frame<'_>, model: &mut Model, theme: Theme) {
    let area = frame.area();
    model.hits = Hits::default();
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
        (None, Some(_)) => whole_details(frame, model, theme, body),
        (None, None) => list_and_details(frame, model, theme, body),
    }
    head::foot(frame, model, theme, foot);
    dialogs::draw(frame, model, theme, area);
}

fn list_and_details(frame: &mut Frame<'_>, model: &mut Model, theme: Theme, area: Rect) {
    let [list, details] = if area.width >= WIDE {
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(BESIDE)]).areas(area)
    } else {
        Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(area)
    };
    match model.tab {
        Tab::Vms => vms::draw(frame, model, theme, list),
        Tab::Images => images::draw(frame, model, theme, list),
        Tab::Operations => operations::draw(frame, model, theme, list),
        Tab::Doctor => return doctor::draw(frame, model, theme, area),
    }
    let width = details.width.saturating_sub(2);
    let lines = text::fold(details_of(model, theme, width), width.into());
    frame.render_widget(Paragraph::new(lines).block(block(theme, "details")), details);
}

fn whole_details(frame: &mut Frame<'_>, model: &mut Model, theme: Theme, area: Rect) {
    model.settle();
    let width = area.width.saturating_sub(2);
    let lines = text::fold(details_of(model, theme, width), width.into());
    let height = usize::from(area.height.saturating_sub(2));
    let most = u16::try_from(lines.len().saturating_sub(height)).unwrap_or(u16::MAX);
    let from = model.details.unwrap_or(0).min(most);
    model.details = Some(from);
    let paragraph = Paragraph::new(lines).scroll((from, 0));
    frame.render_widget(paragraph.block(block(theme, "details")), area);
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
