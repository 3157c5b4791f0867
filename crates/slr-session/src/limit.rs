//! How often something may happen.

use std::time::{Duration, Instant};

/// A token bucket: so many at once, and that many again each period.
#[derive(Clone, Debug)]
pub struct Limit {
    burst: u32,
    period: Duration,
    /// When the bucket would be full again; in the past it is full (GCRA, ITU-T I.371).
    full_at: Option<Instant>,
}

impl Limit {
    /// `burst` at once, and as many again in each `period`.
    pub const fn new(burst: u32, period: Duration) -> Self {
        Self { burst, period, full_at: None }
    }

    /// Another burst for the same period.
    pub fn set_burst(&mut self, burst: u32) {
        self.burst = burst;
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let ready = self.ready_at(now) <= now;
        if ready {
            let one = self.period / self.burst;
            self.full_at = Some(self.full_at.map_or(now, |at| at.max(now)) + one);
        }
        ready
    }

    /// Whether a whole burst is there.
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_at.is_none_or(|at| at <= now)
    }

    /// When there is one again; not after `now` if there is one now.
    pub fn ready_at(&self, now: Instant) -> Instant {
        let one = self.period / self.burst;
        match self.full_at {
            Some(full_at) => (full_at + one).checked_sub(self.period).map_or(now, |at| at.max(now)),
            None => now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_one_at_a_time() {
        let begin = Instant::now();
        let mut limit = Limit::new(4, Duration::from_millis(400));
        assert_eq!((0..6).filter(|_| limit.take(begin)).count(), 4);
        assert_eq!(limit.ready_at(begin), begin + Duration::from_millis(100));
        assert!(!limit.take(begin + Duration::from_millis(99)));
        assert!(limit.take(begin + Duration::from_millis(100)));
        assert!(!limit.take(begin + Duration::from_millis(150)));
        assert_eq!((0..9).filter(|_| limit.take(begin + Duration::from_secs(9))).count(), 4);
    }
}
