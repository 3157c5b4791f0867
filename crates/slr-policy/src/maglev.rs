//! Maglev placement (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, §3.4),
//! weighted: every host walks the slots in an order of its own, and hosts take turns at claiming the next free slot of
//! their walk until no slot is free.
//!
//! What differs from the paper: how often a host's turn comes follows its weight, quotas are exact (module `quota`), and
//! the last slots are found by computing instead of walking. Walking costs most at the end: with *f* of *M* slots free, a
//! turn takes *M*/*f* steps. The step of a slot in a host's walk, (slot − offset)·skip⁻¹ mod *M*, is one multiplication
//! once the inverse is known, so when few slots remain each turn compares all of them. The result is the same slot.
//!
//! What moves when one of *n* equal hosts leaves or joins, as a multiple of its own slots (the least possible), over the
//! ring of [`RingSize::for_hosts`](crate::RingSize::for_hosts): 2 hosts 1.00, 3 hosts 1.02, 10 hosts 1.30, 100 hosts
//! 2.4, 655 hosts 6.2, 1,000 hosts 6.8, which is 0.7 % of all slots. It grows because a slot set free is claimed by a
//! host that then leaves a later one, and so on; slots remember, so those flows have a second chance. Halving the weight
//! of one host in a hundred moves 3 times the least. The tests hold these figures.
//!
//! Time for 65,537 slots over 1,000 hosts: `examples/ring_build.rs`.

use crate::{
    HopSet, Member, Placement, Ring, RingError, RingUpdate,
    member::check_hops,
    name_hash::siphash,
    quota::{order_turns, share_slots},
    ring::renew,
};

/// Second half of the key under which names are hashed; the first is the cluster's seed. Spells "slr ring".
const PLACEMENT_KEY: u64 = 0x736c_7220_7269_6e67;

/// Builds rings, and keeps its working memory between them: about 0.7 MiB once it has built the largest one.
#[derive(Clone, Debug, Default)]
pub struct RingBuilder {
    seats: Vec<Seat>,
    remainders: Vec<(u64, u16)>,
    round_starts: Vec<u32>,
    turns: Vec<u16>,
    taken: Bitmap,
    free: Vec<u64>,
    currents: Vec<u16>,
}

/// A member while slots are dealt out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seat {
    hash: u64,
    /// Above zero: members without weight get no seat.
    pub(crate) weight: u32,
    /// Slots the seat is to get.
    pub(crate) quota: u32,
    /// The next slot of its walk.
    next: u32,
    /// Distance between two slots of its walk, 1 to size − 1.
    skip: u32,
    hop: u16,
    /// Index into the members as they were given.
    member: u16,
}

#[cfg(test)]
impl Seat {
    /// A seat that only quotas and turns look at.
    pub(crate) fn of_weight(weight: u32) -> Self {
        Self { weight, ..Self::default() }
    }
}

impl RingBuilder {
    /// A builder without memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The ring of these members, without history. No member with weight: the empty ring.
    pub fn build(&mut self, members: &[Member], placement: Placement) -> Result<Ring, RingError> {
        Ok(self.advance(&Ring::EMPTY, members, placement, &HopSet::new())?.ring)
    }

    /// Who has which slot in the ring of these members: their hops, without any history. Nothing without members.
    pub(crate) fn place(&mut self, members: &[Member], placement: Placement) -> Result<&[u16], RingError> {
        self.seat(members, placement)?;
        if self.seats.is_empty() {
            self.currents.clear();
        } else {
            self.deal_slots(placement);
        }
        Ok(&self.currents)
    }

    /// The ring of these members, with `previous` as its history. A slot whose hop changes keeps the hops it had behind
    /// the new one; hops in `removed` vanish from it. `removed` is about the *past*: a member may have one of its hops,
    /// which is how an id is given to another host.
    ///
    /// A ring of another size inherits by hash range, so a flow finds the memory of the slot that it was in.
    pub fn advance(
        &mut self,
        previous: &Ring,
        members: &[Member],
        placement: Placement,
        removed: &HopSet,
    ) -> Result<RingUpdate, RingError> {
        self.seat(members, placement)?;
        if self.seats.is_empty() {
            return Ok(RingUpdate::to_empty(previous));
        }
        self.deal_slots(placement);
        Ok(renew(previous, &self.currents, removed))
    }

    fn deal_slots(&mut self, placement: Placement) {
        let size = placement.size.get();
        share_slots(&mut self.seats, size, &mut self.remainders);
        order_turns(&self.seats, size, &mut self.round_starts, &mut self.turns);
        self.deal(size);
    }

    /// Seats the members that have a weight, in the order of their names' hashes: no other order is common to all SLRs.
    fn seat(&mut self, members: &[Member], placement: Placement) -> Result<(), RingError> {
        check_hops(members)?;
        let size = u64::from(placement.size.get());
        self.seats.clear();
        for (index, member) in members.iter().enumerate() {
            let hash = siphash(placement.seed, PLACEMENT_KEY, member.name.as_bytes());
            self.seats.push(Seat {
                hash,
                weight: u32::from(member.weight.get()),
                quota: 0,
                next: (((hash >> 32) * size) >> 32) as u32,
                skip: (((hash & 0xffff_ffff) * (size - 1)) >> 32) as u32 + 1,
                hop: member.hop.get(),
                member: index as u16,
            });
        }
        let name = |seat: &Seat| &members[usize::from(seat.member)].name;
        self.seats.sort_unstable_by(|a, b| a.hash.cmp(&b.hash).then_with(|| name(a).cmp(name(b))));
        if let Some(pair) = self.seats.windows(2).find(|pair| name(&pair[0]) == name(&pair[1])) {
            return Err(RingError::DuplicateName(name(&pair[0]).clone()));
        }
        self.seats.retain(|seat| seat.weight > 0);
        Ok(())
    }

    /// Deals all slots out, turn by turn.
    fn deal(&mut self, size: u32) {
        self.currents.clear();
        self.currents.resize(size as usize, 0);
        self.taken.clear(size);
        // Comparing f slots for the last f turns costs f²/2 multiplications, walking costs size·ln f steps: on current
        // machines the sum is least where f is near twice the root of the size.
        let by_rank = (2 * size.isqrt()).min(size) as usize;
        let (walked, ranked) = self.turns.split_at(self.turns.len() - by_rank);
        for &turn in walked {
            let seat = &mut self.seats[usize::from(turn)];
            let mut slot = seat.next;
            while self.taken.contains(slot) {
                slot = step(slot, seat.skip, size);
            }
            self.taken.insert(slot);
            self.currents[slot as usize] = seat.hop;
            seat.next = step(slot, seat.skip, size);
        }
        self.taken.collect_absent(size, &mut self.free);
        for &turn in ranked {
            let seat = &self.seats[usize::from(turn)];
            let slot = take_first_of_walk(&mut self.free, seat, size);
            self.currents[slot as usize] = seat.hop;
        }
    }
}

/// Takes, of the free slots, the one that the seat's walk meets first.
///
/// The rank of a slot is (slot − next)·skip⁻¹ mod size. With *c* = ⌊2⁶⁴/size⌋ + 1, the low 64 bits of *x*·*c* are the
/// fraction *x*/size leaves, scaled by 2⁶⁴ and off by less than *x* (Lemire, Kaser, Kurz: "Faster remainder by direct
/// computation", 2019). *x* < 2³⁶ and two ranks are 2⁶⁴/size > 2⁴⁷ apart, so comparing those bits compares ranks.
fn take_first_of_walk(free: &mut Vec<u64>, seat: &Seat, size: u32) -> u64 {
    let reciprocal = u64::MAX / u64::from(size) + 1;
    let factor = reciprocal.wrapping_mul(u64::from(inverse(seat.skip, size)));
    // size − next instead of −next keeps x positive.
    let base = factor.wrapping_mul(u64::from(size - seat.next));
    let rank = |slot: u64| slot.wrapping_mul(factor).wrapping_add(base);
    let mut first = (u64::MAX, 0);
    for (position, &slot) in free.iter().enumerate() {
        let rank = rank(slot);
        if rank < first.0 {
            first = (rank, position);
        }
    }
    free.swap_remove(first.1)
}

/// One step of a walk: (slot + skip) mod size without a division.
#[inline(always)]
fn step(slot: u32, skip: u32, size: u32) -> u32 {
    let next = slot.wrapping_add(skip);
    if next >= size { next.wrapping_sub(size) } else { next }
}

/// The inverse of `number` modulo the prime `size`, by Euclid: 0 < `number` < `size`.
fn inverse(number: u32, size: u32) -> u32 {
    let (mut r0, mut r1) = (size as i32, number as i32);
    let (mut t0, mut t1) = (0i32, 1i32);
    while r1 != 0 {
        let quotient = r0 / r1;
        (r0, r1) = (r1, r0 - quotient * r1);
        (t0, t1) = (t1, t0 - quotient * t1);
    }
    debug_assert_eq!(r0, 1, "a prime has no divisor below itself");
    t0.rem_euclid(size as i32) as u32
}

/// One bit a slot, 16 KiB: small enough to stay in the first-level cache, and a power of two, so that no subscript
/// needs a check.
#[derive(Clone, Debug)]
struct Bitmap(Box<[u64; Bitmap::WORDS]>);

impl Bitmap {
    /// Room for 131,072 slots: the power of two above the largest ring.
    const WORDS: usize = 2_048;

    fn clear(&mut self, size: u32) {
        self.0[..=size as usize / 64].fill(0);
    }

    #[inline(always)]
    fn contains(&self, slot: u32) -> bool {
        self.0[slot as usize / 64 % Self::WORDS] >> (slot % 64) & 1 == 1
    }

    #[inline(always)]
    fn insert(&mut self, slot: u32) {
        self.0[slot as usize / 64 % Self::WORDS] |= 1 << (slot % 64);
    }

    fn collect_absent(&self, size: u32, absent: &mut Vec<u64>) {
        absent.clear();
        for (index, word) in self.0[..=size as usize / 64].iter().enumerate() {
            let mut clear = !word;
            while clear != 0 {
                let slot = index as u64 * 64 + u64::from(clear.trailing_zeros());
                if slot < u64::from(size) {
                    absent.push(slot);
                }
                clear &= clear - 1;
            }
        }
    }
}

impl Default for Bitmap {
    fn default() -> Self {
        Self(Box::new([0; Self::WORDS]))
    }
}

#[cfg(test)]
mod tests;
