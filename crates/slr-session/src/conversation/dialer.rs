//! The dialing end: when to open a connection, and which session it will be.

use std::time::{Duration, Instant};

use super::backoff::{Backoff, BackoffSettings};

/// Opening a connection takes no longer: three losses of QUIC's first packet, and the reply.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// The answer to Hello comes within this time: as long as a busy parent may take.
pub(super) const GREET_WITHIN: Duration = Duration::from_secs(5);
/// A connection that lasted this long was a good one: the next wait is the shortest again.
const GOOD_AFTER: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub(super) struct Dialer {
    backoff: Backoff,
    session: u64,
    welcomed_at: Option<Instant>,
}

impl Dialer {
    pub fn new(settings: BackoffSettings, first_session: u64, seed: u64) -> Self {
        Self { backoff: Backoff::new(settings, seed), session: first_session - 1, welcomed_at: None }
    }

    /// The number of the connection that is now to be opened.
    pub fn begin(&mut self) -> u64 {
        self.session += 1;
        self.session
    }

    /// The number of the connection that was opened last.
    pub fn session(&self) -> u64 {
        self.session
    }

    pub fn welcomed(&mut self, now: Instant) {
        self.welcomed_at = Some(now);
    }

    /// When to try again after the connection has ended, or was not to be had.
    pub fn retry_at(&mut self, now: Instant, refused: bool) -> Instant {
        let good = |at: Instant| now.saturating_duration_since(at) >= GOOD_AFTER;
        if self.welcomed_at.take().is_some_and(good) {
            self.backoff.reset();
        }
        now + self.backoff.next(refused)
    }

    /// A time below `span`, by chance.
    pub fn within(&mut self, span: Duration) -> Duration {
        self.backoff.within(span)
    }

    pub fn fork(&mut self) -> u64 {
        self.backoff.fork()
    }
}
