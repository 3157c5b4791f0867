//! Un-pinning one service of a host: the service went down, the host did not. (A host that goes down, or goes, loses all
//! its flows at once, by its generation.) And forgetting any flows, for an operator.

use std::collections::HashMap;

use slr_model::{FlowKey, NodeName, Service, ServiceKey};

use super::Router;
use super::census::{Generations, Services};
use super::flow_key::{Key, Target};
use crate::abi::flow;
use crate::table::{MapError, Table};

/// Whose flows are to be forgotten.
struct Unwanted<'a> {
    /// By hop and subnet.
    services: HashMap<(u16, u16), Vec<Option<Target>>>,
    known: &'a Services,
    generations: &'a Generations,
}

impl Unwanted<'_> {
    fn has(&self, target: Target, flow: &flow) -> bool {
        let Some(services) = self.services.get(&(flow.hop, flow.subnet)) else { return false };
        self.generations.has(flow)
            && services.iter().any(|service| match service {
                Some(service) => *service == target,
                None => !self.known.names(flow.subnet, target),
            })
    }
}

/// Forget pinned flows. Each is read again before it goes: what a packet pinned elsewhere meanwhile stays.
fn forget<K: Key>(table: &Table<K, flow>, unwanted: &Unwanted<'_>) -> Result<u64, MapError> {
    let (mut forgotten, mut failure) = (0, Ok(()));
    table.for_each(|key, flow| {
        if unwanted.has(key.target(), &flow) {
            match table.remove_if(&key, |flow| unwanted.has(key.target(), flow)) {
                Ok(removed) => forgotten += u64::from(removed),
                Err(e) => failure = Err(e),
            }
        }
    })?;
    failure.map(|()| forgotten)
}

/// Forget pinned flows by their keys.
fn forget_keys<K: Key>(table: &Table<K, flow>, unwanted: &impl Fn(&FlowKey) -> bool) -> Result<u64, MapError> {
    let (mut forgotten, mut failure) = (0, Ok(()));
    table.for_each(|key, _| {
        if key.flow().is_some_and(|flow| unwanted(&flow)) {
            match table.remove_if(&key, |_| true) {
                Ok(removed) => forgotten += u64::from(removed),
                Err(e) => failure = Err(e),
            }
        }
    })?;
    failure.map(|()| forgotten)
}

impl Router {
    /// Forget flows, pinned and pending, by their keys; how many those were. What is forgotten is placed anew by its next
    /// SYN, and is an orphan by any other packet of TCP. A flow that begins meanwhile may stay.
    pub fn forget_flows(&self, unwanted: impl Fn(&FlowKey) -> bool) -> Result<u64, MapError> {
        let tables = &self.tables;
        let pending = tables.pending_v4.forget(|key, _| key.flow().is_some_and(|flow| unwanted(&flow)))
            + tables.pending_v6.forget(|key, _| key.flow().is_some_and(|flow| unwanted(&flow)));
        Ok(pending + forget_keys(&tables.flows_v4, &unwanted)? + forget_keys(&tables.flows_v6, &unwanted)?)
    }

    /// Forget the flows, pinned and pending, that a host has of one service. A key without a service means the flows that
    /// no route of the subnet names. Returns how many there were. Let the routes leave the host out first, or a flow may
    /// be placed there again. Datagrams in fragments under way stay: nobody knows their ports.
    ///
    /// The work is one walk over the flow tables, whose capacity bounds it; for several services of one moment use
    /// [`Router::unpin_all`].
    pub fn unpin(&self, host: &NodeName, service: &ServiceKey) -> Result<u64, MapError> {
        self.unpin_all([(host, service)])
    }

    /// The same for any number of hosts and services in one walk.
    pub fn unpin_all<'a>(
        &self,
        which: impl IntoIterator<Item = (&'a NodeName, &'a ServiceKey)>,
    ) -> Result<u64, MapError> {
        let hops: HashMap<&NodeName, u16> = self.hop_names().into_iter().map(|(hop, name)| (name, hop.get())).collect();
        let mut services: HashMap<_, Vec<_>> = HashMap::new();
        for (host, key) in which {
            if let (Some(hop), Some(subnet)) = (hops.get(host), self.subnets.get(&key.subnet)) {
                services.entry((*hop, subnet)).or_default().push(key.service.map(|service: Service| service.into()));
            }
        }
        if services.is_empty() {
            return Ok(0); // none of them is known here
        }
        let (known, generations) = (&self.services(), &self.generations());
        let unwanted = Unwanted { services, known, generations };
        let tables = &self.tables;
        let pending = tables.pending_v4.forget(|key, flow| unwanted.has(key.target(), flow))
            + tables.pending_v6.forget(|key, flow| unwanted.has(key.target(), flow));
        Ok(pending + forget(&tables.flows_v4, &unwanted)? + forget(&tables.flows_v6, &unwanted)?)
    }
}
