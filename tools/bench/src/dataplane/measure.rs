//! The shooting: hot cases take turns batch by batch, cold ones sweep by sweep.

use std::io::IsTerminal;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget};
use serde::{Deserialize, Serialize};
use slr_dataplane::bench::single_shots;

use super::Args;
use super::case::{self, Case, NULL};
use super::scene::Scene;
use crate::statistics::{mean_without_interrupts, midmean};

/// Shots before a batch that nobody counts: they bring the case's code and data back after the others' turns.
const WARM_UP: usize = 200;

/// How a batch's shots become one figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Estimator {
    /// For shots that differ little: see [`mean_without_interrupts`].
    Mean,
    /// For shots that differ much (cold caches): see [`midmean`].
    Midmean,
}

/// Durations of one batch in nanoseconds, the clock's own cost included.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// Mean of the middle half of the shots.
    pub midmean_ns: f64,
    /// Mean of all shots but the slowest hundredth.
    pub mean_ns: f64,
    /// The shot that a tenth of the shots was faster than.
    pub p10_ns: u32,
    /// The shot in the middle.
    pub p50_ns: u32,
    /// The shot that a tenth of the shots was slower than.
    pub p90_ns: u32,
    /// Midmean of the null program in the same round.
    pub null_midmean_ns: f64,
    /// Mean of the null program in the same round.
    pub null_mean_ns: f64,
}

impl Batch {
    /// Sums durations up, sorting them; the null program's figures are still to come.
    fn of(durations_ns: &mut [u32]) -> Self {
        durations_ns.sort_unstable();
        let at = |percent: usize| durations_ns[(durations_ns.len() - 1) * percent / 100];
        Self {
            midmean_ns: midmean(durations_ns),
            mean_ns: mean_without_interrupts(durations_ns),
            p10_ns: at(10),
            p50_ns: at(50),
            p90_ns: at(90),
            null_midmean_ns: 0.0,
            null_mean_ns: 0.0,
        }
    }

    /// Nanoseconds over the null program, by the estimator that suits the case.
    pub fn over_null_ns(&self, estimator: Estimator) -> f64 {
        match estimator {
            Estimator::Mean => self.mean_ns - self.null_mean_ns,
            Estimator::Midmean => self.midmean_ns - self.null_midmean_ns,
        }
    }

    fn over(self, null: &Self) -> Self {
        Self { null_midmean_ns: null.midmean_ns, null_mean_ns: null.mean_ns, ..self }
    }
}

/// A case with its batches.
pub type Measured = (Case, Vec<Batch>);

/// Shoots as many times as there are places for durations.
fn shoot(scene: &Scene, case: &mut Case, durations_ns: &mut [u32]) -> Result<()> {
    let (flows, service) = (&mut case.flows, case.service);
    single_shots(case.program.of(scene), &mut case.packet, case.verdict, durations_ns, |packet| {
        if let Some(flow) = flows.advance() {
            service.set_flow(packet, flow);
        }
    })
    .with_context(|| format!("case `{}`", case.name))
}

fn warm_batch(scene: &Scene, case: &mut Case, durations_ns: &mut [u32]) -> Result<Batch> {
    shoot(scene, case, &mut [0; WARM_UP])?;
    shoot(scene, case, durations_ns)?;
    Ok(Batch::of(durations_ns))
}

/// Every case in every round, side by side. Another one begins each round, so that nobody always follows the same
/// neighbour's mess.
pub fn interleaved(scene: &Scene, mut cases: Vec<Case>, args: &Args) -> Result<Vec<Measured>> {
    let null = cases.iter().position(|case| case.name == NULL).context("the null program is always measured")?;
    let mut batches: Vec<Vec<Batch>> = cases.iter().map(|_| Vec::new()).collect();
    let mut durations_ns = vec![0; args.shots as usize];
    let progress = ProgressBar::with_draw_target(Some(args.batches.into()), draw_target());
    for round in 0..args.batches as usize {
        for turn in 0..cases.len() {
            let index = (turn + round) % cases.len();
            let batch = warm_batch(scene, &mut cases[index], &mut durations_ns)?;
            batches[index].push(batch);
        }
        let zero = batches[null][round];
        batches.iter_mut().for_each(|of_case| of_case[round] = of_case[round].over(&zero));
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(cases.into_iter().zip(batches).collect())
}

/// Every case in long sweeps: each flow once, nothing between that would evict more than the flows do themselves. Batch n
/// of every case of one order is about the same flows, so that ratios compare like with like.
pub fn swept(scene: &Scene, mut cases: Vec<Case>, args: &Args) -> Result<Vec<Measured>> {
    let mut batches: Vec<Vec<Batch>> = cases.iter().map(|_| Vec::new()).collect();
    let mut durations_ns = vec![0; args.shots as usize];
    let mut null = case::null();
    let progress = ProgressBar::with_draw_target(Some(u64::from(args.sweeps) * cases.len() as u64), draw_target());
    for _ in 0..args.sweeps {
        for (case, batches) in cases.iter_mut().zip(&mut batches) {
            let zero = warm_batch(scene, &mut null, &mut durations_ns)?;
            for _ in 0..args.cold_flows.div_ceil(args.shots) {
                shoot(scene, case, &mut durations_ns)?;
                batches.push(Batch::of(&mut durations_ns).over(&zero));
            }
            case.flows.rewind();
            progress.inc(1);
        }
    }
    progress.finish_and_clear();
    Ok(cases.into_iter().zip(batches).collect())
}

fn draw_target() -> ProgressDrawTarget {
    if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_told_by_its_middle_and_its_quantiles() {
        let mut durations: Vec<u32> = (1..=101).rev().collect();
        let batch = Batch::of(&mut durations);
        assert_eq!((batch.p10_ns, batch.p50_ns, batch.p90_ns), (11, 51, 91));
        assert_eq!(batch.midmean_ns, 51.0);
    }
}
