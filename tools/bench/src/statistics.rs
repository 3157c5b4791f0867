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

/// Of times, the figures that count.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Half of them are at most this.
    pub p50: f64,
    /// 99 of 100 are.
    pub p99: f64,
    /// All are.
    pub max: f64,
}

impl Spread {
    /// Of at least one figure.
    pub fn of(figures: &[f64]) -> Self {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        Self { p50: quantile(&sorted, 0.5), p99: quantile(&sorted, 0.99), max: quantile(&sorted, 1.0) }
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

/// Mean of the middle half of sorted samples: what a typical packet costs, where packets differ much.
pub fn midmean(samples: &[u32]) -> f64 {
    let quarter = samples.len() / 4;
    mean(&samples[quarter..samples.len() - quarter])
}

/// Mean of sorted samples but for the top hundredth, which holds the interrupts.
///
/// For packets that differ little. The clock of many machines counts in steps of 10 ns or more, so that shots show two or
/// three distinct durations and a median moves in whole steps; as shots begin anywhere between two steps, their mean is
/// exact. It also shows costs that few packets pay for many (an LRU that evicts in batches).
pub fn mean_without_interrupts(samples: &[u32]) -> f64 {
    mean(&samples[..samples.len() - samples.len() / 100])
}

fn mean(samples: &[u32]) -> f64 {
    assert!(!samples.is_empty(), "a mean needs samples");
    samples.iter().map(|&sample| f64::from(sample)).sum::<f64>() / samples.len() as f64
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
        assert_eq!(midmean(&[10, 10, 10, 10, 11, 11, 11, 1_000_000]), 10.5);
        assert_eq!(Summary::of(&[10.0, 10.0, 10.0, 1e9]).median, 10.0);
    }

    #[test]
    fn a_mean_sees_between_the_steps_of_the_clock() {
        // A packet of 53 ns, timed from anywhere between two ticks of 10 ns; and one that met an interrupt.
        let mut samples: Vec<u32> = (0..1000).map(|i| (i % 10 + 53) / 10 * 10).collect();
        samples.sort_unstable();
        samples[999] = 2_000_000;
        assert!((mean_without_interrupts(&samples) - 53.0).abs() < 0.1);
    }

    #[test]
    fn a_cost_that_one_packet_in_twenty_pays_shows_in_the_mean() {
        let samples: Vec<u32> = (0..1000).map(|i| if i < 950 { 100 } else { 1000 }).collect();
        assert_eq!(midmean(&samples), 100.0);
        let mean = mean_without_interrupts(&samples);
        assert!((136.0..146.0).contains(&mean), "{mean}");
    }
}
