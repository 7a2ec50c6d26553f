//! Names and versions of packages, and how xbps orders them (xbps-uhelper(1), `cmpver`; it is what
//! pkgsrc calls dewey).

use std::cmp::Ordering;
use std::fmt;

/// Words in a version, and what they count as. A release comes after all that is before it.
const WORDS: [(&str, i64); 6] =
    [("alpha", -3), ("beta", -2), ("pre", -1), ("rc", -1), ("pl", 0), (".", 0)];

/// What a package is called with its version: `NAME-VERSION_REVISION`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PkgVer {
    text: String,
    /// Where the version begins.
    version: usize,
}

/// Text that is no name of a package with a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a package and its version: it has to be like name-1.0_1")]
pub struct InvalidPkgVer(pub String);

impl fmt::Display for PkgVer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::str::FromStr for PkgVer {
    type Err = InvalidPkgVer;

    fn from_str(text: &str) -> Result<Self, InvalidPkgVer> {
        let wrong = || InvalidPkgVer(text.to_owned());
        let (name, version) = text.rsplit_once('-').ok_or_else(wrong)?;
        // It becomes the name of a file, and that of a key in a property list.
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'/';
        if name.is_empty() || name.starts_with('.') || !text.bytes().all(plain) {
            return Err(wrong());
        }
        // A digit, and later an underscore with nothing but a revision behind it; a revision may
        // have underscores too, as in perl-Digest-1.17_01_1.
        let digit = version.find(|c: char| c.is_ascii_digit()).ok_or_else(wrong)?;
        let (before, rest) = version.split_at(digit);
        let (_, revision) = rest.split_once('_').ok_or_else(wrong)?;
        let number = |c: char| c.is_ascii_digit() || c == '_';
        if before.contains('_') || revision.is_empty() || !revision.chars().all(number) {
            return Err(wrong());
        }
        Ok(Self { text: text.to_owned(), version: name.len() + 1 })
    }
}

impl PkgVer {
    /// The name of the package.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text.get(..self.version.saturating_sub(1)).unwrap_or_default()
    }

    /// Its version with the revision.
    #[must_use]
    pub fn version(&self) -> &str {
        self.text.get(self.version..).unwrap_or_default()
    }

    /// All of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Which of two versions is the later one.
///
/// Versions that look different may be equal: `1.0` and `1` are, and a letter counts as its number
/// behind a dot.
#[must_use]
pub fn compare(left: &str, right: &str) -> Ordering {
    let ((left, left_revision), (right, right_revision)) = (numbers(left), numbers(right));
    let at = |numbers: &[i64], index| numbers.get(index).copied().unwrap_or(0);
    (0..left.len().max(right.len()))
        .map(|index| at(&left, index).cmp(&at(&right, index)))
        .find(|order| order.is_ne())
        .unwrap_or(left_revision.cmp(&right_revision))
}

/// The numbers that a version is made of, and its revision.
fn numbers(version: &str) -> (Vec<i64>, i64) {
    let mut numbers = Vec::new();
    let mut revision = 0;
    let mut rest = version;
    while let Some(first) = rest.chars().next() {
        if first.is_ascii_digit() {
            numbers.push(number(&mut rest));
            continue;
        }
        let lower =
            |word: &str| rest.get(..word.len()).is_some_and(|s| s.eq_ignore_ascii_case(word));
        if let Some((word, value)) = WORDS.iter().find(|(word, _)| lower(word)) {
            numbers.push(*value);
            rest = rest.get(word.len()..).unwrap_or_default();
            continue;
        }
        rest = rest.get(first.len_utf8()..).unwrap_or_default();
        match first.to_ascii_lowercase() {
            '_' => revision = number(&mut rest),
            letter @ 'a'..='z' => numbers.extend([0, i64::from(letter as u32 - 'a' as u32) + 1]),
            // Any other character means nothing.
            _ => {}
        }
    }
    (numbers, revision)
}

/// Takes the digits at the front. More than any number can have make the largest one: xbps lets
/// them overflow.
fn number(rest: &mut &str) -> i64 {
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, after) = rest.split_at(end);
    *rest = after;
    let add = |n: i64, digit: u8| n.saturating_mul(10).saturating_add(i64::from(digit - b'0'));
    digits.bytes().fold(0, add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions_are_ordered_as_by_xbps() {
        for (left, order, right) in [
            ("1.0_1", '<', "1.0_2"),
            ("1.0_9", '<', "1.0_10"),
            ("1.9_1", '<', "1.10_1"),
            ("1.0", '=', "1"),
            ("1.0.0_1", '=', "1_1"),
            ("1.0alpha_1", '<', "1.0beta_1"),
            ("1.0beta2_1", '<', "1.0rc1_1"),
            ("1.0pre1_1", '=', "1.0rc1_1"),
            ("1.0RC1_1", '<', "1.0_1"),
            ("1.0rc1_5", '<', "1.0_1"),
            ("1.0a_1", '>', "1.0_1"),
            ("1.0b_1", '>', "1.0a_1"),
            ("1.0a", '=', "1.0.1"),
            ("1.0pl1_1", '=', "1.0.1_1"),
            ("2.36.20230101_1", '>', "2.36_9"),
            ("1.17_01_1", '<', "1.17_01_2"),
            ("99999999999999999999_1", '>', "9_1"),
            ("1~ü-1", '>', "1.1"),
            ("", '<', "1"),
        ] {
            let expected = match order {
                '<' => Ordering::Less,
                '>' => Ordering::Greater,
                _ => Ordering::Equal,
            };
            assert_eq!(compare(left, right), expected, "{left} {order} {right}");
            assert_eq!(compare(right, left), expected.reverse(), "{right} and {left}");
        }
    }

    #[test]
    fn names_and_versions_are_told_apart() {
        for (text, expected) in [
            ("bash-5.2.032_1", Some(("bash", "5.2.032_1"))),
            ("gtk+3-3.24_1", Some(("gtk+3", "3.24_1"))),
            ("font-misc-misc-1.1.3_1", Some(("font-misc-misc", "1.1.3_1"))),
            ("perl-Digest-1.17_01_1", Some(("perl-Digest", "1.17_01_1"))),
            ("a-r1_1", Some(("a", "r1_1"))),
            ("bash", None),
            ("bash-5.2", None),
            ("bash-x_1", None),
            ("bash-5_x", None),
            ("bash-5_", None),
            ("-5_1", None),
            ("../a-5_1", None),
            (".a-5_1", None),
            ("a b-5_1", None),
        ] {
            let pkgver = text.parse::<PkgVer>().ok();
            let found = pkgver.as_ref().map(|p| (p.name(), p.version()));
            assert_eq!(found, expected, "{text}");
        }
        insta::assert_snapshot!("bash".parse::<PkgVer>().unwrap_err(), @"'bash' is not a package and its version: it has to be like name-1.0_1");
    }

    const VERSION: &str = "([0-9]{1,3}|[.]|alpha|beta|rc|pre|pl|[a-z]|_[0-9]{1,2}){0,6}";

    proptest! {
        #[test]
        fn the_order_is_one(a in VERSION, b in VERSION, c in VERSION) {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            prop_assert_eq!(compare(&a, &a), Ordering::Equal);
            let mut all = [a, b, c];
            all.sort_by(|a, b| compare(a, b));
            prop_assert!(compare(&all[0], &all[2]).is_le());
            let equal = compare(&all[0], &all[1]).is_eq() && compare(&all[1], &all[2]).is_eq();
            prop_assert_eq!(compare(&all[0], &all[2]).is_eq(), equal);
        }

        #[test]
        fn any_text_has_a_place(a in "\\PC*", b in "\\PC*") {
            let _ = compare(&a, &b);
            let _ = a.parse::<PkgVer>();
        }
    }
}
