//! The shooting: all cases take turns, batch by batch.

use std::io::IsTerminal;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget};
use serde::{Deserialize, Serialize};
use slr_dataplane::bench::single_shots;

use super::Args;
use super::case::Case;
use super::scene::Scene;
use crate::statistics::{mean_without_interrupts, midmean};

/// Shots before a batch that nobody counts: they bring the case's code and data back after the others' turns.
const WARM_UP: u32 = 200;

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
}

impl Batch {
    fn of(durations_ns: &mut [u32]) -> Self {
        let midmean_ns = midmean(durations_ns);
        let at = |percent: usize| durations_ns[(durations_ns.len() - 1) * percent / 100];
        Self {
            midmean_ns,
            mean_ns: mean_without_interrupts(durations_ns),
            p10_ns: at(10),
            p50_ns: at(50),
            p90_ns: at(90),
        }
    }
}

/// Every case with its batches, which have happened side by side.
pub fn interleaved(scene: &Scene, mut cases: Vec<Case>, args: &Args) -> Result<Vec<(Case, Vec<Batch>)>> {
    let mut batches: Vec<Vec<Batch>> = cases.iter().map(|_| Vec::new()).collect();
    let mut warm_up = vec![0; WARM_UP as usize];
    let mut durations_ns = vec![0; args.shots as usize];
    let progress = ProgressBar::with_draw_target(Some(args.batches.into()), draw_target());
    for round in 0..args.batches as usize {
        for turn in 0..cases.len() {
            // Another one begins each round, so that nobody always follows the same neighbour's mess.
            let index = (turn + round) % cases.len();
            let case = &mut cases[index];
            let program = case.program.of(scene);
            for durations in [&mut warm_up, &mut durations_ns] {
                let (flows, service) = (&mut case.flows, case.service);
                single_shots(program, &mut case.packet, case.verdict, durations, |packet| {
                    if let Some(flow) = flows.next() {
                        service.set_flow(packet, flow);
                    }
                })
                .with_context(|| format!("case `{}`", case.name))?;
            }
            batches[index].push(Batch::of(&mut durations_ns));
        }
        progress.inc(1);
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
