//! What a member holds, and what has changed on the way there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use slr_wire::{Edition, RingKey, RingWeights, Rings};

/// Publications back to which differences are known: half a minute of changes in every interval. Older followers get
/// everything.
const STEPS_MAX: usize = 64;

/// Rings as they are, and the keys that changed with each of the last publications.
#[derive(Clone, Debug, Default)]
pub(super) struct Lineage {
    held: Option<Edition>,
    rings: BTreeMap<RingKey, RingWeights>,
    /// Oldest first: an edition, and what the next one changed.
    steps: VecDeque<(Edition, BTreeSet<RingKey>)>,
}

impl Lineage {
    pub fn new(held: Edition, rings: BTreeMap<RingKey, RingWeights>) -> Self {
        Self { held: Some(held), rings, steps: VecDeque::new() }
    }

    pub fn held(&self) -> Option<&Edition> {
        self.held.as_ref()
    }

    pub fn rings(&self) -> &BTreeMap<RingKey, RingWeights> {
        &self.rings
    }

    /// Takes over a publication; returns the keys of changed and of removed rings. `None`: it changes something else
    /// than what is held.
    pub fn apply(&mut self, whole: Rings) -> Option<(BTreeSet<RingKey>, BTreeSet<RingKey>)> {
        let rings = match whole.base {
            None => whole.rings,
            Some(base) if self.held.as_ref() == Some(&base) => {
                let mut rings = self.rings.clone();
                rings.retain(|key, _| !whole.removed.contains(key));
                rings.extend(whole.rings);
                rings
            }
            Some(_) => return None,
        };
        let (removed, changed) =
            self.replace(whole.edition, rings).into_iter().partition(|key| !self.rings.contains_key(key));
        Some((changed, removed))
    }

    /// Holds these rings from now on; returns the keys of those that are others than before.
    pub fn replace(&mut self, edition: Edition, rings: BTreeMap<RingKey, RingWeights>) -> BTreeSet<RingKey> {
        let differs = |key: &&RingKey| self.rings.get(*key) != rings.get(*key);
        let changed: BTreeSet<RingKey> = self.rings.keys().chain(rings.keys()).filter(differs).cloned().collect();
        if let Some(before) = self.held.replace(edition) {
            if self.steps.len() == STEPS_MAX {
                self.steps.pop_front();
            }
            self.steps.push_back((before, changed.clone()));
        }
        self.rings = rings;
        changed
    }

    /// Keys of all rings that changed since that edition; `None`: it is none of the last ones.
    pub fn changed_since(&self, edition: &Edition) -> Option<BTreeSet<RingKey>> {
        if self.held.as_ref() == Some(edition) {
            return Some(BTreeSet::new());
        }
        let from = self.steps.iter().rposition(|(before, _)| before == edition)?;
        Some(self.steps.range(from..).flat_map(|(_, changed)| changed).cloned().collect())
    }
}
