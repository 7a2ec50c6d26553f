//! Searching a log.

use std::ops::Range;

use super::{LogView, Place};

/// A place that has what was searched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Its line, from 0.
    pub line: usize,
    /// Its first byte in there.
    pub start: usize,
    /// Which one it was when it was found, from 1.
    pub number: usize,
    /// Of how many.
    pub count: usize,
}

impl Match {
    /// The same once the first line is gone; nothing if it was in there.
    pub(super) fn line_before(self) -> Option<Self> {
        Some(Self { line: self.line.checked_sub(1)?, ..self })
    }
}

impl LogView {
    /// Searches from the screen on for something else, upwards: what was last is looked for more
    /// often. As [`Self::find`].
    pub fn search_for(&mut self, needle: &str) -> Option<bool> {
        self.forget_search();
        self.needle = needle.to_owned();
        self.find(true)
    }

    /// Searches for nothing any more; whether it did.
    pub fn forget_search(&mut self) -> bool {
        self.found = None;
        !std::mem::take(&mut self.needle).is_empty()
    }

    /// Goes to the next place with the text, further up or further down. Whether it went round by
    /// the other end; nothing if it is nowhere.
    pub fn find(&mut self, up: bool) -> Option<bool> {
        let all: Vec<(usize, usize)> = self
            .lines
            .iter()
            .enumerate()
            .flat_map(|(i, line)| {
                matches(line, &self.needle).into_iter().map(move |m| (i, m.start))
            })
            .collect();
        let (top, bottom) = (self.top(), self.last());
        // From where it was found last, or from the screen, if one has left that.
        let here = self
            .found
            .as_ref()
            .filter(|found| (top..=bottom).contains(&self.row_of(found.line, found.start)));
        let to = match (here, up) {
            (Some(here), true) => all.partition_point(|at| *at < (here.line, here.start)),
            (Some(here), false) => all.partition_point(|at| *at <= (here.line, here.start)),
            (None, true) => all.partition_point(|at| self.row_of(at.0, at.1) <= bottom),
            (None, false) => all.partition_point(|at| self.row_of(at.0, at.1) < top),
        };
        let to = if up { to.checked_sub(1) } else { Some(to).filter(|to| *to < all.len()) };
        let number = to.unwrap_or(if up { all.len().checked_sub(1)? } else { 0 });
        let (line, start) = *all.get(number)?;
        self.found = Some(Match { line, start, number: number + 1, count: all.len() });
        // In the middle, with what is around it.
        let row: Place = self.row_of(line, start);
        self.bottom = Some(self.beneath(row, self.page / 2));
        Some(to.is_none())
    }
}

/// Where a text is in a line, in upper or lower case.
#[must_use]
pub fn matches(line: &str, needle: &str) -> Vec<Range<usize>> {
    if needle.is_empty() {
        return Vec::new();
    }
    // Lower case may be of another length: for each of its bytes, the character that it is of.
    let (mut lower, mut of) = (String::with_capacity(line.len()), Vec::new());
    for (at, c) in line.char_indices() {
        lower.extend(c.to_lowercase());
        of.resize(lower.len(), at..at + c.len_utf8());
    }
    let needle: String = needle.chars().flat_map(char::to_lowercase).collect();
    lower
        .match_indices(&needle)
        .filter_map(|(at, _)| Some(of.get(at)?.start..of.get(at + needle.len() - 1)?.end))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::log;
    use super::*;

    #[test]
    fn a_search_goes_up_and_round() {
        let mut log = log("Boot\nagent\nboot again, boot\n");
        log.page = 2;
        assert_eq!(log.search_for("boot"), Some(false));
        let mut found = |up| {
            let round = log.find(up);
            let found = log.found.as_ref().unwrap();
            (round, found.line, found.start, found.number)
        };
        assert_eq!(found(true), (Some(false), 2, 0, 2));
        assert_eq!(found(true), (Some(false), 0, 0, 1));
        assert_eq!(found(true), (Some(true), 2, 12, 3));
        assert_eq!(found(false), (Some(true), 0, 0, 1));
        assert_eq!(found(false), (Some(false), 2, 0, 2));
        assert_eq!(log.found.as_ref().unwrap().count, 3);
        assert_eq!(log.search_for("none"), None);
        assert_eq!((log.find(true), log.found.clone()), (None, None));
        assert!(log.forget_search() && !log.forget_search());
    }

    #[test]
    fn what_is_found_has_lines_around_it() {
        let text: String = (0..100).map(|i| format!("{i} of them\n")).collect();
        let mut log = log(&text);
        log.page = 11;
        log.search_for("50 of");
        assert_eq!((log.top().line, log.last().line), (45, 55));
        // Near an end the screen is full.
        log.search_for("0 of");
        assert_eq!(log.found.as_ref().map(|found| found.line), Some(50));
        (0..5).for_each(|_| assert_eq!(log.find(true), Some(false)));
        assert_eq!((log.top().line, log.last().line), (0, 10));
        // Who has gone elsewhere goes on from there.
        log.scroll(75);
        log.find(true);
        assert_eq!(log.found.as_ref().map(|found| found.line), Some(80));
    }

    #[test]
    fn a_match_in_a_long_line_is_on_the_screen() {
        let mut log = log(&format!("{}needle{}\nend\n", "x".repeat(1000), "y".repeat(1000)));
        (log.page, log.width) = (5, 10);
        log.search_for("NEEDLE");
        assert_eq!((log.top().row, log.last().row), (98, 102));
        // It goes along as the first lines are dropped.
        log.found = log.found.take().and_then(Match::line_before);
        assert_eq!(log.found, None);
    }

    #[test]
    fn case_does_not_matter_and_places_are_those_of_the_line() {
        assert_eq!(matches("Boot boot", "bOOt"), [0..4, 5..9]);
        // Its lower case is a byte longer.
        assert_eq!(matches("İx ÄX", "x"), [2..3, 6..7]);
        assert_eq!(matches("ÄX äx", "äx"), [0..3, 4..7]);
        assert_eq!(matches("İi", "i"), [0..2, 2..3]);
        assert_eq!(matches("x", ""), []);
    }
}
