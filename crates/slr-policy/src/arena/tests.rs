use proptest::prelude::*;

use super::*;

#[test]
fn a_retired_range_rests_until_the_next_publish() {
    let mut arena = SlotArena::new(10);
    let first = arena.allocate(6).unwrap();
    arena.retire(first);
    assert_eq!(
        arena.allocate(6).unwrap_err().to_string(),
        "no room for a ring of 6 slots: the slot array holds 10, 4 of them free (4 in one piece) and 6 free after this \
         publish; raise the number of slots to twice what all rings hold, or use fewer different rings"
    );
    arena.begin_publish();
    assert_eq!(arena.allocate(10), Ok(SlotRange { offset: 0, len: 10 }));
}

#[test]
fn only_free_ranges_inside_the_array_are_adopted() {
    let mut arena = SlotArena::new(10);
    arena.claim(SlotRange { offset: 3, len: 4 }).unwrap();
    for (offset, len) in [(0, 4), (3, 4), (4, 1), (6, 2), (7, 4), (0, 0), (u32::MAX, 2), (10, 1)] {
        assert!(arena.claim(SlotRange { offset, len }).is_err(), "{offset}+{len}");
    }
    arena.claim(SlotRange { offset: 7, len: 3 }).unwrap();
    arena.claim(SlotRange { offset: 0, len: 3 }).unwrap();
    assert_eq!(arena.free_slots(), 0);
    assert!(SlotArena::new(0).allocate(1).is_err());
}

#[derive(Clone, Debug)]
enum Step {
    Allocate(u32),
    Claim(u32, u32),
    Retire(prop::sample::Index),
    Publish,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1..20u32).prop_map(Step::Allocate),
        1 => (0..70u32, 1..10u32).prop_map(|(offset, len)| Step::Claim(offset, len)),
        2 => any::<prop::sample::Index>().prop_map(Step::Retire),
        1 => Just(Step::Publish),
    ];
    prop::collection::vec(step, 1..120)
}

/// What a slot is, for the model: the plainest possible arena.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Is {
    Free,
    Used,
    Resting,
}

const CAPACITY: u32 = 64;

fn longest_free(model: &[Is]) -> usize {
    model.split(|is| *is != Is::Free).map(<[Is]>::len).max().unwrap_or(0)
}

fn set(model: &mut [Is], range: SlotRange, from: Is, to: Is) {
    for is in &mut model[range.offset as usize..(range.offset + range.len) as usize] {
        assert_eq!(*is, from, "{range:?}");
        *is = to;
    }
}

proptest! {
    #[test]
    fn the_arena_agrees_with_an_array_of_states(steps in steps()) {
        let mut arena = SlotArena::new(CAPACITY);
        let mut model = vec![Is::Free; CAPACITY as usize];
        let mut used: Vec<SlotRange> = Vec::new();
        for step in steps {
            match step {
                Step::Allocate(len) => match arena.allocate(len) {
                    Ok(range) => {
                        prop_assert_eq!(range.len, len);
                        set(&mut model, range, Is::Free, Is::Used);
                        used.push(range);
                    }
                    Err(_) => prop_assert!(longest_free(&model) < len as usize),
                },
                Step::Claim(offset, len) => {
                    let range = SlotRange { offset, len };
                    let slots = model.get(offset as usize..(offset + len) as usize);
                    let is_free = slots.is_some_and(|slots| slots.iter().all(|is| *is == Is::Free));
                    prop_assert_eq!(arena.claim(range).is_ok(), is_free);
                    if is_free {
                        set(&mut model, range, Is::Free, Is::Used);
                        used.push(range);
                    }
                }
                Step::Retire(index) => {
                    if !used.is_empty() {
                        let range = used.swap_remove(index.index(used.len()));
                        set(&mut model, range, Is::Used, Is::Resting);
                        arena.retire(range);
                    }
                }
                Step::Publish => {
                    arena.begin_publish();
                    model.iter_mut().filter(|is| **is == Is::Resting).for_each(|is| *is = Is::Free);
                }
            }
            let count = |wanted| model.iter().filter(|is| **is == wanted).count() as u32;
            prop_assert_eq!((arena.free_slots(), arena.resting_slots()), (count(Is::Free), count(Is::Resting)));
        }
    }
}
