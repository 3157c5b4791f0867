//! Draining: when may this host be stopped? Pure.
//!
//! ```text
//!              begin                 every connected              settle time over,
//!                                    parent has heard             no flow left
//!   serving ─────────► telling ───────────────► settling/waiting ──────────► safe
//!      ▲                 ▲ │ no parent               │  ▲                      │
//!      │ end             │ ▼ connected               │  └──────────────────────┘
//!   (any)              unheard                       │      a flow came late
//!                        ▲                           │
//!                        └───────────────────────────┘  a parent (re)connects and has not heard
//! ```
//!
//! A router that has acknowledged still publishes its ring, and SYNs are under way to us; a SYN that was lost is sent again
//! after a second and follows its flow's entry to us. So nothing is claimed until a settle time after the last
//! acknowledgement, and then only from a count that was made later than that.

pub mod command;

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use slr_model::NodeName;

/// Who wants this host drained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Somebody on this host: `hostd drain`.
    Operator,
    /// Somebody at a router: `slr-router drain`.
    Router {
        /// Which.
        name: NodeName,
        /// Who, as the router says.
        requested_by: String,
    },
    /// The daemon was told to end.
    Stop,
}

impl Cause {
    /// For adverts and people.
    pub fn reason(&self) -> String {
        match self {
            Cause::Operator => "drained on the host".to_owned(),
            Cause::Router { name, requested_by } => format!("drained at {name} by {requested_by}"),
            Cause::Stop => "hostd ends".to_owned(),
        }
    }
}

/// What a parent knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hearing {
    /// Which parent.
    pub parent: NodeName,
    /// It can be told.
    pub is_connected: bool,
    /// It has acknowledged that this host is draining.
    pub has_heard: bool,
}

/// How far a drain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Not draining.
    Serving,
    /// No parent is connected: nobody was told, though all of them see silence.
    Unheard,
    /// A connected parent has not acknowledged.
    Telling,
    /// All have; new flows may still be under way.
    Settling,
    /// No new flows come. Some are left.
    Waiting,
    /// No flow is left.
    Safe,
}

impl Phase {
    /// For logs.
    pub fn words(self) -> &'static str {
        match self {
            Phase::Serving => "none, new flows are welcome",
            Phase::Unheard => "no router is connected to hear it",
            Phase::Telling => "not every connected router has heard",
            Phase::Settling => "every connected router has heard, new flows may be under way",
            Phase::Waiting => "no new flows, some are left",
            Phase::Safe => "no flow is left, safe to stop",
        }
    }
}

/// The drain of this host.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    cause: Option<Cause>,
    /// When the last parent acknowledged, while all have.
    heard_at: Option<Instant>,
    /// Connections at the last count, and when it was made.
    counted: Option<(u64, Instant)>,
}

impl Drain {
    /// Draining from the start, as a daemon does whose predecessor did.
    pub fn resumed(cause: Option<Cause>) -> Self {
        Self { cause, ..Self::default() }
    }

    /// Begins. A second cause replaces the first: what began as an end of the daemon can become an operator's wish.
    pub fn begin(&mut self, cause: Cause) {
        self.cause = Some(cause);
    }

    /// Ends: new flows are welcome.
    pub fn end(&mut self) {
        *self = Self { counted: self.counted, ..Self::default() };
    }

    /// Why this host drains, if it does.
    pub fn cause(&self) -> Option<&Cause> {
        self.cause.as_ref()
    }

    /// Takes a count of connections. `at`: before it was made.
    pub fn count(&mut self, flows: u64, at: Instant) {
        self.counted = Some((flows, at));
    }

    /// Looks at who has heard, and says how far the drain is.
    pub fn phase(&mut self, parents: &[Hearing], settle: Duration, now: Instant) -> Phase {
        if self.cause.is_none() {
            return Phase::Serving;
        }
        let mut connected = parents.iter().filter(|parent| parent.is_connected).peekable();
        if connected.peek().is_none() {
            self.heard_at = None;
            return Phase::Unheard;
        }
        if !connected.all(|parent| parent.has_heard) {
            self.heard_at = None;
            return Phase::Telling;
        }
        let settled_at = *self.heard_at.get_or_insert(now) + settle;
        match self.counted {
            Some((_, at)) if at < settled_at => Phase::Settling,
            None => Phase::Settling,
            Some((0, _)) => Phase::Safe,
            Some(_) => Phase::Waiting,
        }
    }
}

#[cfg(test)]
mod tests;
