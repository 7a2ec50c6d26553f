//! Identifiers: each kind of object has a type of its own.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An identifier that is not 16 lowercase hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an id: expected 16 lowercase hexadecimal digits")]
pub struct InvalidId(pub String);

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schema(pattern = "^[0-9a-f]{16}$", examples("3f9c02d17ab4e865"))]
        pub struct $name(String);

        impl $name {
            /// The id made of 64 random bits that the caller drew.
            #[must_use]
            pub fn from_bits(bits: u64) -> Self {
                Self(format!("{bits:016x}"))
            }

            /// All 16 digits.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The first 8 digits: what people see, and what host resources are named by.
            #[must_use]
            pub fn short(&self) -> &str {
                &self.0[..8]
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(s: &str) -> Result<Self, InvalidId> {
                let digits = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
                if s.len() == 16 && s.bytes().all(digits) {
                    Ok(Self(s.to_owned()))
                } else {
                    Err(InvalidId(s.to_owned()))
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(s: String) -> Result<Self, InvalidId> {
                s.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

id_type!(
    /// Names a VM for its whole life; a VM's name can change, its id cannot.
    VmId
);
id_type!(
    /// Names a managed image.
    ImageId
);
id_type!(
    /// Names an operation.
    OperationId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_sixteen_hex_digits() {
        let id = VmId::from_bits(0xab);
        assert_eq!(id.as_str(), "00000000000000ab");
        assert_eq!(id.short(), "00000000");
        assert_eq!(id.as_str().parse(), Ok(id));
        for bad in ["", "ab", "00000000000000AB", "00000000000000g0", "../../etc/passwd"] {
            assert!(bad.parse::<VmId>().is_err(), "{bad}");
        }
        assert!(serde_json::from_str::<VmId>("\"x\"").is_err());
    }
}
