//! The beat of flows that speak at intervals.

use std::time::{Duration, Instant};

use crate::rng;

/// Instants at a fixed interval, from a phase of its own: a thousand flows must not all speak in the same millisecond.
pub struct Beat {
    due: Instant,
    interval: Duration,
}

impl Beat {
    /// The first beat comes within one interval after `from`; when, follows from `seed`.
    pub fn new(from: Instant, interval: Duration, seed: u64) -> Self {
        let fraction = (rng::Rng::new(seed).next() >> 11) as f64 / (1u64 << 53) as f64;
        Self { due: from + interval.mul_f64(fraction), interval }
    }

    /// The first beat comes within `spread` after `from`, the others at the interval.
    pub fn spread(from: Instant, spread: Duration, interval: Duration, seed: u64) -> Self {
        Self { due: Self::new(from, spread, seed).due, interval }
    }

    /// When the next beat is.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Moves to the first beat after `now`. Beats that were missed are left out, not made up for in a burst.
    pub fn next_after(&mut self, now: Instant) {
        let behind = now.saturating_duration_since(self.due).as_nanos() / self.interval.as_nanos();
        self.due += self.interval * (behind as u32 + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beats_keep_their_phase_and_skip_what_was_missed() {
        let (start, interval) = (Instant::now(), Duration::from_millis(100));
        let mut beat = Beat::new(start, interval, 7);
        let first = beat.due();
        assert!(first >= start && first < start + interval);
        assert_eq!(Beat::new(start, interval, 7).due(), first, "the same seed gives the same phase");
        assert_ne!(Beat::new(start, interval, 8).due(), first);

        beat.next_after(first + Duration::from_millis(3));
        assert_eq!(beat.due(), first + interval);
        beat.next_after(first + Duration::from_millis(350));
        assert_eq!(beat.due(), first + 4 * interval);
    }
}
