use proptest::prelude::*;
use slr_model::Weight;

use super::*;

fn hop(index: u16) -> HopId {
    HopId::new(index).unwrap()
}

fn placement(slots: usize) -> Placement {
    Placement { size: RingSize::new(slots).unwrap(), seed: 11 }
}

fn members(hops: &[u16]) -> Vec<Member> {
    let member =
        |&index| Member { name: format!("h{index}").parse().unwrap(), hop: hop(index), weight: Weight::default() };
    hops.iter().map(member).collect()
}

#[test]
fn a_drained_host_is_remembered_and_a_removed_one_is_not() {
    let before = Ring::build(&members(&[1, 2, 3]), placement(251)).unwrap();
    let drained = before.advance(&members(&[1, 2]), placement(251), &HopSet::new()).unwrap().ring;
    for (old, new) in before.slots().zip(drained.slots()).filter(|(old, _)| old.current() == Some(hop(3))) {
        assert_eq!(new.hops().skip(1).collect::<Vec<_>>(), old.hops().collect::<Vec<_>>());
    }
    let gone: HopSet = [hop(3)].into_iter().collect();
    let update = drained.advance(&members(&[1, 2]), placement(251), &gone).unwrap();
    assert_eq!(update.moved_slots, 0);
    assert_eq!(
        update.changed_slots,
        drained.slots().filter(|slot| slot.hops().any(|held| held == hop(3))).count() as u32
    );
    assert!(update.ring.slots().all(|slot| slot.hops().all(|held| held != hop(3))));
}

#[test]
fn a_hop_given_to_another_host_counts_as_moved_and_inherits_nothing() {
    let before = Ring::build(&members(&[1]), placement(13)).unwrap();
    let mut other = members(&[1]);
    other[0].name = "another".parse().unwrap();
    let update = before.advance(&other, placement(13), &[hop(1)].into_iter().collect()).unwrap();
    assert_eq!(update.moved_slots, 13);
    assert!(update.ring.slots().all(|slot| slot == Slot::new(hop(1))));
}

#[test]
fn nothing_changes_when_nothing_changed() {
    let ring = Ring::build(&members(&[1, 2, 3]), placement(251)).unwrap();
    let update = ring.advance(&members(&[3, 1, 2]), placement(251), &[hop(9)].into_iter().collect()).unwrap();
    assert_eq!((update.ring, update.moved_slots, update.changed_slots), (ring, 0, 0));
}

#[test]
fn slots_from_the_kernel_are_adopted_whole_or_refused_by_place() {
    let ring = Ring::build(&members(&[1, 2, 3]), placement(13)).unwrap();
    let ring = ring.advance(&members(&[1, 2]), placement(13), &HopSet::new()).unwrap().ring;
    assert_eq!(Ring::from_slots(ring.as_u64s().to_vec()), Ok(ring.clone()));
    assert_eq!(Ring::from_slots(vec![]), Ok(Ring::EMPTY));
    let mut slots = ring.as_u64s().to_vec();
    slots[4] = 0;
    assert_eq!(
        Ring::from_slots(slots.clone()).unwrap_err().to_string(),
        "slot 4 holds 0x0000000000000000, which is no slot: no hop is in it; build the ring anew instead of adopting it"
    );
    slots[4] = 0x0001_0001;
    assert!(matches!(Ring::from_slots(slots), Err(RingError::Slot { index: 4, raw: 0x0001_0001, .. })));
    assert!(matches!(Ring::from_slots(vec![1; 12]), Err(RingError::Size(_))));
}

#[test]
fn a_joined_ring_keeps_its_placement_and_learns_where_the_others_flows_live() {
    let mut ring = Ring::build(&members(&[1, 2]), placement(251)).unwrap();
    let other = Ring::build(&members(&[3, 4]), placement(251)).unwrap();
    let shares = ring.shares();
    ring.join(&other);
    assert_eq!(ring.shares(), shares);
    for (joined, theirs) in ring.slots().zip(other.slots()) {
        assert_eq!(joined.hops().nth(1), theirs.current());
    }
}

proptest! {
    /// A ring of another size must remember, for every flow, the host that the flow was on.
    #[test]
    fn a_flow_finds_its_host_behind_a_change_of_size(
        sizes in prop::sample::subsequence(vec![251usize, 509, 1_021, 4_099], 2).prop_shuffle(),
        hashes in prop::collection::vec(any::<u32>(), 200),
    ) {
        let before = Ring::build(&members(&[1, 2]), placement(sizes[0])).unwrap();
        let after = before.advance(&members(&[2, 3]), placement(sizes[1]), &HopSet::new()).unwrap().ring;
        for hash in hashes {
            let lived = before.slot_for(hash).unwrap().current().unwrap();
            // With two hosts before and three lanes, no overlap can push one of them out.
            prop_assert!(after.slot_for(hash).unwrap().hops().any(|held| held == lived));
        }
    }

    /// Random changes, and after each what a slot's memory must be by a model that keeps lists.
    #[test]
    fn slots_remember_the_last_three_distinct_hosts(
        changes in prop::collection::vec((prop::collection::btree_set(1..=8u16, 1..6), prop::collection::btree_set(1..=8u16, 0..2)), 1..12),
    ) {
        let (mut ring, mut model) = (Ring::EMPTY, vec![Vec::<u16>::new(); 67]);
        for (present, gone) in changes {
            let removed: HopSet = gone.iter().map(|&index| hop(index)).collect();
            let present: Vec<u16> = present.into_iter().filter(|index| !gone.contains(index)).collect();
            if present.is_empty() {
                continue;
            }
            let fresh = Ring::build(&members(&present), placement(67)).unwrap();
            let update = ring.advance(&members(&present), placement(67), &removed).unwrap();
            let (mut moved, mut changed) = (0, 0);
            for (history, slot) in model.iter_mut().zip(fresh.slots()) {
                let (old, new) = (history.clone(), slot.current().unwrap().get());
                moved += u32::from(!old.is_empty() && old[0] != new);
                history.retain(|held| *held != new && !gone.contains(held));
                history.insert(0, new);
                history.truncate(Slot::HOPS);
                changed += u32::from(*history != old);
            }
            prop_assert_eq!((update.moved_slots, update.changed_slots), (moved, changed));
            ring = Ring::from_slots(update.ring.as_u64s().to_vec()).expect("what is built can be adopted");
            let held: Vec<Vec<u16>> = ring.slots().map(|slot| slot.hops().map(HopId::get).collect()).collect();
            prop_assert_eq!(&held, &model);
        }
    }
}
