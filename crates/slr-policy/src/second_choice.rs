//! Where a slot's first packets go when its host refuses them: a crashed server whose health check has not failed yet.
//!
//! The second choice of a slot is the current host of another slot, which the slot's number picks as if by chance: so the
//! slots of one host have second choices spread over the others by their weights, and where the first choices stay the
//! second ones nearly all stay as well.

use crate::slot::{SECOND_SHIFT, slot_of};

/// Slots that are asked; then the next one behind with another host, so that a host with nearly all slots costs no long
/// search for each.
const ASKED_MAX: u64 = 8;

/// The slots with their second choices in lane 3; none where every slot has the same host.
pub(crate) fn add_second_choices(slots: &mut [u64]) {
    let current = |slots: &[u64], slot: usize| slots[slot] & 0xffff;
    let size = slots.len();
    let Some(first_other) = (1..size).find(|&slot| current(slots, slot) != current(slots, 0)) else { return };
    // From the end: of each slot, a host that comes behind it and is another one. Behind the last comes the first.
    let mut next_other = if current(slots, size - 1) == current(slots, 0) { first_other } else { 0 };
    let mut behind = 0;
    for slot in (0..size).rev() {
        if current(slots, behind) != current(slots, slot) {
            next_other = behind;
        }
        behind = slot;
        let mut asked =
            (0..ASKED_MAX).map(|turn| slot_of(scatter(slot as u64 * ASKED_MAX + turn), size as u32) as usize);
        let other = asked.find(|&other| current(slots, other) != current(slots, slot));
        let second = current(slots, other.unwrap_or(next_other));
        slots[slot] |= second << SECOND_SHIFT;
    }
}

/// Numbers that follow each other, far apart (the finalizer of SplitMix64; Steele, Lea, Flood, OOPSLA 2014).
fn scatter(number: u64) -> u32 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z >> 32) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use slr_model::{HopId, Weight};

    use crate::{Member, Placement, Ring, RingSize};

    fn ring(weights: &[u16], slots: usize) -> Ring {
        let member = |(index, &weight): (usize, &u16)| Member {
            name: format!("h{index}").parse().unwrap(),
            hop: HopId::new(index as u16 + 1).unwrap(),
            weight: Weight::new(weight).unwrap(),
        };
        let members: Vec<Member> = weights.iter().enumerate().map(member).collect();
        Ring::build(&members, Placement { size: RingSize::new(slots).unwrap(), seed: 11 }).unwrap()
    }

    /// First and second choice of each slot.
    fn choices(ring: &Ring) -> Vec<(u64, u64)> {
        ring.to_kernel().iter().map(|slot| (slot & 0xffff, slot >> 48)).collect()
    }

    #[test]
    fn the_only_host_has_no_second() {
        assert!(choices(&ring(&[100], 251)).iter().all(|&(first, second)| (first, second) == (1, 0)));
        assert!(Ring::EMPTY.to_kernel().is_empty());
    }

    #[test]
    fn who_has_nearly_all_slots_has_a_second_in_each() {
        for (first, second) in choices(&ring(&[1_000, 1], 65_537)) {
            assert!(first != second && second != 0);
        }
    }

    #[test]
    fn a_hosts_slots_fall_to_the_others_by_their_weights() {
        let all = choices(&ring(&[100, 100, 100, 200], 65_537));
        let mut seconds = BTreeMap::new();
        let of_first = all.iter().filter(|(first, _)| *first == 1).map(|(_, second)| *second);
        of_first.for_each(|second| *seconds.entry(second).or_insert(0u32) += 1);
        let total: u32 = seconds.values().sum();
        for (host, quarter) in [(2, 1.0), (3, 1.0), (4, 2.0)] {
            let share = f64::from(seconds[&host]) / f64::from(total);
            assert!((share - quarter / 4.0).abs() < 0.02, "host {host} is second in {share:.3} of the slots");
        }
    }

    #[test]
    fn seconds_mostly_stay_when_a_host_leaves() {
        let (before, after) = (
            choices(&ring(&[100; 10], 4_099)),
            choices(&ring(&[100, 100, 100, 100, 100, 100, 100, 100, 100, 0], 4_099)),
        );
        let kept = before.iter().zip(&after).filter(|(old, new)| old == new).count();
        assert!(kept > 4_099 * 7 / 10, "{kept} of 4099 slots keep both choices");
    }

    proptest! {
        #[test]
        fn a_second_choice_is_another_host_of_the_ring(weights in prop::collection::vec(0u16..=1_000, 1..12), large in any::<bool>()) {
            let ring = ring(&weights, if large { 1_021 } else { 13 });
            let hosts = ring.shares();
            for (first, second) in choices(&ring) {
                prop_assert_ne!(first, second);
                match hosts.len() {
                    1 => prop_assert_eq!(second, 0),
                    _ => prop_assert!(hosts.contains_key(&HopId::new(second as u16).unwrap())),
                }
            }
            prop_assert_eq!(Ring::from_slots(ring.to_kernel()), Ok(ring));
        }
    }
}
