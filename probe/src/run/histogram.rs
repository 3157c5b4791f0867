//! Histograms of durations in microseconds, and what is told of them.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest duration told apart; longer ones count as this.
const LONGEST_US: u64 = 3_600_000_000;
/// Significant digits: 0.1 % of the value.
const DIGITS: u8 = 3;

/// A histogram without values.
pub fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_US, DIGITS).expect("the bounds are constants that hdrhistogram accepts")
}

/// Adds one duration.
pub fn record(histogram: &mut Histogram<u64>, duration: Duration) {
    histogram.saturating_record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
}

/// What is told of a histogram; all zero when it has no values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    pub count: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

impl From<&Histogram<u64>> for Summary {
    fn from(histogram: &Histogram<u64>) -> Self {
        // A bucket's upper edge may lie above the largest value in it; no percentile may exceed the maximum shown.
        let max = histogram.max();
        let at = |quantile| histogram.value_at_quantile(quantile).min(max);
        Self { count: histogram.len(), p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_known_distribution() {
        let mut histogram = empty();
        assert_eq!(Summary::from(&histogram), Summary::default());
        for ms in 1..=1000 {
            record(&mut histogram, Duration::from_millis(ms));
        }
        let summary = Summary::from(&histogram);
        assert_eq!(summary.count, 1000);
        for (got, expected) in [
            (summary.p50, 500_000),
            (summary.p90, 900_000),
            (summary.p99, 990_000),
            (summary.p999, 999_000),
            (summary.max, 1_000_000),
        ] {
            assert!(got.abs_diff(expected) <= expected / 1000 + 1, "{got} for {expected}");
        }
    }

    #[test]
    fn a_duration_out_of_range_counts_as_the_longest() {
        let mut histogram = empty();
        record(&mut histogram, Duration::from_secs(1_000_000));
        assert_eq!(histogram.len(), 1);
        assert!(histogram.max() >= LONGEST_US);
    }
}
