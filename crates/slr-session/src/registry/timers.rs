//! Deadlines as data: one ordered set, each timer in it at most once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use slr_model::{NodeName, ServiceKey};

use super::AlarmKey;
use super::hosts::Index;

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The next advert of a host: when it fires, the host is asked, or contact is lost.
    Advert(Index),
    /// The end of the window in which a lost host counts as before.
    Window(Index),
    /// The end of a hold that at most half of the hosts are left of.
    Settle(ServiceKey),
    /// The removal of a host that has been away for long.
    Forget(Index),
    /// The end of an alarm that nothing renewed.
    Alarm(AlarmKey),
    /// The end of the memory of a removed name.
    Gone(NodeName),
}

/// All timers. Two for a host, one for a service and one for an alarm or a name that is gone: bounded as those are.
#[derive(Clone, Debug, Default)]
pub(super) struct Timers {
    queue: BTreeSet<(Instant, Timer)>,
    due: BTreeMap<Timer, Instant>,
}

impl Timers {
    /// Sets the timer, instead of an earlier setting.
    pub fn set(&mut self, timer: Timer, at: Instant) {
        match self.due.get_mut(&timer) {
            Some(due) if *due == at => {}
            Some(due) => {
                let before = std::mem::replace(due, at);
                let mut entry = (before, timer);
                self.queue.remove(&entry);
                entry.0 = at;
                self.queue.insert(entry);
            }
            None => {
                self.due.insert(timer.clone(), at);
                self.queue.insert((at, timer));
            }
        }
    }

    /// Ends the timer, if it runs.
    pub fn cancel(&mut self, timer: &Timer) {
        if let Some((timer, at)) = self.due.remove_entry(timer) {
            self.queue.remove(&(at, timer));
        }
    }

    /// When the timer fires, if it runs.
    pub fn at(&self, timer: &Timer) -> Option<Instant> {
        self.due.get(timer).copied()
    }

    /// When the next one fires.
    pub fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes the earliest timer that is due.
    pub fn pop(&mut self, now: Instant) -> Option<(Instant, Timer)> {
        if self.next()? > now {
            return None;
        }
        let (at, timer) = self.queue.pop_first()?;
        self.due.remove(&timer);
        Some((at, timer))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_timer_set_again_fires_once_at_its_new_time() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::default();
        timers.set(Timer::Advert(1), at(10));
        timers.set(Timer::Advert(2), at(20));
        timers.set(Timer::Advert(1), at(30));
        timers.set(Timer::Window(3), at(25));
        timers.cancel(&Timer::Window(3));
        timers.cancel(&Timer::Window(4));
        assert_eq!((timers.next(), timers.at(&Timer::Advert(1))), (Some(at(20)), Some(at(30))));
        assert_eq!(timers.pop(at(19)), None);
        assert_eq!(timers.pop(at(99)), Some((at(20), Timer::Advert(2))));
        assert_eq!(timers.pop(at(99)), Some((at(30), Timer::Advert(1))));
        assert_eq!((timers.pop(at(99)), timers.next()), (None, None));
    }
}
