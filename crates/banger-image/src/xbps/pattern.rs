//! Patterns that packages ask for others with: `name>=1.0_1`, `name>=1<2`, `name-1.0_1`, or a glob
//! (xbps-install(1), "PACKAGE EXPRESSION"; fnmatch(3)).

use super::version::{PkgVer, compare};

/// What a relation compares with, the longer ones first.
const RELATIONS: [&str; 6] = ["<=", "<", ">=", ">", "==", "!="];
const GLOB: [char; 4] = ['*', '?', '[', ']'];

/// The name of the packages that a pattern is about.
///
/// A glob has the text before its first special character. None if the pattern is neither a
/// relation nor a glob nor a package with its version.
pub(super) fn name(pattern: &str) -> Option<&str> {
    match pattern.find(|c| GLOB.contains(&c) || c == '<' || c == '>') {
        Some(end) => {
            let name = pattern.get(..end)?;
            Some(name.strip_suffix('-').unwrap_or(name)).filter(|name| !name.is_empty())
        }
        None => {
            let (name, _) = pattern.rsplit_once('-')?;
            pattern.parse::<PkgVer>().ok().map(|_| name)
        }
    }
}

/// Whether a package is what the pattern asks for.
///
/// `pkgver` is also what a package provides, which may lack a revision (`name-1.0`).
pub(super) fn matches(pkgver: &str, pattern: &str) -> bool {
    if pkgver == pattern {
        return true;
    }
    if pattern.contains(['<', '>']) {
        return relation(pkgver, pattern).unwrap_or(false);
    }
    // A dot in front is matched by one alone.
    let hidden = pkgver.starts_with('.') && !pattern.starts_with('.');
    !hidden && pattern.contains(GLOB) && glob(pattern, pkgver)
}

fn relation(pkgver: &str, pattern: &str) -> Option<bool> {
    let (name, version) = pkgver.rsplit_once('-')?;
    let (asked, rest) = pattern.split_at(pattern.find(['<', '>'])?);
    if name != asked {
        return Some(false);
    }
    let (first, rest) = operator(rest)?;
    // Only after a lower limit there may be an upper one.
    let upper = if first.starts_with('>') { rest.find('<') } else { None };
    let (limit, upper) = upper.map_or((rest, ""), |at| rest.split_at(at));
    let below = match operator(upper) {
        Some((second, limit)) => holds(version, second, limit),
        None => true,
    };
    Some(below && holds(version, first, limit))
}

fn operator(text: &str) -> Option<(&'static str, &str)> {
    RELATIONS.iter().find_map(|relation| Some((*relation, text.strip_prefix(relation)?)))
}

fn holds(version: &str, relation: &str, limit: &str) -> bool {
    let order = compare(version, limit);
    match relation {
        "<=" => order.is_le(),
        "<" => order.is_lt(),
        ">=" => order.is_ge(),
        ">" => order.is_gt(),
        "==" => order.is_eq(),
        _ => order.is_ne(),
    }
}

/// Whether a text fits a pattern of fnmatch(3). When something does not fit, only the last `*` is
/// made longer: what earlier ones took was the least that fits.
fn glob(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    let mut star: Option<(&str, &str)> = None;
    loop {
        if let Some(rest) = pattern.strip_prefix('*') {
            star = Some((rest, text));
            pattern = rest;
            continue;
        }
        let mut left = text.chars();
        let fits = match left.next() {
            None if pattern.is_empty() => return true,
            None => return false,
            Some(character) => one(pattern, character),
        };
        if let Some(rest) = fits {
            (pattern, text) = (rest, left.as_str());
            continue;
        }
        let Some((after, taken)) = star else { return false };
        let mut longer = taken.chars();
        if longer.next().is_none() {
            return false;
        }
        star = Some((after, longer.as_str()));
        (pattern, text) = (after, longer.as_str());
    }
}

/// What remains of the pattern once its first part has taken the character; none if it does not
/// fit.
fn one(pattern: &str, character: char) -> Option<&str> {
    let mut rest = pattern.chars();
    match rest.next()? {
        '?' => Some(rest.as_str()),
        '[' => match set(rest.as_str(), character) {
            Some((fits, rest)) => fits.then_some(rest),
            // A bracket that nothing closes is one.
            None => (character == '[').then_some(rest.as_str()),
        },
        '\\' => (rest.next()? == character).then_some(rest.as_str()),
        own => (own == character).then_some(rest.as_str()),
    }
}

/// Whether the character is in the set, and what follows the set.
fn set(pattern: &str, character: char) -> Option<(bool, &str)> {
    let inner = pattern.strip_prefix(['!', '^']);
    let negated = inner.is_some();
    let mut rest = inner.unwrap_or(pattern).chars();
    let mut found = false;
    let mut first = true;
    loop {
        let low = match rest.next()? {
            ']' if !first => return Some((found != negated, rest.as_str())),
            '\\' => rest.next()?,
            low => low,
        };
        first = false;
        // A dash at the end is one.
        let range = rest.as_str().strip_prefix('-').filter(|rest| !rest.starts_with(']'));
        let high = match range {
            Some(after) => {
                rest = after.chars();
                rest.next()?
            }
            None => low,
        };
        found |= (low..=high).contains(&character);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_match_as_by_xbps() {
        for (pattern, yes, no) in [
            ("a>=1.0_1", &["a-1.0_1", "a-1.0_2", "a-2_1"][..], &["a-0.9_9", "ab-2_1", "b-2_1"][..]),
            ("a>1", &["a-1_1", "a-2_1"], &["a-1", "a-0_1"]),
            ("a<2", &["a-1.9_9", "a-2rc1_1"], &["a-2_1", "a-2"]),
            ("a<=2_1", &["a-2_1", "a-1_1"], &["a-2_2"]),
            ("a>=1<2", &["a-1_1", "a-1.9_1"], &["a-2_1", "a-0_1"]),
            ("a>=0", &["a-0_1", "a-9999"], &["a", "b-1_1"]),
            ("a-b>=1", &["a-b-1_1"], &["a-1_1"]),
            ("a-1.0_1", &["a-1.0_1"], &["a-1.0_2", "a-1_1"]),
            ("a-[0-9]*", &["a-1.0_1"], &["a-b-1_1", "a-x1_1"]),
            ("a-1.?_[!2-9x]", &["a-1.0_1"], &["a-1.10_1", "a-1.0_2", "a-1.0_x"]),
            ("*-1_1", &["a-1_1", "a-b-1_1"], &["a-1_2"]),
            ("a*b*c", &["abc", "aXbXbc", "abcc"], &["ab", "acb"]),
            ("[a-", &[], &["a", "-"]),
            ("[]]\\*[^a][a-]?", &["]*b-x"], &["]xb-x", "]*a-x", "]*bbx"]),
            ("*", &["", "a"], &[".a"]),
            ("a", &["a"], &["a-1_1"]),
        ] {
            for text in yes {
                assert!(matches(text, pattern), "{text} is {pattern}");
            }
            for text in no {
                assert!(!matches(text, pattern), "{text} is not {pattern}");
            }
        }
    }

    #[test]
    fn a_pattern_is_about_a_name() {
        let names = ["a-b>=1", "a<1", "a-[0-9]*", "a-1.0_1", "a", "a-1", ">=1", "*"].map(name);
        assert_eq!(names, [Some("a-b"), Some("a"), Some("a"), Some("a"), None, None, None, None]);
    }

    proptest! {
        #[test]
        fn any_pattern_matches_or_not(
            text in "[-a-c.0-9_]{0,12}|\\PC{0,12}",
            pattern in "[-a-c.0-9_*?\\[\\]<>=!^\\\\]{0,12}|\\PC{0,12}",
        ) {
            let _ = matches(&text, &pattern);
            let _ = name(&pattern);
            prop_assert!(matches(&text, &text));
        }

        #[test]
        fn many_stars_take_no_time(n in 1..200_usize) {
            let (pattern, text) = ("*a".repeat(n) + "b", "a".repeat(400));
            prop_assert!(!matches(&text, &pattern));
        }
    }
}
