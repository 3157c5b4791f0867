//! `sweep`: what each number of the damping costs and gains.

use anyhow::Result;

use crate::{cli::SweepArgs, plot, record::Summary, scenario::Scenario, world};

const INTERVALS_S: [f64; 3] = [0.2, 0.4, 1.0];
const STEPS: [f64; 3] = [1.01, 1.05, 1.15];
const HYSTERESES: [f64; 4] = [0.0, 0.05, 0.1, 0.2];
const BUDGETS: [f64; 3] = [0.01, 0.05, 0.25];
/// From when on a run is judged.
const JUDGED_FROM_S: f64 = 10.0;

/// One setting and what came of it, over all its runs.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// Seconds between adverts.
    pub interval_s: f64,
    /// Ratio of neighbouring weights.
    pub step: f64,
    /// Part of a weight by which its target must differ.
    pub hysteresis: f64,
    /// Part of the slots that may move in an interval.
    pub budget: f64,
    /// Means over the runs.
    pub summary: Summary,
}

/// Runs all settings, prints the table, draws the plot.
pub fn sweep(args: &SweepArgs) -> Result<()> {
    println!(
        "interval_s   step  hyst.  budget  imbalance  p95  placed    p95  moved_%/s  most_%  displaced_%  swing   clipped_%"
    );
    let mut cells = Vec::new();
    for interval_s in INTERVALS_S {
        for step in STEPS {
            for hysteresis in HYSTERESES {
                for budget in BUDGETS {
                    let cell = Cell { interval_s, step, hysteresis, budget, summary: Summary::default() };
                    let cell = Cell { summary: mean_of_runs(args, &cell)?, ..cell };
                    print_cell(&cell);
                    cells.push(cell);
                }
            }
        }
    }
    if let Some(directory) = &args.run.plots {
        plot::sweep(directory, &args.scenario, args.run.seed, &cells)?;
    }
    Ok(())
}

fn mean_of_runs(args: &SweepArgs, cell: &Cell) -> Result<Summary> {
    let mut scenario = Scenario::named(args.scenario).with_interval(cell.interval_s);
    let damping = scenario.damping_mut();
    (damping.step, damping.hysteresis, damping.budget) = (cell.step, cell.hysteresis, cell.budget);
    let mut total = Summary::default();
    for run in 0..args.runs {
        let one = world::run(&scenario, args.run.seed + run)?.summary(JUDGED_FROM_S);
        total.imbalance_mean += one.imbalance_mean / args.runs as f64;
        total.imbalance_p95 += one.imbalance_p95 / args.runs as f64;
        total.placed_mean += one.placed_mean / args.runs as f64;
        total.placed_p95 += one.placed_p95 / args.runs as f64;
        total.moved_a_second += one.moved_a_second / args.runs as f64;
        total.moved_most = total.moved_most.max(one.moved_most);
        total.displaced += one.displaced / args.runs as f64;
        total.swing += one.swing / args.runs as f64;
        total.clipped += one.clipped / args.runs as f64;
        total.refused += one.refused;
    }
    Ok(total)
}

fn print_cell(cell: &Cell) {
    let Cell { interval_s, step, hysteresis, budget, summary } = cell;
    println!(
        "{interval_s:>10}  {step:>5}  {hysteresis:>5}  {budget:>6}  {:>9.3}  {:>5.3}  {:>5.3}  {:>5.3}  {:>9.3}  {:>6.2}  {:>11.2}  {:>6.3}  {:>8.1}",
        summary.imbalance_mean,
        summary.imbalance_p95,
        summary.placed_mean,
        summary.placed_p95,
        summary.moved_a_second * 100.0,
        summary.moved_most * 100.0,
        summary.displaced * 100.0,
        summary.swing,
        summary.clipped * 100.0,
    );
}
