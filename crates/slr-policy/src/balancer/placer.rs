//! Rings that are built to be compared, equal ones once. Services of the same hosts mostly have the same members with the
//! same weights, and take the same steps one after the other.

use std::collections::VecDeque;

use super::budget::{BUILDS_MAX, Slots};
use crate::{Member, Placement, RingBuilder};

/// Rings that are remembered: those of one evaluation, the one for the hosts' states and the steps towards their costs.
const RECENT: usize = BUILDS_MAX as usize + 1;

/// Memory: a [`RingBuilder`]'s, and that of the last few rings that were asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Placer {
    builder: RingBuilder,
    /// The newest first.
    recent: VecDeque<Placed>,
    #[cfg(test)]
    pub(super) built: u32,
}

#[derive(Clone, Debug)]
struct Placed {
    members: Vec<Member>,
    placement: Placement,
    slots: Slots,
}

impl Placer {
    /// Who has which slot in the ring of these members, whose names and hops are distinct.
    pub(super) fn place(&mut self, members: Vec<Member>, placement: Placement) -> Slots {
        let same = |placed: &Placed| placed.placement == placement && placed.members == members;
        if let Some(placed) = self.recent.iter().find(|placed| same(placed)) {
            return placed.slots.clone();
        }
        let slots: Slots = self.builder.place(&members, placement).expect("names and marks are distinct").into();
        self.recent.truncate(RECENT - 1);
        self.recent.push_front(Placed { members, placement, slots: slots.clone() });
        #[cfg(test)]
        {
            self.built += 1;
        }
        slots
    }
}
