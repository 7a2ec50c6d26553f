//! What guests, scripts and strangers say, made plain where it comes in: a terminal obeys some of
//! it, and shows the rest as garbage.

use banger_core::console::{Filter, without_sequences};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Text without colours, characters that control, and marks of direction; its tabs as spaces.
#[must_use]
pub fn text(text: &str) -> String {
    if !text.contains(is_odd) {
        return text.to_owned();
    }
    // The filter takes whole strings away (titles, clipboards), and leaves colours.
    let text = without_sequences(&Filter::default().push(text.as_bytes()));
    text.replace('\t', "    ").replace(|c| c != '\n' && is_odd(c), "")
}

fn is_odd(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{61c}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The same with plain text in all its strings, so that no field is forgotten.
#[must_use]
pub fn all<T: Serialize + DeserializeOwned>(what: T) -> T {
    let Ok(mut value) = serde_json::to_value(&what) else { return what };
    if !clean(&mut value) {
        return what;
    }
    // Only strings changed. None of those that have a form of their own (ids, names) can be odd.
    serde_json::from_value(value).unwrap_or(what)
}

/// Makes strings plain; whether any was not.
fn clean(value: &mut Value) -> bool {
    match value {
        Value::String(string) if string.contains(is_odd) => {
            *string = text(string);
            true
        }
        // All are to be cleaned, not those up to the first.
        Value::Array(values) => values.iter_mut().fold(false, |odd, value| clean(value) | odd),
        Value::Object(map) => map.values_mut().fold(false, |odd, value| clean(value) | odd),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use banger_core::operation::{Event, EventKind, Failure, Outcome};

    use super::*;

    #[test]
    fn text_of_strangers_is_only_text() {
        for (said, shown) in [
            ("\u{1b}[1;32mgreen\u{1b}[0m\tand\u{7} \u{202e}back\n", "green    and back\n"),
            ("\u{1b}]0;title\u{7}\u{1b}(Bplain\u{1b}[?25l", "plain"),
            ("a\u{1b}]52;c;eA==\u{7}b\u{9b}31m", "ab31m"),
            ("two\r\nlines", "two\nlines"),
            ("nothing odd — 開発", "nothing odd — 開発"),
        ] {
            assert_eq!(text(said), shown, "{said:?}");
        }
    }

    #[test]
    fn no_field_is_forgotten() {
        let odd = || "\u{1b}[31mred\u{1b}[0m".to_owned();
        let failure = Failure {
            message: odd(),
            rollback: vec![odd(), odd()],
            console: odd(),
            remedy: Some(odd()),
        };
        let event = Event {
            seq: u64::MAX,
            operation: None,
            at_ms: 1,
            kind: EventKind::Finished { outcome: Outcome::Failed { failure } },
        };
        let plain = all(event.clone());
        let EventKind::Finished { outcome: Outcome::Failed { failure } } = plain.kind else {
            panic!("{plain:?}");
        };
        let red = || "red".to_owned();
        let expected = Failure {
            message: red(),
            rollback: vec![red(), red()],
            console: red(),
            remedy: Some(red()),
        };
        assert_eq!((plain.seq, failure), (event.seq, expected));
    }
}
