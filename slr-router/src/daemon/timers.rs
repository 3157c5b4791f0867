//! What is due when: every wait of the daemon stands in this table, so the next deadline is always known.

use std::collections::BTreeMap;
use std::time::Instant;

/// Something that time alone brings about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// A proposed configuration has waited long enough for its hosts to be resolved.
    Proposal,
    /// Templates of the daemon before us are no longer held for hosts that nobody resolved.
    Hold,
    /// Templates that the tables refused are applied again.
    Links,
    /// An interface that XDP should be on is tried again.
    Attach,
    /// Flows are aged.
    Sweep,
    /// The walk that forgets them goes on.
    SweepOn,
    /// The hosts of every route are weighed.
    Policy,
    /// What a restart goes on from is written down.
    Save,
}

/// Deadlines; one of each kind.
#[derive(Debug, Default)]
pub struct Timers(BTreeMap<Timer, Instant>);

impl Timers {
    /// Sets or moves a deadline.
    pub fn set(&mut self, timer: Timer, at: Instant) {
        self.0.insert(timer, at);
    }

    /// Sets a deadline, or moves it forward; never back.
    pub fn set_earlier(&mut self, timer: Timer, at: Instant) {
        let deadline = self.0.entry(timer).or_insert(at);
        *deadline = at.min(*deadline);
    }

    /// Forgets a deadline.
    pub fn clear(&mut self, timer: Timer) {
        self.0.remove(&timer);
    }

    /// Whether this deadline stands.
    pub fn is_set(&self, timer: Timer) -> bool {
        self.0.contains_key(&timer)
    }

    /// The next deadline.
    pub fn next(&self) -> Option<Instant> {
        self.0.values().min().copied()
    }

    /// Takes one timer that is due, the longest overdue first.
    pub fn expire(&mut self, now: Instant) -> Option<Timer> {
        let (timer, _) = self.0.iter().filter(|(_, at)| **at <= now).min_by_key(|(_, at)| **at)?;
        let timer = *timer;
        self.0.remove(&timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn timers_expire_once_and_in_the_order_of_their_deadlines() {
        let now = Instant::now();
        let at = |s| now + Duration::from_secs(s);
        let mut timers = Timers::default();
        assert_eq!((timers.next(), timers.expire(at(9))), (None, None));
        timers.set(Timer::Proposal, at(3));
        timers.set(Timer::Sweep, at(2));
        timers.set(Timer::Hold, at(1));
        timers.clear(Timer::Hold);
        assert_eq!((timers.next(), timers.expire(at(1))), (Some(at(2)), None));
        assert_eq!(
            [timers.expire(at(5)), timers.expire(at(5)), timers.expire(at(5))],
            [Some(Timer::Sweep), Some(Timer::Proposal), None]
        );
    }
}
