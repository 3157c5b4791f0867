//! What a search wants done, and what it counts.

use slr_model::{FlowKey, NodeName};
use slr_wire::WhoHas;

/// What the daemon is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<T> {
    /// Ask a router.
    Ask {
        /// Which.
        router: NodeName,
        /// What.
        question: WhoHas,
    },
    /// A router says that a host has the flow.
    Found {
        /// Which.
        flow: FlowKey,
        /// Who says so.
        router: NodeName,
        /// The host.
        host: NodeName,
        /// What was held, in the order in which it came.
        packets: Vec<T>,
    },
    /// All routers that there are know nobody; or of a UDP flow not all have answered in time.
    Nobody {
        /// Which flow.
        flow: FlowKey,
        /// What was held, in the order in which it came.
        packets: Vec<T>,
    },
    /// A datagram for which there is no room.
    Unheld {
        /// It.
        packet: T,
    },
}

/// What became of flows, since the daemon started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Looked for.
    pub held: u64,
    /// Packets too many of flows that were looked for already: dropped; datagrams go on unheld.
    pub repeated: u64,
    /// Not looked for, because too many were: dropped; datagrams go on unheld.
    pub refused: u64,
    /// A router named a host.
    pub found: u64,
    /// All of them knew nobody.
    pub nobody: u64,
    /// Not all of them answered in time: dropped; UDP as if nobody had it.
    pub unanswered: u64,
    /// Their hosts told of them, by way of their clients.
    pub told: u64,
}
