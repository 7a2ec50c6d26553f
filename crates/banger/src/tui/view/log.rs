//! A VM's console.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::super::model::Model;
use super::text::wrap;
use super::{Theme, block};

pub fn draw(frame: &mut Frame<'_>, model: &mut Model, theme: Theme, area: Rect) {
    let Some(log) = &mut model.log else { return };
    let how = match (log.follows(), log.ended) {
        (_, true) => "no more comes",
        (true, false) => "following",
        (false, false) => "standing still: f follows",
    };
    let mut title = format!("console of {} · {how} · {} lines", log.name, log.lines.len());
    if !log.needle.is_empty() {
        title.push_str(&format!(" · /{}", log.needle));
    }
    let block = block(theme, &title);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let (width, height) = (usize::from(inner.width), usize::from(inner.height));
    log.page = height.max(1);
    // From the last line upwards, until the screen is full.
    let mut rows: Vec<Line<'_>> = Vec::new();
    for line in log.lines.iter().take(log.last() + 1).rev() {
        let parts = wrap(line, width);
        rows.extend(parts.iter().rev().map(|part| marked(part, &log.needle, theme)));
        if rows.len() >= height {
            break;
        }
    }
    rows.truncate(height);
    rows.reverse();
    frame.render_widget(Paragraph::new(rows), inner);
}

/// A line in which what was searched for stands out.
fn marked(text: &str, needle: &str, theme: Theme) -> Line<'static> {
    // Lower case may be of another length; then nothing stands out.
    let (lower, needle) = (text.to_lowercase(), needle.to_lowercase());
    if needle.is_empty() || lower.len() != text.len() {
        return Line::from(text.to_owned());
    }
    let (mut spans, mut from) = (Vec::new(), 0);
    for (at, found) in lower.match_indices(&needle) {
        let (Some(before), Some(found)) = (text.get(from..at), text.get(at..at + found.len()))
        else {
            return Line::from(text.to_owned());
        };
        spans.push(Span::raw(before.to_owned()));
        spans.push(Span::styled(found.to_owned(), theme.found()));
        from = at + needle.len();
    }
    spans.push(Span::raw(text.get(from..).unwrap_or_default().to_owned()));
    Line::from(spans)
}
