//! One slot of a ring: the host that gets its new flows, and the two before it.

use slr_model::HopId;

use crate::HopSet;

/// Bits of one lane.
const LANE_BITS: u32 = 16;
const LANE_MASK: u64 = 0xffff;
/// The lanes that hold hops.
pub(crate) const HISTORY_MASK: u64 = 0x0000_ffff_ffff_ffff;
/// Where the kernel's table has the slot's second choice. It follows from the whole ring, so a slot does not hold it.
pub(crate) const SECOND_SHIFT: u32 = 48;

/// The current hop and up to two earlier ones, distinct, newest first.
///
/// In memory and in the kernel's table it is one `u64`: lane *i*, bits 16*i* to 16*i* + 15, holds hop *i*; lane 0 is the
/// current one, 0 means none, no hop follows a none. One store writes it, so a reader never sees half. Lane 3 is zero here;
/// the kernel's table has the slot's second choice there ([`crate::Ring::to_kernel`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Slot(u64);

impl Slot {
    /// Hops a slot remembers, the current one included: one to deliver to, and two that may own an orphan. More would
    /// lengthen every chain for flows that are rarer with each change.
    pub const HOPS: usize = 3;
    /// A slot without a hop.
    pub const EMPTY: Slot = Slot(0);

    /// A slot with a current hop and no memory.
    pub const fn new(hop: HopId) -> Self {
        Slot(hop.get() as u64)
    }

    /// The slot as the kernel's table holds it, without its second choice.
    pub const fn to_u64(self) -> u64 {
        self.0
    }

    /// The slot that a word from the kernel's table stands for; the reason if it stands for none.
    pub fn from_u64(raw: u64) -> Result<Self, &'static str> {
        let lanes = [0, 1, 2].map(|lane| lane_of(raw, lane));
        if raw & !HISTORY_MASK != 0 {
            return Err("its fourth lane is not zero");
        }
        if lanes.iter().any(|&hop| hop > HopId::MAX) {
            return Err("a hop in it is above 4095");
        }
        if (lanes[0] == 0 && lanes[1] != 0) || (lanes[1] == 0 && lanes[2] != 0) {
            return Err("a hop in it follows an empty lane");
        }
        if lanes[1] != 0 && (lanes[0] == lanes[1] || lanes[0] == lanes[2] || lanes[1] == lanes[2]) {
            return Err("a hop in it stands twice");
        }
        Ok(Slot(raw))
    }

    /// A word this crate wrote, of which the invariants are known.
    pub(crate) const fn trusted(raw: u64) -> Self {
        Slot(raw)
    }

    /// The hop that gets the slot's new flows.
    pub fn current(self) -> Option<HopId> {
        HopId::new(lane_of(self.0, 0)).ok()
    }

    /// The hops, newest first; the first is the current one.
    pub fn hops(self) -> impl Iterator<Item = HopId> {
        (0..Self::HOPS).map_while(move |lane| HopId::new(lane_of(self.0, lane)).ok())
    }

    /// The slot after `hop` became its current one: the others move back, the oldest is forgotten.
    #[must_use]
    pub const fn advance(self, hop: HopId) -> Self {
        Slot(shift_in(self.0, hop.get()))
    }

    /// The slot without the hops that are gone; those behind move up.
    #[must_use]
    pub fn without(self, gone: &HopSet) -> Self {
        // Nearly every slot holds none of them: worth three loads to know.
        if !(0..Self::HOPS).any(|lane| gone.contains_lane(lane_of(self.0, lane))) {
            return self;
        }
        self.hops().filter(|&hop| !gone.contains(hop)).fold(Slot::EMPTY, Slot::remember)
    }

    /// The slot with one more, older, hop behind its own, if it has room and does not hold it already.
    #[must_use]
    pub fn remember(self, hop: HopId) -> Self {
        let used = self.hops().take_while(|&held| held != hop).count();
        match self.hops().count() {
            count if count == used && count < Self::HOPS => {
                Slot(self.0 | (hop.get() as u64) << (LANE_BITS * count as u32))
            }
            _ => self,
        }
    }

    /// Joins the memory of a slot whose flows this one takes over: this slot's current hop stays, then the other's
    /// current hop (where its flows live now), then what either remembers, this one's first.
    #[must_use]
    pub fn join(self, other: Slot) -> Self {
        let Some(current) = self.current() else { return other };
        if other == self || other == Slot::EMPTY {
            return self;
        }
        let older = other.hops().take(1).chain(self.hops().skip(1)).chain(other.hops().skip(1));
        older.fold(Slot::new(current), Slot::remember)
    }
}

/// The slot that a flow's hash falls into: multiply and shift, as the kernel's program does it. `hash` is uniform over
/// 32 bits; the result is below `size`, and slot *i* owns the hashes from *i*·2³²/`size` on.
pub const fn slot_of(hash: u32, size: u32) -> u32 {
    ((hash as u64 * size as u64) >> 32) as u32
}

const fn lane_of(raw: u64, lane: usize) -> u16 {
    (raw >> (LANE_BITS * lane as u32) & LANE_MASK) as u16
}

/// Moves `hop` to lane 0. Written without a loop: the builder calls it for every slot of a ring.
pub(crate) const fn shift_in(raw: u64, hop: u16) -> u64 {
    let hop = hop as u64;
    let (lane0, lane1) = (raw & LANE_MASK, raw >> LANE_BITS & LANE_MASK);
    if lane0 == hop {
        raw
    } else if lane1 == hop {
        // Lanes 0 and 1 change places, lane 2 stays.
        raw & !0xffff_ffff | lane0 << LANE_BITS | hop
    } else {
        (raw << LANE_BITS | hop) & HISTORY_MASK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(index: u16) -> HopId {
        HopId::new(index).unwrap()
    }

    fn slot(hops: &[u16]) -> Slot {
        hops.iter().fold(Slot::EMPTY, |slot, &index| slot.remember(hop(index)))
    }

    fn lanes(slot: Slot) -> Vec<u16> {
        slot.hops().map(HopId::get).collect()
    }

    #[test]
    fn lane_zero_is_the_low_half_word() {
        assert_eq!(slot(&[1, 2, 3]).to_u64(), 0x0000_0003_0002_0001);
        assert_eq!(slot(&[0xfff]).to_u64(), 0x0fff);
        assert_eq!(Slot::EMPTY.to_u64(), 0);
        assert_eq!(Slot::EMPTY.current(), None);
    }

    #[test]
    fn advancing_moves_a_hop_to_the_front_and_forgets_the_oldest() {
        let table: &[(&[u16], u16, &[u16])] = &[
            (&[], 1, &[1]),
            (&[1], 1, &[1]),
            (&[1], 2, &[2, 1]),
            (&[2, 1], 1, &[1, 2]),
            (&[2, 1], 3, &[3, 2, 1]),
            (&[3, 2, 1], 3, &[3, 2, 1]),
            (&[3, 2, 1], 2, &[2, 3, 1]),
            (&[3, 2, 1], 1, &[1, 3, 2]),
            (&[3, 2, 1], 4, &[4, 3, 2]),
        ];
        for (before, new, after) in table {
            assert_eq!(lanes(slot(before).advance(hop(*new))), *after, "{before:?} advanced to {new}");
        }
    }

    #[test]
    fn hops_that_are_gone_leave_no_gap() {
        let table: &[(&[u16], &[u16])] = &[(&[1, 2, 3], &[2]), (&[2, 4], &[2, 4]), (&[1], &[]), (&[4, 5, 2], &[4, 2])];
        let odd: HopSet = (1..10).step_by(2).map(hop).collect();
        for (before, after) in table {
            assert_eq!(lanes(slot(before).without(&odd)), *after, "{before:?} without odd hops");
        }
    }

    #[test]
    fn a_joined_slot_keeps_first_what_is_most_likely_alive() {
        let table: &[(&[u16], &[u16], &[u16])] = &[
            (&[1], &[1], &[1]),
            (&[1], &[2], &[1, 2]),
            (&[1, 3], &[2, 4], &[1, 2, 3]),
            (&[1, 2], &[2, 4], &[1, 2, 4]),
            (&[1, 3], &[1, 4], &[1, 3, 4]),
            (&[1, 2, 3], &[], &[1, 2, 3]),
            (&[], &[2, 4], &[2, 4]),
        ];
        for (ours, other, joined) in table {
            assert_eq!(lanes(slot(ours).join(slot(other))), *joined, "{ours:?} joins {other:?}");
        }
    }

    #[test]
    fn words_that_are_no_slot_are_refused() {
        for raw in [0, 0x0001, 0x0002_0001, 0x0003_0002_0001, 0x0fff] {
            assert_eq!(Slot::from_u64(raw).map(Slot::to_u64), Ok(raw));
        }
        for raw in [0x1000, 0x0002_0000, 0x0002_0000_0001, 0x0001_0001, 0x0001_0002_0001, 0x0002_0002_0001, 1 << 48 | 1]
        {
            assert!(Slot::from_u64(raw).is_err(), "{raw:#x}");
        }
    }

    #[test]
    fn every_hash_has_a_slot_and_slots_own_equal_ranges() {
        assert_eq!(slot_of(0, 1_021), 0);
        assert_eq!(slot_of(u32::MAX, 1_021), 1_020);
        assert_eq!(slot_of(u32::MAX, 65_537), 65_536);
        assert_eq!(slot_of(1 << 31, 4_099), 2_049);
        assert_eq!(slot_of(u32::MAX, 0), 0);
    }
}
