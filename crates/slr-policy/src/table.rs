//! Which rings the kernel holds, and the least that must be written to change them.
//!
//! Users (a virtual subnet, or one class of its packets) name the ring they want by content: members, weights, size,
//! seed. Users of equal content share one ring. The kernel has three tables, written by user space alone and read by
//! packets without a lock:
//!
//! - user → ring index (the caller's own table);
//! - ring index → (offset, len), one 8-byte store, so that a packet sees the old ring or the new one;
//! - the array of slots (module `arena`).
//!
//! A plan's writes are carried out in order: *publish* new slots where nothing reads, *unassign* users that are gone,
//! *flip* rings to their new slots, *assign* users, *retire* rings. At no point does a user's packet meet a ring that
//! was not meant for that user, before or after the change. What a plan gives up is not written again before the next
//! plan, and between two plans the caller lets a grace period of the kernel pass (a few milliseconds are ample).

use std::{collections::BTreeMap, sync::Arc};

use thiserror::Error;

use crate::{ArenaError, HopSet, Member, Placement, Ring, RingBuilder, RingError, SlotArena, SlotRange};

mod plan;

/// What decides a ring: equal specs are one ring.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RingSpec {
    placement: Placement,
    /// Those with weight, by name, weights divided by what they have in common.
    members: Arc<[Member]>,
}

/// Plans the kernel's rings. `K` names a user.
///
/// Bounds: `max_rings` indexes and the arena's capacity; a plan that needs more is refused whole and changes nothing.
#[derive(Debug)]
pub struct RingTable<K> {
    max_rings: u32,
    arena: SlotArena,
    rings: BTreeMap<u32, Entry>,
    users: BTreeMap<K, u32>,
    builder: RingBuilder,
}

/// A ring that the kernel holds.
#[derive(Clone, Debug)]
struct Entry {
    /// Unknown for a ring that was adopted: the next plan sees what has changed.
    spec: Option<RingSpec>,
    ring: Ring,
    /// None for the empty ring.
    range: Option<SlotRange>,
}

/// A ring found in the kernel's tables at a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted<K> {
    /// Its index.
    pub ring_index: u32,
    /// Index of its first slot in the array; without meaning if it has no slots.
    pub offset: u32,
    /// Its slots as they were read.
    pub slots: Vec<u64>,
    /// Who uses it.
    pub users: Vec<K>,
}

/// One write to the kernel's tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RingWrite<K> {
    /// Write these slots from `offset` on. Nothing reads there yet.
    Publish {
        /// The ring they are for.
        ring_index: u32,
        /// Index of the first slot in the array.
        offset: u32,
        /// The slots.
        slots: Vec<u64>,
        /// How many of them have another current hop than before.
        moved_slots: u32,
    },
    /// The user is gone: remove it, or let it point to ring 0.
    Unassign {
        /// The user.
        user: K,
    },
    /// Let the ring be these slots, with one 8-byte store. `len` 0: no host.
    Flip {
        /// The ring.
        ring_index: u32,
        /// Index of the first slot in the array.
        offset: u32,
        /// Number of slots.
        len: u32,
    },
    /// Let the user's packets use this ring.
    Assign {
        /// The user.
        user: K,
        /// The ring.
        ring_index: u32,
    },
    /// Nobody uses the ring any more: its entry may be cleared.
    Retire {
        /// The ring.
        ring_index: u32,
    },
}

/// What to write, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingPlan<K> {
    /// The writes; none if the kernel holds what is wanted.
    pub writes: Vec<RingWrite<K>>,
}

/// Why a plan, or a ring to be adopted, is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TableError {
    /// More different rings than the table has room for.
    #[error(
        "more than {max} different rings are needed at once: raise the number of rings, or let subnets share hosts and weights"
    )]
    Rings {
        /// The bound.
        max: u32,
    },
    /// The slot array is full, or an adopted ring lies where another does.
    #[error(transparent)]
    Arena(#[from] ArenaError),
    /// A ring cannot be built, or adopted slots are none.
    #[error("ring {ring_index}: {source}")]
    Ring {
        /// The ring.
        ring_index: u32,
        /// What is wrong with it.
        source: RingError,
    },
    /// An adopted ring's index is out of range or stands twice.
    #[error("ring {ring_index} cannot be adopted: its index is above {max}, zero, or adopted already")]
    Index {
        /// The ring.
        ring_index: u32,
        /// The highest index.
        max: u32,
    },
    /// A user of an adopted ring uses another one as well.
    #[error("ring {ring_index} cannot be adopted: one of its users already uses ring {other}")]
    User {
        /// The ring.
        ring_index: u32,
        /// The ring that was adopted before it.
        other: u32,
    },
}

impl RingSpec {
    /// The spec of a ring over these members, in any order; members without weight are left out.
    pub fn new(members: &[Member], placement: Placement) -> Result<Self, RingError> {
        crate::member::check_distinct(members)?;
        let mut members: Vec<Member> = members.iter().filter(|member| !member.weight.is_zero()).cloned().collect();
        members.sort_unstable();
        crate::member::reduce_weights(&mut members);
        Ok(Self { placement, members: members.into() })
    }

    /// The members with weight, by name, weights reduced to lowest terms.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The placement.
    pub fn placement(&self) -> Placement {
        self.placement
    }
}

impl<K: Ord + Clone> RingTable<K> {
    /// An empty table with ring indexes 1 to `max_rings` (0 means "no ring" to the kernel) over an array of
    /// `slot_capacity` slots.
    pub fn new(max_rings: u32, slot_capacity: u32) -> Self {
        Self {
            max_rings,
            arena: SlotArena::new(slot_capacity),
            rings: BTreeMap::new(),
            users: BTreeMap::new(),
            builder: RingBuilder::new(),
        }
    }

    /// Takes over a ring that the kernel holds, with its history and its users. Refused, it leaves the table as it was.
    pub fn adopt(&mut self, adopted: Adopted<K>) -> Result<(), TableError> {
        let Adopted { ring_index, offset, slots, users } = adopted;
        if ring_index == 0 || ring_index > self.max_rings || self.rings.contains_key(&ring_index) {
            return Err(TableError::Index { ring_index, max: self.max_rings });
        }
        if let Some(&other) = users.iter().find_map(|user| self.users.get(user)) {
            return Err(TableError::User { ring_index, other });
        }
        let ring = Ring::from_slots(slots).map_err(|source| TableError::Ring { ring_index, source })?;
        let range = (!ring.is_empty()).then(|| SlotRange { offset, len: ring.len() });
        if let Some(range) = range {
            self.arena.claim(range)?;
        }
        self.users.extend(users.into_iter().map(|user| (user, ring_index)));
        self.rings.insert(ring_index, Entry { spec: None, ring, range });
        Ok(())
    }

    /// Plans the change to these rings, and takes it as done: who cannot carry it out builds the table anew from what
    /// the kernel holds. `removed` are hops whose hosts left since the last plan: they vanish from every ring's memory,
    /// and only then may their ids be given to others. A refused plan has not removed them: pass them again.
    pub fn plan(&mut self, wanted: &BTreeMap<K, RingSpec>, removed: &HopSet) -> Result<RingPlan<K>, TableError> {
        plan::plan(self, wanted, removed)
    }

    /// The ring that a user's packets use.
    pub fn ring_of(&self, user: &K) -> Option<(u32, &Ring)> {
        let index = self.users.get(user)?;
        self.rings.get(index).map(|entry| (*index, &entry.ring))
    }

    /// Rings by index.
    pub fn rings(&self) -> impl Iterator<Item = (u32, &Ring)> {
        self.rings.iter().map(|(&index, entry)| (index, &entry.ring))
    }

    /// The slot array's allocator, to show how full it is.
    pub fn arena(&self) -> &SlotArena {
        &self.arena
    }
}

#[cfg(test)]
mod tests;
