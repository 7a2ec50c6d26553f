//! Text that fits: by the columns that it takes, not by its characters.

use std::collections::VecDeque;

use banger_core::size::Size;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::Theme;

/// A text of at most so many columns; `…` stands for what is left out.
pub fn fit(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut taken = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if taken + wide + 1 > width {
            break;
        }
        taken += wide;
        out.push(c);
    }
    if width > 0 {
        out.push('…');
    }
    out
}

/// A text of exactly so many columns.
pub fn pad(text: &str, width: usize) -> String {
    let mut out = fit(text, width);
    out.push_str(&" ".repeat(width.saturating_sub(out.width())));
    out
}

/// A text in lines of at most so many columns.
pub fn wrap(text: &str, width: usize) -> Vec<&str> {
    let (mut lines, mut from, mut taken) = (Vec::new(), 0, 0);
    for (i, c) in text.char_indices() {
        let wide = c.width().unwrap_or(0);
        if taken + wide > width.max(1) && i > from {
            lines.push(&text[from..i]);
            (from, taken) = (i, 0);
        }
        taken += wide;
    }
    lines.push(&text[from..]);
    lines
}

/// Lines of at most so many columns, their styles kept.
pub fn fold(lines: Vec<Line<'static>>, width: usize) -> Vec<Line<'static>> {
    fold_to(lines, width, 0)
}

/// The same; what goes on in a next line begins there at a column, if that leaves most of it.
pub fn fold_to(lines: Vec<Line<'static>>, width: usize, column: usize) -> Vec<Line<'static>> {
    let column = if column * 3 <= width { column } else { 0 };
    let mut out = Vec::with_capacity(lines.len());
    for line in lines {
        if line.width() <= width {
            out.push(line);
            continue;
        }
        // What is left of the room that this line has.
        let (mut spans, mut left, mut room) = (Vec::new(), width, width);
        for span in line.spans {
            let mut rest = span.content.as_ref();
            while rest.width() > left {
                // To the next line goes a word that has more room there.
                let movable = left < width - column;
                let part = if left == 0 { "" } else { at_a_word(wrap(rest, left)[0], movable) };
                if part.width() <= left {
                    spans.push(Span::styled(part.to_owned(), span.style));
                    rest = &rest[part.len()..];
                } else if left == room {
                    // Not even one character fits.
                    rest = "";
                }
                out.push(Line::from(std::mem::take(&mut spans)));
                room = width - column;
                left = room;
                if column > 0 {
                    spans.push(Span::raw(" ".repeat(column)));
                }
            }
            left -= rest.width();
            spans.push(Span::styled(rest.to_owned(), span.style));
        }
        out.push(Line::from(spans));
    }
    out
}

/// A part of a text up to its last space, if it has one; nothing, if it can go to the next line.
fn at_a_word(part: &str, movable: bool) -> &str {
    match part.rfind(' ') {
        // What only stands in front is no word.
        Some(space) if !part[..space].trim().is_empty() => &part[..=space],
        _ if movable => "",
        _ => part,
    }
}

/// The last values as blocks of eight heights, the latest at the right. `most` is the full height.
pub fn sparkline(values: &VecDeque<u64>, most: u64, width: usize) -> String {
    graph(values, most, width, 1).concat()
}

/// The same in so many lines, the first at the top.
pub fn graph(values: &VecDeque<u64>, most: u64, width: usize, lines: usize) -> Vec<String> {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = most.max(1);
    let full = lines as u64 * 8;
    let line = |from: u64| {
        let shown = values.iter().skip(values.len().saturating_sub(width));
        let block = |value: &u64| {
            let height = value.saturating_mul(full) / most;
            // Nothing is seen as well: at the bottom.
            let height = height.min(full - 1).checked_sub(from);
            height.map_or(' ', |height| BLOCKS[usize::try_from(height.min(7)).unwrap_or(7)])
        };
        let line: String = shown.map(block).collect();
        format!("{line:>width$}")
    };
    (0..lines as u64).rev().map(|down| line(down * 8)).collect()
}

/// A bar of so many columns: `taken` of them full, and what else is gone hatched.
pub fn bar(
    theme: Theme,
    style: ratatui::style::Style,
    taken: u64,
    gone: u64,
    of: u64,
    width: usize,
) -> [Span<'static>; 3] {
    let share = |part: u64| {
        let share = u128::from(part) * width as u128 / u128::from(of.max(1));
        usize::try_from(share).unwrap_or(width).min(width)
    };
    // Little is not nothing.
    let full = share(taken).max(usize::from(taken > 0)).min(width);
    let used = share(gone).max(full);
    [
        Span::styled("█".repeat(full), style),
        Span::styled("▒".repeat(used - full), style),
        Span::styled("░".repeat(width - used), theme.faint()),
    ]
}

/// A size in four columns, as one writes it in a form: `490M`, `1.2G`.
pub fn short(size: Size) -> String {
    let mut value = size.as_bytes() as f64;
    let mut units = ['B', 'K', 'M', 'G', 'T', 'P', 'E'].into_iter();
    let mut unit = units.next().unwrap_or('B');
    // What has four digits is said in the next unit.
    while value >= 999.5 {
        let Some(next) = units.next() else { break };
        (value, unit) = (value / 1024.0, next);
    }
    let tenths = (value * 10.0).round() / 10.0;
    if tenths < 10.0 && tenths.fract() > 0.0 {
        format!("{tenths:.1}{unit}")
    } else {
        format!("{:.0}{unit}", value.round())
    }
}

/// The place of a line that is so far down in an area.
pub fn row(area: Rect, down: usize) -> Rect {
    let y = area.y.saturating_add(u16::try_from(down).unwrap_or(u16::MAX));
    Rect { y, height: 1, ..area }.intersection(area)
}

/// How long ago something was, in ten columns: a time of day would say nothing of the day.
pub fn ago(at_ms: u64, now_ms: u64) -> String {
    match now_ms.saturating_sub(at_ms) / 1000 {
        0 => "just now".to_owned(),
        s @ 1..60 => format!("{s} s ago"),
        s @ 60..3600 => format!("{} min ago", s / 60),
        s @ 3600..86_400 => format!("{} h ago", s / 3600),
        s => format!("{} d ago", s / 86_400),
    }
}

/// How old something is, in six columns.
pub fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        86_400..8_640_000 => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// What turns while something goes on.
pub fn spinner(now_ms: u64) -> char {
    const TURNS: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
    TURNS[usize::try_from(now_ms / 100 % 10).unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_take_two_columns() {
        let shown = ["dev", "開発環境", "a開発", "e\u{301}tude"].map(|text| fit(text, 5));
        assert_eq!(shown, ["dev", "開発…", "a開発", "e\u{301}tude"]);
        assert_eq!(fit("abc", 0), "");
        assert_eq!(
            ["a開", "開発環境", "dev"].map(|text| pad(text, 5)),
            ["a開  ", "開発…", "dev  "]
        );
        assert_eq!(wrap("開発環境x", 4), ["開発", "環境", "x"]);
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(wrap("開", 1), ["開"]);
    }

    #[test]
    fn folded_lines_keep_all_of_their_text() {
        let line = Line::from(vec![Span::raw("ab"), Span::raw("開発環境"), Span::raw("x")]);
        for width in 2..12 {
            let folded = fold(vec![line.clone()], width);
            assert!(folded.iter().all(|line| line.width() <= width), "{width}: {folded:?}");
            let text: String = folded.iter().map(ToString::to_string).collect();
            assert_eq!(text, "ab開発環境x", "{width}");
        }
        assert!(fold(vec![line], 1).len() < 9);
        let text = Line::from(vec![Span::raw("name  "), Span::raw("one two three four")]);
        let folded: Vec<_> = fold_to(vec![text], 18, 6).iter().map(ToString::to_string).collect();
        assert_eq!(folded, ["name  one two ", "      three four"]);
    }

    #[test]
    fn an_age_is_short() {
        let ages = [0, 59, 61, 3599, 3725, 86_399, 90_000, 365 * 86_400].map(age);
        assert_eq!(ages.join(" "), "0s 59s 1m01s 59m59s 1h02m 23h59m 1d01h 365d");
    }

    #[test]
    fn what_was_on_another_day_says_so() {
        let now = 1_795_608_000_000;
        let times = [0, 12, 59, 60, 3599, 3600, 86_399, 86_400, 400 * 86_400];
        let shown = times.map(|s| ago(now - s * 1000, now));
        assert!(shown.iter().all(|text| text.len() <= 10), "{shown:?}");
        assert_eq!(
            shown.join(", "),
            "just now, 12 s ago, 59 s ago, 1 min ago, 59 min ago, 1 h ago, 23 h ago, 1 d ago, 400 d ago"
        );
        // The daemon's clock may be ahead of the last number that came.
        assert_eq!(ago(now + 5, now), "just now");
    }

    #[test]
    fn a_short_size_is_short() {
        let sizes = [0, 999, 1000, 10 << 20, 490 << 20, 1012 << 20, 1 << 30, 1288 << 20, u64::MAX];
        let shown = sizes.map(|bytes| short(Size::bytes(bytes)));
        assert_eq!(shown.join(" "), "0B 999B 1K 10M 490M 1G 1G 1.3G 16E");
        for bits in 0..64 {
            for bytes in
                [1_u64 << bits, (1 << bits) - 1, 1000 << bits.min(53), 1015 << bits.min(53)]
            {
                assert!(short(Size::bytes(bytes)).len() <= 4, "{bytes}");
            }
        }
    }

    #[test]
    fn a_bar_tells_what_is_taken_and_what_is_gone() {
        let theme = Theme { colours: false };
        let drawn = |taken, gone| {
            let bar = bar(theme, theme.faint(), taken, gone, 100, 10);
            bar.map(|span| span.content.into_owned()).concat()
        };
        assert_eq!(drawn(0, 0), "░".repeat(10));
        assert_eq!(drawn(1, 40), "█▒▒▒░░░░░░");
        assert_eq!(drawn(50, 50), "█████░░░░░");
        assert_eq!(drawn(200, 300), "█".repeat(10));
    }

    #[test]
    fn a_sparkline_is_as_wide_as_it_is_told() {
        let values = VecDeque::from([0, 50, 100, 200]);
        assert_eq!(sparkline(&values, 100, 6), "  ▁▅██");
        assert_eq!(sparkline(&values, 100, 2), "██");
        assert_eq!(sparkline(&VecDeque::new(), 0, 3), "   ");
        assert_eq!(graph(&values, 100, 4, 2), [" ▁██", "▁███"]);
    }
}
