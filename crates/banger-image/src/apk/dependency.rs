//! What packages ask for and provide: `!name`, `name`, `name>=1.2` (apk-package(5), "depends" and
//! "provides"; apk-world(5)).

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use super::version::Version;

/// What a name may be long, in bytes. The longest in Alpine have a hundred.
const LONGEST: usize = 256;

/// A name that is asked for, or must not be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// The name must not be there, with a version that fits.
    pub conflict: bool,
    /// The name of a package, or a name that packages provide, such as `so:libc.musl-x86_64.so.1`.
    pub name: String,
    /// Which versions it may have; any if there is none.
    pub constraint: Option<(Op, Version)>,
}

/// How a version has to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Op {
    Less,
    LessOrEqual,
    LessOrFuzzy,
    Equal,
    /// Equal in the parts that it has.
    Fuzzy,
    GreaterOrEqual,
    GreaterOrFuzzy,
    Greater,
}

/// A name that a package provides beside its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provide {
    /// The name.
    pub name: String,
    /// Its version. Only one package with a version may provide a name; of those without, there
    /// may be several.
    pub version: Option<Version>,
}

/// Text that is not a name with its versions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a name of a package with its versions, such as 'name' or 'name>=1.2-r0'")]
pub struct InvalidDependency(pub String);

/// Whether it may be the name of a package (apk-package(5), "name").
pub(super) fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    text.len() <= LONGEST
        && text.bytes().all(inner)
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Whether it may be a name that is provided (apk-package(5), "provides").
fn is_provided_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-,[]:/".contains(&byte);
    !text.is_empty() && text.len() <= LONGEST && text.bytes().all(fits)
}

impl Op {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            "<~" => Self::LessOrFuzzy,
            "=" | "==" => Self::Equal,
            "~" | "=~" | "~=" | "~~" => Self::Fuzzy,
            ">=" => Self::GreaterOrEqual,
            ">~" => Self::GreaterOrFuzzy,
            ">" => Self::Greater,
            _ => return None,
        })
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::LessOrFuzzy => "<~",
            Self::Equal => "=",
            Self::Fuzzy => "~",
            Self::GreaterOrEqual => ">=",
            Self::GreaterOrFuzzy => ">~",
            Self::Greater => ">",
        }
    }

    fn fits(self, version: &Version, wanted: &Version) -> bool {
        let ordering = match self {
            Self::LessOrFuzzy | Self::Fuzzy | Self::GreaterOrFuzzy => version.cmp_fuzzy(wanted),
            _ => version.cmp(wanted),
        };
        match self {
            Self::Less => ordering == Ordering::Less,
            Self::LessOrEqual | Self::LessOrFuzzy => ordering != Ordering::Greater,
            Self::Equal | Self::Fuzzy => ordering == Ordering::Equal,
            Self::GreaterOrEqual | Self::GreaterOrFuzzy => ordering != Ordering::Less,
            Self::Greater => ordering == Ordering::Greater,
        }
    }
}

impl FromStr for Dependency {
    type Err = InvalidDependency;

    fn from_str(text: &str) -> Result<Self, InvalidDependency> {
        let parse = || {
            let plain = text.strip_prefix('!');
            let conflict = plain.is_some();
            let plain = plain.unwrap_or(text);
            let comparer = |c: char| matches!(c, '<' | '=' | '>' | '~');
            let (name, constraint) = match plain.split_once(comparer) {
                None => (plain, None),
                Some((name, _)) => {
                    let rest = plain.get(name.len()..)?;
                    let version = rest.trim_start_matches(comparer);
                    let op = Op::parse(rest.get(..rest.len() - version.len())?)?;
                    (name, Some((op, Version::new(version).ok()?)))
                }
            };
            is_provided_name(name).then(|| Self { conflict, name: name.to_owned(), constraint })
        };
        parse().ok_or_else(|| InvalidDependency(text.chars().take(LONGEST).collect()))
    }
}

impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.conflict { "!" } else { "" })?;
        f.write_str(&self.name)?;
        match &self.constraint {
            Some((op, version)) => write!(f, "{}{version}", op.as_str()),
            None => Ok(()),
        }
    }
}

impl Dependency {
    /// Whether a package that provides the name with this version may be there. As in apk, a name
    /// that is provided without a version is of any.
    #[must_use]
    pub fn allows(&self, version: Option<&Version>) -> bool {
        let fits = match (&self.constraint, version) {
            (Some((op, wanted)), Some(version)) => op.fits(version, wanted),
            _ => true,
        };
        fits != self.conflict
    }
}

impl FromStr for Provide {
    type Err = InvalidDependency;

    fn from_str(text: &str) -> Result<Self, InvalidDependency> {
        match text.parse()? {
            Dependency { conflict: false, name, constraint: None } => {
                Ok(Self { name, version: None })
            }
            Dependency { conflict: false, name, constraint: Some((Op::Equal, version)) } => {
                Ok(Self { name, version: Some(version) })
            }
            _ => Err(InvalidDependency(text.to_owned())),
        }
    }
}

impl fmt::Display for Provide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match &self.version {
            Some(version) => write!(f, "={version}"),
            None => Ok(()),
        }
    }
}

/// Reads a list with spaces in between.
pub(super) fn list<T: FromStr<Err = InvalidDependency>>(
    text: &str,
) -> Result<Vec<T>, InvalidDependency> {
    text.split_ascii_whitespace().map(str::parse).collect()
}

/// Writes a list with spaces in between.
pub(super) fn join<T: ToString>(list: &[T]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn allows(dependency: &str, version: &str) -> bool {
        let dependency: Dependency = dependency.parse().unwrap();
        let version = Some(version).filter(|text| !text.is_empty());
        dependency.allows(version.map(|text| Version::new(text).unwrap()).as_ref())
    }

    #[test]
    fn versions_fit_or_do_not() {
        let fitting = [
            ("a", "1"),
            ("a>1", ""),
            ("a>1", "2"),
            ("a>=1", "1"),
            ("a=1", "1"),
            ("a<=1", "1"),
            ("a<2", "1"),
            ("a~1.2", "1.2.3-r0"),
            ("a=~1.2", "1.2-r0"),
            ("a>~1.2", "1.2_rc1"),
            ("a<~1.2", "1.2.3"),
            ("!a<2", "2"),
        ];
        for (dependency, version) in fitting {
            assert!(allows(dependency, version), "{dependency} {version}");
        }
        let other = [
            ("a>1", "1"),
            ("a>=1", "0"),
            ("a=1", "1-r0"),
            ("a~1.2", "1.20"),
            ("!a", "1"),
            ("!a", ""),
            ("!a<2", "1"),
        ];
        for (dependency, version) in other {
            assert!(!allows(dependency, version), "{dependency} {version}");
        }
    }

    #[test]
    fn what_is_no_dependency_is_refused() {
        for wrong in ["", "!", "a=", "=1", "a<>1", "a><Q1x", "a b", "a@edge", "a\n", "!!a", "a=1/2"]
        {
            assert!(wrong.parse::<Dependency>().is_err(), "{wrong}");
        }
        for wrong in ["!a", "a>1", "a~1"] {
            assert!(wrong.parse::<Provide>().is_err(), "{wrong}");
        }
        insta::assert_snapshot!("a><b".parse::<Dependency>().unwrap_err(), @"'a><b' is not a name of a package with its versions, such as 'name' or 'name>=1.2-r0'");
        assert!(is_name("gtk+3.0") && is_name("_x") && !is_name("-x") && !is_name(".x"));
        assert!(!is_name("") && !is_name("a/b") && !is_name("a:b"));
    }

    proptest! {
        #[test]
        fn a_dependency_is_read_back(text in "!?[a-z:/]{1,9}([<>]?[=~]?|[<>=~]{0,3})[0-9.a-z]{0,5}|\\PC{0,20}") {
            if let Ok(dependency) = text.parse::<Dependency>() {
                prop_assert_eq!(dependency.to_string().parse(), Ok(dependency));
            }
            if let Ok(provide) = text.parse::<Provide>() {
                prop_assert_eq!(provide.to_string().parse(), Ok(provide));
            }
        }
    }
}
