//! What pages are made of.

pub mod chart;
pub mod host;
pub mod operation;
pub mod vm;

use banger_core::console::without_sequences;
use banger_core::duration::duration;
use banger_core::size::Size;
use maud::{Markup, html};

/// Text of a guest or a stranger, without colours, and without what a browser would take for
/// direction marks and the like.
pub fn plain(text: &str) -> String {
    let odd = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t'))
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{61c}')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    without_sequences(text).replace(odd, "")
}

#[cfg(test)]
#[test]
fn text_of_strangers_is_only_text() {
    assert_eq!(plain("\u{1b}[1;32mgreen\u{1b}[0m\tand\u{7} \u{202e}back\n"), "green\tand back\n");
    assert_eq!(plain("\u{1b}]0;title\u{7}\u{1b}(B\u{1b}[\u{200f}"), "]0;title");
}

/// A number of bytes.
pub fn bytes(n: u64) -> String {
    Size::bytes(n).to_string()
}

/// How long ago that was, at `now`; both in seconds.
pub fn since(at: u64, now: u64) -> String {
    duration(now.saturating_sub(at) * 1000)
}

/// Names with their values.
pub fn facts<const N: usize>(all: [(&str, Markup); N]) -> Markup {
    html! {
        dl.facts {
            @for (name, value) in all {
                div { dt { (name) } dd { (value) } }
            }
        }
    }
}
