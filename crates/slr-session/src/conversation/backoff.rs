//! How long to wait before the next attempt.

use std::time::Duration;

/// Waits between attempts: each twice as long as the one before, half of it by chance, so that a thousand children of a
/// restarted parent do not return at the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffSettings {
    /// The first wait.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
    /// The first wait after a refusal that somebody has to do something about.
    pub first_refused: Duration,
    /// The longest wait after such refusals.
    pub longest_refused: Duration,
}

impl Default for BackoffSettings {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(200),
            longest: Duration::from_secs(5),
            first_refused: Duration::from_secs(1),
            longest_refused: Duration::from_secs(30),
        }
    }
}

/// Doublings after which a wait does not grow: 200 ms would be 27 hours.
const DOUBLINGS_MAX: u32 = 19;

#[derive(Clone, Debug)]
pub(super) struct Backoff {
    settings: BackoffSettings,
    attempts: u32,
    chance: Chance,
}

impl Backoff {
    pub fn new(settings: BackoffSettings, seed: u64) -> Self {
        Self { settings, attempts: 0, chance: Chance(seed) }
    }

    /// The next wait.
    pub fn next(&mut self, refused: bool) -> Duration {
        let (first, longest) = match refused {
            false => (self.settings.first, self.settings.longest),
            true => (self.settings.first_refused, self.settings.longest_refused),
        };
        let wait = (first * (1 << self.attempts.min(DOUBLINGS_MAX))).min(longest);
        self.attempts += 1;
        wait / 2 + self.chance.within(wait / 2)
    }

    /// All is well again.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    /// A time below `span`, by chance.
    pub fn within(&mut self, span: Duration) -> Duration {
        self.chance.within(span)
    }

    /// A seed for a conversation that continues this one.
    pub fn fork(&mut self) -> u64 {
        self.chance.next()
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): enough to spread waits, and the same in every build.
#[derive(Clone, Debug)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn within(&mut self, span: Duration) -> Duration {
        span.mul_f64((self.next() >> 11) as f64 / (1u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_vary() {
        let settings = BackoffSettings::default();
        let mut backoff = Backoff::new(settings, 1);
        for attempt in 0..40 {
            let wait = (settings.first * 2u32.pow(attempt.min(10))).min(settings.longest);
            let next = backoff.next(false);
            assert!(wait / 2 <= next && next <= wait, "attempt {attempt}: {next:?} of {wait:?}");
        }
        backoff.reset();
        assert!(backoff.next(false) <= settings.first);
        assert!(backoff.next(true) >= settings.first_refused);
        assert_ne!(Backoff::new(settings, 1).next(false), Backoff::new(settings, 2).next(false));
    }
}
