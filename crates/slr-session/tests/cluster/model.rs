//! Random faults, then a network that is well again: one answer, whatever happened.

use std::time::Duration;

use proptest::prelude::*;

use crate::world::*;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Clone, Debug)]
enum Step {
    Run { ms: u64 },
    Stop(usize),
    Start { name: usize, adopts: bool },
    Cut(usize, usize),
    Mend(usize, usize),
    Lose { every: usize },
    Target(u16),
    Sleep { name: usize, ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let name = || 0..NAMES.len();
    prop_oneof![
        4 => (10u64..3_000).prop_map(|ms| Step::Run { ms }),
        1 => name().prop_map(Step::Stop),
        1 => (name(), any::<bool>()).prop_map(|(name, adopts)| Step::Start { name, adopts }),
        2 => (name(), name()).prop_map(|(one, other)| Step::Cut(one, other)),
        2 => (name(), name()).prop_map(|(one, other)| Step::Mend(one, other)),
        1 => (0usize..4).prop_map(|every| Step::Lose { every }),
        2 => (0u16..=1_000).prop_map(Step::Target),
        1 => (name(), 10u64..5_000).prop_map(|(name, ms)| Step::Sleep { name, ms }),
    ]
}

proptest! {

    #[test]
    fn a_cluster_that_is_well_has_one_answer(steps in prop::collection::vec(step(), 1..30)) {
        let mut world = World::new(&NAMES);
        let mut snapshots = [const { None }; 4];
        for step in steps {
            match step {
                Step::Run { ms } => world.run(Duration::from_millis(ms)),
                Step::Stop(name) => {
                    if let Some(snapshot) = world.stop(NAMES[name]) {
                        snapshots[name] = Some(snapshot);
                    }
                }
                Step::Start { name, adopts } => {
                    if !world.nodes.contains_key(NAMES[name]) {
                        world.start(NAMES[name], snapshots[name].take().filter(|_| adopts));
                    }
                }
                Step::Cut(one, other) if one != other => world.cut(NAMES[one], NAMES[other]),
                Step::Mend(one, other) if one != other => world.mend(NAMES[one], NAMES[other]),
                Step::Cut(..) | Step::Mend(..) => {}
                Step::Lose { every } => world.lose_every = every,
                Step::Target(target) => world.target = target,
                Step::Sleep { name, ms } => {
                    if let Some(node) = world.nodes.remove(NAMES[name]) {
                        world.run(Duration::from_millis(ms));
                        world.nodes.insert(NAMES[name].parse().unwrap(), node);
                    }
                }
            }
        }
        world.lose_every = 0;
        for one in NAMES {
            for other in NAMES {
                if one != other {
                    world.mend(one, other);
                }
            }
        }
        if world.nodes.is_empty() {
            world.start("a", None);
        }
        // Joining takes at most three seconds, twice if a member fell behind meanwhile.
        world.run(Duration::from_secs(7));
        // Nothing moves any more, so that nothing is on its way.
        world.target = world.nodes.values().find_map(|node| first_weight(node.cluster.rings())).unwrap_or(500);
        world.run(Duration::from_secs(42));
        world.assert_one_answer();
    }
}
