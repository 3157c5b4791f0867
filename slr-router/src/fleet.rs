//! The hosts below this router, whoever told of them, and what the rings hold because of them. Pure: no clock, no socket,
//! no kernel.
//!
//! Hosts with a certificate say what they serve; the registry of `slr-session` keeps their states. Hosts of the hosts file
//! (for servers without hostd) have no session: their state is what the file says. Each interval, and whenever a state
//! changes, every route's hosts are weighed by the balancer of `slr-policy`; the data plane gets what comes of it.

mod candidates;
mod hops;
pub mod routes;
mod upward;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use slr_model::{KeyMask, NodeName, Service, VirtualSubnet, Weight};
use slr_policy::{Balancer, Evaluation, Packets, Placement, RingInput, RingReport};
use slr_session::registry::{Registry, Settings as RegistrySettings};
use slr_wire::{RingKey, RingWeights};

pub use self::candidates::Candidate;
pub use self::hops::Hop;
use self::routes::RouteSpec;
use crate::config::{Settings, Subnet};
use crate::hosts::Host;

/// Hosts with their weights, those that take no new flows with weight zero: they keep their place in the slots' memory.
pub type Members = Vec<(NodeName, Weight)>;

/// What the rings are made from, in the configuration's words.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Which fields decide where a flow goes.
    pub key_mask: KeyMask,
    /// Who gets new flows.
    pub members: Members,
}

/// What an evaluation did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evaluated {
    /// Whether a route, or who is in it, is another one than before.
    pub is_changed: bool,
    /// Slots that moved because of costs, by ring, where any did.
    pub moved_by_cost: BTreeMap<RingKey, u32>,
    /// Rings whose change the budget held back in part.
    pub clipped: u32,
}

/// Everybody below this router.
#[derive(Clone, Debug)]
pub struct Fleet {
    registry: Registry,
    balancer: Balancer<RingKey>,
    routes: BTreeMap<RingKey, Route>,
}

impl Default for Fleet {
    /// Nobody yet.
    fn default() -> Self {
        let registry = Registry::new(RegistrySettings::default());
        Self { registry, balancer: Balancer::new(), routes: BTreeMap::new() }
    }
}

impl Fleet {
    /// Works by these settings from now on.
    pub fn configure(&mut self, settings: &Settings, now: Instant) {
        self.registry.configure(registry_settings(settings), now);
    }

    /// Who has a session, or had.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The same, to be told things.
    pub fn registry_mut(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// What the rings hold.
    pub fn routes(&self) -> &BTreeMap<RingKey, Route> {
        &self.routes
    }

    /// The rule that fills a ring, if there is one.
    pub fn spec(&self, settings: &Settings, key: &RingKey) -> Option<RouteSpec> {
        specs(&self.registry, settings).into_iter().find(|spec| spec.key == *key)
    }

    /// How a ring's weights came about; `None` if no host of it has a session.
    pub fn report(&self, key: &RingKey) -> Option<RingReport> {
        self.balancer.report(key)
    }

    /// Goes on from weights that were in force elsewhere: before a restart, or at the cluster's publisher.
    pub fn adopt(&mut self, key: &RingKey, weights: &RingWeights, seed: u64) {
        let members = follow(&mut self.balancer, key, weights, seed);
        let key_mask = self.routes.get(key).map_or(KeyMask::ALL, |route| route.key_mask);
        self.routes.insert(key.clone(), Route { key_mask, members });
    }

    /// Weighs the hosts of every route. `published`: the cluster's publisher has weighed them; its word is taken for every
    /// ring that it knows, since what one member measures would make every member's rings different. `packets`: how many
    /// each host was sent so far, where that is counted: it tells which traffic a host's load is due to.
    pub fn evaluate(
        &mut self,
        settings: &Settings,
        listed: &[Host],
        published: Option<&BTreeMap<RingKey, RingWeights>>,
        packets: Option<&Arc<Packets>>,
        now: Instant,
        hour: f64,
    ) -> Evaluated {
        let seed = settings.dataplane.limits.seed;
        let mut done = Evaluated::default();
        let mut routes = BTreeMap::new();
        for spec in specs(&self.registry, settings) {
            let candidates = candidates::of_route(&self.registry, settings, listed, &spec);
            // What the operator wrote needs no damping.
            let members = if let Some(weights) = published.and_then(|rings| rings.get(&spec.key)) {
                follow(&mut self.balancer, &spec.key, weights, seed)
            } else if candidates.iter().all(|candidate| candidate.is_listed) {
                candidates.iter().map(Candidate::as_written).collect()
            } else {
                let hosts: Vec<_> = candidates.iter().map(Candidate::input).collect();
                let placement = Placement::for_hosts(hosts.len(), seed);
                let input = RingInput { placement, hour, hosts: &hosts };
                if let Some(packets) = packets {
                    self.balancer.note_traffic(&spec.key, packets);
                }
                match self.balancer.evaluate(&spec.key, now, &spec.policy, &input) {
                    Ok(evaluation) => done.count(&spec.key, &evaluation),
                    Err(error) => tracing::error!(ring = %spec.key, "the ring keeps its weights: {error}"),
                }
                self.balancer.weights(&spec.key)
            };
            routes.insert(spec.key, Route { key_mask: spec.key_mask, members });
        }
        self.balancer.retain(|key| routes.contains_key(key));
        done.is_changed = routes != self.routes;
        self.routes = routes;
        done
    }
}

impl Evaluated {
    fn count(&mut self, key: &RingKey, evaluation: &Evaluation) {
        if evaluation.moved_by_cost > 0 {
            self.moved_by_cost.insert(key.clone(), evaluation.moved_by_cost);
        }
        self.clipped += u32::from(evaluation.clipped);
    }
}

/// Takes weights as they are; the balancer counts on from them.
fn follow(balancer: &mut Balancer<RingKey>, key: &RingKey, weights: &RingWeights, seed: u64) -> Members {
    let members: Members = weights.iter().map(|(name, weight)| (name.clone(), *weight)).collect();
    let is_new = balancer.weights(key) != members;
    if is_new && let Err(error) = balancer.adopt(key, Placement::for_hosts(members.len(), seed), &members) {
        tracing::error!(ring = %key, "what the ring was cannot be gone on from: {error}");
    }
    members
}

/// Every route of the configuration, with the services that hosts name.
fn specs(registry: &Registry, settings: &Settings) -> Vec<RouteSpec> {
    let mut advertised: BTreeMap<VirtualSubnet, BTreeSet<Service>> = BTreeMap::new();
    for key in registry.services() {
        advertised.entry(key.subnet).or_default().extend(key.service);
    }
    let none = BTreeSet::new();
    let of = |subnet: &Subnet| routes::of_subnet(subnet, advertised.get(&subnet.prefix).unwrap_or(&none));
    settings.subnets.iter().flat_map(of).collect()
}

fn registry_settings(settings: &Settings) -> RegistrySettings {
    let Some(control) = &settings.control else { return RegistrySettings::default() };
    RegistrySettings {
        advert_interval: control.advert_interval,
        silent_after: control.silent_after,
        vanish_window: control.vanish_window,
        adopt_hold: control.adopt_hold,
        forget_after: control.forget_after,
        ..RegistrySettings::default()
    }
}
