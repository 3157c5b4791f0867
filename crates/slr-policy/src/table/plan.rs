//! The planner: from the rings the kernel holds and those that are wanted to a list of writes.

use std::collections::{BTreeMap, BTreeSet};

use super::{Entry, RingPlan, RingSpec, RingTable, RingWrite, TableError};
use crate::{HopSet, SlotArena};

/// Users that want the same ring.
struct Group<'a, K> {
    spec: &'a RingSpec,
    users: Vec<&'a K>,
    /// Rings these users have now, each once, in the order of the users.
    origins: Vec<u32>,
    /// The ring to be theirs.
    ring_index: u32,
}

/// The writes, by kind: carried out in the order of the fields.
struct Writes<K> {
    publish: Vec<RingWrite<K>>,
    unassign: Vec<RingWrite<K>>,
    flip: Vec<RingWrite<K>>,
    assign: Vec<RingWrite<K>>,
    retire: Vec<RingWrite<K>>,
}

/// Everything is worked out beside the table and put in its place at the end, so that a refused plan changes nothing.
pub(super) fn plan<K: Ord + Clone>(
    table: &mut RingTable<K>,
    wanted: &BTreeMap<K, RingSpec>,
    removed: &HopSet,
) -> Result<RingPlan<K>, TableError> {
    let groups = choose_indexes(table, group(table, wanted), wanted)?;
    let mut writes = Writes::new();
    let mut arena = table.arena.clone();
    arena.begin_publish();

    let mut rings = BTreeMap::new();
    for group in &groups {
        let (entry, moved_slots) = next_ring(table, group, removed)?;
        let entry = publish(table, group.ring_index, entry, moved_slots, &mut arena, &mut writes)?;
        rings.insert(group.ring_index, entry);
    }
    for (&ring_index, entry) in table.rings.iter().filter(|(index, _)| !rings.contains_key(index)) {
        entry.range.into_iter().for_each(|range| arena.retire(range));
        writes.retire.push(RingWrite::Retire { ring_index });
    }
    let users = assign(table, &groups, wanted, &mut writes);

    (table.arena, table.rings, table.users) = (arena, rings, users);
    Ok(writes.in_order())
}

/// Users by what they want. The ring index is not chosen yet.
fn group<'a, K: Ord>(table: &RingTable<K>, wanted: &'a BTreeMap<K, RingSpec>) -> Vec<Group<'a, K>> {
    let mut groups: BTreeMap<&RingSpec, Group<K>> = BTreeMap::new();
    for (user, spec) in wanted {
        let group = groups.entry(spec).or_insert_with(|| Group { spec, users: vec![], origins: vec![], ring_index: 0 });
        group.users.push(user);
        if let Some(origin) = table.users.get(user)
            && !group.origins.contains(origin)
        {
            group.origins.push(*origin);
        }
    }
    groups.into_values().collect()
}

/// Chooses each group's ring: the one that has this content already; else one of its users' own, provided that no other
/// user leaves it (that user would meet the new content before it is assigned elsewhere); else an index nobody uses.
fn choose_indexes<'a, K: Ord>(
    table: &RingTable<K>,
    mut groups: Vec<Group<'a, K>>,
    wanted: &BTreeMap<K, RingSpec>,
) -> Result<Vec<Group<'a, K>>, TableError> {
    let by_spec: BTreeMap<&RingSpec, u32> =
        table.rings.iter().filter_map(|(&index, entry)| entry.spec.as_ref().map(|spec| (spec, index))).collect();
    let mut chosen = BTreeSet::new();
    for group in &mut groups {
        if let Some(&index) = by_spec.get(group.spec) {
            group.ring_index = index;
            chosen.insert(index);
        }
    }
    // Indexes that lose their users are left alone until the next plan, like their slots.
    let mut unused = (1..=table.max_rings).filter(|index| !table.rings.contains_key(index));
    for group in groups.iter_mut().filter(|group| group.ring_index == 0) {
        let stays = |index: &u32| all_users_want(table, *index, group.spec, wanted);
        let own = group.origins.iter().copied().find(|index| !chosen.contains(index) && stays(index));
        group.ring_index = own.or_else(|| unused.next()).ok_or(TableError::Rings { max: table.max_rings })?;
        chosen.insert(group.ring_index);
    }
    Ok(groups)
}

/// Whether every user of a ring that is still there wants this content.
fn all_users_want<K: Ord>(
    table: &RingTable<K>,
    ring_index: u32,
    spec: &RingSpec,
    wanted: &BTreeMap<K, RingSpec>,
) -> bool {
    let users = table.users.iter().filter(|&(_, &index)| index == ring_index);
    users.filter_map(|(user, _)| wanted.get(user)).all(|wants| wants == spec)
}

/// A group's ring: its own advanced, with the memory of the rings its other users come from. With it, the slots that
/// moved.
fn next_ring<K: Ord>(table: &mut RingTable<K>, group: &Group<K>, removed: &HopSet) -> Result<(Entry, u32), TableError> {
    let own = table.rings.get(&group.ring_index);
    let joining = group.origins.iter().filter(|&&origin| origin != group.ring_index);
    let mut joining = joining.filter_map(|origin| table.rings.get(origin)).map(|entry| &entry.ring).peekable();
    if let Some(entry) = own
        && entry.spec.as_ref() == Some(group.spec)
        && removed.is_empty()
        && joining.peek().is_none()
    {
        return Ok((entry.clone(), 0));
    }
    let mut history = own.map(|entry| entry.ring.clone()).unwrap_or_default();
    for ring in joining {
        if history.is_empty() {
            history = ring.clone();
        } else {
            history.join(ring);
        }
    }
    let update = table
        .builder
        .advance(&history, group.spec.members(), group.spec.placement(), removed)
        .map_err(|source| TableError::Ring { ring_index: group.ring_index, source })?;
    Ok((Entry { spec: Some(group.spec.clone()), ring: update.ring, range: None }, update.moved_slots))
}

/// Finds room for a ring that differs from what the kernel holds under its index.
fn publish<K: Ord>(
    table: &RingTable<K>,
    ring_index: u32,
    mut entry: Entry,
    moved_slots: u32,
    arena: &mut SlotArena,
    writes: &mut Writes<K>,
) -> Result<Entry, TableError> {
    let held = table.rings.get(&ring_index);
    if let Some(held) = held.filter(|held| held.ring == entry.ring) {
        entry.range = held.range;
        return Ok(entry);
    }
    held.and_then(|held| held.range).into_iter().for_each(|range| arena.retire(range));
    let len = entry.ring.len();
    let mut offset = 0;
    entry.range = None;
    if len > 0 {
        let range = arena.allocate(len)?;
        offset = range.offset;
        entry.range = Some(range);
        let slots = entry.ring.to_kernel();
        writes.publish.push(RingWrite::Publish { ring_index, offset, slots, moved_slots });
    }
    writes.flip.push(RingWrite::Flip { ring_index, offset, len });
    Ok(entry)
}

/// Lets users point to their rings. An adopted ring is assigned again only if its user changes rings.
fn assign<K: Ord + Clone>(
    table: &RingTable<K>,
    groups: &[Group<K>],
    wanted: &BTreeMap<K, RingSpec>,
    writes: &mut Writes<K>,
) -> BTreeMap<K, u32> {
    let mut users = BTreeMap::new();
    for group in groups {
        users.extend(group.users.iter().map(|&user| (user.clone(), group.ring_index)));
    }
    for (user, &ring_index) in users.iter().filter(|&(user, index)| table.users.get(user) != Some(index)) {
        writes.assign.push(RingWrite::Assign { user: user.clone(), ring_index });
    }
    for user in table.users.keys().filter(|&user| !wanted.contains_key(user)) {
        writes.unassign.push(RingWrite::Unassign { user: user.clone() });
    }
    users
}

impl<K> Writes<K> {
    fn new() -> Self {
        Self { publish: vec![], unassign: vec![], flip: vec![], assign: vec![], retire: vec![] }
    }

    fn in_order(self) -> RingPlan<K> {
        let mut writes = self.publish;
        writes.extend(self.unassign);
        writes.extend(self.flip);
        writes.extend(self.assign);
        writes.extend(self.retire);
        RingPlan { writes }
    }
}
