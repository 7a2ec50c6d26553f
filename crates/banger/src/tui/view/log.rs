//! A VM's console.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::super::log::{LogView, Place, matches};
use super::super::model::Model;
use super::super::words;
use super::text::wrap;
use super::{Theme, block};

pub fn draw(frame: &mut Frame<'_>, model: &mut Model, theme: Theme, area: Rect) {
    let Some(log) = &mut model.log else { return };
    let how = match (log.follows(), log.ended) {
        (_, true) => "no more comes",
        (true, false) => "following",
        (false, false) => "standing still: f follows",
    };
    // The last may have only begun.
    let begun = usize::from(log.lines.back().is_some_and(String::is_empty));
    let count = words::lines(log.lines.len() - begun);
    let mut title = format!("console of {} · {how} · {count}", log.name);
    if !log.needle.is_empty() {
        title.push_str(&format!(" · /{}", log.needle));
    }
    if let Some(found) = &log.found {
        title.push_str(&format!(" {}/{}", found.number, found.count));
    }
    let block = block(theme, &title);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    (log.width, log.page) = (inner.width.into(), usize::from(inner.height).max(1));
    frame.render_widget(Paragraph::new(rows(log, theme)), inner);
}

/// What is on the screen.
fn rows(log: &LogView, theme: Theme) -> Vec<Line<'static>> {
    let (top, bottom) = (log.top(), log.last());
    let mut rows = Vec::new();
    let lines = log.lines.iter().enumerate().skip(top.line);
    for (line, text) in lines.take(bottom.line + 1 - top.line) {
        let here = log.found.as_ref().filter(|found| found.line == line).map(|found| found.start);
        let marks: Vec<_> = matches(text, &log.needle)
            .into_iter()
            .map(|place| {
                let style =
                    if Some(place.start) == here { theme.found_here() } else { theme.found() };
                (place, style)
            })
            .collect();
        let mut end = 0;
        for (row, part) in wrap(text, log.width).into_iter().enumerate() {
            let from = end;
            end += part.len();
            if !(top..=bottom).contains(&Place { line, row }) {
                continue;
            }
            let (mut spans, mut at) = (Vec::new(), from);
            for (place, style) in &marks {
                // A match may begin in the row before, and end in the next.
                let (start, stop) = (place.start.clamp(at, end), place.end.clamp(at, end));
                if start < stop {
                    spans.push(Span::raw(text[at..start].to_owned()));
                    spans.push(Span::styled(text[start..stop].to_owned(), *style));
                    at = stop;
                }
            }
            spans.push(Span::raw(text[at..end].to_owned()));
            rows.push(Line::from(spans));
        }
    }
    rows
}
