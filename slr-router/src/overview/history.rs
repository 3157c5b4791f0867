//! Shares and costs over time, for graphs: a few minutes of each host.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use slr_model::NodeName;

use crate::fleet::Fleet;

/// How often a sample is taken: with the metrics' snapshot.
pub const EVERY: Duration = Duration::from_secs(2);
/// Five minutes. Of a thousand hosts that is 1.2 MB.
const KEPT: usize = 150;

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Series {
    /// Seconds between two samples.
    pub every_s: u64,
    /// Of each host, the oldest first; all end now.
    pub hosts: BTreeMap<NodeName, HostSeries>,
}

/// A host's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostSeries {
    /// Of new flows, in per cent, over all rings that it is in.
    pub share: Vec<f32>,
    /// What F makes of its loads, the mean over these rings; null: it was not evaluated.
    pub cost: Vec<Option<f32>>,
}

/// What is remembered.
#[derive(Clone, Debug, Default)]
pub struct History {
    turn: u64,
    hosts: BTreeMap<NodeName, Kept>,
}

/// A host's share and cost, and which turn the last ones were of.
#[derive(Clone, Debug, Default)]
struct Kept {
    turn: u64,
    samples: VecDeque<(f32, Option<f32>)>,
}

impl History {
    /// Takes a sample. Hosts that are gone are forgotten with their last one.
    pub fn sample(&mut self, fleet: &Fleet) {
        let (shares, costs) = (shares(fleet), costs(fleet));
        self.add(shares.into_iter().map(|(name, share)| {
            let cost = costs.get(&name).map(|cost| *cost as f32);
            (name, share as f32, cost)
        }));
    }

    fn add(&mut self, samples: impl Iterator<Item = (NodeName, f32, Option<f32>)>) {
        self.turn += 1;
        for (name, share, cost) in samples {
            let kept = self.hosts.entry(name).or_default();
            // It was away: its line has a gap, and begins anew.
            if kept.turn + 1 != self.turn {
                kept.samples.clear();
            }
            kept.turn = self.turn;
            if kept.samples.len() == KEPT {
                kept.samples.pop_front();
            }
            kept.samples.push_back((share, cost));
        }
        self.hosts.retain(|_, kept| kept.turn == self.turn);
    }

    /// All of it.
    pub fn series(&self) -> Series {
        let series = |kept: &Kept| HostSeries {
            share: kept.samples.iter().map(|(share, _)| *share).collect(),
            cost: kept.samples.iter().map(|(_, cost)| *cost).collect(),
        };
        Series {
            every_s: EVERY.as_secs(),
            hosts: self.hosts.iter().map(|(name, kept)| (name.clone(), series(kept))).collect(),
        }
    }
}

/// Each host's share of new flows, in per cent, the mean over the rings that it is in.
pub fn shares(fleet: &Fleet) -> BTreeMap<NodeName, f64> {
    let mut sums: BTreeMap<NodeName, (f64, u32)> = BTreeMap::new();
    for route in fleet.routes().values() {
        let total: u32 = route.members.iter().map(|(_, weight)| u32::from(weight.get())).sum();
        for (name, weight) in &route.members {
            let sum = sums.entry(name.clone()).or_default();
            *sum = (sum.0 + 100.0 * f64::from(weight.get()) / f64::from(total.max(1)), sum.1 + 1);
        }
    }
    mean(sums)
}

/// What F says of each host, the mean over the rings that it is in.
fn costs(fleet: &Fleet) -> BTreeMap<NodeName, f64> {
    let mut sums: BTreeMap<NodeName, (f64, u32)> = BTreeMap::new();
    for report in fleet.routes().keys().filter_map(|key| fleet.report(key)) {
        for (name, cost) in report.hosts.iter().filter_map(|host| Some((&host.name, host.cost?))) {
            let sum = sums.entry(name.clone()).or_default();
            *sum = (sum.0 + cost, sum.1 + 1);
        }
    }
    mean(sums)
}

fn mean(sums: BTreeMap<NodeName, (f64, u32)>) -> BTreeMap<NodeName, f64> {
    sums.into_iter().map(|(name, (sum, count))| (name, sum / f64::from(count.max(1)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_minutes_of_those_that_are_there_are_kept() {
        let mut history = History::default();
        let name = |text: &str| text.parse::<NodeName>().unwrap();
        for n in 0..KEPT + 2 {
            let h2 = (n != 1).then(|| (name("h2"), 50.0, None));
            history.add([(name("h1"), n as f32, Some(1.0))].into_iter().chain(h2));
        }
        let series = history.series();
        let (h1, h2) = (&series.hosts[&name("h1")], &series.hosts[&name("h2")]);
        assert_eq!((h1.share.len(), h1.share[0], h1.cost[0]), (KEPT, 2.0, Some(1.0)));
        assert_eq!(h2.share.len(), KEPT, "since it came back");
        history.add([(name("h1"), 0.0, None)].into_iter());
        assert_eq!(history.series().hosts.len(), 1, "who is gone is forgotten");
    }
}
