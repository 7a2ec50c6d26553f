//! Moving in a log, by the rows that its lines take on the screen.

use super::super::view::wrap;
use super::LogView;

/// A row of a line, both from 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// Which of its rows.
    pub row: usize,
}

impl Place {
    /// The same place once the first line is gone.
    pub(super) fn line_before(self) -> Self {
        Self { line: self.line.saturating_sub(1), ..self }
    }
}

impl LogView {
    /// How many rows a line takes.
    fn rows(&self, line: usize) -> usize {
        self.lines.get(line).map_or(1, |text| wrap(text, self.width).len())
    }

    /// The row of a line that has the byte at `at`.
    pub(super) fn row_of(&self, line: usize, at: usize) -> Place {
        let mut end = 0;
        let text = self.lines.get(line).map_or("", String::as_str);
        let before = |part: &&&str| {
            end += part.len();
            end <= at
        };
        let row = wrap(text, self.width).iter().take_while(before).count();
        Place { line, row: row.min(self.rows(line) - 1) }
    }

    /// The last row of all.
    fn end_row(&self) -> Place {
        let line = self.lines.len().saturating_sub(1);
        Place { line, row: self.rows(line) - 1 }
    }

    /// So many rows above a place, or the first.
    #[must_use]
    pub fn above(&self, from: Place, rows: usize) -> Place {
        let (mut at, mut left) = (from, rows);
        while left > at.row {
            let Some(line) = at.line.checked_sub(1) else { return Place::default() };
            left -= at.row + 1;
            at = Place { line, row: self.rows(line) - 1 };
        }
        Place { row: at.row - left, ..at }
    }

    /// So many rows beneath a place, or the last.
    pub(super) fn beneath(&self, from: Place, rows: usize) -> Place {
        let (mut at, mut left) = (from, rows);
        loop {
            let more = (self.rows(at.line) - 1).saturating_sub(at.row);
            if left <= more {
                return Place { row: at.row + left, ..at };
            }
            if at.line + 1 >= self.lines.len() {
                return self.end_row();
            }
            left -= more + 1;
            at = Place { line: at.line + 1, row: 0 };
        }
    }

    /// The last row of the first screen.
    fn least(&self) -> Place {
        self.beneath(Place::default(), self.page.saturating_sub(1))
    }

    /// The last row on the screen: as long as there is enough, the screen is full.
    #[must_use]
    pub fn last(&self) -> Place {
        let end = self.end_row();
        let Some(bottom) = self.bottom else { return end };
        // It may have another width since.
        let row = bottom.row.min(self.rows(bottom.line) - 1);
        Place { row, ..bottom }.max(self.least()).min(end)
    }

    /// The first row on the screen.
    #[must_use]
    pub fn top(&self) -> Place {
        self.above(self.last(), self.page.saturating_sub(1))
    }

    /// Moves by so many rows; at the end it follows.
    pub fn scroll(&mut self, by: isize) {
        let from = self.last();
        if by < 0 {
            let to = self.above(from, by.unsigned_abs()).max(self.least());
            // Where nothing is above, nothing moves.
            if to < from {
                self.bottom = Some(to);
            }
        } else {
            let to = self.beneath(from, by.unsigned_abs());
            self.bottom = (to < self.end_row()).then_some(to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::log;
    use super::*;

    fn at(line: usize, row: usize) -> Option<Place> {
        Some(Place { line, row })
    }

    #[test]
    fn it_follows_until_one_scrolls_and_again_at_the_end() {
        let mut log = log(&"x\n".repeat(100));
        log.page = 10;
        assert!(log.follows());
        log.scroll(-5);
        assert_eq!(log.bottom, at(95, 0));
        log.push(b"y\n");
        assert_eq!(Some(log.last()), at(95, 0));
        log.scroll(-1000);
        assert_eq!(log.bottom, at(9, 0));
        log.scroll(1000);
        assert!(log.follows());
    }

    #[test]
    fn lines_that_are_wrapped_are_passed_row_by_row() {
        // Four rows each, the last of a line one column wide.
        let mut log = log(&"0123456789\n".repeat(20));
        (log.page, log.width) = (6, 3);
        log.scroll(-1);
        assert_eq!((Some(log.top()), log.bottom), (at(18, 2), at(19, 3)));
        // A page up, and down again.
        log.scroll(-6);
        assert_eq!((Some(log.top()), log.bottom), (at(17, 0), at(18, 1)));
        log.scroll(6);
        assert_eq!(log.bottom, at(19, 3));
        log.scroll(isize::MIN / 2);
        assert_eq!((Some(log.top()), log.bottom), (at(0, 0), at(1, 1)));
        log.scroll(1);
        assert_eq!(Some(log.top()), at(0, 1));
        // In a wider window the same line is at the bottom.
        log.scroll(7);
        assert_eq!(log.bottom, at(3, 1));
        (log.page, log.width) = (2, 80);
        assert_eq!(Some(log.last()), at(3, 0));
        log.scroll(isize::MAX / 2);
        assert!(log.follows());
    }

    #[test]
    fn where_all_fits_nothing_moves() {
        let mut log = log("1\n2\n");
        log.page = 10;
        log.scroll(-1);
        assert!(log.follows());
        log.bottom = Some(Place::default());
        assert_eq!((Some(log.top()), Some(log.last())), (at(0, 0), at(2, 0)));
    }
}
