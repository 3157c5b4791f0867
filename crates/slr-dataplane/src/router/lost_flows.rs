//! Connections whose host is down: un-pinned by its generation, and in the table until a packet of theirs is placed anew or a sweep
//! comes by.

use std::collections::BTreeSet;

use slr_model::{FlowKey, NodeName, Protocol};

use super::Router;
use super::mirror::{has, is_own};
use super::pin_walk::PinWalk;
use crate::abi::slr_const;
use crate::table::{MapError, Part};

/// A walk under way.
pub struct LostFlows {
    walk: PinWalk,
    hops: BTreeSet<u16>,
}

impl Router {
    /// Begins a walk over the TCP connections that these hosts had through this member until they went down, but for those that have
    /// ended.
    pub fn walk_lost_flows(&self, hosts: &[NodeName]) -> Result<LostFlows, MapError> {
        let hops =
            self.hop_names().into_iter().filter(|(_, name)| hosts.contains(name)).map(|(id, _)| id.get()).collect();
        Ok(LostFlows { walk: PinWalk::begin(&self.tables)?, hops })
    }

    /// What was read next; of some thousand flows there may be none. Waits for nothing.
    pub fn next_lost_flows(&self, walk: &mut LostFlows) -> Result<Part<Vec<FlowKey>>, MapError> {
        let generations = self.generations();
        let (hops, walk) = (&walk.hops, &mut walk.walk);
        walk.next(false, |key, flow| {
            let is_lost = hops.contains(&flow.hop) && !generations.has(flow);
            let is_open = is_own(flow) && !has(flow, slr_const::FLOW_CLOSING);
            (is_lost && is_open && key.protocol() == Protocol::Tcp).then_some(key)
        })
    }
}
