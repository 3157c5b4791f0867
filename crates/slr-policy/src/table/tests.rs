use proptest::prelude::*;
use slr_model::{HopId, Weight};

use super::*;
use crate::{RingSize, Slot};

const SLOTS: u32 = 67;

fn hop(index: u16) -> HopId {
    HopId::new(index).unwrap()
}

fn spec(hops: &[u16]) -> RingSpec {
    let member =
        |&index| Member { name: format!("h{index}").parse().unwrap(), hop: hop(index), weight: Weight::default() };
    let members: Vec<Member> = hops.iter().map(member).collect();
    let placement = Placement { size: RingSize::new(SLOTS as usize).unwrap(), seed: 1 };
    RingSpec::new(&members, placement).unwrap()
}

fn wanted(users: &[(&'static str, &[u16])]) -> BTreeMap<&'static str, RingSpec> {
    users.iter().map(|&(user, hops)| (user, spec(hops))).collect()
}

fn table() -> RingTable<&'static str> {
    RingTable::new(8, 8 * SLOTS)
}

/// The writes without their slots, as words.
fn words(plan: &RingPlan<&'static str>) -> Vec<String> {
    let word = |write: &RingWrite<&str>| match write {
        RingWrite::Publish { ring_index, offset, slots, moved_slots } => {
            format!("publish {ring_index} at {offset}: {} slots, {moved_slots} moved", slots.len())
        }
        RingWrite::Unassign { user } => format!("unassign {user}"),
        RingWrite::Flip { ring_index, offset, len } => format!("flip {ring_index} to {offset}+{len}"),
        RingWrite::Assign { user, ring_index } => format!("assign {user} {ring_index}"),
        RingWrite::Retire { ring_index } => format!("retire {ring_index}"),
    };
    plan.writes.iter().map(word).collect()
}

#[test]
fn users_of_one_content_share_a_ring_whatever_the_order_or_scale_of_weights() {
    let mut table = table();
    let halved: Vec<Member> = spec(&[2, 1])
        .members()
        .iter()
        .map(|member| Member { weight: Weight::new(7).unwrap(), ..member.clone() })
        .collect();
    let mut users = wanted(&[("a", &[1, 2]), ("b", &[2, 1])]);
    users.insert("c", RingSpec::new(&halved, spec(&[1]).placement()).unwrap());
    let plan = table.plan(&users, &HopSet::new()).unwrap();
    assert_eq!(
        words(&plan),
        ["publish 1 at 0: 67 slots, 0 moved", "flip 1 to 0+67", "assign a 1", "assign b 1", "assign c 1"]
    );
    assert_eq!(table.plan(&users, &HopSet::new()).unwrap().writes, []);
}

#[test]
fn a_ring_whose_users_all_change_is_flipped_in_place() {
    let mut table = table();
    table.plan(&wanted(&[("a", &[1, 2]), ("b", &[1, 2])]), &HopSet::new()).unwrap();
    let plan = table.plan(&wanted(&[("a", &[1, 2, 3]), ("b", &[1, 2, 3])]), &HopSet::new()).unwrap();
    assert_eq!(words(&plan)[1..], ["flip 1 to 67+67"]);
    let plan = table.plan(&wanted(&[("a", &[1, 2]), ("b", &[1, 2])]), &HopSet::new()).unwrap();
    assert_eq!(words(&plan)[1..], ["flip 1 to 0+67"], "the slots of the first plan are free again");
}

#[test]
fn users_that_part_get_rings_of_their_own_with_the_memory_they_shared() {
    let mut table = table();
    table.plan(&wanted(&[("a", &[1, 2]), ("b", &[1, 2])]), &HopSet::new()).unwrap();
    let shared = table.ring_of(&"a").unwrap().1.clone();
    let plan = table.plan(&wanted(&[("a", &[1]), ("b", &[2])]), &HopSet::new()).unwrap();
    let assigned: Vec<String> = words(&plan).split_off(4);
    assert_eq!(assigned, ["assign a 2", "assign b 3", "retire 1"], "neither may see the other's new content in ring 1");
    for user in ["a", "b"] {
        for (slot, old) in table.ring_of(&user).unwrap().1.slots().zip(shared.slots()) {
            assert!(slot.hops().any(|held| Some(held) == old.current()), "{user} forgot where a flow lives");
        }
    }
}

#[test]
fn a_user_that_joins_brings_its_memory() {
    let mut table = table();
    table.plan(&wanted(&[("a", &[1, 2]), ("b", &[3])]), &HopSet::new()).unwrap();
    let before = table.ring_of(&"a").unwrap().1.shares();
    let plan = table.plan(&wanted(&[("a", &[1, 2]), ("b", &[1, 2])]), &HopSet::new()).unwrap();
    assert_eq!(words(&plan), ["publish 1 at 134: 67 slots, 0 moved", "flip 1 to 134+67", "assign b 1", "retire 2"]);
    let (_, ring) = table.ring_of(&"b").unwrap();
    assert_eq!(ring.shares(), before);
    assert!(ring.slots().all(|slot| slot.hops().any(|held| held == hop(3))));
}

#[test]
fn removed_hops_leave_rings_whose_content_stays() {
    let mut table = table();
    table.plan(&wanted(&[("a", &[1, 2, 3])]), &HopSet::new()).unwrap();
    table.plan(&wanted(&[("a", &[1, 2])]), &HopSet::new()).unwrap();
    let gone: HopSet = [hop(3)].into_iter().collect();
    let plan = table.plan(&wanted(&[("a", &[1, 2])]), &gone).unwrap();
    assert_eq!(words(&plan), ["publish 1 at 0: 67 slots, 0 moved", "flip 1 to 0+67"]);
    assert_eq!(table.plan(&wanted(&[("a", &[1, 2])]), &gone).unwrap().writes, []);
}

#[test]
fn without_hosts_a_ring_has_no_slots() {
    let mut table = table();
    let plan = table.plan(&wanted(&[("a", &[])]), &HopSet::new()).unwrap();
    assert_eq!(words(&plan), ["flip 1 to 0+0", "assign a 1"]);
    let plan = table.plan(&wanted(&[("a", &[1])]), &HopSet::new()).unwrap();
    assert_eq!(words(&plan), ["publish 1 at 0: 67 slots, 0 moved", "flip 1 to 0+67"]);
    let plan = table.plan(&wanted(&[("a", &[])]), &HopSet::new()).unwrap();
    assert_eq!(words(&plan), ["flip 1 to 0+0"]);
}

#[test]
fn a_plan_without_room_is_refused_whole() {
    let users = [("a", &[1u16, 2][..]), ("b", &[3])];
    let mut rings = RingTable::new(1, 8 * SLOTS);
    rings.plan(&wanted(&users[..1]), &HopSet::new()).unwrap();
    assert_eq!(rings.plan(&wanted(&users), &HopSet::new()), Err(TableError::Rings { max: 1 }));
    assert_eq!(rings.plan(&wanted(&users[..1]), &HopSet::new()).unwrap().writes, []);

    let mut slots = RingTable::new(8, 2 * SLOTS - 1);
    slots.plan(&wanted(&users[..1]), &HopSet::new()).unwrap();
    let error = slots.plan(&wanted(&users), &HopSet::new()).unwrap_err();
    assert!(matches!(error, TableError::Arena(ArenaError::Full { wanted: SLOTS, free: 66, .. })), "{error}");
    assert_eq!(slots.plan(&wanted(&users[..1]), &HopSet::new()).unwrap().writes, []);
}

#[test]
fn an_adopted_ring_goes_on_where_it_stood() {
    let mut old = table();
    old.plan(&wanted(&[("a", &[1, 2, 3])]), &HopSet::new()).unwrap();
    old.plan(&wanted(&[("a", &[1, 2])]), &HopSet::new()).unwrap();
    let slots = old.ring_of(&"a").unwrap().1.as_u64s().to_vec();
    let adopted = Adopted { ring_index: 1, offset: 67, slots, users: vec!["a"] };

    let mut new = table();
    new.adopt(adopted.clone()).unwrap();
    assert_eq!(new.plan(&wanted(&[("a", &[1, 2])]), &HopSet::new()).unwrap().writes, []);
    let plan = new.plan(&wanted(&[("a", &[1, 2, 4])]), &HopSet::new()).unwrap();
    assert_eq!(words(&plan)[1..], ["flip 1 to 0+67"]);

    let refused = |change: fn(&mut Adopted<&'static str>)| {
        let mut other = Adopted { users: vec!["b"], ring_index: 2, offset: 200, ..adopted.clone() };
        change(&mut other);
        let mut table = table();
        table.adopt(adopted.clone()).unwrap();
        table.adopt(other).unwrap_err()
    };
    assert_eq!(refused(|ring| ring.ring_index = 1), TableError::Index { ring_index: 1, max: 8 });
    assert_eq!(refused(|ring| ring.ring_index = 0), TableError::Index { ring_index: 0, max: 8 });
    assert_eq!(refused(|ring| ring.ring_index = 9), TableError::Index { ring_index: 9, max: 8 });
    assert_eq!(refused(|ring| ring.users = vec!["a"]), TableError::User { ring_index: 2, other: 1 });
    assert!(matches!(refused(|ring| ring.offset = 133), TableError::Arena(ArenaError::NotFree { .. })));
    assert!(matches!(refused(|ring| ring.slots[0] = 0), TableError::Ring { ring_index: 2, .. }));
}

/// The kernel's three tables.
#[derive(Clone, Default)]
struct Kernel {
    slots: Vec<u64>,
    rings: BTreeMap<u32, (u32, u32)>,
    users: BTreeMap<u8, u32>,
}

impl Kernel {
    fn apply(&mut self, write: &RingWrite<u8>) {
        match write {
            RingWrite::Publish { offset, slots, .. } => {
                let start = *offset as usize;
                self.slots[start..start + slots.len()].copy_from_slice(slots);
            }
            RingWrite::Unassign { user } => assert!(self.users.remove(user).is_some(), "a user is removed once"),
            RingWrite::Flip { ring_index, offset, len } => {
                self.rings.insert(*ring_index, (*offset, *len));
            }
            RingWrite::Assign { user, ring_index } => {
                self.users.insert(*user, *ring_index);
            }
            RingWrite::Retire { ring_index } => {
                assert!(self.rings.remove(ring_index).is_some(), "a ring is retired once");
                assert!(!self.users.values().any(|used| used == ring_index), "a retired ring has no users");
            }
        }
    }

    /// What a user's packets meet: the hops of the slots, and where they were read.
    fn seen_by(&self, user: u8) -> Option<(Vec<u64>, std::ops::Range<usize>)> {
        let (offset, len) = self.rings[self.users.get(&user)?];
        let range = offset as usize..(offset + len) as usize;
        Some((self.slots[range.clone()].to_vec(), range))
    }
}

fn currents(slots: &[u64]) -> Vec<Option<HopId>> {
    Ring::from_slots(slots.to_vec()).unwrap().slots().map(Slot::current).collect()
}

fn any_wanted() -> impl Strategy<Value = BTreeMap<u8, Vec<u16>>> {
    let contents = prop::sample::select(vec![vec![], vec![1], vec![2], vec![1, 2], vec![1, 2, 3], vec![4, 5]]);
    prop::collection::btree_map(0..6u8, contents, 0..6)
}

proptest! {
    /// Plans carried out write by write: a packet sees, at each moment, what its user had or what it is to have; slots
    /// that a packet may still be reading are not written; the result is what was wanted, and nothing leaks.
    #[test]
    fn at_every_write_each_user_meets_its_old_ring_or_its_new_one(
        steps in prop::collection::vec((any_wanted(), 0..=5u16, any::<bool>()), 1..12),
    ) {
        let capacity = 13 * SLOTS;
        let mut table: RingTable<u8> = RingTable::new(12, capacity);
        let mut kernel = Kernel { slots: vec![0; capacity as usize], ..Kernel::default() };
        for (hops, gone, restart) in steps {
            let wanted: BTreeMap<u8, RingSpec> = hops.iter().map(|(&user, hops)| (user, spec(hops))).collect();
            let still_there = hops.values().flatten().any(|&held| held == gone);
            let removed: HopSet = (gone > 0 && !still_there).then(|| hop(gone)).into_iter().collect();
            let before = kernel.clone();
            let plan = table.plan(&wanted, &removed).unwrap();
            for write in &plan.writes {
                if let RingWrite::Publish { offset, slots, .. } = write {
                    let written = *offset as usize..*offset as usize + slots.len();
                    for (_, read) in (0..6).filter_map(|user| before.seen_by(user)) {
                        prop_assert!(written.end <= read.start || read.end <= written.start, "{written:?} is being read");
                    }
                }
                kernel.apply(write);
                for user in 0..6 {
                    let fresh = wanted.get(&user).map(|spec| Ring::build(spec.members(), spec.placement()).unwrap());
                    let new = fresh.map(|ring| currents(ring.as_u64s()));
                    let old = before.seen_by(user).map(|(slots, _)| currents(&slots));
                    let seen = kernel.seen_by(user).map(|(slots, _)| currents(&slots));
                    prop_assert!(seen == old || seen == new, "user {user} after {write:?}");
                }
            }
            prop_assert_eq!(kernel.users.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
            for (user, spec) in &wanted {
                let (slots, _) = kernel.seen_by(*user).unwrap();
                prop_assert_eq!(&slots, &table.ring_of(user).unwrap().1.to_kernel());
                let fresh = Ring::build(spec.members(), spec.placement()).unwrap();
                prop_assert_eq!(currents(&slots), currents(fresh.as_u64s()));
                prop_assert!(!removed.iter().any(|gone| Ring::from_slots(slots.clone()).unwrap().slots().any(|slot| slot.hops().any(|held| held == gone))));
            }
            let held: u32 = kernel.rings.values().map(|&(_, len)| len).sum();
            prop_assert_eq!(held + table.arena().free_slots() + table.arena().resting_slots(), capacity);
            prop_assert_eq!(kernel.rings.len(), wanted.values().collect::<std::collections::BTreeSet<_>>().len());
            if restart {
                table = readopt(&kernel, capacity);
                prop_assert_eq!(table.plan(&wanted, &HopSet::new()).unwrap().writes, []);
            }
        }
    }
}

/// A new process takes over what the kernel holds.
fn readopt(kernel: &Kernel, capacity: u32) -> RingTable<u8> {
    let mut table = RingTable::new(12, capacity);
    for (&ring_index, &(offset, len)) in &kernel.rings {
        let slots = kernel.slots[offset as usize..(offset + len) as usize].to_vec();
        let users = kernel.users.iter().filter(|&(_, &used)| used == ring_index).map(|(&user, _)| user).collect();
        table.adopt(Adopted { ring_index, offset, slots, users }).unwrap();
    }
    table
}
