//! The end that is told.

use slr_wire::{Mirror, MirrorAck};

use super::State;

/// What is known of one peer's flows.
#[derive(Clone, Debug, Default)]
pub struct Listener {
    is_open: bool,
    /// The last batch's number.
    sequence: u64,
    /// Everything was told, in this connection.
    was_complete: bool,
    /// And nothing is missing since.
    is_complete: bool,
    /// The peer has more to tell than it could so far.
    is_lagging: bool,
    gaps: u64,
    /// As the last batch said.
    age_ms: u32,
}

/// Where a listener stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerView {
    /// What this member knows of the peer's flows.
    pub state: State,
    /// The last batch.
    pub sequence: u64,
    /// Times that batches were missing.
    pub gaps: u64,
    /// How long the last batch's oldest entry had waited at the peer.
    pub age_ms: u32,
}

impl Listener {
    /// A connection begins: nothing of the last one counts.
    pub fn connected(&mut self) {
        *self = Self { is_open: true, gaps: self.gaps, ..Self::default() };
    }

    /// It has ended. What was mirrored stays.
    pub fn disconnected(&mut self) {
        *self = Self { gaps: self.gaps, ..Self::default() };
    }

    /// Takes a batch; its flows are for the data plane. Returns what to answer.
    pub fn handle(&mut self, batch: &Mirror) -> MirrorAck {
        let follows = batch.sequence == self.sequence + 1;
        if !follows {
            self.gaps += 1;
            self.is_complete = false;
        }
        self.sequence = batch.sequence;
        self.age_ms = batch.age_ms;
        self.is_lagging = batch.lagging;
        if batch.complete && follows {
            (self.was_complete, self.is_complete) = (true, true);
        }
        MirrorAck { sequence: self.sequence, resync: !follows }
    }

    /// Flows could not be taken that could be now: asks for all of them. Nothing while there is no connection.
    pub fn ask(&mut self) -> Option<MirrorAck> {
        self.is_complete = false;
        self.is_open.then_some(MirrorAck { sequence: self.sequence, resync: true })
    }

    /// Where it stands.
    pub fn view(&self) -> ListenerView {
        let state = match (self.was_complete, self.is_complete && !self.is_lagging) {
            (_, true) => State::Warm,
            (true, false) => State::Lagging,
            (false, false) => State::Cold,
        };
        ListenerView { state, sequence: self.sequence, gaps: self.gaps, age_ms: self.age_ms }
    }
}
