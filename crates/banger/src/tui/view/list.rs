//! A list of one line a thing, with a cursor.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::super::model::Model;
use super::text::row;
use super::{Theme, block};

/// What is shown of a list.
#[derive(Debug, Default)]
pub struct Listing {
    /// Its title.
    pub title: String,
    /// The headings of its columns.
    pub head: Option<String>,
    /// What stands before the lines, where the cursor does not go.
    pub pending: Vec<Line<'static>>,
    /// The lines.
    pub rows: Vec<Line<'static>>,
    /// What stands there if there are none.
    pub empty: &'static str,
}

impl Listing {
    /// Draws it, and writes down where its lines are.
    pub fn draw(self, frame: &mut Frame<'_>, model: &mut Model, theme: Theme, area: Rect) {
        let Self { mut title, head, mut pending, rows, empty } = self;
        let at = model.settle().unwrap_or(0);
        let filter = model.cursor().filter.value();
        if !filter.is_empty() {
            title.push_str(&format!(" · /{filter}"));
        }
        let block = block(theme, &title);
        let inner = block.inner(area);
        frame.render_widget(block, area);
        // The lines themselves have the better half.
        pending.truncate(usize::from(inner.height) / 2);
        if let (Some(head), false) = (head, rows.is_empty()) {
            pending.insert(0, Line::styled(head, theme.title()));
        }
        let before = u16::try_from(pending.len()).unwrap_or(u16::MAX);
        let [top, body] =
            Layout::vertical([Constraint::Length(before), Constraint::Fill(1)]).areas(inner);
        frame.render_widget(Paragraph::new(pending), top);
        model.hits.list = body;
        let (count, height) = (rows.len(), usize::from(body.height).max(1));
        let top = model.cursor_mut().scroll_to(at, count, height);
        if rows.is_empty() {
            frame.render_widget(Paragraph::new(Span::styled(empty, theme.faint())), body);
            return;
        }
        let visible: Vec<_> = rows.into_iter().skip(top).take(height).collect();
        frame.render_widget(Paragraph::new(visible), body);
        frame.buffer_mut().set_style(row(body, at.saturating_sub(top)), theme.chosen());
    }
}
