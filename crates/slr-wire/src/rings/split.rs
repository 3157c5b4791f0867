//! A publication cut into frames.

use std::collections::BTreeSet;

use slr_model::{ClassName, NodeName, Weight};

use super::{RingKey, Rings, RingsError, RingsPart};
use crate::bounds;

/// What an envelope, two editions, part and parts take at most.
const HEADER_MAX: usize = 2 * 5 + 2 * 92 + 2 * 4;
/// What a ring or a removed ring takes before its weights: the service's key, the class, and the tags and lengths
/// around them.
const RING_HEADER_MAX: usize = 32 + ClassName::MAX_LEN + 2 + 5 * 4;
/// An index and a weight, each a varint.
const WEIGHT_MAX: usize = 3 + 2;
/// A name with its tag and length.
const NAME_MAX: usize = NodeName::MAX_LEN + 2;

/// Fills one part after the other; sizes are counted at their upper bounds, which wastes little.
struct Filler<'a> {
    whole: &'a Rings,
    parts: Vec<RingsPart>,
    names: BTreeSet<&'a NodeName>,
    used: usize,
}

pub(super) fn split(whole: &Rings) -> Result<Vec<RingsPart>, RingsError> {
    check(whole)?;
    let mut filler = Filler { whole, parts: Vec::new(), names: BTreeSet::new(), used: 0 };
    filler.begin_part();
    for key in &whole.removed {
        filler.reserve(RING_HEADER_MAX);
        filler.part().removed.push(key.clone());
    }
    for (key, weights) in &whole.rings {
        filler.begin_ring(key);
        for (node, &weight) in weights {
            filler.add(key, node, weight);
        }
    }
    let mut parts = filler.parts;
    let count = u16::try_from(parts.len()).expect("the bounds on rings and weights keep this below the bound on parts");
    for (number, part) in (0..).zip(&mut parts) {
        (part.part, part.parts) = (number, count);
    }
    Ok(parts)
}

fn check(whole: &Rings) -> Result<(), RingsError> {
    let weights = whole.rings.values().map(|ring| ring.len()).sum();
    let rings = whole.rings.len().max(whole.removed.len());
    if rings > bounds::RINGS_MAX || weights > bounds::RING_WEIGHTS_MAX {
        return Err(RingsError::TooMany { rings, weights });
    }
    Ok(())
}

impl<'a> Filler<'a> {
    fn begin_part(&mut self) {
        self.parts.push(RingsPart {
            edition: self.whole.edition.clone(),
            base: self.whole.base.clone(),
            part: 0,
            parts: 0,
            rings: Vec::new(),
            removed: Vec::new(),
        });
        self.names.clear();
        self.used = HEADER_MAX;
    }

    fn part(&mut self) -> &mut RingsPart {
        self.parts.last_mut().expect("one part from the start")
    }

    /// Whether a new part had to be begun.
    fn reserve(&mut self, len: usize) -> bool {
        let full = self.used + len > bounds::FRAME_MAX;
        if full {
            self.begin_part();
        }
        self.used += len;
        full
    }

    fn begin_ring(&mut self, key: &RingKey) {
        self.reserve(RING_HEADER_MAX);
        self.part().rings.push((key.clone(), Vec::new()));
    }

    fn add(&mut self, key: &RingKey, node: &'a NodeName, weight: Weight) {
        let name_len = if self.names.contains(node) { 0 } else { NAME_MAX };
        if self.reserve(WEIGHT_MAX + name_len) {
            // In the new part the name is not yet known, whatever it was in the last.
            self.used += NAME_MAX - name_len;
            self.begin_ring(key);
        }
        self.names.insert(node);
        self.part().rings.last_mut().expect("a ring was begun").1.push((node.clone(), weight));
    }
}
