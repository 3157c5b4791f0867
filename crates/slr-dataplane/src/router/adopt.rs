//! What the kernel's tables already say, at a start: hops with their generations, ids of subnets and
//! client classes, rings with their history.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use slr_model::{HopId, VirtualSubnet};
use slr_policy::Adopted;

use super::addr;
use super::classes::ClassTable;
use super::hops::HopTable;
use super::rings::{Rings, RouteId};
use super::subnets::SubnetIds;
use super::tables::Tables;
use crate::abi::slr_const;
use crate::table::MapError;

/// The state found.
#[derive(Default)]
pub struct State {
    pub hops: HopTable,
    pub subnets: SubnetIds,
    pub classes: ClassTable,
    pub rings: Rings,
    pub flows: u64,
}

/// Read it all. What makes no sense is left out with a warning: the next apply writes it anew.
pub fn read(tables: &Tables) -> Result<State, MapError> {
    let mut state = State::default();
    tables.hops.for_each(|index, template| {
        let id = u16::try_from(index).ok().and_then(|index| HopId::new(index).ok());
        if let (true, Some(id)) = (template.r#gen != 0, id) {
            state.hops.adopt(id, template);
        }
    })?;
    let mut live = Vec::new();
    tables.subnets.for_each(|id, subnet| {
        if subnet.flags & slr_const::SUBNET_LIVE.0 != 0 {
            live.push((id, subnet));
        }
    })?;
    for (id, subnet) in live {
        let prefix = addr::from_prefix(subnet.prefix, subnet.prefix_len).and_then(|net| VirtualSubnet::new(net).ok());
        match (prefix, u16::try_from(id)) {
            (Some(prefix), Ok(id)) => state.subnets.adopt(prefix, id),
            _ => tracing::warn!(id, "adopted subnet has no valid prefix, ignored"),
        }
    }
    state.classes.adopt(tables)?;
    for ring in rings(tables)? {
        let index = ring.ring_index;
        if let Err(error) = state.rings.adopt(ring) {
            tracing::warn!(index, %error, "ring found in the kernel cannot be taken over, it will be built anew");
        }
    }
    tables.flows_v4.for_each(|_, _| state.flows += 1)?;
    tables.flows_v6.for_each(|_, _| state.flows += 1)?;
    Ok(state)
}

/// Rings by what leads to them: a subnet, or an entry of `services` that belongs to one.
fn rings(tables: &Tables) -> Result<Vec<Adopted<RouteId>>, MapError> {
    let mut users: BTreeMap<u32, Vec<RouteId>> = BTreeMap::new();
    let mut live = BTreeSet::new();
    tables.subnets.for_each(|id, subnet| {
        if let (true, Ok(id)) = (subnet.flags & slr_const::SUBNET_LIVE.0 != 0, u16::try_from(id)) {
            live.insert(id);
            users.entry(subnet.ring).or_default().push(RouteId::of_subnet(id));
        }
    })?;
    tables.services.for_each(|key, service| {
        let route = RouteId::from_key(&key).filter(|route| live.contains(&route.subnet) && !route.is_of_subnet());
        users.entry(service.ring).or_default().extend(route);
    })?;
    users.remove(&0); // no ring
    let found = users.into_iter().filter(|(_, users)| !users.is_empty()).filter_map(|(ring_index, users)| {
        let desc = tables.rings.words().get(ring_index as usize)?.load(Ordering::Acquire);
        let (offset, len) = ((desc >> 32) as u32, desc as u32);
        let area = tables.slots.words().get(offset as usize..)?.get(..len as usize)?;
        let slots = area.iter().map(|word| word.load(Ordering::Relaxed)).collect();
        Some(Adopted { ring_index, offset, slots, users })
    });
    Ok(found.collect())
}
