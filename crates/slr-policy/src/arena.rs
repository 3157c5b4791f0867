//! Where rings lie in the kernel's slot array.
//!
//! The kernel holds all rings in one array of slots; a ring is a range of it. User space alone writes, packets read
//! without a lock. A range that is given up may still be read by a packet that looked its ring up a moment before, so it
//! rests until the next publish before anything else is written there.

use std::collections::BTreeMap;

use thiserror::Error;

/// A range of slots, `offset` to `offset + len − 1`. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotRange {
    /// Index of the first slot.
    pub offset: u32,
    /// Number of slots.
    pub len: u32,
}

/// Allocates ranges of an array of `capacity` slots: first fit, neighbours merged when free.
///
/// Bound: `capacity`. Rings that all change at once need room for old and new together, so an array should hold twice
/// the slots of the rings in use, and one more of the largest because first fit leaves holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotArena {
    capacity: u32,
    /// Free ranges by offset; no two touch.
    free: BTreeMap<u32, u32>,
    /// Given up since the last [`SlotArena::begin_publish`].
    resting: Vec<SlotRange>,
}

/// Why a range cannot be had.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ArenaError {
    /// No free range is long enough.
    #[error(
        "no room for a ring of {wanted} slots: the slot array holds {capacity}, {free} of them free ({largest} in one piece) and \
         {resting} free after this publish; raise the number of slots to twice what all rings hold, or use fewer different rings"
    )]
    Full {
        /// Slots asked for.
        wanted: u32,
        /// Slots of the array.
        capacity: u32,
        /// Slots free now.
        free: u32,
        /// The longest free range.
        largest: u32,
        /// Slots that rest until the next publish.
        resting: u32,
    },
    /// A range to be adopted is not free, or not inside the array.
    #[error("slots {} to {} cannot be adopted: they are not free in a slot array of {capacity}", range.offset, u64::from(range.offset) + u64::from(range.len))]
    NotFree {
        /// The range asked for.
        range: SlotRange,
        /// Slots of the array.
        capacity: u32,
    },
}

impl SlotArena {
    /// An array of this many slots, all free.
    pub fn new(capacity: u32) -> Self {
        let free = if capacity == 0 { BTreeMap::new() } else { BTreeMap::from([(0, capacity)]) };
        Self { capacity, free, resting: Vec::new() }
    }

    /// Slots of the array.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Slots that could be allocated now, in however many pieces.
    pub fn free_slots(&self) -> u32 {
        self.free.values().sum()
    }

    /// Slots that rest until the next publish.
    pub fn resting_slots(&self) -> u32 {
        self.resting.iter().map(|range| range.len).sum()
    }

    /// Takes the first free range of `len` slots; `len` is above zero.
    pub fn allocate(&mut self, len: u32) -> Result<SlotRange, ArenaError> {
        assert!(len > 0, "a range has slots");
        let Some((&offset, &free)) = self.free.iter().find(|&(_, &free)| free >= len) else {
            return Err(ArenaError::Full {
                wanted: len,
                capacity: self.capacity,
                free: self.free_slots(),
                largest: self.free.values().copied().max().unwrap_or(0),
                resting: self.resting_slots(),
            });
        };
        self.free.remove(&offset);
        if free > len {
            self.free.insert(offset + len, free - len);
        }
        Ok(SlotRange { offset, len })
    }

    /// Takes this very range, which the kernel's table holds already: for a restart.
    pub fn claim(&mut self, range: SlotRange) -> Result<(), ArenaError> {
        let refused = ArenaError::NotFree { range, capacity: self.capacity };
        let Some(end) = range.offset.checked_add(range.len).filter(|_| range.len > 0) else { return Err(refused) };
        let Some((&offset, &free)) = self.free.range(..=range.offset).next_back() else { return Err(refused) };
        let free_end = offset + free;
        if end > free_end {
            return Err(refused);
        }
        self.free.remove(&offset);
        if offset < range.offset {
            self.free.insert(offset, range.offset - offset);
        }
        if end < free_end {
            self.free.insert(end, free_end - end);
        }
        Ok(())
    }

    /// Gives a range up. It can be allocated again after the next [`SlotArena::begin_publish`].
    pub fn retire(&mut self, range: SlotRange) {
        self.resting.push(range);
    }

    /// Begins a publish: what was given up before the last one's flips took effect is free now. The caller has let at
    /// least one grace period of the kernel pass since then.
    pub fn begin_publish(&mut self) {
        for range in std::mem::take(&mut self.resting) {
            self.release(range);
        }
    }

    fn release(&mut self, range: SlotRange) {
        let SlotRange { mut offset, mut len } = range;
        let before = self.free.range(..offset).next_back().map(|(&start, &len)| (start, start + len));
        let after = self.free.range(offset..).next().map(|(&start, &len)| (start, len));
        assert!(before.is_none_or(|(_, end)| end <= offset), "slots before {range:?} are given up once");
        assert!(after.is_none_or(|(start, _)| start >= offset + len), "slots of {range:?} are given up once");
        if let Some((start, end)) = before
            && end == offset
        {
            self.free.remove(&start);
            (offset, len) = (start, len + (end - start));
        }
        if let Some((start, next_len)) = after
            && start == range.offset + range.len
        {
            self.free.remove(&start);
            len += next_len;
        }
        self.free.insert(offset, len);
    }
}

#[cfg(test)]
mod tests;
