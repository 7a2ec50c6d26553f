//! The last lines of what programs said.

use std::collections::VecDeque;

/// How many lines are kept.
const LINES: usize = 500;
/// How many bytes they may have in all.
const BYTES: usize = 64 << 10;
/// The longest line, in bytes: one without an end is cut there.
const LONGEST: usize = 4 << 10;

/// The last lines of an output; those before are counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tail {
    lines: VecDeque<String>,
    bytes: usize,
    forgotten: u64,
}

impl Tail {
    /// Takes a line.
    pub fn push(&mut self, line: &str) {
        let line = &line[..line.floor_char_boundary(LONGEST)];
        self.bytes += line.len();
        self.lines.push_back(line.to_owned());
        while self.lines.len() > LINES || self.bytes > BYTES {
            self.drop_first();
        }
    }

    /// Forgets the lines, though not how many they were.
    pub fn forget(&mut self) {
        self.forgotten += self.lines.len() as u64;
        // The room goes, too.
        (self.lines, self.bytes) = Default::default();
    }

    /// The lines that are kept.
    pub fn lines(&self) -> impl DoubleEndedIterator<Item = &str> + ExactSizeIterator {
        self.lines.iter().map(String::as_str)
    }

    /// How many lines there were before.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn drop_first(&mut self) {
        if let Some(line) = self.lines.pop_front() {
            self.bytes -= line.len();
            self.forgotten += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_not_grow_for_ever() {
        let mut tail = Tail::default();
        (0..2000).for_each(|i| tail.push(&format!("line {i}")));
        assert_eq!((tail.lines().len(), tail.forgotten()), (LINES, 1500));
        assert_eq!(tail.lines().next_back(), Some("line 1999"));
        // Few, but long.
        (0..2000).for_each(|_| tail.push(&"é".repeat(LONGEST)));
        assert_eq!(tail.bytes, tail.lines().map(str::len).sum::<usize>());
        assert_eq!((tail.bytes, tail.lines().len()), (BYTES, BYTES / LONGEST));
    }

    #[test]
    fn what_is_forgotten_is_counted() {
        let mut tail = Tail::default();
        tail.push("one");
        tail.push("two");
        tail.forget();
        tail.push("three");
        assert_eq!((tail.lines().collect::<Vec<_>>(), tail.forgotten()), (vec!["three"], 2));
    }
}
