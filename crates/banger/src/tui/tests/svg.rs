//! A screen as a picture.

use std::fmt::Write as _;

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};
use unicode_width::UnicodeWidthStr as _;

/// How large a cell is.
const CELL: (f64, f64) = (8.4, 18.0);
const BACK: &str = "#16181d";
const FRONT: &str = "#d6d8dd";

fn colour(color: Color) -> &'static str {
    match color {
        Color::Green => "#8fc97a",
        Color::Yellow => "#e3c266",
        Color::Red => "#ee7b77",
        Color::Cyan => "#6cc4d6",
        _ => FRONT,
    }
}

/// What of a cell decides how it looks.
fn look(cell: &Cell) -> (Color, Modifier) {
    (cell.fg, cell.modifier)
}

/// The picture.
pub fn svg(buffer: &Buffer) -> String {
    let (columns, rows) = (buffer.area.width, buffer.area.height);
    let (width, height) = (f64::from(columns) * CELL.0 + 16.0, f64::from(rows) * CELL.1 + 16.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         font-family=\"monospace\" font-size=\"14\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"{BACK}\"/>\n"
    );
    for y in 0..rows {
        let mut x = 0;
        while x < columns {
            let style = look(&buffer[(x, y)]);
            let (from, mut text) = (x, String::new());
            while x < columns && look(&buffer[(x, y)]) == style {
                let symbol = buffer[(x, y)].symbol();
                text.push_str(symbol);
                x += u16::try_from(symbol.width().max(1)).unwrap();
            }
            run(&mut out, (from, y), &text, style);
        }
    }
    out.push_str("</svg>\n");
    out
}

/// Cells that look alike.
fn run(out: &mut String, (x, y): (u16, u16), text: &str, (fg, modifier): (Color, Modifier)) {
    let (left, top) = (f64::from(x) * CELL.0 + 8.0, f64::from(y) * CELL.1 + 8.0);
    let wide = text.width() as f64 * CELL.0;
    let mut fill = colour(fg);
    if modifier.contains(Modifier::REVERSED) {
        let height = CELL.1;
        writeln!(out, "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{wide:.1}\" height=\"{height}\" fill=\"{fill}\"/>").unwrap();
        fill = BACK;
    }
    if text.trim().is_empty() {
        return;
    }
    // Spaces that stay, wherever the picture is shown.
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace(' ', "\u{a0}");
    let weight = if modifier.contains(Modifier::BOLD) { " font-weight=\"bold\"" } else { "" };
    let dim = if modifier.contains(Modifier::DIM) { " opacity=\"0.6\"" } else { "" };
    let base = top + 13.5;
    writeln!(out, "<text x=\"{left:.1}\" y=\"{base:.1}\" textLength=\"{wide:.1}\" lengthAdjust=\"spacingAndGlyphs\" fill=\"{fill}\"{weight}{dim}>{escaped}</text>").unwrap();
}
