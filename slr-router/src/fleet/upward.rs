//! What this router says of its hosts to the tier above: `M = G(s…, r…)` (seed, Fig. 9), one load for each service.

use std::collections::BTreeMap;

use slr_model::{Advert, HostState, LoadName, Loads, ServiceAdvert, ServiceKey, Weight};
use slr_policy::{AggregateHost, RingReport, Summary};
use slr_wire::RingKey;

use super::{Fleet, Route};
use crate::config::Settings;

impl Fleet {
    /// The advert for the parents: each service of each subnet, as one host with all its hosts' strength. The parents hear
    /// the same from each of the cluster's `members`, so each says its part of it.
    pub fn advert(&self, settings: &Settings, is_draining: bool, members: usize) -> Advert {
        // Classes of clients are this router's own business.
        let routes: BTreeMap<&RingKey, &Route> = self.routes.iter().filter(|(key, _)| key.class.is_none()).collect();
        let said = |(key, route): (&&RingKey, &&Route)| {
            let subnet = settings.subnets.iter().find(|subnet| subnet.prefix == key.service.subnet)?;
            // Ports that are not listed are not served, and an entry for ICMP alone is nobody's service.
            let is_served = !route.members.is_empty() && (subnet.services.is_none() || key.service.service.is_some());
            is_served.then(|| self.aggregate(subnet, key, route, is_draining, members))
        };
        Advert { loads: Loads::new(), services: routes.iter().filter_map(said).collect() }
    }

    fn aggregate(
        &self,
        subnet: &crate::config::Subnet,
        key: &RingKey,
        route: &Route,
        is_draining: bool,
        members: usize,
    ) -> ServiceAdvert {
        let hosts = self.aggregated(&key.service, route, self.report(key).as_ref());
        let summary = Summary::new(&hosts);
        let mut loads = Loads::new();
        let name: LoadName = "load".parse().expect("a word");
        // A site that knows no load says none: the parent then takes the others' mean for it.
        if let Ok(load) = summary.aggregate(&subnet.aggregate)
            && let Err(error) = loads.set(name, load)
        {
            tracing::debug!(service = %key.service, "G has no value to advertise: {error}");
        }
        let keeps = route.members.iter().any(|(name, _)| self.keeps_flows(name, &key.service));
        let (state, reason) = match (summary.active, is_draining) {
            (0, _) if keeps => (HostState::Draining, format!("none of {} hosts takes new flows", summary.hosts)),
            (0, _) => (HostState::Down, format!("none of {} hosts is well", summary.hosts)),
            (_, true) => (HostState::Draining, "drained by an operator".to_owned()),
            (active, false) => (HostState::Active, format!("{active} of {} hosts take new flows", summary.hosts)),
        };
        let weight = weight(&hosts, members);
        ServiceAdvert { key: key.service, state, reason, loads, flows: summary.flows, weight }
    }

    /// Whether flows that a host has of a service are still good there. A host of the hosts file that takes no new ones may
    /// have some.
    fn keeps_flows(&self, name: &slr_model::NodeName, key: &ServiceKey) -> bool {
        let whole = ServiceKey { service: None, ..*key };
        self.registry.host(name.as_str()).is_none_or(|host| {
            host.service(key).or_else(|| host.service(&whole)).is_some_and(|service| service.state().keeps_flows())
        })
    }

    fn aggregated(&self, key: &ServiceKey, route: &Route, report: Option<&RingReport>) -> Vec<AggregateHost> {
        let host = |(name, weight): &(slr_model::NodeName, Weight)| {
            let known = self.registry.host(name.as_str());
            let whole = ServiceKey { service: None, ..*key };
            let service = known.and_then(|host| host.service(key).or_else(|| host.service(&whole)));
            let load = service.and_then(|service| service.loads().get("load"));
            AggregateHost {
                active: !weight.is_zero(),
                load: load.or_else(|| known.and_then(|host| host.loads().get("load"))),
                cost: report.and_then(|report| report.hosts.iter().find(|host| host.name == *name)?.cost),
                flows: service.map(|service| service.flows()),
                routing_cost: super::candidates::ROUTING_COST,
            }
        };
        route.members.iter().map(host).collect()
    }
}

/// As many hosts, so much weight, divided among the cluster's members; the scale of weights ends at a thousand, ten ordinary
/// hosts. Who has an active host does not say zero: that would be "no new flows".
fn weight(hosts: &[AggregateHost], members: usize) -> Weight {
    let active = hosts.iter().filter(|host| host.active).count();
    let sum = active.saturating_mul(usize::from(Weight::default().get())).div_ceil(members.max(1));
    Weight::new(u16::try_from(sum).unwrap_or(u16::MAX).min(Weight::MAX)).expect("within the scale")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_members_of_a_cluster_share_the_weight_of_their_hosts() {
        let host = |active| AggregateHost { active, load: None, cost: None, flows: None, routing_cost: 1.0 };
        let hosts = |active: usize| [vec![host(true); active], vec![host(false); 2]].concat();
        let table = [(0, 1, 0), (1, 1, 100), (2, 2, 100), (3, 2, 150), (1, 3, 34), (12, 1, 1_000), (12, 2, 600)];
        for (active, members, expected) in table {
            assert_eq!(weight(&hosts(active), members).get(), expected, "{active} hosts, {members} members");
        }
    }
}
