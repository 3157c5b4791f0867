//! How long it lately took from a pin to the peer's acknowledgement.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What is lately.
const WINDOW: Duration = Duration::from_secs(60);
/// Batches that are remembered: 256 a second for a minute, what 130,000 new flows a second make.
const BATCHES_MAX: usize = 16_384;

/// The lags of the last minute's batches.
#[derive(Clone, Debug, Default)]
pub struct Lags(VecDeque<(Instant, Duration)>);

/// Of the last minute; nothing if nothing was pinned in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LagView {
    /// Half of the batches took at most this.
    pub p50: Option<Duration>,
    /// 99 of 100 did.
    pub p99: Option<Duration>,
    /// All did.
    pub max: Option<Duration>,
}

impl Lags {
    /// A batch was acknowledged, whose oldest flow had been pinned that long ago.
    pub fn add(&mut self, now: Instant, lag: Duration) {
        if self.0.len() == BATCHES_MAX {
            self.0.pop_front();
        }
        self.0.push_back((now, lag));
    }

    /// The last minute's.
    pub fn view(&self, now: Instant) -> LagView {
        let recent = self.0.iter().filter(|(at, _)| now.saturating_duration_since(*at) <= WINDOW);
        let mut lags: Vec<Duration> = recent.map(|(_, lag)| *lag).collect();
        lags.sort_unstable();
        let at = |percent: usize| lags.get((lags.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        LagView { p50: at(50), p99: at(99), max: lags.last().copied() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_minute_counts() {
        let start = Instant::now();
        let mut lags = Lags::default();
        assert_eq!(lags.view(start), LagView::default());
        lags.add(start, Duration::from_secs(9));
        let later = start + Duration::from_secs(61);
        (1..=100).for_each(|ms| lags.add(later, Duration::from_millis(ms)));
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(lags.view(later), LagView { p50: ms(50), p99: ms(99), max: ms(100) });
    }
}
