//! What a change moves: told after it was applied, or beforehand, by another desired state that is only looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use slr_model::{ClassName, ServiceKey};
use slr_policy::{Ring, RingBuilder, RingError, RingSpec, Slot};

use super::Router;
use super::check::{ApplyError, check};
use super::desired::Desired;
use super::layout::Layout;
use super::moved::{Moved, Routes, compare};
use super::rings::{RouteId, word_of};
use crate::abi::slr_const;
use crate::table::MapError;

/// A ring's descriptor, as the kernel has it.
type Descriptor = u64;

impl Router {
    /// Which slots another desired state would move. Nothing is changed, in the kernel or here.
    pub fn preview(&self, desired: &Desired) -> Result<Vec<Moved>, ApplyError> {
        check(desired)?;
        let too_many = ApplyError::TooManyHosts { given: desired.hosts.len() };
        let hops = self.hops.foresee(desired).ok_or(too_many)?;
        let (mut subnets, mut classes) = (self.subnets.clone(), self.classes.clone());
        let names = classes.names();
        let layout = Layout::new(desired, &hops, &mut subnets, &mut classes, |subnet| self.rings.classes_of(subnet))?;
        let (rings, built) = build(&layout.rings).map_err(|(route, source)| ApplyError::Ring {
            subnet: layout.subnets.iter().find(|(id, _)| *id == route.subnet).expect("of this layout").1.prefix,
            source,
        })?;
        let before = Routes { rings: self.descriptors(), listed_only: self.listed_only()? };
        let after = Routes { rings, listed_only: layout.listed_only() };
        let found = compare(&before, &after, |ring| self.hops_of(ring), |ring| currents(&built[ring]));
        let prefixes: BTreeMap<_, _> = layout.subnets.iter().map(|(id, subnet)| (*id, subnet.prefix)).collect();
        let row = |(route, moved, slots): (RouteId, u32, u32)| {
            let service = ServiceKey { subnet: *prefixes.get(&route.subnet)?, service: route.service };
            let class = classes.name(route.subnet, route.class).or_else(|| names.get(&(route.subnet, route.class)));
            Some(Moved { service, class: class.cloned(), moved, slots })
        };
        Ok(found.into_iter().filter_map(row).collect())
    }

    /// What moved from one state of the kernel to another, the last plan's slots being both there still.
    pub(super) fn moved(
        &self,
        before: &Routes<Descriptor>,
        after: &Routes<Descriptor>,
        names: &BTreeMap<(u16, u16), ClassName>,
    ) -> Vec<Moved> {
        if before.rings == after.rings && before.listed_only == after.listed_only {
            return Vec::new();
        }
        let prefixes: BTreeMap<_, _> = self.subnets.iter().map(|(prefix, id)| (id, prefix)).collect();
        let found = compare(before, after, |ring| self.hops_of(ring), |ring| self.hops_of(ring));
        let row = |(route, moved, slots): (RouteId, u32, u32)| {
            let service = ServiceKey { subnet: *prefixes.get(&route.subnet)?, service: route.service };
            let class =
                self.classes.name(route.subnet, route.class).or_else(|| names.get(&(route.subnet, route.class)));
            Some(Moved { service, class: class.cloned(), moved, slots })
        };
        found.into_iter().filter_map(row).collect()
    }

    /// Each route's ring, by where its slots lie.
    pub(super) fn descriptors(&self) -> BTreeMap<RouteId, Descriptor> {
        let read = |index: u32| word_of(&self.tables, index).load(Ordering::Acquire);
        self.rings.users().iter().map(|(route, index)| (*route, read(*index))).collect()
    }

    /// Subnets that serve only what a route names, by what the kernel knows.
    pub(super) fn listed_only(&self) -> Result<BTreeSet<u16>, MapError> {
        let mut listed = BTreeSet::new();
        for (_, id) in self.subnets.iter() {
            let subnet = self.tables.subnets.get(&u32::from(id))?.unwrap_or_default();
            listed.extend((subnet.flags & slr_const::SUBNET_PORTS.0 != 0).then_some(id));
        }
        Ok(listed)
    }

    fn hops_of(&self, ring: Descriptor) -> Vec<u16> {
        let (offset, len) = ((ring >> 32) as usize, ring as u32 as usize);
        let area = self.tables.slots.words().get(offset..).and_then(|rest| rest.get(..len));
        area.unwrap_or_default().iter().map(|slot| slot.load(Ordering::Relaxed) as u16).collect()
    }
}

/// Each different ring once: routes by index, and the rings.
type Built = (BTreeMap<RouteId, usize>, Vec<Ring>);

fn build(specs: &BTreeMap<RouteId, RingSpec>) -> Result<Built, (RouteId, RingError)> {
    let (mut builder, mut built) = (RingBuilder::new(), Vec::new());
    let mut known: BTreeMap<&RingSpec, usize> = BTreeMap::new();
    let mut routes = BTreeMap::new();
    for (route, spec) in specs {
        let index = match known.get(spec) {
            Some(index) => *index,
            None => {
                built.push(builder.build(spec.members(), spec.placement()).map_err(|e| (*route, e))?);
                *known.entry(spec).or_insert(built.len() - 1)
            }
        };
        routes.insert(*route, index);
    }
    Ok((routes, built))
}

fn currents(ring: &Ring) -> Vec<u16> {
    ring.slots().map(|slot: Slot| slot.current().map_or(0, |hop| hop.get())).collect()
}
