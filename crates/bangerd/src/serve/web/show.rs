//! What pages are made of.

pub mod chart;
pub mod host;
pub mod operation;
pub mod vm;

use banger_core::duration::duration;
use banger_core::size::Size;
use maud::{Markup, html};

/// Text of a guest or a stranger, without what a browser would take for direction marks and the
/// like.
pub fn plain(text: &str) -> String {
    let odd = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t'))
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.replace(odd, "")
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
