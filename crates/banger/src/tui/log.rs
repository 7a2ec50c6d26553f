//! A VM's serial console on the screen.

use std::collections::VecDeque;

use banger_core::console::Filter;
use banger_core::id::VmId;
use tui_input::Input;

/// How many lines are kept.
const KEPT: usize = 5000;
/// The longest line: one without an end must not grow for ever.
const LONGEST: usize = 4096;

/// The log of one VM, and where the person is in it.
#[derive(Debug)]
pub struct LogView {
    /// The VM.
    pub vm: VmId,
    /// Its name.
    pub name: String,
    /// The lines.
    pub lines: VecDeque<String>,
    /// The last line on the screen, if it stands still.
    pub bottom: Option<usize>,
    /// What is being searched for, while that is written.
    pub search: Option<Input>,
    /// What was searched for.
    pub needle: String,
    /// Whether no more comes.
    pub ended: bool,
    /// How many lines the screen had room for.
    pub page: usize,
    filter: Filter,
}

impl LogView {
    /// That of a VM, nothing of it seen yet.
    #[must_use]
    pub fn new(vm: VmId, name: String) -> Self {
        Self {
            vm,
            name,
            lines: VecDeque::from([String::new()]),
            bottom: None,
            search: None,
            needle: String::new(),
            ended: false,
            page: 1,
            filter: Filter::default(),
        }
    }

    /// Forgets what was written so far, which comes again; of which VM.
    pub fn begin_anew(&mut self) -> VmId {
        let fresh = Self::new(self.vm.clone(), std::mem::take(&mut self.name));
        let (needle, search) = (std::mem::take(&mut self.needle), self.search.take());
        *self = Self { needle, search, page: self.page, ..fresh };
        self.vm.clone()
    }

    /// Takes what the guest wrote.
    pub fn push(&mut self, bytes: &[u8]) {
        let text = plain(&self.filter.push(bytes));
        for (i, part) in text.split('\n').enumerate() {
            if i > 0 {
                self.lines.push_back(String::new());
            }
            if let Some(line) = self.lines.back_mut()
                && line.len() < LONGEST
            {
                line.push_str(part);
            }
        }
        while self.lines.len() > KEPT {
            self.lines.pop_front();
            self.bottom = self.bottom.map(|bottom| bottom.saturating_sub(1));
        }
    }

    /// The last line on the screen.
    #[must_use]
    pub fn last(&self) -> usize {
        let end = self.lines.len().saturating_sub(1);
        self.bottom.map_or(end, |bottom| bottom.min(end))
    }

    /// Moves by so many lines; at the end it follows.
    pub fn scroll(&mut self, by: isize) {
        let end = self.lines.len().saturating_sub(1);
        let to = self.last().saturating_add_signed(by);
        self.bottom = (to < end).then_some(to.max(self.page.saturating_sub(1).min(end)));
    }

    /// Whether it goes on with what comes.
    #[must_use]
    pub fn follows(&self) -> bool {
        self.bottom.is_none()
    }

    /// Goes to the next line with the text, or to the one before; whether there is any.
    pub fn find(&mut self, back: bool) -> bool {
        let needle = self.needle.to_lowercase();
        let count = self.lines.len();
        if needle.is_empty() || count == 0 {
            return false;
        }
        let from = self.last();
        let step = |i: usize| {
            if back { (from + count - i) % count } else { (from + i) % count }
        };
        let has = |line: &usize| {
            self.lines.get(*line).is_some_and(|line| line.to_lowercase().contains(&needle))
        };
        let found = (1..=count).map(step).find(has);
        if let Some(line) = found {
            self.bottom = Some(line);
        }
        found.is_some()
    }
}

/// Text without colours, its tabs as spaces.
fn plain(text: &str) -> String {
    let (mut out, mut escape) = (String::with_capacity(text.len()), false);
    for c in text.chars() {
        match c {
            '\x1b' => escape = true,
            _ if escape => escape = !c.is_ascii_alphabetic(),
            '\t' => out.push_str("    "),
            '\r' => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(text: &str) -> LogView {
        let mut log = LogView::new(VmId::from_bits(1), "dev".to_owned());
        log.push(text.as_bytes());
        log
    }

    #[test]
    fn lines_come_whole_and_without_colours() {
        let mut log = log("one\r\ntw");
        log.push(b"o \x1b[31mred\x1b[0m\tx\n");
        assert_eq!(log.lines, ["one", "two red    x", ""]);
    }

    #[test]
    fn it_follows_until_one_scrolls_and_again_at_the_end() {
        let mut log = log(&"x\n".repeat(100));
        log.page = 10;
        assert!(log.follows());
        log.scroll(-5);
        assert_eq!(log.bottom, Some(95));
        log.push(b"y\n");
        assert_eq!(log.last(), 95);
        log.scroll(-1000);
        assert_eq!(log.bottom, Some(9));
        log.scroll(1000);
        assert!(log.follows());
    }

    #[test]
    fn a_search_goes_round() {
        let mut log = log("Boot\nagent\nboot again\n");
        log.needle = "boot".to_owned();
        let mut found = |back| log.find(back).then(|| log.last());
        assert_eq!([found(false), found(false), found(false)], [Some(0), Some(2), Some(0)]);
        assert_eq!(found(true), Some(2));
        log.needle = "none".to_owned();
        assert!(!log.find(false));
    }

    #[test]
    fn it_does_not_grow_for_ever() {
        let mut log = log(&"a line\n".repeat(3 * KEPT));
        assert_eq!(log.lines.len(), KEPT);
        log.push("x".repeat(100).as_bytes());
        (0..1000).for_each(|_| log.push(&[b'x'; 100]));
        assert!(log.lines.back().unwrap().len() <= LONGEST + 100);
    }
}
