//! What a cluster does in the cases that operators know.

use std::collections::BTreeSet;
use std::time::Duration;

use slr_session::cluster::{Cluster, ClusterRole, ClusterSettings};

use crate::world::*;

/// The largest step in a history of weights.
fn largest_step(history: &[u16]) -> u16 {
    history.windows(2).map(|pair| pair[0].abs_diff(pair[1])).max().unwrap_or(0)
}

#[test]
fn a_router_alone_publishes_from_the_start() {
    let now = std::time::Instant::now();
    let mut cluster = Cluster::new(ClusterSettings::new("a".parse().unwrap(), 1, BTreeSet::new()), None, now);
    assert_eq!(*cluster.role(), ClusterRole::Publishes);
    assert_eq!(cluster.publish(now, rings(1)), Ok(true));
    assert_eq!(cluster.publish(now, rings(1)), Ok(false));
    assert_eq!(cluster.publish(now, rings(2)), Ok(true));
    assert_eq!(cluster.edition().unwrap().generation, 2);
}

#[test]
fn members_that_start_together_agree_at_once() {
    let mut world = World::new(&["a", "b", "c"]);
    world.run(500 * MS);
    assert_eq!(
        [world.role("a"), world.role("b"), world.role("c")],
        [ClusterRole::Publishes, follows("a"), follows("a")]
    );
    world.run(Duration::from_secs(1));
    world.assert_one_answer();
}

#[test]
fn changes_travel_as_differences() {
    let mut world = World::new(&["a", "b", "c"]);
    world.run(Duration::from_secs(2));
    let whole = world.whole;
    world.target = 900;
    world.run(Duration::from_secs(20));
    world.assert_one_answer();
    assert_eq!(first_weight(world.node("c").cluster.rings()), Some(900));
    assert_eq!(world.whole, whole, "nobody needed everything");
    assert!(world.differences >= 2 * 40, "{}", world.differences);
    assert!(largest_step(&world.node("c").history) <= 10);
}

#[test]
fn the_next_one_goes_on_from_the_last_weights_and_hands_back_without_a_jump() {
    let mut world = World::new(&["a", "b", "c"]);
    world.target = 900;
    world.run(Duration::from_secs(6));
    world.stop("a");
    world.run(Duration::from_secs(3));
    assert_eq!([world.role("b"), world.role("c")], [ClusterRole::Publishes, follows("b")]);
    let before = first_weight(world.node("b").cluster.rings()).unwrap();
    world.start("a", None);
    world.run(Duration::from_secs(1));
    assert_eq!([world.role("a"), world.role("b")], [ClusterRole::Publishes, follows("a")]);
    world.run(Duration::from_secs(3));
    world.assert_one_answer();
    assert!(first_weight(world.node("b").cluster.rings()).unwrap() > before);
    for name in ["a", "b", "c"] {
        let step = largest_step(&world.node(name).history);
        // A member that changes hands may see two budgets in one.
        assert!(step <= 20, "{name} saw a step of {step}: {:?}", world.node(name).history);
        assert!(world.node(name).history.is_sorted(), "{name} went back: {:?}", world.node(name).history);
    }
}

#[test]
fn a_silent_publisher_is_replaced_within_a_second_and_a_member_that_is_cut_off_computes_alone() {
    let mut world = World::new(&["a", "b", "c"]);
    world.run(Duration::from_secs(2));
    world.cut("a", "b");
    world.cut("a", "c");
    world.run(900 * MS);
    assert_eq!(
        [world.role("a"), world.role("b"), world.role("c")],
        [ClusterRole::Publishes, ClusterRole::Publishes, follows("b")]
    );
    world.target = 600;
    world.run(Duration::from_secs(5));
    world.mend("a", "b");
    world.mend("a", "c");
    world.run(Duration::from_secs(2));
    world.assert_one_answer();
}

#[test]
fn a_member_that_hears_only_some_gets_the_rings_through_them() {
    let mut world = World::new(&["a", "b", "c"]);
    world.cut("a", "c");
    world.run(Duration::from_secs(5));
    world.target = 700;
    world.run(Duration::from_secs(5));
    assert_eq!(
        [world.role("a"), world.role("b"), world.role("c")],
        [ClusterRole::Publishes, follows("a"), follows("b")]
    );
    assert_eq!(world.node("c").cluster.edition(), world.node("a").cluster.edition());
    assert!(world.node("c").cluster.edition().unwrap().publisher.as_str() == "a");
}

#[test]
fn a_stopped_publisher_learns_before_it_publishes_again() {
    let mut world = World::new(&["a", "b"]);
    world.run(Duration::from_secs(2));
    world.target = 900;
    // Five seconds in which `a` does not run at all.
    let mut frozen = world.nodes.remove("a").unwrap();
    world.run(Duration::from_secs(5));
    assert_eq!(world.role("b"), ClusterRole::Publishes);
    let b_weight = first_weight(world.node("b").cluster.rings()).unwrap();
    frozen.history.clear();
    world.nodes.insert("a".parse().unwrap(), frozen);
    world.run(Duration::from_secs(4));
    world.assert_one_answer();
    let history = &world.node("b").history;
    assert!(first_weight(world.node("a").cluster.rings()).unwrap() >= b_weight);
    assert!(history.is_sorted() && largest_step(history) <= 20, "{history:?}");
}

#[test]
fn a_restarted_member_starts_from_its_snapshot() {
    let mut world = World::new(&["a"]);
    world.target = 800;
    world.run(Duration::from_secs(5));
    let weight = first_weight(world.node("a").cluster.rings()).unwrap();
    let snapshot = world.stop("a").unwrap();
    let text = serde_json::to_string(&snapshot).unwrap();
    world.start("a", Some(serde_json::from_str(&text).unwrap()));
    assert_eq!(first_weight(world.node("a").cluster.rings()), Some(weight));
    world.run(Duration::from_secs(1));
    assert!(world.node("a").history.iter().all(|&w| w.abs_diff(weight) <= 40));
    assert_eq!(world.node("a").cluster.edition().unwrap().incarnation, 2);
}

#[test]
fn lost_beats_change_nothing() {
    let mut world = World::new(&["a", "b", "c"]);
    world.run(Duration::from_secs(2));
    let roles = world.node("c").roles.len();
    world.lose_every = 4;
    world.target = 900;
    world.run(Duration::from_secs(30));
    assert_eq!(world.node("c").roles.len(), roles);
    world.assert_one_answer();
}

#[test]
fn a_stranger_is_no_member() {
    let now = std::time::Instant::now();
    let mut world = World::new(&["a", "b"]);
    let node = world.nodes.get_mut("a").unwrap();
    assert!(!node.cluster.peer_met(now, &"z".parse().unwrap()));
    assert_eq!(node.cluster.members().count(), 1);
}
