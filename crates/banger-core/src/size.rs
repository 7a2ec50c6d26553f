//! Sizes of memory and disks, as people write them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

const UNITS: [(&str, u64); 4] = [("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];

/// A size that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a size: write a number with K, M, G or T (powers of 1024), such as 512M or 8G"
)]
pub struct InvalidSize(pub String);

/// A number of bytes. Read from `8G`, `512MiB`, `1.5G` or plain bytes; all
/// suffixes are powers of 1024. In JSON it is a number of bytes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(transparent)]
#[schema(description = "A number of bytes.", examples(8589934592_u64))]
pub struct Size(u64);

impl Size {
    /// A size of so many bytes.
    #[must_use]
    pub const fn bytes(n: u64) -> Self {
        Self(n)
    }

    /// A size of so many MiB.
    #[must_use]
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// A size of so many GiB.
    #[must_use]
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn as_bytes(self) -> u64 {
        self.0
    }

    /// Whole MiB, rounded down.
    #[must_use]
    pub const fn as_mib(self) -> u64 {
        self.0 >> 20
    }

    /// As it is read, to the byte: `8G`, `1500M`, `1000`.
    #[must_use]
    pub fn exact(self) -> String {
        let whole = |(_, unit): &&(&str, u64)| self.0 >= *unit && self.0.is_multiple_of(*unit);
        match UNITS.iter().find(whole) {
            Some((suffix, unit)) => format!("{}{suffix}", self.0 / unit),
            None => self.0.to_string(),
        }
    }
}

impl std::str::FromStr for Size {
    type Err = InvalidSize;

    fn from_str(s: &str) -> Result<Self, InvalidSize> {
        let invalid = || InvalidSize(s.to_owned());
        let upper = s.trim().to_ascii_uppercase();
        let bare = upper.strip_suffix("IB").or_else(|| upper.strip_suffix('B')).unwrap_or(&upper);
        let (digits, unit) = UNITS
            .iter()
            .find_map(|(suffix, unit)| bare.strip_suffix(suffix).map(|d| (d, *unit)))
            .unwrap_or((bare, 1));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let only_digits = |d: &str| d.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !only_digits(whole) || !only_digits(fraction) || fraction.len() > 6 {
            return Err(invalid());
        }
        let whole: u64 = whole.parse().map_err(|_| invalid())?;
        let part = if fraction.is_empty() {
            0
        } else {
            let scale = 10_u64.pow(fraction.len() as u32);
            let n: u64 = fraction.parse().map_err(|_| invalid())?;
            // u128: a fraction of a TiB in millionths does not fit in 64 bits.
            (u128::from(n) * u128::from(unit) / u128::from(scale)) as u64
        };
        let total = whole.checked_mul(unit).and_then(|n| n.checked_add(part));
        total.map(Self).ok_or_else(invalid)
    }
}

impl std::fmt::Display for Size {
    /// The largest unit that keeps the number at 1 or more, with one decimal
    /// where it is not whole: `8 GiB`, `1.5 GiB`, `0 B`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match UNITS.iter().find(|(_, unit)| self.0 >= *unit) {
            None => write!(f, "{} B", self.0),
            Some((suffix, unit)) if self.0.is_multiple_of(*unit) => {
                write!(f, "{} {suffix}iB", self.0 / unit)
            }
            Some((suffix, unit)) => write!(f, "{:.1} {suffix}iB", self.0 as f64 / *unit as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        let read = |s: &str| s.parse::<Size>().map(Size::as_bytes);
        assert_eq!(read("8G"), Ok(8 << 30));
        assert_eq!(read("8gib"), Ok(8 << 30));
        assert_eq!(read("512M"), Ok(512 << 20));
        assert_eq!(read("1.5G"), Ok(3 << 29));
        assert_eq!(read("42"), Ok(42));
        for bad in ["", "G", "-1", "1x", "1..5G", "99999999T", "1,5G", "ÄB"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn whole_units_survive_a_round_trip(n in 1_u64..1000, unit in 0_usize..4) {
            let size = Size::bytes(n * UNITS[unit].1);
            prop_assert_eq!(size.to_string().replace(' ', "").parse(), Ok(size));
        }

        #[test]
        fn every_size_survives_in_its_exact_form(n: u64) {
            prop_assert_eq!(Size::bytes(n).exact().parse(), Ok(Size::bytes(n)));
            prop_assert_eq!(Size::mib(n >> 20).exact().parse(), Ok(Size::mib(n >> 20)));
        }

        #[test]
        fn any_text_is_read_or_refused(s in "\\PC{0,20}") {
            let _ = s.parse::<Size>();
        }
    }
}
