//! Flows by host and service: counted on the walk over the flow tables that ageing makes anyhow, or on one of its own.

use std::collections::{BTreeMap, HashMap};

use slr_model::{HopId, NodeName, ServiceKey};

use super::Router;
use super::flow_key::{Key, Target};
use super::rings::RouteId;
use crate::abi::{flow, slr_const};
use crate::table::MapError;

/// How long a flow that has not shown two ends counts as one: a client's SYNs are at most this far apart (1, 2, 4, 8 and
/// 16 s), and one more advance of the clock.
const PENDING_S: u32 = 21;

/// What a host has of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowShare {
    /// The host.
    pub host: NodeName,
    /// The service, as the routes name it; `None` in it: whatever no route names.
    pub service: ServiceKey,
    /// Pinned flows.
    pub pinned: u64,
    /// Of these, flows whose client has sent FIN or RST: the other half may still be sending.
    pub closing: u64,
    /// Flows that began lately and have not shown two ends.
    pub pending: u64,
}

/// What a walk over the flow tables found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Pinned flows by host and service, in this order. Flows of hosts that are gone, or that went down since, are in none.
    pub shares: Vec<FlowShare>,
    /// Pinned IPv4 and IPv6 flows, whosever they are.
    pub pinned: [u64; 2],
    /// IPv4 and IPv6 flows that have not shown two ends, however old.
    pub pending: [u64; 2],
}

/// Which generation each hop has: flows of another are not pinned to it.
pub struct Generations(Vec<u16>);

impl Generations {
    /// Of these hops.
    #[cfg(test)]
    pub fn of(hops: &[(u16, u16)]) -> Self {
        let mut all = vec![0; HopId::TABLE_LEN];
        hops.iter().for_each(|(hop, generation)| all[usize::from(*hop)] = *generation);
        Self(all)
    }

    /// Whether the flow's host still is who it was.
    pub fn has(&self, flow: &flow) -> bool {
        self.is(flow.hop, flow.hop_gen)
    }

    fn is(&self, hop: u16, generation: u16) -> bool {
        self.0.get(usize::from(hop)).is_some_and(|known| *known != 0 && *known == generation)
    }
}

/// The services that routes name, to find a flow's.
pub struct Services {
    keys: Vec<ServiceKey>,
    by_subnet: Vec<Option<Named>>,
}

/// A subnet's: indexes into the keys.
struct Named {
    any: u32,
    /// In order of target.
    each: Vec<(Target, u32)>,
}

impl Services {
    /// The index of the service that a flow to this target of a subnet is of; none of a subnet that nobody knows.
    pub fn index(&self, subnet: u16, target: Target) -> Option<u32> {
        let named = self.by_subnet.get(usize::from(subnet))?.as_ref()?;
        let found = named.each.binary_search_by_key(&target, |(target, _)| *target);
        Some(found.map_or(named.any, |at| named.each[at].1))
    }

    /// Whether a route names this target.
    pub fn names(&self, subnet: u16, target: Target) -> bool {
        let named = self.by_subnet.get(usize::from(subnet)).and_then(Option::as_ref);
        named.is_some_and(|named| named.each.binary_search_by_key(&target, |(target, _)| *target).is_ok())
    }
}

#[derive(Clone, Copy, Default)]
struct Count {
    pinned: u64,
    closing: u64,
    pending: u64,
}

/// A walk under way. Hosts may come and go before its end.
pub struct Counting {
    /// As they were at its beginning.
    services: Services,
    /// By hop, generation and service.
    counts: HashMap<(u16, u16, u32), Count>,
    now: u32,
}

impl Counting {
    pub fn new(services: Services, now: u32) -> Self {
        Self { services, counts: HashMap::new(), now }
    }

    fn of(&mut self, target: Target, flow: &flow) -> Option<&mut Count> {
        let index = self.services.index(flow.subnet, target)?;
        Some(self.counts.entry((flow.hop, flow.hop_gen, index)).or_default())
    }

    pub fn add_pinned(&mut self, target: Target, flow: &flow) {
        let closing = u32::from(flow.flags) & slr_const::FLOW_CLOSING.0 != 0;
        if let Some(count) = self.of(target, flow) {
            count.pinned += 1;
            count.closing += u64::from(closing);
        }
    }

    pub fn add_pending(&mut self, target: Target, flow: &flow) {
        if self.now.saturating_sub(flow.seen) <= PENDING_S
            && let Some(count) = self.of(target, flow)
        {
            count.pending += 1;
        }
    }

    /// By the names of the hops, of hosts that are who they were when the flows were pinned.
    pub fn shares(&self, generations: &Generations, names: &BTreeMap<HopId, &NodeName>) -> Vec<FlowShare> {
        let share = |((hop, generation, index), count): (&(u16, u16, u32), &Count)| {
            let host = names.get(&HopId::new(*hop).ok()?).filter(|_| generations.is(*hop, *generation))?;
            Some(FlowShare {
                host: (*host).clone(),
                service: self.services.keys[*index as usize],
                pinned: count.pinned,
                closing: count.closing,
                pending: count.pending,
            })
        };
        let mut shares: Vec<FlowShare> = self.counts.iter().filter_map(share).collect();
        shares.sort_by(|a, b| (&a.host, a.service).cmp(&(&b.host, b.service)));
        shares
    }
}

impl Router {
    /// Walk over the flow tables now and count. Takes a tenth of a second for a million flows; [`Router::last_census`]
    /// costs nothing.
    pub fn census(&self) -> Result<Census, MapError> {
        let mut counting = Counting::new(self.services(), self.clock()?);
        let mut census = Census::default();
        self.tables.flows_v4.for_each(|key, flow| {
            census.pinned[0] += 1;
            counting.add_pinned(key.target(), &flow);
        })?;
        self.tables.flows_v6.for_each(|key, flow| {
            census.pinned[1] += 1;
            counting.add_pinned(key.target(), &flow);
        })?;
        census.pending = self.count_pending(&mut counting);
        census.shares = counting.shares(&self.generations(), &self.hop_names());
        Ok(census)
    }

    /// What the last sweep found, before it forgot anything.
    pub fn last_census(&self) -> &Census {
        &self.census
    }

    /// Flows by host and service, as the last sweep found them.
    pub fn flow_shares(&self) -> &[FlowShare] {
        &self.census.shares
    }

    /// A bounded cache, so this is quick.
    pub(super) fn count_pending(&self, counting: &mut Counting) -> [u64; 2] {
        let mut pending = [0; 2];
        self.tables.pending_v4.for_each(|key, flow| {
            pending[0] += 1;
            counting.add_pending(key.target(), flow);
        });
        self.tables.pending_v6.for_each(|key, flow| {
            pending[1] += 1;
            counting.add_pending(key.target(), flow);
        });
        pending
    }

    pub(super) fn generations(&self) -> Generations {
        let mut generations = vec![0; HopId::TABLE_LEN];
        for entry in self.hops.iter() {
            generations[entry.id.index()] = entry.generation;
        }
        Generations(generations)
    }

    pub(super) fn services(&self) -> Services {
        let mut services = Services { keys: Vec::new(), by_subnet: Vec::new() };
        services.by_subnet.resize_with(slr_const::SLR_SUBNETS_MAX.0 as usize, || None);
        for (prefix, id) in self.subnets.iter() {
            let mut index = |service| {
                services.keys.push(ServiceKey { subnet: prefix, service });
                u32::try_from(services.keys.len() - 1).expect("routes are bounded")
            };
            let any = index(None);
            let routes = self.rings.routes_of(id);
            let mut each: Vec<_> = routes.filter_map(|(RouteId { service, .. }, _)| service).collect();
            each.sort_unstable();
            each.dedup(); // once for each class
            let mut each: Vec<_> =
                each.into_iter().map(|service| (Target::from(service), index(Some(service)))).collect();
            each.sort_unstable();
            services.by_subnet[usize::from(id)] = Some(Named { any, each });
        }
        services
    }
}
