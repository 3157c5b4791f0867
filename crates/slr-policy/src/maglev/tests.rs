use std::collections::BTreeMap;

use proptest::prelude::*;
use slr_model::{HopId, NodeName, Weight};

use super::*;
use crate::RingSize;

fn member(index: u16, weight: u16) -> Member {
    Member {
        name: format!("h{index}").parse().unwrap(),
        hop: HopId::new(index).unwrap(),
        weight: Weight::new(weight).unwrap(),
    }
}

fn placement(slots: usize, seed: u64) -> Placement {
    Placement { size: RingSize::new(slots).unwrap(), seed }
}

fn members(weights: &[u16]) -> Vec<Member> {
    (1..).zip(weights).map(|(index, &weight)| member(index, weight)).collect()
}

/// Slots by host's name.
fn names_by_slot(members: &[Member], ring: &Ring) -> Vec<NodeName> {
    let names: BTreeMap<HopId, &NodeName> = members.iter().map(|member| (member.hop, &member.name)).collect();
    ring.slots().map(|slot| names[&slot.current().unwrap()].clone()).collect()
}

/// Maglev as its paper tells it, with weighted turns: every walk stepped through, nothing clever.
fn plain_maglev(members: &[Member], placement: Placement) -> Vec<u16> {
    let size = u64::from(placement.size.get());
    let hash = |member: &Member| siphash(placement.seed, PLACEMENT_KEY, member.name.as_bytes());
    let mut members: Vec<&Member> = members.iter().filter(|member| !member.weight.is_zero()).collect();
    members.sort_by_key(|member| hash(member));
    let total: u64 = members.iter().map(|member| u64::from(member.weight.get())).sum();
    let heaviest = members.iter().map(|member| u64::from(member.weight.get())).max().unwrap();

    let exact = |index: usize| size * u64::from(members[index].weight.get());
    let mut quotas: Vec<u64> = (0..members.len()).map(|index| exact(index) / total).collect();
    let mut by_remainder: Vec<usize> = (0..members.len()).collect();
    by_remainder.sort_by_key(|&index| std::cmp::Reverse(exact(index) % total));
    let left = size - quotas.iter().sum::<u64>();
    by_remainder.iter().take(left as usize).for_each(|&index| quotas[index] += 1);

    let mut turns: Vec<(u64, usize)> = Vec::new();
    for (index, member) in members.iter().enumerate() {
        turns.extend((0..quotas[index]).map(|turn| (turn * heaviest / u64::from(member.weight.get()), index)));
    }
    turns.sort();

    let mut slots = vec![0; size as usize];
    let mut steps = vec![0; members.len()];
    for (_, index) in turns {
        let hash = hash(members[index]);
        let (offset, skip) = (((hash >> 32) * size) >> 32, (((hash & 0xffff_ffff) * (size - 1)) >> 32) + 1);
        let slot = loop {
            let slot = ((offset + steps[index] * skip) % size) as usize;
            steps[index] += 1;
            if slots[slot] == 0 {
                break slot;
            }
        };
        slots[slot] = members[index].hop.get();
    }
    slots
}

fn currents(ring: &Ring) -> Vec<u16> {
    ring.slots().map(|slot| slot.current().unwrap().get()).collect()
}

/// Placement is a protocol between the members of a cluster: a version that placed otherwise would break every flow
/// that meets two versions. If this test fails, the change that broke it is wrong.
#[test]
fn placement_never_changes_across_versions() {
    let ring = Ring::build(&members(&[1, 1, 2]), placement(13, 7)).unwrap();
    assert_eq!(currents(&ring), GOLDEN_SMALL);
    for (hosts, slots, digest) in GOLDEN_DIGESTS {
        let weights: Vec<u16> = (0..hosts).map(|host| 50 + host % 7 * 25).collect();
        let ring = Ring::build(&members(&weights), placement(slots, 0x5eed)).unwrap();
        let bytes: Vec<u8> = ring.as_u64s().iter().flat_map(|slot| slot.to_le_bytes()).collect();
        assert_eq!(siphash(0, 0, &bytes), digest, "{hosts} hosts over {slots} slots");
    }
}

const GOLDEN_SMALL: [u16; 13] = [2, 3, 3, 2, 1, 3, 3, 3, 1, 3, 2, 3, 1];
/// Hosts, slots, SipHash of the slots.
const GOLDEN_DIGESTS: [(u16, usize, u64); 4] = [
    (3, 1_021, 0xa512_cc20_539f_ff96),
    (40, 4_099, 0xc557_d133_c752_dcac),
    (150, 16_411, 0x0336_2138_222f_20af),
    (1_000, 65_537, 0xe970_bf7a_ec8b_77c9),
];

#[test]
fn the_largest_ring_equals_plain_maglev() {
    let weights: Vec<u16> = (0..1_000).map(|host| 1 + host * 37 % 1_000).collect();
    let (members, placement) = (members(&weights), placement(65_537, 3));
    assert_eq!(currents(&Ring::build(&members, placement).unwrap()), plain_maglev(&members, placement));
}

#[test]
fn without_weight_there_is_no_ring() {
    let placement = placement(13, 1);
    assert_eq!(Ring::build(&[], placement), Ok(Ring::EMPTY));
    assert_eq!(Ring::build(&members(&[0, 0]), placement), Ok(Ring::EMPTY));
    let before = Ring::build(&members(&[1]), placement).unwrap();
    let update = before.advance(&[], placement, &HopSet::new()).unwrap();
    assert_eq!((update.ring, update.moved_slots, update.changed_slots), (Ring::EMPTY, 13, 13));
}

#[test]
fn more_hosts_than_slots_fill_every_slot_once() {
    let ring = Ring::build(&members(&[100; 4_095]), placement(1_021, 1)).unwrap();
    assert_eq!(ring.shares().len(), 1_021);
    let ring = Ring::build(&members(&[5; 3]), placement(2, 1)).unwrap();
    assert_eq!(ring.shares().len(), 2);
}

#[test]
fn hosts_of_one_name_or_one_hop_are_refused() {
    let placement = placement(13, 1);
    let twice = [member(1, 1), Member { hop: HopId::new(2).unwrap(), ..member(1, 1) }];
    let error = Ring::build(&twice, placement).unwrap_err();
    assert_eq!(error.to_string(), "host h1 is in the ring twice: give each host a name of its own");
    let shared = [member(1, 1), Member { hop: HopId::new(1).unwrap(), ..member(2, 0) }];
    let error = Ring::build(&shared, placement).unwrap_err();
    assert_eq!(error.to_string(), "hop 1 stands for both h1 and h2: give each host a hop of its own");
}

/// Slots moved when the last of `hosts` equal hosts leaves (joining is the same two rings the other way round), averaged
/// over seeds, as a multiple of the least possible: the slots that the host had.
fn excess_of_a_leave(hosts: usize, size: RingSize) -> f64 {
    const SEEDS: u64 = 5;
    let all = members(&vec![100; hosts]);
    let moved = (0..SEEDS).map(|seed| {
        let placement = Placement { size, seed };
        let before = Ring::build(&all, placement).unwrap();
        before.advance(&all[..hosts - 1], placement, &HopSet::new()).unwrap().moved_slots
    });
    f64::from(moved.sum::<u32>()) / (SEEDS as f64 * f64::from(size.get()) / hosts as f64)
}

#[test]
fn a_host_that_leaves_or_joins_moves_little_more_than_its_own_slots() {
    for (hosts, bound) in [(2, 1.01), (3, 1.1), (10, 1.5), (100, 2.7), (655, 7.0), (1_000, 7.5)] {
        let size = RingSize::for_hosts(hosts);
        let excess = excess_of_a_leave(hosts, size);
        println!("{hosts} hosts over {} slots: {excess:.2} times the least", size.get());
        assert!(excess >= 0.99, "the slots of the host that left must move");
        assert!(excess <= bound, "{hosts} hosts: {excess:.2} times the least, expected at most {bound}");
    }
}

#[test]
fn a_changed_weight_moves_few_slots() {
    let before_weights = vec![100; 100];
    let mut after_weights = before_weights.clone();
    after_weights[17] = 50;
    let placement = Placement::for_hosts(100, 9);
    let before = Ring::build(&members(&before_weights), placement).unwrap();
    let update = before.advance(&members(&after_weights), placement, &HopSet::new()).unwrap();
    let least = placement.size.get() / 200;
    println!("half of one weight in a hundred: {} slots moved, at least {least} must", update.moved_slots);
    assert!(update.moved_slots >= least * 9 / 10 && update.moved_slots <= least * 4, "{}", update.moved_slots);
}

fn any_members() -> impl Strategy<Value = Vec<Member>> {
    let weight = prop_oneof![1 => Just(0u16), 4 => 1..=10u16, 2 => 1..=1_000u16, 3 => Just(100u16)];
    prop::collection::btree_map(1..=4_095u16, weight, 1..60)
        .prop_map(|hosts| hosts.into_iter().map(|(index, weight)| member(index, weight)).collect())
}

fn any_placement() -> impl Strategy<Value = Placement> {
    let slots = prop::sample::select(vec![2usize, 3, 5, 13, 67, 251, 1_021, 4_099]);
    (slots, any::<u64>()).prop_map(|(slots, seed)| placement(slots, seed))
}

proptest! {
    #[test]
    fn every_ring_equals_plain_maglev(members in any_members(), placement in any_placement()) {
        prop_assume!(members.iter().any(|member| !member.weight.is_zero()));
        let ring = Ring::build(&members, placement).unwrap();
        prop_assert_eq!(currents(&ring), plain_maglev(&members, placement));
    }

    #[test]
    fn neither_order_nor_hops_nor_earlier_work_decide_placement(
        (members, shuffled) in any_members().prop_flat_map(|members| (Just(members.clone()), Just(members).prop_shuffle())),
        placement in any_placement(),
        other in any_members(),
    ) {
        let mut renumbered = shuffled;
        for (index, member) in (1..).zip(&mut renumbered) {
            member.hop = HopId::new(index).unwrap();
        }
        let mut used = RingBuilder::new();
        used.build(&other, Placement::for_hosts(20, 1)).unwrap();
        let (first, second) = (Ring::build(&members, placement).unwrap(), used.build(&renumbered, placement).unwrap());
        prop_assert_eq!(names_by_slot(&members, &first), names_by_slot(&renumbered, &second));
    }

    #[test]
    fn every_share_is_within_one_slot_of_its_weight(members in any_members(), placement in any_placement()) {
        let ring = Ring::build(&members, placement).unwrap();
        let shares = ring.shares();
        let total: u64 = members.iter().map(|member| u64::from(member.weight.get())).sum();
        for member in members {
            let share = u64::from(shares.get(&member.hop).copied().unwrap_or(0));
            let exact = u64::from(placement.size.get()) * u64::from(member.weight.get());
            prop_assert!((share * total).abs_diff(exact) < total.max(1), "{} got {share}", member.name);
        }
    }
}
