//! From what hosts say to the weights of rings, an interval at a time.
//!
//! Called by the daemon's placement task, once an interval and whenever a host's state changes, for each ring (a service
//! and a class of its packets). It keeps, for each ring, what has to be remembered between two evaluations: smoothed
//! inputs, each host's weight, and who has which slot.
//!
//! An evaluation: inputs are smoothed, F gives each host's cost, costs give targets, targets beyond the hysteresis give
//! new weights (quantised), and as much of the change as the budget of slots allows is done; the rest is left for the
//! next interval. The budget is exact: the ring that the weights make is built and compared before they are given out.
//! Hosts that come or go are not bound by it.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use slr_model::{HopId, Loads, NodeName, Weight};
use thiserror::Error;

use crate::{Placement, Policy};

mod budget;
mod host;
mod placer;
mod report;
mod ring_state;
mod target;
mod traffic;

use placer::Placer;
pub use report::{Evaluation, HostReport, RingReport};
use ring_state::RingState;

/// Packets forwarded to each host so far.
pub type Packets = BTreeMap<NodeName, u64>;

/// What is known of one host of a ring when it is evaluated.
#[derive(Clone, Copy, Debug)]
pub struct HostInput<'a> {
    /// Which.
    pub name: &'a NodeName,
    /// Whether it gets new flows at all: active, held or fading. One that drains, is down or silent is listed with
    /// `false`: it keeps what was learned of it, and its place in the ring's size.
    pub placed: bool,
    /// Load values of the node.
    pub node_loads: &'a Loads,
    /// Load values of the service alone; they hide the node's.
    pub loads: &'a Loads,
    /// Round trip through the tunnel.
    pub rtt_ms: Option<f64>,
    /// Part of the keepalives that were lost, 0 to 1.
    pub loss: Option<f64>,
    /// Its configured weight. Zero: it gets no new flows.
    pub weight: Weight,
    /// Connections it has.
    pub flows: Option<u64>,
    /// Cost of the way there; 1 unless configured.
    pub routing_cost: f64,
    /// When it became active after it was not; `None` if it was when we first heard of it (adopted, renewed).
    pub returned_at: Option<Instant>,
}

/// All that an evaluation of a ring depends on, besides the past.
#[derive(Clone, Copy, Debug)]
pub struct RingInput<'a> {
    /// The ring's size and seed, the same that the ring is then built with.
    pub placement: Placement,
    /// Hours since midnight, UTC, 0 to 24.
    pub hour: f64,
    /// Every host of the service, in any order, each once.
    pub hosts: &'a [HostInput<'a>],
}

/// Inputs that cannot be evaluated. The ring keeps its weights.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BalanceError {
    /// A host stands twice among the inputs.
    #[error("host {0} is among the inputs twice: a ring has one host of a name")]
    DuplicateName(NodeName),
    /// More hosts than a ring can have.
    #[error("{given} hosts are too many for one ring: at most {} have a place", HopId::MAX)]
    TooManyHosts {
        /// How many.
        given: usize,
    },
}

/// Gives hosts their weights, ring by ring. `K` names a ring: a service and a class of its packets.
///
/// Memory: about 300 bytes for each host of each ring, two bytes for each slot of rings that differ, and one [`RingBuilder`](crate::RingBuilder)'s.
#[derive(Clone, Debug)]
pub struct Balancer<K> {
    rings: BTreeMap<K, RingState>,
    placer: Placer,
}

impl<K> Default for Balancer<K> {
    fn default() -> Self {
        Self { rings: BTreeMap::new(), placer: Placer::default() }
    }
}

impl<K: Ord + Clone> Balancer<K> {
    /// A balancer that has no ring yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Evaluates a ring. Its weights are then [`Balancer::weights`]; they are the ones before if nothing
    /// [changed](Evaluation::changed). `now` does not go back.
    pub fn evaluate(
        &mut self,
        key: &K,
        now: Instant,
        policy: &Policy,
        input: &RingInput,
    ) -> Result<Evaluation, BalanceError> {
        if !self.rings.contains_key(key) {
            self.rings.insert(key.clone(), RingState::new());
        }
        let ring = self.rings.get_mut(key).expect("it was put there if it was missing");
        ring.evaluate(now, policy, input, &mut self.placer)
    }

    /// Begins, or goes on, from weights that come from elsewhere: the ring that the kernel held when the daemon started,
    /// or the one that a cluster's publisher gave out. What the next evaluation moves is counted from there.
    pub fn adopt(&mut self, key: &K, placement: Placement, weights: &[(NodeName, Weight)]) -> Result<(), BalanceError> {
        let ring = self.rings.entry(key.clone()).or_insert_with(RingState::new);
        ring.adopt(placement, weights, &mut self.placer)
    }

    /// Says how many packets this router has forwarded to each host so far, of whatever service: counters that grow. Called
    /// before each evaluation, it lets `expected_load` know which part of the traffic a host's load is due to, and not
    /// only which part of the ring it had: connections stay where they began, however the ring changes. Counters that
    /// are not said again are not used again.
    pub fn note_traffic(&mut self, key: &K, packets: &Arc<Packets>) {
        let ring = self.rings.entry(key.clone()).or_insert_with(RingState::new);
        ring.traffic.note(packets);
    }

    /// The weights of a ring, by name: every host of the last evaluation, those that get nothing with zero.
    pub fn weights(&self, key: &K) -> Vec<(NodeName, Weight)> {
        self.rings.get(key).map(RingState::weights).unwrap_or_default()
    }

    /// How a ring's weights came about.
    pub fn report(&self, key: &K) -> Option<RingReport> {
        self.rings.get(key).map(RingState::report)
    }

    /// The rings there are.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.rings.keys()
    }

    /// Forgets the rings that are not wanted any more.
    pub fn retain(&mut self, wanted: impl Fn(&K) -> bool) {
        self.rings.retain(|key, _| wanted(key));
    }
}

#[cfg(test)]
mod tests;
