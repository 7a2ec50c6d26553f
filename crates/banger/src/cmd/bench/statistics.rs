//! What is said of many samples.

use serde::Serialize;

/// Samples in short, in the samples' own unit. Percentiles are nearest-rank:
/// each is one of the samples, but for the median of an even number, which is
/// between the two in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    pub runs: usize,
    pub median: f64,
    pub p95: f64,
    pub min: f64,
    pub max: f64,
}

impl Summary {
    /// Of at least one sample.
    pub fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let runs = sorted.len();
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = (sorted.get((runs - 1) / 2)? + sorted.get(runs / 2)?) / 2.0;
        let rank = (runs * 95).div_ceil(100);
        let p95 = *sorted.get(rank - 1)?;
        let [median, p95, min, max] = [middle, p95, min, max].map(rounded);
        Some(Self { runs, median, p95, min, max })
    }
}

/// More digits would only pretend.
pub fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// A duration in milliseconds.
pub fn ms(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_what_the_definition_says() {
        assert_eq!(Summary::of(&[]), None);
        let one = Summary::of(&[7.0]).unwrap();
        assert_eq!((one.runs, one.median, one.p95, one.min, one.max), (1, 7.0, 7.0, 7.0, 7.0));
        // Nineteen of twenty samples are at most 19: 95 %.
        let twenty: Vec<f64> = (1..=20).rev().map(f64::from).collect();
        let summary = Summary::of(&twenty).unwrap();
        assert_eq!((summary.median, summary.p95, summary.max), (10.5, 19.0, 20.0));
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(Summary::of(&hundred).unwrap().p95, 95.0);
        assert_eq!(Summary::of(&[3.0, 1.0, 2.0]).unwrap().median, 2.0);
        assert_eq!(Summary::of(&[1.0 / 3.0]).unwrap().median, 0.333);
    }
}
