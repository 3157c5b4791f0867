//! Rings in the kernel: carrying out the plans of `slr_policy::RingTable` in their order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use slr_policy::{Adopted, HopSet, Ring, RingSpec, RingTable, RingWrite, TableError};

use super::desired::Subnet;
use super::tables::Tables;
use crate::abi::{service, service_key, slr_const};
use crate::table::MapError;

/// Who uses a ring: a subnet, by id.
pub type User = u16;

/// What a plan gave up may be read by packets for the length of one program run; two plans are this far apart.
const GRACE: Duration = Duration::from_millis(10);

/// The rings as the kernel holds them.
pub struct Rings {
    table: RingTable<User>,
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
        Self { table, published: None }
    }
}

impl Rings {
    pub fn adopt(&mut self, adopted: Adopted<User>) -> Result<(), TableError> {
        self.table.adopt(adopted)
    }

    pub fn ring_of(&self, user: User) -> Option<(u32, &Ring)> {
        self.table.ring_of(&user)
    }

    /// Make the kernel's rings those that are wanted. `detach` is called for each user whose ring goes away, before
    /// anything that it could still read is changed.
    pub fn publish(
        &mut self,
        wanted: &BTreeMap<User, RingSpec>,
        removed: &HopSet,
        tables: &Tables,
        mut attach: impl FnMut(User, u32) -> Result<(), MapError>,
        mut detach: impl FnMut(User) -> Result<(), MapError>,
    ) -> Result<Published, PublishError> {
        let plan = self.table.plan(wanted, removed)?;
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
                    ring(tables, ring_index).store(u64::from(offset) << 32 | u64::from(len), Ordering::Release);
                }
                RingWrite::Assign { user, ring_index } => attach(user, ring_index)?,
                RingWrite::Unassign { user } => detach(user)?,
                RingWrite::Retire { ring_index } => ring(tables, ring_index).store(0, Ordering::Release),
            }
        }
        self.published = Some(Instant::now());
        Ok(done)
    }
}

fn ring(tables: &Tables, index: u32) -> &AtomicU64 {
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

/// The entries of the (protocol, port) pairs that a subnet lists. What it has for everything else, ICMP included, is in
/// the subnet itself.
pub fn service_entries(id: u16, desired: &Subnet, ring: u32) -> Vec<(service_key, service)> {
    let value = service { ring, mask: u32::from(desired.key_mask.bits()) };
    let key = |listed: &slr_model::Service| service_key {
        subnet: id,
        port: listed.port.get().to_be(),
        proto: u16::from(listed.protocol.number()),
        ..service_key::default()
    };
    desired.services.iter().flatten().map(|listed| (key(listed), value)).collect()
}
