//! The scenarios hold what docs/policy.md says of them.

use std::collections::BTreeSet;

use super::{
    record::Run,
    report::herd_runs,
    scenario::{Named, Scenario},
    world,
};

fn run(name: Named, seed: u64) -> Run {
    world::run(&Scenario::named(name), seed).unwrap()
}

#[test]
fn a_seed_decides_a_run() {
    let json = |seed| serde_json::to_string(&run(Named::Steady, seed)).unwrap();
    assert_eq!(json(7), json(7));
    assert_ne!(json(7), json(8));
}

#[test]
fn three_unequal_hosts_are_balanced_after_ten_seconds_and_stay_so() {
    for seed in 1..=8 {
        let summary = run(Named::Steady, seed).summary(10.0);
        assert!(summary.placed_p95 <= 1.25 && summary.imbalance_p95 <= 1.25, "seed {seed}: {summary:?}");
        assert!(
            summary.swing < 0.1 && summary.moved_most <= 0.05 && summary.clipped == 0.0,
            "seed {seed}: {summary:?}"
        );
        assert_eq!(summary.refused, 0, "seed {seed}");
    }
}

#[test]
fn flows_of_half_a_minute_do_not_make_shares_swing_if_traffic_is_counted() {
    let mut blind = Scenario::named(Named::LongFlows);
    blind.counts_traffic = false;
    let (mut counted_swing, mut blind_swing) = (0.0, 0.0);
    for seed in 1..=3 {
        let summary = run(Named::LongFlows, seed).summary(30.0);
        assert!(summary.placed_p95 <= 1.25, "seed {seed}: {summary:?}");
        counted_swing += summary.swing;
        blind_swing += world::run(&blind, seed).unwrap().summary(30.0).swing;
    }
    assert!(blind_swing > 2.0 * counted_swing, "{blind_swing} against {counted_swing}");
}

#[test]
fn a_host_that_is_cut_off_gets_nothing_and_comes_back_slowly() {
    let run = run(Named::Return, 3);
    let share = |at_s: f64| run.rows.iter().find(|row| row.at_s >= at_s).unwrap().shares[1];
    assert!(share(19.0) > 0.25, "it is one of the two strong ones: {}", share(19.0));
    // Silent after 2.5 intervals and the window for a mass vanish, at the evaluation after that.
    assert_eq!(share(20.0 + 1.0 + 0.4 + 0.3 + 0.4), 0.0);
    assert_eq!(share(39.0), 0.0);
    assert!((0.01..0.12).contains(&share(41.0)), "{}", share(41.0));
    assert!(share(60.0) > 0.25, "{}", share(60.0));
    let states: BTreeSet<u32> = run.rows.iter().map(|row| row.moved_by_state).filter(|&moved| moved > 0).collect();
    assert!(!states.is_empty() && run.rows.iter().all(|row| row.moved_by_cost <= row.slots / 20));
}

#[test]
fn least_cost_on_stale_data_is_a_herd_and_weighted_is_not() {
    let runs = herd_runs(0.4, 1).unwrap();
    let of = |index: usize| runs[index].1.summary(10.0);
    let (weighted, undamped) = (of(0), of(2));
    assert!(weighted.placed_mean < 1.2 && weighted.moved_a_second < 0.05, "{weighted:?}");
    assert!(undamped.placed_mean > 3.0 && undamped.moved_a_second > 1.0, "{undamped:?}");
}
