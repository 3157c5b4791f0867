//! A set of hops, as bits.

use slr_model::HopId;

const WORDS: usize = HopId::TABLE_LEN / 64;

/// A set of hops in 512 bytes: membership is one load, and iteration is in order of id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HopSet([u64; WORDS]);

impl HopSet {
    /// The empty set.
    pub const fn new() -> Self {
        Self([0; WORDS])
    }

    /// Adds a hop; false if it was there.
    pub fn insert(&mut self, hop: HopId) -> bool {
        let (word, bit) = (hop.index() / 64, 1 << (hop.index() % 64));
        let added = self.0[word] & bit == 0;
        self.0[word] |= bit;
        added
    }

    /// Whether the hop is in the set.
    pub fn contains(&self, hop: HopId) -> bool {
        self.0[hop.index() / 64] >> (hop.index() % 64) & 1 == 1
    }

    /// Whether a slot's lane is in the set; an empty lane never is.
    #[inline(always)]
    pub(crate) fn contains_lane(&self, lane: u16) -> bool {
        let lane = usize::from(lane);
        self.0[lane / 64 % WORDS] >> (lane % 64) & 1 == 1
    }

    /// Whether the set has no hop.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    /// The hops, ascending.
    pub fn iter(&self) -> impl Iterator<Item = HopId> {
        (1..=HopId::MAX).filter_map(|index| HopId::new(index).ok()).filter(|&hop| self.contains(hop))
    }
}

impl Default for HopSet {
    fn default() -> Self {
        Self::new()
    }
}

impl FromIterator<HopId> for HopSet {
    fn from_iter<I: IntoIterator<Item = HopId>>(hops: I) -> Self {
        let mut set = Self::new();
        for hop in hops {
            set.insert(hop);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_the_range_fit() {
        let ends = [HopId::new(1).unwrap(), HopId::new(HopId::MAX).unwrap()];
        let mut set = HopSet::new();
        assert!(set.is_empty());
        for hop in ends {
            assert!(set.insert(hop));
            assert!(!set.insert(hop));
            assert!(set.contains(hop));
        }
        assert!(!set.contains(HopId::new(2).unwrap()));
        assert_eq!(set.iter().collect::<Vec<_>>(), ends);
        assert_eq!(ends.into_iter().collect::<HopSet>(), set);
    }
}
