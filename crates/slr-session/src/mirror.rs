//! The mirror: what members of a cluster tell each other of their pinned flows. Pure; the daemon owns a [`Teller`] and a
//! [`Listener`] for each peer, and the data plane has the flows.
//!
//! ```text
//!   Cold ───── all flows were told ─────► Warm ◄──── told again ──── Lagging
//!    ▲                                     └── behind, a gap, records lost ──►┘
//!    └───────────────── the connection ended ──────────────────────────┘
//! ```

mod lags;
mod listener;
mod teller;
#[cfg(test)]
mod tests;

pub use lags::{LagView, Lags};
pub use listener::{Listener, ListenerView};
pub use slr_wire::MirrorKind;
pub use teller::{LAG_MAX, LATE, Output, QUEUE_MAX, Teller, TellerView, Told, WINDOW};

/// What a mirror is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not everything was told in this connection yet, or there is none.
    Cold,
    /// Everything was, but now something is missing or late.
    Lagging,
    /// Whatever was pinned a moment ago is there.
    Warm,
}

impl State {
    /// As tables and metrics have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Cold => "cold",
            State::Lagging => "lagging",
            State::Warm => "warm",
        }
    }

    /// All of them.
    pub const ALL: [State; 3] = [State::Cold, State::Lagging, State::Warm];
}
