//! Standard output and standard error. A reader that went away is not an error.

use std::io::Write as _;

pub use banger_core::duration::duration;
use serde::Serialize;

/// Prints a line to standard output.
pub fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", plain(text));
}

/// Text without what a terminal would take for more than text: names may be a stranger's choice.
fn plain(text: &str) -> std::borrow::Cow<'_, str> {
    let control = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if text.contains(control) { text.replace(control, "").into() } else { text.into() }
}

/// Writes bytes to standard output as they are.
///
/// # Errors
/// The reader went away.
pub fn bytes(bytes: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    out.write_all(bytes)?;
    out.flush()
}

/// Prints a line to standard error.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", plain(text));
}

/// Prints an error and what to do about it.
pub fn error(message: &str, remedy: Option<&str>) {
    note(&format!("error: {message}"));
    if let Some(remedy) = remedy {
        note(&format!("hint: {remedy}"));
    }
}

/// Prints a value as JSON: indented on a terminal, one line otherwise.
pub fn json<T: Serialize>(value: &T) {
    use std::io::IsTerminal as _;
    let text = if std::io::stdout().is_terminal() {
        serde_json::to_string_pretty(value)
    } else {
        serde_json::to_string(value)
    };
    // What the API sent can be said in JSON.
    line(&text.unwrap_or_default());
}

/// Rows under a header, in columns.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells = cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let head = line(&mut header.iter().copied());
    let rows = rows.iter().map(|row| line(&mut row.iter().map(String::as_str)));
    std::iter::once(head).chain(rows).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows =
            [vec!["dev".into(), "running".into()], vec!["a-long-name".into(), "stopped".into()]];
        insta::assert_snapshot!(table(&["NAME", "STATE"], &rows), @r"
        NAME         STATE
        dev          running
        a-long-name  stopped
        ");
    }
}
