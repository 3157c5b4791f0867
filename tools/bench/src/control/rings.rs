//! The rings as packets find them: the router's pinned tables, mapped into this process and only read.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result};
use slr_dataplane::abi::{self, slr_const};
use slr_dataplane::sys::{self, MappedWords};

/// Index of a hop's template; 0 is none.
pub type Hop = u16;

/// Every ring's descriptor and slots.
pub struct Rings {
    rings: MappedWords,
    slots: MappedWords,
}

/// The current hop of each slot of a ring.
pub type Content = Vec<Hop>;

impl Rings {
    /// Opens what a router has pinned at its `pin_path`.
    pub fn open(pin_path: &Path) -> Result<Self> {
        let map = |name: &str, words: u32| {
            let path = pin_path.join(format!("v{}", abi::VERSION)).join(name);
            let map = sys::open_pin(&path).with_context(|| format!("pinned table {}", path.display()))?;
            MappedWords::new(map.as_fd(), words as usize).with_context(|| format!("map {}", path.display()))
        };
        Ok(Self { rings: map("rings", slr_const::SLR_RINGS_MAX.0)?, slots: map("slots", slr_const::SLR_SLOTS_MAX.0)? })
    }

    /// The descriptors of the rings in use, by index. A ring is changed by writing its descriptor.
    pub fn descriptors(&self) -> BTreeMap<u32, u64> {
        let words = (0u32..).zip(self.rings.words()).map(|(index, word)| (index, word.load(Ordering::Acquire)));
        words.filter(|(_, word)| *word != 0).collect()
    }

    /// Which hop new flows of each slot go to.
    pub fn content(&self, descriptor: u64) -> Content {
        self.slots_of(descriptor).collect()
    }

    /// The contents of all rings, by index.
    pub fn contents(&self) -> BTreeMap<u32, Content> {
        self.descriptors().into_iter().map(|(index, word)| (index, self.content(word))).collect()
    }

    /// Whether new flows may go to a hop.
    pub fn hold(&self, hop: Hop) -> bool {
        self.descriptors().into_values().any(|word| self.slots_of(word).any(|slot| slot == hop))
    }

    fn slots_of(&self, descriptor: u64) -> impl Iterator<Item = Hop> {
        let (offset, len) = ((descriptor >> 32) as usize, descriptor as u32 as usize);
        let area = self.slots.words().get(offset..offset.saturating_add(len)).unwrap_or_default();
        area.iter().map(|word| (word.load(Ordering::Relaxed) & 0xffff) as Hop)
    }
}

/// Slots whose flows go elsewhere than before, in all rings; one that has another size has moved whole.
pub fn moved(before: &BTreeMap<u32, Content>, after: &BTreeMap<u32, Content>) -> u64 {
    let none = Content::new();
    let of_ring = |index: &u32| {
        let (old, new) = (before.get(index).unwrap_or(&none), after.get(index).unwrap_or(&none));
        let differ = old.iter().zip(new).filter(|(old, new)| old != new).count();
        (differ + old.len().abs_diff(new.len())) as u64
    };
    let indices: std::collections::BTreeSet<&u32> = before.keys().chain(after.keys()).collect();
    indices.into_iter().map(of_ring).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_that_point_elsewhere_have_moved() {
        let rings = |contents: &[(u32, &[Hop])]| contents.iter().map(|(i, c)| (*i, c.to_vec())).collect();
        let before = rings(&[(1, &[1, 2, 3, 1])]);
        assert_eq!(moved(&before, &before), 0);
        assert_eq!(moved(&before, &rings(&[(1, &[1, 3, 3, 2])])), 2);
        assert_eq!(moved(&before, &rings(&[(2, &[1, 2, 3, 1])])), 8, "another index is another ring");
        assert_eq!(moved(&before, &rings(&[(1, &[1, 2, 3])])), 1);
    }
}
