//! A parent's roster, on its way to one child.

use std::time::{Duration, Instant};

use slr_wire::{Roster, RosterPart};

/// A roster goes out at most this often: while a site starts, every host changes it.
const SPACING: Duration = Duration::from_secs(1);

/// The newest roster that has not been sent.
#[derive(Clone, Debug, Default)]
pub(super) struct RosterSender {
    waiting: Option<Vec<RosterPart>>,
    sent: Option<(Instant, u64)>,
}

impl RosterSender {
    /// Another roster; one that was sent already is not sent again.
    pub fn set(&mut self, roster: &Roster) -> Result<(), slr_wire::RosterError> {
        let known = self.sent.is_some_and(|(_, generation)| generation == roster.generation);
        self.waiting = if known { None } else { Some(roster.split()?) };
        Ok(())
    }

    /// When the next one may go out, if one waits; the first waits for nothing.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.as_ref().and(self.sent).map(|(at, _)| at + SPACING)
    }

    /// The parts that are due.
    pub fn take_due(&mut self, now: Instant) -> Vec<RosterPart> {
        if self.sent.is_some_and(|(at, _)| now < at + SPACING) {
            return Vec::new();
        }
        let parts = self.waiting.take().unwrap_or_default();
        if let Some(part) = parts.first() {
            self.sent = Some((now, part.generation));
        }
        parts
    }
}
