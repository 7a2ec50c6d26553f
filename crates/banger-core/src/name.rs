//! Names that people give to VMs and images.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The longest name, in bytes.
pub const MAX_LEN: usize = 40;

/// Why a name was refused. The text says what a name may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{name}' is not a valid name: {reason}")]
pub struct InvalidName {
    /// What was given.
    pub name: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// A DNS label (RFC 1035, 2.3.1; digits may lead, RFC 1123, 2.1) of at most
/// [`MAX_LEN`] lowercase characters without `--`, which separates a name from
/// a port in the host names of forwarded guest ports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(
    description = "A DNS label of at most 40 lowercase characters without `--`.",
    max_length = 40,
    pattern = "^[a-z0-9]+(-[a-z0-9]+)*$",
    examples("dev")
)]
pub struct Name(String);

impl Name {
    /// The name as given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Name {
    type Err = InvalidName;

    fn from_str(s: &str) -> Result<Self, InvalidName> {
        let reason = if s.is_empty() {
            "it is empty"
        } else if s.len() > MAX_LEN {
            "it is longer than 40 characters"
        } else if s.bytes().any(|b| b.is_ascii_uppercase()) {
            "use lowercase letters only"
        } else if s.starts_with('-') || s.ends_with('-') {
            "it must not start or end with '-'"
        } else if s.contains("--") {
            "it must not contain '--'"
        } else if !s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            "use only letters, digits and '-'"
        } else {
            return Ok(Self(s.to_owned()));
        };
        Err(InvalidName { name: s.to_owned(), reason })
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidName;
    fn try_from(s: String) -> Result<Self, InvalidName> {
        s.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bad_names_say_why() {
        let why = |s: &str| s.parse::<Name>().map_err(|e| e.reason).unwrap_err();
        insta::assert_snapshot!(why(""), @"it is empty");
        insta::assert_snapshot!(why(&"a".repeat(41)), @"it is longer than 40 characters");
        insta::assert_snapshot!(why("Dev"), @"use lowercase letters only");
        insta::assert_snapshot!(why("-dev"), @"it must not start or end with '-'");
        insta::assert_snapshot!(why("a--b"), @"it must not contain '--'");
        insta::assert_snapshot!(why("a/b"), @"use only letters, digits and '-'");
        insta::assert_snapshot!(why("a b"), @"use only letters, digits and '-'");
    }

    proptest! {
        #[test]
        fn an_accepted_name_is_safe_as_host_name_and_path(s in "\\PC{0,50}|[a-z0-9-]{1,45}") {
            if let Ok(name) = s.parse::<Name>() {
                let s = name.as_str();
                prop_assert!((1..=MAX_LEN).contains(&s.len()));
                prop_assert!(!s.contains("--") && !s.starts_with('-') && !s.ends_with('-'));
                prop_assert!(s.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-')));
            }
        }
    }
}
