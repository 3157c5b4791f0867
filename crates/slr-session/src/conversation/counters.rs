//! What came in and was not taken.

use slr_wire::DecodeError;

/// Counts of what was not taken, for metrics. A few of any are no reason to worry; many tell of a faulty or hostile node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages that did not decode, by [`DecodeError::REASONS`].
    pub undecoded: [u64; DecodeError::REASONS.len()],
    /// Messages that had no place: on the wrong channel, in the wrong state, of the wrong end.
    pub misplaced: u64,
    /// Datagrams beyond the rate that the node may send.
    pub limited: u64,
    /// Adverts, or parts of them, that came after a newer full one.
    pub stale: u64,
}

impl Counters {
    pub(super) fn undecoded(&mut self, error: &DecodeError) {
        self.undecoded[error.reason_index()] += 1;
    }

    /// Adds another conversation's counts.
    pub fn add(&mut self, other: &Counters) {
        for (mine, theirs) in self.undecoded.iter_mut().zip(other.undecoded) {
            *mine += theirs;
        }
        self.misplaced += other.misplaced;
        self.limited += other.limited;
        self.stale += other.stale;
    }
}
