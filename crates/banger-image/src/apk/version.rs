//! Versions and their order.
//!
//! `number{.number}…{letter}{_suffix{number}}…{~hash}{-rnumber}` (apk-package(5), "version").

use std::cmp::Ordering;
use std::fmt;

/// What a version may be long, in bytes. The longest in Alpine have some fifty.
const LONGEST: usize = 256;

/// The suffixes of what comes before a release, in their order, and of what comes after one.
const BEFORE: [&str; 4] = ["alpha", "beta", "pre", "rc"];
const AFTER: [&str; 5] = ["cvs", "svn", "git", "hg", "p"];

/// A version of a package.
///
/// Some provided names have versions that break the grammar, and apk compares those up to where
/// they do. So does this; [`Version::is_valid`] tells them apart. Versions that compare as equal
/// may be written differently: `01` and `1`.
#[derive(Debug, Clone)]
pub struct Version(Box<str>);

/// Text that no version can be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a version")]
pub struct InvalidVersion(pub String);

/// A part of a version, as it compares: a part of a later variant is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part<'a> {
    /// A suffix that makes it less than the version without it.
    Before(usize),
    /// What breaks the grammar; it ends there.
    Invalid,
    End,
    Revision(Number<'a>),
    Hash(&'a str),
    SuffixNumber(Number<'a>),
    After(usize),
    Letter(u8),
    /// A number behind a dot that begins with a zero: compared as text, for it is a fraction.
    Fraction(&'a str),
    Next(Number<'a>),
    First(Number<'a>),
}

/// Digits without leading zeros, compared as a number of any size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Number<'a> {
    length: usize,
    digits: &'a str,
}

impl<'a> Number<'a> {
    fn new(digits: &'a str) -> Self {
        let digits = digits.trim_start_matches('0');
        Self { length: digits.len(), digits }
    }
}

/// The parts of a version; the last one is its end or what is invalid.
struct Parts<'a> {
    rest: &'a str,
    last: Option<Part<'a>>,
}

impl<'a> Parts<'a> {
    fn take(&mut self, fits: impl Fn(u8) -> bool) -> &'a str {
        let end = self.rest.bytes().position(|byte| !fits(byte)).unwrap_or(self.rest.len());
        // What fits is ASCII, so this is a boundary.
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn number(&mut self) -> Option<&'a str> {
        Some(self.take(|byte| byte.is_ascii_digit())).filter(|digits| !digits.is_empty())
    }

    /// The next part, if the grammar allows it behind the last one.
    fn part(&mut self) -> Option<Part<'a>> {
        use Part::{After, Before, First, Fraction, Hash, Letter, Next, Revision, SuffixNumber};
        let Some(last) = self.last else {
            return self.number().map(|digits| First(Number::new(digits)));
        };
        let digits = matches!(last, First(_) | Next(_) | Fraction(_));
        let suffix = matches!(last, Before(_) | After(_));
        let suffixed = suffix || matches!(last, SuffixNumber(_));
        let lettered = digits || matches!(last, Letter(_));
        match self.rest.bytes().next() {
            None => return Some(Part::End),
            Some(b'0'..=b'9') if suffix => {
                return self.number().map(|digits| SuffixNumber(Number::new(digits)));
            }
            Some(letter @ b'a'..=b'z') if digits => {
                self.rest = self.rest.get(1..)?;
                return Some(Letter(letter));
            }
            _ => {}
        }
        if let Some(rest) = self.rest.strip_prefix('.').filter(|_| digits) {
            self.rest = rest;
            let digits = self.number()?;
            let fraction = digits.starts_with('0');
            return Some(if fraction { Fraction(digits) } else { Next(Number::new(digits)) });
        }
        if let Some(rest) = self.rest.strip_prefix('_').filter(|_| lettered || suffixed) {
            self.rest = rest;
            let name = self.take(|byte| byte.is_ascii_lowercase());
            let find = |list: &[&str]| list.iter().position(|suffix| *suffix == name);
            return find(&BEFORE).map(Before).or_else(|| find(&AFTER).map(After));
        }
        if let Some(rest) = self.rest.strip_prefix('~').filter(|_| lettered || suffixed) {
            self.rest = rest;
            let hash = self.take(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            return Some(hash).filter(|hash| !hash.is_empty()).map(Hash);
        }
        let hashed = lettered || suffixed || matches!(last, Hash(_));
        self.rest = self.rest.strip_prefix("-r").filter(|_| hashed)?;
        self.number().map(|digits| Revision(Number::new(digits)))
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        if matches!(self.last, Some(Part::End | Part::Invalid)) {
            return None;
        }
        self.last = Some(self.part().unwrap_or(Part::Invalid));
        self.last
    }
}

impl Version {
    /// Takes a text as a version.
    ///
    /// # Errors
    ///
    /// It is empty, has more than 256 bytes, or something that cannot be in a file's name or a
    /// list: a space, a slash, a character that is not printable ASCII.
    pub fn new(text: &str) -> Result<Self, InvalidVersion> {
        let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'/';
        if text.is_empty() || text.len() > LONGEST || !text.bytes().all(fits) {
            return Err(InvalidVersion(text.chars().take(LONGEST).collect()));
        }
        Ok(Self(text.into()))
    }

    /// Whether it is one by the grammar.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        !self.parts().any(|part| part == Part::Invalid)
    }

    /// The text that it was made of.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parts(&self) -> Parts<'_> {
        Parts { rest: &self.0, last: None }
    }

    /// Compares it with a version of which the rest may be left out: `1.2.3` is equal to `1.2`,
    /// and `1.20` is not (apk-world(5), `~`).
    #[must_use]
    pub fn cmp_fuzzy(&self, prefix: &Self) -> Ordering {
        let mut parts = self.parts();
        for part in prefix.parts() {
            if part == Part::End {
                break;
            }
            match parts.next().unwrap_or(Part::End).cmp(&part) {
                Ordering::Equal => {}
                other => return other,
            }
        }
        Ordering::Equal
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(other.parts())
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(text: &str) -> Version {
        Version::new(text).unwrap()
    }

    #[test]
    fn versions_are_in_the_order_that_apk_has() {
        // Each is less than the next.
        let chains = [
            "0.1.0_alpha_pre2 0.1.0_alpha 0.1.0_alpha2 0.1.0_beta 0.1.0_rc1 0.1.0 0.1.0-r1 0.1.0_cvs 0.1.0_p1 0.1.0a 0.1.0.1",
            "1.3_pre1-r1 1.3 1.3-r0 1.3-r10 1.3_p9-r0 1.3_p10-r0 1.3.1-r0 1.3.2",
            "1.0.02 1.0.1 1.0.9 1.0.10",
            "1.0_pre20191002222144-r0 1.0_pre20210530193627-r0",
            "1.0~0abc 1.0~1abc 1.0_git1 1.0_git20200101~0",
            "1.06-r6 006 8 9 20 103 20050718-r1 99999999999999999999999",
            "1.0!a 1.0 1.0.1",
        ];
        for chain in chains {
            let chain: Vec<_> = chain.split(' ').map(version).collect();
            for (n, a) in chain.iter().enumerate() {
                for (m, b) in chain.iter().enumerate() {
                    assert_eq!(a.cmp(b), n.cmp(&m), "{a} and {b}");
                }
            }
        }
        assert_eq!(version("006"), version("6"));
        assert_ne!(version("1.00"), version("1.0"));
        assert_eq!(version("1.0.!"), version("1.0!a"));
    }

    #[test]
    fn the_grammar_is_that_of_the_manual() {
        for valid in ["1", "1.02a_alpha1_p2~0af-r3", "0.0.0", "1a", "1_git", "1~a", "1-r0"] {
            assert!(version(valid).is_valid(), "{valid}");
        }
        for wrong in [
            "a", ".1", "1.", "1..2", "1ab", "1a.2", "1_", "1_foo", "1_pre1a", "1~", "1~x", "1-1",
            "1-r", "1-r1_p", "1-r1~a", "1-r1-r2", "1~a_p1", "1~a~b", "1A", "1+2", "1.2:3",
        ] {
            assert!(!version(wrong).is_valid(), "{wrong}");
        }
        for no in ["", "1 2", "1/2", "1\n", "ä", &"1".repeat(257)] {
            assert!(Version::new(no).is_err(), "{no}");
        }
    }

    #[test]
    fn a_fuzzy_match_is_one_of_whole_parts() {
        for (full, prefix, expected) in [
            ("1.2.3-r4", "1.2", Ordering::Equal),
            ("1.2.3-r4", "1.2.3-r4", Ordering::Equal),
            ("1.20", "1.2", Ordering::Greater),
            ("1.2", "1.2.3", Ordering::Less),
            ("1.3", "1.2.3", Ordering::Greater),
            ("1.2_rc1", "1.2", Ordering::Equal),
        ] {
            assert_eq!(version(full).cmp_fuzzy(&version(prefix)), expected, "{full} {prefix}");
        }
    }

    fn versions() -> impl Strategy<Value = Version> {
        let text = "[0-2]{1,2}(\\.[0-2]{1,2}){0,2}[ab]?(_(alpha|rc|git|p)[0-2]?){0,2}(~[0a])?(-r[0-2])?|[0-9a-c._~-]{1,9}";
        text.prop_map(|text| version(&text))
    }

    proptest! {
        #[test]
        fn the_order_is_total(a in versions(), b in versions(), c in versions()) {
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            prop_assert_eq!(a.cmp(&a), Ordering::Equal);
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
            prop_assert_eq!(a.cmp_fuzzy(&a), Ordering::Equal);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,20}") {
            if let Ok(version) = Version::new(&text) {
                let _ = version.is_valid();
                prop_assert_eq!(version.to_string(), text);
            }
        }
    }
}
