//! The last fates of a target's probes: loss and round-trip times.

use std::collections::VecDeque;

/// How many fates count: 40 s at the shipped interval. One loss is then 1 %.
pub const WINDOW: usize = 100;

/// In place of a round-trip time: nobody answered. A thousand windows stay small, and so in the cache.
const UNANSWERED: u32 = u32::MAX;

/// Fates in the order in which they became known.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// Round-trip times in microseconds, or [`UNANSWERED`].
    fates: VecDeque<u32>,
    /// How many of them are that.
    unanswered: u32,
    /// Smoothed round-trip time.
    smoothed_us: Option<f64>,
}

impl Window {
    /// An answer came.
    pub fn answered(&mut self, rtt_us: u32) {
        let rtt = f64::from(rtt_us);
        // RFC 6298 2.3: an eighth of each new measurement.
        self.smoothed_us = Some(self.smoothed_us.map_or(rtt, |smoothed| smoothed + (rtt - smoothed) / 8.0));
        self.push(rtt_us.min(UNANSWERED - 1));
    }

    /// None came.
    pub fn unanswered(&mut self) {
        self.unanswered += 1;
        self.push(UNANSWERED);
    }

    fn push(&mut self, fate: u32) {
        if self.fates.len() == WINDOW && self.fates.pop_front() == Some(UNANSWERED) {
            self.unanswered -= 1;
        }
        self.fates.push_back(fate);
    }

    /// Smoothed round-trip time.
    pub fn rtt_us(&self) -> Option<u32> {
        self.smoothed_us.map(|smoothed| smoothed.round() as u32)
    }

    /// The shortest of the window.
    pub fn rtt_us_min(&self) -> Option<u32> {
        self.fates.iter().filter(|fate| **fate != UNANSWERED).min().copied()
    }

    /// Share of unanswered probes in the window, 0 to 1; 0 while nothing is known.
    pub fn loss(&self) -> f64 {
        f64::from(self.unanswered) / self.fates.len().max(1) as f64
    }
}
