//! Who may serve a route, and what is known of them.

use std::collections::BTreeMap;
use std::time::Instant;

use slr_model::{Loads, NodeName, ServiceKey, Weight};
use slr_policy::HostInput;
use slr_session::registry::{HostView, PathView, Registry, ServiceView};

use super::routes::RouteSpec;
use crate::config::Settings;
use crate::hosts::Host;

/// Cost of the way to a host; the configuration has no other yet for hosts of one's own site.
pub const ROUTING_COST: f64 = 1.0;

/// A host of a route.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    name: &'a NodeName,
    /// Whether it stands in the hosts file, and nothing else is known of it.
    pub is_listed: bool,
    placed: bool,
    weight: Weight,
    node_loads: &'a Loads,
    loads: &'a Loads,
    path: PathView,
    flows: Option<u64>,
    returned_at: Option<Instant>,
}

impl<'a> Candidate<'a> {
    fn advertised(host: &HostView<'a>, service: &ServiceView<'a>) -> Self {
        Self {
            name: host.name(),
            is_listed: false,
            placed: service.state().takes_new_flows(),
            weight: service.weight(),
            node_loads: host.loads(),
            loads: service.loads(),
            path: host.path(),
            flows: Some(service.flows()),
            returned_at: service.returned_at(),
        }
    }

    fn listed(host: &'a Host) -> Self {
        Self {
            name: &host.name,
            is_listed: true,
            placed: host.state.takes_new_flows(),
            weight: host.weight,
            node_loads: Loads::NONE,
            loads: Loads::NONE,
            path: PathView::Unknown,
            flows: None,
            returned_at: None,
        }
    }

    /// As the balancer sees it.
    pub fn input(&self) -> HostInput<'a> {
        let (rtt_ms, loss) = match self.path {
            PathView::Alive { rtt_us, loss, .. } => (Some(f64::from(rtt_us) / 1_000.0), Some(loss)),
            _ => (None, None),
        };
        HostInput {
            name: self.name,
            placed: self.placed,
            node_loads: self.node_loads,
            loads: self.loads,
            rtt_ms,
            loss,
            weight: self.weight,
            flows: self.flows,
            routing_cost: ROUTING_COST,
            returned_at: self.returned_at,
        }
    }

    /// As the ring has it when nobody weighs.
    pub fn as_written(&self) -> (NodeName, Weight) {
        (self.name.clone(), if self.placed { self.weight } else { Weight::ZERO })
    }
}

/// The hosts of a route, by name.
pub fn of_route<'a>(
    registry: &'a Registry,
    settings: &Settings,
    listed: &'a [Host],
    spec: &RouteSpec,
) -> Vec<Candidate<'a>> {
    let mut found: BTreeMap<&NodeName, Candidate> = BTreeMap::new();
    for host in listed.iter().filter(|host| host.subnets.contains(&spec.key.service.subnet)) {
        found.insert(&host.name, Candidate::listed(host));
    }
    // What a host says of a service outranks what it says of all others.
    let whole = ServiceKey { service: None, ..spec.key.service };
    for key in [whole, spec.key.service] {
        let hosts = registry.service(&key);
        found.extend(hosts.map(|(host, service)| (host.name(), Candidate::advertised(&host, &service))));
    }
    if spec.key.service.service.is_none() {
        add_hosts_of_any(registry, settings, spec, &mut found);
    }
    let wanted = |candidate: &Candidate| spec.hosts.as_ref().is_none_or(|hosts| hosts.contains(candidate.name));
    found.into_values().filter(wanted).collect()
}

/// Where only listed services are served, ICMP goes to whoever serves one of them.
fn add_hosts_of_any<'a>(
    registry: &'a Registry,
    settings: &Settings,
    spec: &RouteSpec,
    found: &mut BTreeMap<&'a NodeName, Candidate<'a>>,
) {
    let subnet = spec.key.service.subnet;
    let listed = settings.subnets.iter().find(|s| s.prefix == subnet).and_then(|s| s.services.as_ref());
    for &service in listed.into_iter().flatten() {
        for (host, service) in registry.service(&ServiceKey { subnet, service: Some(service) }) {
            let is_placed = found.get(host.name()).is_some_and(|known| known.placed);
            if !is_placed {
                found.insert(host.name(), Candidate::advertised(&host, &service));
            }
        }
    }
}
