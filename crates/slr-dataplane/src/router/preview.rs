//! What a change moves: told after it was applied, or beforehand, by another desired state that is only looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use slr_model::{ClassName, ServiceKey, VirtualSubnet};
use slr_policy::{Ring, RingBuilder, RingError, RingSpec, Slot};

use super::Router;
use super::check::{ApplyError, check};
use super::classes::ClassTable;
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
        let before = self.routes_before(desired)?;
        let after = Routes { rings, listed_only: layout.listed_only() };
        let found = compare(&before, &after, |ring| self.hops_of(ring), |ring| currents(&built[ring]));
        Ok(named(found, &layout, &classes, &names))
    }

    /// What moved between `before` and now, the slots of both being there until the next plan. `names`: of the classes
    /// before.
    pub(super) fn moved(
        &self,
        before: &Routes<Descriptor>,
        layout: &Layout,
        names: &BTreeMap<(u16, u16), ClassName>,
    ) -> Vec<Moved> {
        let after = Routes { rings: self.descriptors(), listed_only: layout.listed_only() };
        if before.rings == after.rings && before.listed_only == after.listed_only {
            return Vec::new();
        }
        let found = compare(before, &after, |ring| self.hops_of(ring), |ring| self.hops_of(ring));
        named(found, layout, &self.classes, names)
    }

    /// Each route's ring, by where its slots lie.
    pub(super) fn descriptors(&self) -> BTreeMap<RouteId, Descriptor> {
        let read = |index: u32| word_of(&self.tables, index).load(Ordering::Acquire);
        self.rings.users().iter().map(|(route, index)| (*route, read(*index))).collect()
    }

    /// The routes of the subnets that stay. (An id of one that goes may be another's in the next moment.)
    pub(super) fn routes_before(&self, desired: &Desired) -> Result<Routes<Descriptor>, MapError> {
        let wanted: BTreeSet<_> = desired.subnets.iter().map(|subnet| subnet.prefix).collect();
        let stays: BTreeSet<u16> =
            self.subnets.iter().filter(|(prefix, _)| wanted.contains(prefix)).map(|(_, id)| id).collect();
        let mut before = Routes { rings: self.descriptors(), listed_only: BTreeSet::new() };
        before.rings.retain(|route, _| stays.contains(&route.subnet));
        for id in stays {
            let subnet = self.tables.subnets.get(&u32::from(id))?.unwrap_or_default();
            before.listed_only.extend((subnet.flags & slr_const::SUBNET_PORTS.0 != 0).then_some(id));
        }
        Ok(before)
    }

    fn hops_of(&self, ring: Descriptor) -> Vec<u16> {
        let (offset, len) = ((ring >> 32) as usize, ring as u32 as usize);
        let area = self.tables.slots.words().get(offset..).and_then(|rest| rest.get(..len));
        area.unwrap_or_default().iter().map(|slot| slot.load(Ordering::Relaxed) as u16).collect()
    }
}

/// In the configuration's words; a class that is gone under the name that it had.
fn named(
    found: Vec<(RouteId, u32, u32)>,
    layout: &Layout,
    classes: &ClassTable,
    before: &BTreeMap<(u16, u16), ClassName>,
) -> Vec<Moved> {
    let prefixes: BTreeMap<u16, VirtualSubnet> =
        layout.subnets.iter().map(|(id, subnet)| (*id, subnet.prefix)).collect();
    let row = |(route, moved, slots): (RouteId, u32, u32)| {
        let service = ServiceKey { subnet: *prefixes.get(&route.subnet)?, service: route.service };
        let class = classes.name(route.subnet, route.class).or_else(|| before.get(&(route.subnet, route.class)));
        Some(Moved { service, class: class.cloned(), moved, slots })
    };
    found.into_iter().filter_map(row).collect()
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
