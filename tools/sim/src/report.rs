//! `balance` and `herd`: runs over time, as tables and plots.

use anyhow::Result;
use slr_model::PlacementPolicy;
use slr_policy::Policy;

use crate::{
    cli::{BalanceArgs, HerdArgs},
    plot,
    record::{Run, Summary},
    scenario::{Named, Scenario},
    world,
};

/// From when on a run is judged: what the hosts start with is behind by then.
const JUDGED_FROM_S: f64 = 10.0;

/// Runs a scenario and shows it over time.
pub fn balance(args: &BalanceArgs) -> Result<()> {
    let scenario = args.damping.apply(Scenario::named(args.scenario))?;
    let run = world::run(&scenario, args.run.seed)?;
    if args.json {
        println!("{}", serde_json::to_string(&run)?);
    } else {
        println!(
            "{:>7}  {:>9}  {:>6}  {:>6}  {:>9}  shares of slots",
            "at_s", "imbalance", "moved", "by_st.", "displaced"
        );
        let imbalance = run.imbalance(0.0);
        for (row, (_, ratio)) in run.rows.iter().zip(&imbalance).step_by(5) {
            let shares: Vec<String> = row.shares.iter().map(|share| format!("{share:.3}")).collect();
            println!(
                "{:>7.1}  {ratio:>9.2}  {:>6}  {:>6}  {:>9}  {}",
                row.at_s,
                row.moved_by_cost,
                row.moved_by_state,
                row.displaced,
                shares.join(" ")
            );
        }
        print_summary("from 10 s on", &run.summary(JUDGED_FROM_S));
    }
    if let Some(directory) = &args.run.plots {
        plot::balance(directory, &args.scenario, args.run.seed, &run)?;
    }
    Ok(())
}

/// Ten hosts under both placement policies, and under `least-cost` as the seed has it: no damping at all.
pub fn herd(args: &HerdArgs) -> Result<()> {
    let runs = herd_runs(args.interval, args.run.seed)?;
    for (what, run) in &runs {
        print_summary(what, &run.summary(JUDGED_FROM_S));
    }
    if let Some(directory) = &args.run.plots {
        plot::herd(directory, args.run.seed, args.interval, &runs)?;
    }
    Ok(())
}

/// The runs that `herd` compares, by what they are.
pub fn herd_runs(interval_s: f64, seed: u64) -> Result<Vec<(&'static str, Run)>> {
    let base = Scenario {
        speeds: vec![1.0; 10],
        utilisation: 0.7,
        length_s: 40.0,
        ..Scenario::named(Named::Steady).with_interval(interval_s)
    };
    let with = |placement, damped: bool| {
        let mut scenario = base.clone();
        let damping = scenario.policy.damping.clone();
        scenario.policy = Policy { damping, ..Policy::new(placement) };
        if !damped {
            let damping = scenario.damping_mut();
            (damping.smoothing, damping.hysteresis, damping.budget) = (1.0, 0.0, 1.0);
        }
        world::run(&scenario, seed)
    };
    Ok(vec![
        ("weighted", with(PlacementPolicy::Weighted, true)?),
        ("least-cost", with(PlacementPolicy::LeastCost, true)?),
        ("least-cost, undamped", with(PlacementPolicy::LeastCost, false)?),
    ])
}

/// A run's numbers on a line.
pub fn print_summary(what: &str, summary: &Summary) {
    let settled = summary.settled_s.map_or("never".to_owned(), |at_s| format!("{at_s:.1} s"));
    println!(
        "{what}: imbalance mean {:.3} p95 {:.3} (of slots {:.3} {:.3}), settled {settled}, moved {:.3} %/s (most {:.2} % at once), displaced {:.2} %, \
         swing {:.3}, clipped {:.1} %, refused {}",
        summary.imbalance_mean,
        summary.imbalance_p95,
        summary.placed_mean,
        summary.placed_p95,
        summary.moved_a_second * 100.0,
        summary.moved_most * 100.0,
        summary.displaced * 100.0,
        summary.swing,
        summary.clipped * 100.0,
        summary.refused
    );
}
