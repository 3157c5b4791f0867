//! When a parent acknowledges.

use std::time::{Duration, Instant};

/// When the next acknowledgement goes out.
#[derive(Clone, Debug)]
pub(super) struct Acks {
    interval: Duration,
    last: Option<Instant>,
    due: Option<Instant>,
}

impl Acks {
    pub fn new(interval: Duration) -> Self {
        Self { interval, last: None, due: None }
    }

    /// Another interval from the next acknowledgement on.
    pub fn configure(&mut self, interval: Duration) {
        self.interval = interval;
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// An advert was heard. A full one is acknowledged at once: the child waits to know that its states have arrived, and it
    /// sends few. Any other when the last acknowledgement is old enough.
    pub fn heard(&mut self, now: Instant, full: bool) {
        if full {
            self.due = Some(now);
        } else if self.due.is_none() {
            self.due = Some(self.last.map_or(now, |last| (last + self.interval).max(now)));
        }
    }

    pub fn take_due(&mut self, now: Instant) -> bool {
        let due = self.due.is_some_and(|due| due <= now);
        if due {
            (self.due, self.last) = (None, Some(now));
        }
        due
    }
}
