//! The states of (host, service), and the one function that decides them.
//!
//! ```text
//!                     what the host says                         what is found here
//!            ┌───────────────────────────────────┐   contact or path lost, for a window
//!   hello,   ▼                                   │        (and not most hosts at once)
//!   advert ─► active ◄──► draining ◄──► down     ├──────────────► silent
//!               ▲             ▲       (said)     │                 │  ▲
//!               └─────────────┴──────────────────┘    both lost    ▼  │ one of the two is back
//!                   adverts and path are back ◄────────────────── down (not reached)
//!
//!   from every state: withdrawn, revoked, removed by the operator, away for forget_after ──► removed
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};
use slr_model::HostState;

/// State of a host for one service, as this router sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServiceState {
    /// Gets new flows and keeps those it has.
    Active,
    /// Keeps its flows and gets no new ones; the host says so.
    Draining,
    /// Keeps its flows and gets no new ones: it is not heard, or its tunnel does not answer.
    Silent,
    /// Gets no new flows, and its flows un-pin: it says so, or it is neither heard nor reached.
    Down,
    /// Is not there. In events only: the first state of a service that is new, the last of one that is gone.
    Removed,
}

impl ServiceState {
    /// Every state, in the order of the documentation.
    pub const ALL: &[ServiceState] = &[Self::Active, Self::Draining, Self::Silent, Self::Down, Self::Removed];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Silent => "silent",
            Self::Down => "down",
            Self::Removed => "removed",
        }
    }

    /// Whether the host has a place in the ring.
    pub const fn takes_new_flows(self) -> bool {
        matches!(self, Self::Active)
    }

    /// Whether flows pinned to the host stay so.
    pub const fn keeps_flows(self) -> bool {
        matches!(self, Self::Active | Self::Draining | Self::Silent)
    }
}

impl From<HostState> for ServiceState {
    fn from(said: HostState) -> Self {
        match said {
            HostState::Active => Self::Active,
            HostState::Draining => Self::Draining,
            HostState::Down => Self::Down,
        }
    }
}

impl fmt::Display for ServiceState {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// Why a state is as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The host says so.
    Said,
    /// The host is new and its tunnel has not answered yet.
    TunnelAwaited,
    /// The host is heard and its tunnel does not answer.
    TunnelBroken,
    /// The host is not heard; its tunnel answers, or nobody knows.
    Unheard,
    /// The host is neither heard nor reached.
    Unreached,
    /// Neither heard nor reached, and held, since so are most hosts of the service.
    Doubted,
    /// The host withdrew the service, or itself.
    Withdrawn,
    /// The host's certificate does not have the subnet any more.
    NotAllowed,
    /// The host was away for too long.
    Forgotten,
    /// The host's certificate was revoked.
    Revoked,
    /// The host's certificate has expired.
    Expired,
    /// An operator removed the host.
    Operator,
    /// A host of another name has its tunnel address now.
    AddressTaken,
}

impl Cause {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Said => "said by the host",
            Self::TunnelAwaited => "its tunnel has not answered yet",
            Self::TunnelBroken => "adverts come, its tunnel does not answer",
            Self::Unheard => "not heard",
            Self::Unreached => "not heard, and its tunnel does not answer",
            Self::Doubted => "like most hosts of the service, not heard or not reached",
            Self::Withdrawn => "withdrawn by the host",
            Self::NotAllowed => "not in its certificate any more",
            Self::Forgotten => "away for too long",
            Self::Revoked => "certificate revoked",
            Self::Expired => "certificate expired",
            Self::Operator => "removed by an operator",
            Self::AddressTaken => "another host has its tunnel address",
        }
    }
}

/// Why, and in whose words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// What kind of reason.
    pub cause: Cause,
    /// What the host says, what the connection ended with; may be empty.
    pub detail: Box<str>,
}

impl Reason {
    /// A reason in these words.
    pub fn new(cause: Cause, detail: impl Into<Box<str>>) -> Self {
        Self { cause, detail: detail.into() }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(self.cause.as_str())?;
        if self.detail.is_empty() { Ok(()) } else { write!(formatter, ": {}", self.detail) }
    }
}

/// What is believed of a path once its window is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathBelief {
    Awaited,
    Good,
    Lost,
}

/// Everything that decides a state.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence {
    /// What the host said last.
    pub said: HostState,
    /// Whether that is too long ago.
    pub unheard: bool,
    /// Whether its tunnel answers.
    pub path: PathBelief,
    /// Whether the host keeps its place although it is lost.
    pub held: bool,
    /// Whether the service has held hosts: then what is found here about its paths is not believed.
    pub doubted: bool,
}

/// The state that the evidence makes, and why.
pub(super) fn judge(evidence: Evidence) -> (ServiceState, Cause) {
    let Evidence { said, unheard, path, held, doubted } = evidence;
    if said == HostState::Down || held {
        return (said.into(), if held { Cause::Doubted } else { Cause::Said });
    }
    match (unheard, path) {
        (false, PathBelief::Good) => (said.into(), Cause::Said),
        (false, PathBelief::Awaited) if said == HostState::Draining => (said.into(), Cause::Said),
        (false, PathBelief::Awaited) => (ServiceState::Silent, Cause::TunnelAwaited),
        (false, PathBelief::Lost) => (ServiceState::Silent, Cause::TunnelBroken),
        (true, PathBelief::Good | PathBelief::Awaited) => (ServiceState::Silent, Cause::Unheard),
        (true, PathBelief::Lost) if doubted => (ServiceState::Silent, Cause::Doubted),
        (true, PathBelief::Lost) => (ServiceState::Down, Cause::Unreached),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_said_or_lost_twice_is_down() {
        for said in HostState::ALL.iter().copied() {
            for path in [PathBelief::Awaited, PathBelief::Good, PathBelief::Lost] {
                for bits in 0..8 {
                    let evidence =
                        Evidence { said, path, unheard: bits & 1 != 0, held: bits & 2 != 0, doubted: bits & 4 != 0 };
                    let (state, _) = judge(evidence);
                    let lost_twice = evidence.unheard && path == PathBelief::Lost && bits & 6 == 0;
                    assert_eq!(state == ServiceState::Down, said == HostState::Down || lost_twice, "{evidence:?}");
                    let placed =
                        said == HostState::Active && (evidence.held || !evidence.unheard && path == PathBelief::Good);
                    assert_eq!(state == ServiceState::Active, placed, "{evidence:?}");
                }
            }
        }
    }

    #[test]
    fn a_reason_reads_as_a_sentence() {
        assert_eq!(Reason::new(Cause::Said, "http: status 500").to_string(), "said by the host: http: status 500");
        assert_eq!(Reason::new(Cause::Forgotten, "").to_string(), "away for too long");
    }
}
