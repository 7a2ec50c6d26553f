//! What a guest wrote, made safe to show: a console can hold anything, and a
//! terminal obeys some of it.

/// The longest colour escape that is let through, in characters.
const LONGEST: usize = 32;

/// Lets text, line ends, tabs and colours through, and nothing else that a
/// terminal would obey. Bytes may come cut anywhere.
#[derive(Debug, Default)]
pub struct Filter {
    state: State,
    /// The start of a character whose end has not come.
    partial: Vec<u8>,
    coloured: bool,
}

/// Where the text is, by ECMA-48.
#[derive(Debug, Default)]
enum State {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// In a control sequence: its parameters.
    Control(String),
    /// In a string that the terminal would take (a title, a clipboard).
    Quoted,
}

impl Filter {
    /// What of these bytes may be shown.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.partial.extend_from_slice(bytes);
        let bytes = std::mem::take(&mut self.partial);
        let whole = bytes.len() - unfinished(&bytes);
        self.partial = bytes[whole..].to_vec();
        let mut out = String::new();
        for c in String::from_utf8_lossy(&bytes[..whole]).chars() {
            self.take(c, &mut out);
        }
        out
    }

    /// What leaves the terminal as it was.
    #[must_use]
    pub fn end(&self) -> &'static str {
        if self.coloured { "\x1b[0m" } else { "" }
    }

    fn take(&mut self, c: char, out: &mut String) {
        // A line's end ends whatever was begun: a guest must not hide what comes after.
        if c == '\n' {
            self.state = State::Text;
            out.push(c);
            return;
        }
        self.state = match (std::mem::take(&mut self.state), c) {
            (_, '\x1b') => State::Escape,
            (State::Escape, '[') => State::Control(String::new()),
            (State::Escape, ']' | 'P' | 'X' | '^' | '_') => State::Quoted,
            // Some escapes have more bytes before their last.
            (State::Escape, ' '..='/') => State::Escape,
            (State::Escape, _) | (State::Quoted, '\x07') => State::Text,
            (State::Quoted, _) => State::Quoted,
            (State::Control(mut parameters), ' '..='?') => {
                // One too many is enough to be refused.
                if parameters.len() <= LONGEST {
                    parameters.push(c);
                }
                State::Control(parameters)
            }
            (State::Control(parameters), 'm') => {
                self.colour(&parameters, out);
                State::Text
            }
            (State::Control(_), _) => State::Text,
            (State::Text, c) => {
                if c == '\t' || !c.is_control() {
                    out.push(c);
                }
                State::Text
            }
        };
    }

    fn colour(&mut self, parameters: &str, out: &mut String) {
        let plain = |c: char| c.is_ascii_digit() || c == ';' || c == ':';
        if parameters.len() <= LONGEST && parameters.chars().all(plain) {
            self.coloured = true;
            out.push_str("\x1b[");
            out.push_str(parameters);
            out.push('m');
        }
    }
}

/// How many bytes at the end are the start of a character that is not whole.
fn unfinished(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let byte = bytes[bytes.len() - back];
        let length = match byte {
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf7 => 4,
            0x80..=0xbf => continue,
            _ => return 0,
        };
        return if length > back { back } else { 0 };
    }
    0
}

/// Text without the sequences by which terminals are told of colours, characters and the like
/// (ECMA-48, 5.4; ECMA-35, 13.2). Other control characters stay.
#[must_use]
pub fn without_sequences(text: &str) -> String {
    let mut pieces = text.split('\u{1b}');
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let behind = match piece.split_at_checked(1) {
            Some(("[", sequence)) => {
                sequence.split_once(|c| matches!(c, '@'..='~')).map_or("", |(_, behind)| behind)
            }
            Some(("(" | ")", set)) => set.get(1..).unwrap_or_default(),
            _ => piece,
        };
        plain.push_str(behind);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn show(bytes: &[u8]) -> String {
        Filter::default().push(bytes)
    }

    #[test]
    fn text_and_colours_pass() {
        let line = "[\x1b[0;32m  OK  \x1b[0m] Started\tcafé — sshd\n";
        assert_eq!(show(line.as_bytes()), line);
        assert_eq!(show(b"\x1b[38;2;1;2;3mx\x1b[m"), "\x1b[38;2;1;2;3mx\x1b[m");
    }

    #[test]
    fn what_a_terminal_would_obey_does_not() {
        let all: [(&[u8], &str); 10] = [
            (b"a\r\nb\x07\x08\x00c", "a\nbc"),
            (b"\x1b[2J\x1b[1;1Hclear", "clear"),
            (b"\x1b]0;title\x07after", "after"),
            (b"\x1b]52;c;ZXZpbA==\x1b\\after", "after"),
            (b"\x1bPq#0\x1b\\after", "after"),
            (b"\x1bc\x1b(B\x1b#8after", "after"),
            // The keyboard's mode, which ends as a colour does.
            (b"\x1b[>4;2mafter", "after"),
            // Eight-bit controls, as UTF-8 and bare.
            ("\u{9b}2Jafter".as_bytes(), "2Jafter"),
            (b"\x9b2Jafter", "\u{fffd}2Jafter"),
            // A string that does not end hides no line but its own.
            (b"\x1b]0;never ends\nafter", "\nafter"),
        ];
        for (bytes, expected) in all {
            assert_eq!(show(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn the_terminal_is_left_without_colour() {
        let mut filter = Filter::default();
        filter.push(b"plain");
        assert_eq!(filter.end(), "");
        filter.push(b"\x1b[31mred");
        assert_eq!(filter.end(), "\x1b[0m");
    }

    fn output() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..60),
            "(\x1b[\\[\\]cP]|[0-9;m]|é|€|\n|\x07){0,30}".prop_map(String::into_bytes),
        ]
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_bytes_are_cut(mut bytes in output(), size in 1_usize..7) {
            bytes.push(b'\n');
            let mut filter = Filter::default();
            let cut: String = bytes.chunks(size).map(|chunk| filter.push(chunk)).collect();
            prop_assert_eq!(&cut, &show(&bytes));
            let mut rest = cut.chars();
            while let Some(c) = rest.next() {
                if c == '\x1b' {
                    let sequence: String = rest.by_ref().take_while(|c| *c != 'm').collect();
                    let inner = sequence.strip_prefix('[');
                    prop_assert!(inner.is_some_and(|p| p.chars().all(|c| "0123456789;:".contains(c))));
                } else {
                    prop_assert!(c == '\n' || c == '\t' || !c.is_control());
                }
            }
        }
    }
}
