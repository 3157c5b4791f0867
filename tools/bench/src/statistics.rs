//! Medians and spreads: estimators that a busy neighbour or a timer tick cannot pull far.

use serde::{Deserialize, Serialize};

/// One figure per batch, summed up over the batches.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Half of the batches lie below.
    pub median: f64,
    /// A tenth of the batches lies below.
    pub p10: f64,
    /// A tenth of the batches lies above.
    pub p90: f64,
    /// Median distance from the median.
    pub mad: f64,
}

impl Summary {
    /// Of at least one figure.
    ///
    /// # Panics
    /// If there is none: that is a mistake in the program.
    pub fn of(figures: &[f64]) -> Self {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let median = quantile(&sorted, 0.5);
        let mut distances: Vec<f64> = sorted.iter().map(|figure| (figure - median).abs()).collect();
        distances.sort_by(f64::total_cmp);
        Self { median, p10: quantile(&sorted, 0.1), p90: quantile(&sorted, 0.9), mad: quantile(&distances, 0.5) }
    }
}

/// The value below which the fraction `q` of sorted figures lies, interpolated between the two nearest ranks.
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    assert!(!sorted.is_empty(), "a quantile needs figures");
    let rank = q * (sorted.len() - 1) as f64;
    let below = sorted[rank.floor() as usize];
    let above = sorted[rank.ceil() as usize];
    below + (above - below) * rank.fract()
}

/// Mean of the middle half. A median of whole nanoseconds moves in steps of one; this has the median's robustness against
/// outliers (a quarter on each side may be anything) and resolves fractions.
pub fn midmean(samples: &mut [u32]) -> f64 {
    assert!(!samples.is_empty(), "a midmean needs samples");
    samples.sort_unstable();
    let quarter = samples.len() / 4;
    let middle = &samples[quarter..samples.len() - quarter];
    middle.iter().map(|&sample| f64::from(sample)).sum::<f64>() / middle.len() as f64
}

/// Mean of all but the top hundredth, which holds the interrupts. Shows costs that few packets pay for many (an LRU that
/// evicts in batches), where the midmean would hide them. `samples` must be sorted.
pub fn mean_without_interrupts(samples: &[u32]) -> f64 {
    let kept = &samples[..samples.len() - samples.len() / 100];
    kept.iter().map(|&sample| f64::from(sample)).sum::<f64>() / kept.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_has_median_and_spread() {
        let summary = Summary::of(&[5.0, 1.0, 3.0, 2.0, 4.0]);
        assert_eq!(summary.median, 3.0);
        assert_eq!(summary.mad, 1.0);
        assert!((summary.p10 - 1.4).abs() < 1e-9, "{summary:?}");
        assert!((summary.p90 - 4.6).abs() < 1e-9, "{summary:?}");
    }

    #[test]
    fn one_figure_is_its_own_summary() {
        assert_eq!(Summary::of(&[7.5]), Summary { median: 7.5, p10: 7.5, p90: 7.5, mad: 0.0 });
    }

    #[test]
    fn an_outlier_moves_neither_midmean_nor_median() {
        assert_eq!(midmean(&mut [10, 10, 11, 11, 10, 11, 10, 1_000_000]), 10.5);
        assert_eq!(Summary::of(&[10.0, 10.0, 10.0, 1e9]).median, 10.0);
    }

    #[test]
    fn a_cost_that_one_packet_in_twenty_pays_shows_in_the_mean() {
        let mut samples: Vec<u32> = (0..1000).map(|i| if i % 20 == 0 { 1000 } else { 100 }).collect();
        assert_eq!(midmean(&mut samples), 100.0);
        let mean = mean_without_interrupts(&samples);
        assert!((136.0..146.0).contains(&mean), "{mean}");
    }
}
