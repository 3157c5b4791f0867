//! Figures out of many flows: percentiles, and sums by fate.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::judge::{Fate, Verdict};
use crate::run::ledger::Trace;

/// Percentiles of exact values, by nearest rank: each is a value that was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    pub count: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub max: u64,
}

impl Spread {
    /// Of values in any order; all zero when there are none.
    pub fn of(values: &[u64]) -> Self {
        let mut values = values.to_vec();
        values.sort_unstable();
        let Some(&max) = values.last() else { return Self::default() };
        let at = |percent: usize| values[(values.len() * percent).div_ceil(100).max(1) - 1];
        Self { count: values.len() as u64, p50: at(50), p90: at(90), p99: at(99), max }
    }
}

/// What became of the flows of one kind, or of all, that were open at the failure.
/// `flows = survived + moved + reset + failed + untested`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    pub flows: u64,
    pub survived: u64,
    /// Another server process answered.
    pub moved: u64,
    pub reset: u64,
    pub failed: u64,
    pub untested: u64,
    /// Of those lost, how many were lost after what had failed came back.
    pub lost_after_heal: u64,
    pub causes: BTreeMap<String, u64>,
    /// Of survivors.
    pub recovery_us: Spread,
    /// Each survivor's longest wait without progress after the failure.
    pub wait_us: Spread,
    /// How long a lost flow took to end, since it first said something after the failure.
    pub end_us: Spread,
    pub datagrams_lost: u64,
    pub segments_resent: u64,
}

/// Sums under way.
#[derive(Default)]
pub struct Judging {
    sums: Judged,
    recoveries_us: Vec<u64>,
    waits_us: Vec<u64>,
    ends_us: Vec<u64>,
}

impl Judging {
    /// Adds a flow.
    pub fn add(&mut self, trace: &Trace, verdict: &Verdict) {
        let sums = &mut self.sums;
        sums.flows += 1;
        sums.datagrams_lost += trace.lost;
        sums.segments_resent += u64::from(trace.retransmitted);
        sums.lost_after_heal += u64::from(verdict.after_heal);
        let cause = match &verdict.fate {
            Fate::Survived { recovery_us } => {
                sums.survived += 1;
                self.recoveries_us.push(*recovery_us);
                self.waits_us.push(verdict.wait_us);
                return;
            }
            Fate::Untested => {
                sums.untested += 1;
                return;
            }
            Fate::Moved => {
                sums.moved += 1;
                "moved"
            }
            Fate::Reset { after_us } => {
                sums.reset += 1;
                self.ends_us.push(*after_us);
                "reset"
            }
            Fate::Failed { cause, after_us } => {
                sums.failed += 1;
                self.ends_us.push(*after_us);
                cause
            }
        };
        *sums.causes.entry(cause.to_owned()).or_default() += 1;
    }

    /// The sums, and every recovery time in order.
    pub fn finish(mut self) -> (Judged, Vec<u64>) {
        self.recoveries_us.sort_unstable();
        self.sums.recovery_us = Spread::of(&self.recoveries_us);
        self.sums.wait_us = Spread::of(&self.waits_us);
        self.sums.end_us = Spread::of(&self.ends_us);
        (self.sums, self.recoveries_us)
    }
}

/// What became of flows that began after the failure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewFlows {
    pub started: u64,
    pub failed: u64,
    pub causes: BTreeMap<String, u64>,
    /// From the flow's beginning to the first thing that came.
    pub first_progress_us: Spread,
    /// When, since the failure, the last of those that failed began. Later ones were all served.
    pub last_failed_us: Option<u64>,
}

impl NewFlows {
    /// Of all traces, those that began after `failure`.
    pub fn of(traces: &[Trace], failure: u64) -> Self {
        let (mut new, mut firsts) = (Self::default(), Vec::new());
        for trace in traces.iter().filter(|trace| trace.began_us >= failure) {
            new.started += 1;
            firsts.extend(trace.progress.first().map(|&(at, _)| at.saturating_sub(trace.began_us)));
            if let Some(cause) = trace.failure {
                new.failed += 1;
                *new.causes.entry(cause.to_owned()).or_default() += 1;
                new.last_failed_us = new.last_failed_us.max(Some(trace.began_us - failure));
            }
        }
        new.first_progress_us = Spread::of(&firsts);
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let hundred: Vec<u64> = (1..=100).rev().collect();
        let cases: [(&[u64], [u64; 5]); 5] = [
            (&[], [0, 0, 0, 0, 0]),
            (&[7], [1, 7, 7, 7, 7]),
            (&[1, 2], [2, 1, 2, 2, 2]),
            (&[5, 1, 3, 2, 4], [5, 3, 5, 5, 5]),
            (&hundred, [100, 50, 90, 99, 100]),
        ];
        for (values, [count, p50, p90, p99, max]) in cases {
            assert_eq!(Spread::of(values), Spread { count, p50, p90, p99, max }, "{values:?}");
        }
    }
}
