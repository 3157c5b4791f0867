//! Flows that were recovered, and what was refused: counted for people and Prometheus.

use slr_dataplane::router::Claimed;
use slr_model::{FlowKey, Identity};

/// What became of claims since the daemon started, in flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// What the data plane made of those that it was given.
    pub data_plane: Claimed,
    /// Refused: the certificate does not have the virtual address.
    pub not_allowed: u64,
    /// Refused: a connection that no longer has its name.
    pub no_session: u64,
}

impl Claims {
    /// Why claims were refused, as metrics and `show recovery` have it.
    pub fn refused(&self) -> [(&'static str, u64); 6] {
        let Claimed { owned, not_served, no_hop, table_full, .. } = self.data_plane;
        [
            ("not_allowed", self.not_allowed),
            ("no_session", self.no_session),
            ("owned", owned),
            ("not_served", not_served),
            ("no_hop", no_hop),
            ("table_full", table_full),
        ]
    }
}

/// The flows that a node with this certificate may claim, and how many others there were.
pub fn allowed(identity: &Identity, mut flows: Vec<FlowKey>) -> (Vec<FlowKey>, u64) {
    let all = flows.len();
    flows.retain(|flow| identity.allows_virtual_address(flow.virtual_host().ip()));
    let refused = (all - flows.len()) as u64;
    (flows, refused)
}
