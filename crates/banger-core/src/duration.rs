//! Durations, as people read them.

/// A duration in milliseconds as people read it.
#[must_use]
pub fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", ms as f64 / 1000.0),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1000),
        3_600_000..86_400_000 => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
        _ => format!("{} d {} h", ms / 86_400_000, ms % 86_400_000 / 3_600_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let all = [7, 1_500, 61_000, 3_660_000, 90_000_000].map(duration).join(", ");
        insta::assert_snapshot!(all, @"7 ms, 1.5 s, 1 min 1 s, 1 h 1 min, 1 d 1 h");
    }
}
