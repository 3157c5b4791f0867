//! Which epoch the keys of the augmented echo are of (docs/wire.md), agreed on by all routers of a trust domain without a clock
//! that they share: each goes on to the next one after a while, tells the others, and takes the greatest that it hears of.
//!
//! Drive it as a conversation: `handle_timeout` at `poll_timeout`; whenever a call says that the epoch has changed, tell it to every
//! router that is connected, grant keys anew, and write it down.

use std::time::{Duration, Instant};

/// A router that hears of an epoch takes it if it is at most this much greater than its own was at the beginning of the present
/// [`AHEAD_PERIOD`]: whoever says more is wrong, or wants to use the numbers up. A thousand rotations are six weeks.
pub const AHEAD_MAX: u32 = 1_000;
/// With at most so many in that time, the numbers last for centuries, whatever a router says.
pub const AHEAD_PERIOD: Duration = Duration::from_secs(3_600);
/// After a revocation the next epoch begins in this time, since one list may revoke many certificates; sooner if another router
/// has gone on meanwhile.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);

/// The epoch as one router knows it.
#[derive(Clone, Debug)]
pub struct Epochs {
    current: u32,
    rotation: Duration,
    since: Instant,
    revoked: Option<Instant>,
    /// Nobody has told this router of an epoch yet, and it remembers none: the first word that it hears has no bound.
    is_new: bool,
    base: u32,
    base_until: Instant,
    refused: u64,
}

impl Epochs {
    /// Goes on from what an earlier process knew; `None` if there was none.
    pub fn new(rotation: Duration, known: Option<u32>, now: Instant) -> Self {
        let current = known.unwrap_or(0).max(1);
        Self {
            current,
            rotation,
            since: now,
            revoked: None,
            is_new: known.is_none(),
            base: current,
            base_until: now + AHEAD_PERIOD,
            refused: 0,
        }
    }

    /// The epoch that keys are granted of. Never 0.
    pub const fn current(&self) -> u32 {
        self.current
    }

    /// The epochs whose keys are good: hosts and other routers may be one behind, or one ahead.
    pub fn accepted(&self) -> impl Iterator<Item = u32> + use<> {
        self.current.saturating_sub(1).max(1)..=self.current.saturating_add(1)
    }

    /// How often another router told of an epoch that is too far ahead.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// Another time between epochs.
    pub const fn configure(&mut self, rotation: Duration) {
        self.rotation = rotation;
    }

    /// Another router says which epoch it knows; whether that is ours now.
    pub fn heard(&mut self, now: Instant, epoch: u32) -> bool {
        if now >= self.base_until {
            (self.base, self.base_until) = (self.current, now + AHEAD_PERIOD);
        }
        let is_first = std::mem::take(&mut self.is_new);
        if epoch <= self.current {
            return false;
        }
        if is_first {
            self.base = epoch;
        } else if epoch > self.base.saturating_add(AHEAD_MAX) {
            self.refused += 1;
            return false;
        }
        self.begin(now, epoch)
    }

    /// A certificate was revoked: its keys are not to be good for longer than the epoch after this one.
    pub fn revoked(&mut self, now: Instant) {
        self.revoked.get_or_insert(now + REVOKED_WITHIN);
    }

    /// When [`Epochs::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Instant {
        let rotation = self.since + self.rotation;
        self.revoked.map_or(rotation, |at| at.min(rotation))
    }

    /// Goes on to the next epoch, if that is due; whether it was.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        now >= self.poll_timeout() && self.begin(now, self.current.saturating_add(1))
    }

    fn begin(&mut self, now: Instant, epoch: u32) -> bool {
        let is_another = epoch != self.current;
        (self.current, self.since, self.revoked) = (epoch, now, None);
        is_another
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_epoch_ends_by_time_and_a_word_of_another_router_begins_it_anew() {
        let start = Instant::now();
        let mut epochs = Epochs::new(HOUR, Some(7), start);
        assert_eq!((epochs.current(), epochs.poll_timeout()), (7, start + HOUR));
        assert!(!epochs.handle_timeout(start + HOUR - SECOND));
        assert!(epochs.handle_timeout(start + HOUR));
        assert_eq!((epochs.current(), epochs.poll_timeout()), (8, start + 2 * HOUR));
        assert!(!epochs.heard(start + HOUR, 8) && !epochs.heard(start + HOUR, 3));
        assert!(epochs.heard(start + HOUR + SECOND, 9));
        assert_eq!((epochs.current(), epochs.poll_timeout()), (9, start + 2 * HOUR + SECOND));
        epochs.configure(HOUR / 2);
        assert_eq!(epochs.poll_timeout(), start + HOUR + SECOND + HOUR / 2);
    }

    #[test]
    fn neighbouring_epochs_are_accepted_and_none_is_0() {
        let accepted = |epoch| Epochs::new(HOUR, Some(epoch), Instant::now()).accepted().collect::<Vec<_>>();
        assert_eq!(accepted(7), [6, 7, 8]);
        assert_eq!(accepted(1), [1, 2]);
        assert_eq!(accepted(u32::MAX), [u32::MAX - 1, u32::MAX]);
    }

    #[test]
    fn many_revocations_are_one_step_and_another_routers_step_will_do() {
        let start = Instant::now();
        let mut epochs = Epochs::new(HOUR, Some(7), start);
        epochs.revoked(start);
        epochs.revoked(start + SECOND / 2);
        assert_eq!(epochs.poll_timeout(), start + SECOND);
        assert!(epochs.handle_timeout(start + SECOND));
        assert_eq!((epochs.current(), epochs.poll_timeout()), (8, start + SECOND + HOUR));
        epochs.revoked(start + 2 * SECOND);
        assert!(epochs.heard(start + 2 * SECOND, 9));
        assert_eq!(epochs.poll_timeout(), start + 2 * SECOND + HOUR);
    }

    #[test]
    fn nobody_uses_the_numbers_up() {
        let start = Instant::now();
        let mut epochs = Epochs::new(HOUR, Some(7), start);
        assert!(!epochs.heard(start, 7 + AHEAD_MAX + 1));
        assert!(epochs.heard(start, 7 + AHEAD_MAX), "as much as may be");
        assert!(!epochs.heard(start + SECOND, 7 + AHEAD_MAX + 1), "and nothing more for a while");
        assert_eq!(epochs.refused(), 2);
        assert!(epochs.heard(start + AHEAD_PERIOD, 7 + 2 * AHEAD_MAX));
        let mut last = Epochs::new(HOUR, Some(u32::MAX), start);
        assert!(!last.handle_timeout(start + HOUR), "there is no next one");
        assert!(last.poll_timeout() > start + HOUR);
    }

    #[test]
    fn a_router_that_remembers_nothing_takes_the_first_word_whatever_it_is() {
        let start = Instant::now();
        let mut epochs = Epochs::new(HOUR, None, start);
        assert_eq!(epochs.current(), 1);
        assert!(epochs.heard(start, 50_000));
        assert!(!epochs.heard(start, 50_001 + AHEAD_MAX), "but not the second");
        assert_eq!((epochs.current(), epochs.refused()), (50_000, 1));
    }

    #[test]
    fn routers_that_hear_each_other_agree() {
        let start = Instant::now();
        let mut routers: Vec<Epochs> = (1..=5).map(|known| Epochs::new(HOUR, Some(known), start)).collect();
        let mut now = start;
        for _ in 0..20 {
            now = routers.iter().map(Epochs::poll_timeout).min().unwrap();
            for index in 0..routers.len() {
                routers[index].handle_timeout(now);
                let epoch = routers[index].current();
                for router in &mut routers {
                    let _ = router.heard(now, epoch);
                }
            }
            let greatest = routers.iter().map(Epochs::current).max().unwrap();
            assert!(routers.iter().all(|router| router.current() == greatest && router.poll_timeout() > now));
        }
        assert!(now >= start + 20 * HOUR, "together they go on no faster than one of them would");
    }
}
