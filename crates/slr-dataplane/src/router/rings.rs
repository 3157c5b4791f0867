//! Rings in the kernel: carrying out the plans of `slr_policy::RingTable` in their order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use slr_model::Service;
use slr_policy::{Adopted, HopSet, Ring, RingSpec, RingTable, RingWrite, TableError};

use super::tables::Tables;
use crate::abi::{service_key, slr_const};
use crate::table::MapError;

/// Who uses a ring: the flows of one class of a subnet's clients to one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteId {
    /// The subnet's id.
    pub subnet: u16,
    /// The class's; 0: clients whose class has no route of its own for this.
    pub class: u16,
    /// `None`: whatever has no route by service.
    pub service: Option<Service>,
}

impl RouteId {
    /// The route that is in the subnet itself.
    pub fn of_subnet(subnet: u16) -> Self {
        Self { subnet, class: 0, service: None }
    }

    /// Whether it is in the subnet itself, not in `services`.
    pub fn is_of_subnet(&self) -> bool {
        self.class == 0 && self.service.is_none()
    }

    /// As `services` has it.
    pub fn key(&self) -> service_key {
        service_key {
            subnet: self.subnet,
            class: self.class,
            port: self.service.map_or(0, |service| service.port.get().to_be()),
            proto: self.service.map_or(0, |service| u16::from(service.protocol.number())),
        }
    }

    /// The route of this key; `None` if no router writes such a key.
    pub fn from_key(key: &service_key) -> Option<Self> {
        let service = match (key.port, key.proto) {
            (0, 0) => None,
            (port, proto) => Some(Service {
                protocol: slr_model::Protocol::from_number(u8::try_from(proto).ok()?)?,
                port: u16::from_be(port).try_into().ok()?,
            }),
        };
        Some(Self { subnet: key.subnet, class: key.class, service })
    }

    /// What may decide a packet of this route, in the order in which the program asks: see `find_service()` in place.h.
    pub fn fallbacks(&self, listed_only: bool) -> impl Iterator<Item = Self> + use<> {
        let Self { subnet, class, service } = *self;
        let all = [(class, service), (0, service), (class, None), (0, None)];
        let stops = listed_only && service.is_some();
        all.into_iter().take(if stops { 2 } else { 4 }).map(move |(class, service)| Self { subnet, class, service })
    }
}

/// What a plan gave up may be read by packets for the length of one program run; two plans are this far apart.
const GRACE: Duration = Duration::from_millis(10);

/// The rings as the kernel holds them.
pub struct Rings {
    table: RingTable<RouteId>,
    users: BTreeMap<RouteId, u32>,
    published: Option<Instant>,
}

/// What a publication did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    pub rings: u64,
    pub slots_moved: u64,
}

impl Default for Rings {
    fn default() -> Self {
        let table = RingTable::new(slr_const::SLR_RINGS_MAX.0 - 1, slr_const::SLR_SLOTS_MAX.0);
        Self { table, users: BTreeMap::new(), published: None }
    }
}

impl Rings {
    pub fn adopt(&mut self, adopted: Adopted<RouteId>) -> Result<(), TableError> {
        let (index, users) = (adopted.ring_index, adopted.users.clone());
        self.table.adopt(adopted)?;
        self.users.extend(users.into_iter().map(|user| (user, index)));
        Ok(())
    }

    pub fn ring_of(&self, user: RouteId) -> Option<(u32, &Ring)> {
        self.table.ring_of(&user)
    }

    /// Every route and its ring's index.
    pub fn users(&self) -> &BTreeMap<RouteId, u32> {
        &self.users
    }

    /// The routes of a subnet, with their rings' indexes.
    pub fn routes_of(&self, subnet: u16) -> impl Iterator<Item = (RouteId, u32)> + '_ {
        let own = self.users.range(RouteId::of_subnet(subnet)..);
        own.take_while(move |(user, _)| user.subnet == subnet).map(|(user, ring)| (*user, *ring))
    }

    /// Ids of the classes of a subnet that have routes.
    pub fn classes_of(&self, subnet: u16) -> BTreeSet<u16> {
        self.routes_of(subnet).map(|(user, _)| user.class).collect()
    }

    /// Rings in use, and slots that are not free.
    pub fn used(&self) -> (u32, u32) {
        let rings = u32::try_from(self.table.rings().count()).expect("bounded by the table");
        (rings, slr_const::SLR_SLOTS_MAX.0 - self.table.arena().free_slots())
    }

    /// Make the kernel's rings those that are wanted. `detach` is called for each user whose ring goes away, before
    /// anything that it could still read is changed.
    pub fn publish(
        &mut self,
        wanted: &BTreeMap<RouteId, RingSpec>,
        removed: &HopSet,
        tables: &Tables,
        mut attach: impl FnMut(RouteId, u32) -> Result<(), MapError>,
        mut detach: impl FnMut(RouteId) -> Result<(), MapError>,
    ) -> Result<Published, PublishError> {
        let plan = self.table.plan(wanted, removed)?;
        let ring_of = |user: &RouteId| self.table.ring_of(user).map_or(0, |(index, _)| index);
        self.users = wanted.keys().map(|user| (*user, ring_of(user))).collect();
        let mut done = Published::default();
        if plan.writes.is_empty() {
            return Ok(done);
        }
        if let Some(wait) = self.published.and_then(|at| GRACE.checked_sub(at.elapsed())) {
            thread::sleep(wait);
        }
        for write in plan.writes {
            match write {
                RingWrite::Publish { offset, slots, moved_slots, .. } => {
                    let area = &tables.slots.words()[offset as usize..][..slots.len()];
                    for (word, slot) in area.iter().zip(slots) {
                        word.store(slot, Ordering::Relaxed);
                    }
                    done.rings += 1;
                    done.slots_moved += u64::from(moved_slots);
                }
                // Release: the slots are there before the descriptor that leads to them.
                RingWrite::Flip { ring_index, offset, len } => {
                    word_of(tables, ring_index).store(u64::from(offset) << 32 | u64::from(len), Ordering::Release);
                }
                RingWrite::Assign { user, ring_index } => attach(user, ring_index)?,
                RingWrite::Unassign { user } => detach(user)?,
                RingWrite::Retire { ring_index } => word_of(tables, ring_index).store(0, Ordering::Release),
            }
        }
        self.published = Some(Instant::now());
        Ok(done)
    }
}

/// A ring's descriptor.
pub fn word_of(tables: &Tables, index: u32) -> &AtomicU64 {
    &tables.rings.words()[index as usize]
}

/// Rings could not be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// They do not fit.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A kernel table refused.
    #[error(transparent)]
    Map(#[from] MapError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_placed_by_its_service_before_its_class() {
        let http = Some("tcp/80".parse().unwrap());
        let route = |class, service| RouteId { subnet: 3, class, service };
        let asked = |id: RouteId, listed_only| id.fallbacks(listed_only).collect::<Vec<_>>();
        let all = [route(7, http), route(0, http), route(7, None), route(0, None)];
        assert_eq!(asked(route(7, http), false), all);
        assert_eq!(asked(route(7, http), true), all[..2]);
        assert_eq!(asked(route(7, None), true), [route(7, None), route(0, None), route(7, None), route(0, None)]);
    }

    #[test]
    fn keys_round_trip() {
        for service in [None, Some("tcp/80".parse().unwrap()), Some("udp/65535".parse().unwrap())] {
            let id = RouteId { subnet: 4095, class: 9, service };
            assert_eq!(RouteId::from_key(&id.key()), Some(id));
        }
        let key = |port: u16, proto| service_key { port: port.to_be(), proto, ..service_key::default() };
        assert_eq!(RouteId::from_key(&key(0, 6)), None);
        assert_eq!(RouteId::from_key(&key(80, 0)), None);
        assert_eq!(RouteId::from_key(&key(80, 132)), None);
    }
}
