//! A ring: the slots that flows' hashes choose from, each with its memory.

use std::collections::BTreeMap;

use slr_model::HopId;

use crate::{
    HopSet, Member, Placement, RingBuilder, RingError, RingSize, Slot,
    second_choice::add_second_choices,
    slot::{HISTORY_MASK, shift_in, slot_of},
};

/// The slots of a ring (see [`Slot`]). The empty ring has none: there is no host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    slots: Vec<u64>,
}

/// A ring that takes the place of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingUpdate {
    /// The new ring.
    pub ring: Ring,
    /// Slots whose current hop is another one than before: the share of new flows that now go elsewhere. Zero if there
    /// was no ring before.
    pub moved_slots: u32,
    /// Slots that differ in any way, memory included: zero means that nothing need be written.
    pub changed_slots: u32,
}

impl Ring {
    /// The ring without slots.
    pub const EMPTY: Ring = Ring { slots: Vec::new() };

    /// The ring of these members, without history; for one ring. Who builds many keeps a [`RingBuilder`].
    pub fn build(members: &[Member], placement: Placement) -> Result<Ring, RingError> {
        RingBuilder::new().build(members, placement)
    }

    /// The ring of these members with this one as its history: see [`RingBuilder::advance`].
    pub fn advance(&self, members: &[Member], placement: Placement, removed: &HopSet) -> Result<RingUpdate, RingError> {
        RingBuilder::new().advance(self, members, placement, removed)
    }

    /// Adopts slots read back from the kernel's table, history and all. They are input: a ring has a valid size and
    /// every slot at least one hop. Second choices are not kept: they follow from the rest.
    pub fn from_slots(mut slots: Vec<u64>) -> Result<Ring, RingError> {
        slots.iter_mut().for_each(|slot| *slot &= HISTORY_MASK);
        if !slots.is_empty() {
            RingSize::new(slots.len())?;
        }
        for (index, &raw) in slots.iter().enumerate() {
            let slot = Slot::from_u64(raw).map_err(|reason| RingError::Slot { index, raw, reason })?;
            if slot == Slot::EMPTY {
                return Err(RingError::Slot { index, raw, reason: "no hop is in it" });
            }
        }
        Ok(Ring { slots })
    }

    /// The slots as words, without their second choices.
    pub fn as_u64s(&self) -> &[u64] {
        &self.slots
    }

    /// The slots as the kernel's table holds them: the second choice of each is in bits 48 to 63, the host that first packets
    /// are offered to when the current one refuses them. 0 if there is no other host.
    pub fn to_kernel(&self) -> Vec<u64> {
        let mut slots = self.slots.clone();
        add_second_choices(&mut slots);
        slots
    }

    /// The slots.
    pub fn slots(&self) -> impl ExactSizeIterator<Item = Slot> {
        self.slots.iter().map(|&raw| Slot::trusted(raw))
    }

    /// Number of slots; zero for the empty ring, at most [`RingSize::MAX`].
    pub fn len(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Whether the ring has no host.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The slot that a flow with this hash falls into; none in the empty ring.
    pub fn slot_for(&self, hash: u32) -> Option<Slot> {
        self.slots.get(slot_of(hash, self.len()) as usize).map(|&raw| Slot::trusted(raw))
    }

    /// Slots by current hop: each host's share of new flows.
    pub fn shares(&self) -> BTreeMap<HopId, u32> {
        let mut shares = BTreeMap::new();
        for hop in self.slots().filter_map(Slot::current) {
            *shares.entry(hop).or_insert(0) += 1;
        }
        shares
    }

    /// Joins the memory of a ring whose flows this one takes over (see [`Slot::join`]). Placement stays as it is.
    pub fn join(&mut self, other: &Ring) {
        for slot in 0..self.len() {
            let inherited = other.covering(slot, self.len());
            let joined = Slot::trusted(self.slots[slot as usize]).join(inherited);
            self.slots[slot as usize] = joined.to_u64();
        }
    }

    /// What this ring remembers about the hashes of slot `slot` in a ring of `len` slots: the slot in the middle of
    /// that range, joined with the others that overlap it.
    fn covering(&self, slot: u32, len: u32) -> Slot {
        if self.len() == len {
            return Slot::trusted(self.slots[slot as usize]);
        }
        if self.is_empty() {
            return Slot::EMPTY;
        }
        let (slot, len, own) = (u64::from(slot), u64::from(len), u64::from(self.len()));
        let middle = (2 * slot + 1) * own / (2 * len);
        let overlapping = slot * own / len..((slot + 1) * own).div_ceil(len);
        overlapping
            .filter(|&other| other != middle)
            .fold(Slot::trusted(self.slots[middle as usize]), |joined, other| {
                joined.join(Slot::trusted(self.slots[other as usize]))
            })
    }
}

impl RingUpdate {
    /// The last host left: the history goes with the ring, since no packet can follow it.
    pub(crate) fn to_empty(previous: &Ring) -> Self {
        RingUpdate { ring: Ring::EMPTY, moved_slots: previous.len(), changed_slots: previous.len() }
    }
}

/// Gives a ring's current hops the memory of the ring before it.
pub(crate) fn renew(previous: &Ring, currents: &[u16], removed: &HopSet) -> RingUpdate {
    let len = currents.len() as u32;
    if previous.is_empty() {
        let slots = currents.iter().map(|&hop| u64::from(hop)).collect();
        return RingUpdate { ring: Ring { slots }, moved_slots: 0, changed_slots: len };
    }
    if previous.len() == len {
        return succeed(previous.slots.iter().copied(), currents, removed);
    }
    let inherited = (0..len).map(|slot| previous.covering(slot, len).to_u64());
    RingUpdate { changed_slots: len, ..succeed(inherited, currents, removed) }
}

/// One new slot for each old one and its new hop. It runs for every slot of every ring that changes, so nothing in it
/// depends on data that a branch predictor could not guess.
fn succeed(olds: impl Iterator<Item = u64>, currents: &[u16], removed: &HopSet) -> RingUpdate {
    let any_removed = !removed.is_empty();
    let (mut moved, mut changed) = (0u32, 0u32);
    let mut slots = Vec::with_capacity(currents.len());
    slots.extend(olds.zip(currents).map(|(old, &hop)| {
        let kept = if any_removed { Slot::trusted(old).without(removed).to_u64() } else { old };
        let new = shift_in(kept, hop);
        // An id that was removed and is here again belongs to another host now.
        let stays = old as u16 == hop && !(any_removed && removed.contains_lane(hop));
        moved = moved.wrapping_add(u32::from(!stays));
        changed = changed.wrapping_add(u32::from(old != new));
        new
    }));
    RingUpdate { ring: Ring { slots }, moved_slots: moved, changed_slots: changed }
}

#[cfg(test)]
mod tests;
