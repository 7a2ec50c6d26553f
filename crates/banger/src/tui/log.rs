//! A VM's serial console on the screen.

mod places;
mod search;

use std::collections::VecDeque;

use banger_core::console::Filter;
use banger_core::id::VmId;
use tui_input::Input;

use super::plain;

pub use places::Place;
pub use search::{Match, matches};

/// How many lines are kept.
const KEPT: usize = 5000;
/// How many bytes are kept of all of them.
const MOST: usize = 4 << 20;
/// The longest line, in bytes: one without an end must not grow for ever.
const LONGEST: usize = 4096;
/// Stands where lines are missing.
const GAP: &str = "… what was written meanwhile is not here …";

/// The log of one VM, and where the person is in it.
#[derive(Debug)]
pub struct LogView {
    /// The VM.
    pub vm: VmId,
    /// Its name.
    pub name: String,
    /// Which stream it is read from: what is left of an earlier one is nothing to it.
    pub stream: u64,
    /// The lines.
    pub lines: VecDeque<String>,
    /// The last row on the screen, if it stands still.
    pub bottom: Option<Place>,
    /// What is being searched for, while that is written.
    pub search: Option<Input>,
    /// What was searched for.
    pub needle: String,
    /// Where that was found last.
    pub found: Option<Match>,
    /// Whether no more comes.
    pub ended: bool,
    /// How many rows the screen had room for.
    pub page: usize,
    /// How many columns.
    pub width: usize,
    /// The bytes of all lines.
    bytes: usize,
    filter: Filter,
    /// What a new stream has brought, until it is known where that goes on.
    begun: Option<String>,
}

impl LogView {
    /// That of a VM, nothing of it seen yet.
    #[must_use]
    pub fn new(vm: VmId, name: String, stream: u64) -> Self {
        Self {
            vm,
            name,
            stream,
            lines: VecDeque::from([String::new()]),
            bottom: None,
            search: None,
            needle: String::new(),
            found: None,
            ended: false,
            page: 1,
            width: 80,
            bytes: 0,
            filter: Filter::default(),
            begun: None,
        }
    }

    /// Goes on with another stream. It brings the last lines again; the person keeps what is read.
    pub fn go_on(&mut self, stream: u64) {
        (self.stream, self.ended) = (stream, false);
        (self.filter, self.begun) = (Filter::default(), Some(String::new()));
    }

    /// Takes what the guest wrote.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut text = plain::text(&self.filter.push(bytes));
        if let Some(mut begun) = self.begun.take() {
            begun.push_str(&text);
            // One line at least is to be compared.
            if !begun.contains('\n') && begun.len() < LONGEST {
                self.begun = Some(begun);
                return;
            }
            self.join(&begun);
            text = begun;
        }
        self.append(&text);
    }

    /// No more comes from this stream.
    pub fn end(&mut self) {
        self.ended = true;
        if let Some(begun) = self.begun.take_if(|begun| !begun.is_empty()) {
            self.join(&begun);
            self.append(&begun);
        }
    }

    /// Takes the lines away that a new stream brings again; where it brings none of them, some are
    /// missing.
    fn join(&mut self, text: &str) {
        let new: Vec<&str> = text.split('\n').map(shortened).collect();
        let (Some((_, whole)), Some((last, old))) =
            (new.split_last(), self.lines.make_contiguous().split_last())
        else {
            return;
        };
        // The last of ours may have had no end yet.
        let goes_on = |from: &usize| {
            let old = &old[*from..];
            // Where no line has come whole, none is the same.
            let some = old.is_empty() || !whole.is_empty();
            let same = some && old.iter().zip(whole).all(|(old, new)| old == new);
            let begins = |new: &&str| new.starts_with(last.as_str());
            same && new.get(old.len()).is_none_or(begins)
        };
        let empty = old.is_empty() && last.is_empty();
        // Where only an empty line is left to compare, anything would do.
        let end = old.len() + usize::from(!last.is_empty());
        match (0..end).find(goes_on) {
            Some(from) => {
                self.lines.truncate(from);
                self.lines.push_back(String::new());
            }
            None if empty => {}
            None => {
                if !last.is_empty() {
                    self.lines.push_back(String::new());
                }
                self.append(&format!("{GAP}\n"));
            }
        }
        self.bytes = self.lines.iter().map(String::len).sum();
    }

    fn append(&mut self, text: &str) {
        for (i, part) in text.split('\n').enumerate() {
            if i > 0 {
                self.lines.push_back(String::new());
            }
            if let Some(line) = self.lines.back_mut() {
                let room = LONGEST.saturating_sub(line.len());
                let part = &part[..part.floor_char_boundary(room)];
                line.push_str(part);
                self.bytes += part.len();
            }
        }
        while self.lines.len() > KEPT || self.bytes > MOST {
            let Some(line) = self.lines.pop_front() else { return };
            self.bytes -= line.len();
            self.bottom = self.bottom.map(Place::line_before);
            self.found = self.found.take().and_then(Match::line_before);
        }
    }

    /// Whether it goes on with what comes.
    #[must_use]
    pub fn follows(&self) -> bool {
        self.bottom.is_none()
    }
}

/// As much of a line as is kept.
fn shortened(line: &str) -> &str {
    &line[..line.floor_char_boundary(LONGEST)]
}

#[cfg(test)]
fn log(text: &str) -> LogView {
    let mut log = LogView::new(VmId::from_bits(1), "dev".to_owned(), 1);
    log.push(text.as_bytes());
    log
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_and_without_colours() {
        let mut log = log("one\r\ntw");
        log.push(b"o \x1b[31mred\x1b[0m\tx\n");
        assert_eq!(log.lines, ["one", "two red    x", ""]);
    }

    #[test]
    fn it_does_not_grow_for_ever() {
        let mut log = log(&"a line\n".repeat(3 * KEPT));
        assert_eq!(log.lines.len(), KEPT);
        // In one piece, or in many; not even a character is cut.
        log.push("é".repeat(40_000).as_bytes());
        assert_eq!(log.lines.back().unwrap().len(), LONGEST);
        log.push(b"\nx");
        (0..1000).for_each(|_| log.push(&[b'x'; 100]));
        log.push("é".as_bytes());
        assert_eq!(log.lines.back().unwrap().len(), LONGEST);
        let long = "x".repeat(2 * LONGEST) + "\n";
        (0..KEPT).for_each(|_| log.push(long.as_bytes()));
        let bytes: usize = log.lines.iter().map(String::len).sum();
        assert!(bytes <= MOST && bytes + LONGEST > MOST, "{bytes}");
        assert_eq!(bytes, log.bytes);
    }

    #[test]
    fn another_stream_goes_on_where_the_first_broke() {
        let joined = |old: &str, new: &[&str]| {
            let mut log = log(old);
            log.go_on(2);
            new.iter().for_each(|part| log.push(part.as_bytes()));
            assert_eq!(log.bytes, log.lines.iter().map(String::len).sum::<usize>());
            Vec::from(log.lines).join("|")
        };
        assert_eq!(joined("1\n2\n3\n", &["2\n3\n4\n"]), "1|2|3|4|");
        assert_eq!(joined("1\n2\n3\n", &["1\n2\n"]), "1|2|");
        assert_eq!(joined("1\n2\n3\n", &["2", "\n3\n", "4\n"]), "1|2|3|4|");
        assert_eq!(joined("1\n2\nlog", &["2\nlogin: "]), "1|2|login: ");
        assert_eq!(joined("1\nlog", &["login: root\n"]), "1|login: root|");
        assert_eq!(joined("", &["1\n2"]), "1|2");
        // It has forgotten those, or they were never seen: then both stay.
        assert_eq!(joined("1\n2\n", &["8\n9\n"]), format!("1|2|{GAP}|8|9|"));
        assert_eq!(joined("1\n2", &["8\n9\n"]), format!("1|2|{GAP}|8|9|"));
        // Nothing came yet.
        assert_eq!(joined("1\n2\n", &["2"]), "1|2|");
    }

    #[test]
    fn what_a_short_stream_brought_is_not_lost() {
        let mut log = log("1\n");
        log.go_on(2);
        log.push(b"1\n2");
        log.end();
        assert!(log.ended);
        assert_eq!(log.lines, ["1", "2"]);
    }
}
