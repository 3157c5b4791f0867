//! A desired state in the kernel's numbers: ids of subnets and classes, and each route's ring. Pure but for the ids.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use slr_model::{HopId, HostState, KeyMask, NodeName, Weight};
use slr_policy::{Member, Placement, RingError, RingSpec};

use super::apply::ApplyError;
use super::classes::ClassTable;
use super::desired::{Desired, Route, Subnet};
use super::rings::RouteId;
use super::subnets::SubnetIds;

/// Which ids and rings a desired state has.
pub struct Layout<'a> {
    /// Every subnet and its id.
    pub subnets: Vec<(u16, &'a Subnet)>,
    /// Every route's ring.
    pub rings: BTreeMap<RouteId, RingSpec>,
    /// Every route's key mask.
    pub masks: BTreeMap<RouteId, KeyMask>,
}

/// A host as rings see it.
struct Seat {
    hop: HopId,
    /// New flows may go there.
    takes: bool,
}

impl<'a> Layout<'a> {
    /// Give ids to what has none, and say which rings there shall be. `held`: routes that have a ring now.
    pub fn new(
        desired: &'a Desired,
        hops: &BTreeMap<IpAddr, HopId>,
        subnets: &mut SubnetIds,
        classes: &mut ClassTable,
        held: impl Fn(u16) -> BTreeSet<u16>,
    ) -> Result<Self, ApplyError> {
        let seats = seats(desired, hops);
        let mut layout = Layout { subnets: Vec::new(), rings: BTreeMap::new(), masks: BTreeMap::new() };
        for subnet in &desired.subnets {
            let too_many = ApplyError::TooManySubnets { given: desired.subnets.len() };
            let id = subnets.assign(subnet.prefix).ok_or(too_many)?;
            if !classes.assign(id, subnet, &held(id)) {
                return Err(ApplyError::TooManyClasses { subnet: subnet.prefix, given: subnet.classes.len() });
            }
            layout.subnets.push((id, subnet));
            for route in &subnet.routes {
                let class = classes.id(id, route.class.as_ref()).expect("checked before");
                let user = RouteId { subnet: id, class, service: route.service };
                let source = |source| ApplyError::Ring { subnet: subnet.prefix, source };
                layout.rings.insert(user, ring_spec(route, &seats, desired.config.seed).map_err(source)?);
                layout.masks.insert(user, route.key_mask);
            }
        }
        Ok(layout)
    }

    /// Ids of the subnets that serve only what a route names.
    pub fn listed_only(&self) -> BTreeSet<u16> {
        self.subnets.iter().filter(|(_, subnet)| subnet.listed_only).map(|(id, _)| *id).collect()
    }
}

fn seats<'a>(desired: &'a Desired, hops: &BTreeMap<IpAddr, HopId>) -> BTreeMap<&'a NodeName, Seat> {
    let mut seats = BTreeMap::new();
    for host in &desired.hosts {
        let Some(hop) = hops.get(&host.address) else { continue };
        let takes = host.state == HostState::Active && host.is_reachable(&desired.sources);
        seats.entry(&host.name).or_insert(Seat { hop: *hop, takes });
    }
    seats
}

/// New flows go to active hosts that can be reached, by weight. All members count for the ring's size.
fn ring_spec(route: &Route, seats: &BTreeMap<&NodeName, Seat>, seed: u64) -> Result<RingSpec, RingError> {
    let member = |(name, weight): &(NodeName, Weight)| {
        let seat = seats.get(name)?;
        Some(Member { name: name.clone(), hop: seat.hop, weight: if seat.takes { *weight } else { Weight::ZERO } })
    };
    let members: Vec<Member> = route.members.iter().filter_map(member).collect();
    RingSpec::new(&members, Placement::for_hosts(members.len(), seed))
}
