//! What is written down of a run, an interval at a time, and what is made of it.

use serde::Serialize;

use crate::{router::Turn, scenario::Scenario};

/// Time over which imbalance is taken: short enough to see an oscillation, long enough that chance arrivals do not
/// look like one.
pub const WINDOW_S: f64 = 2.0;

/// One interval.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its end.
    pub at_s: f64,
    /// Each host's part of the slots after it.
    pub shares: Vec<f64>,
    /// Work that arrived for each host in it, in seconds at speed 1.
    pub work_s: Vec<f64>,
    /// Each host's speed; nought for one that is cut off.
    pub speeds: Vec<f64>,
    /// Part of it that each host was busy.
    pub loads: Vec<f64>,
    /// Slots that moved because of costs.
    pub moved_by_cost: u32,
    /// Slots that moved because hosts came or went.
    pub moved_by_state: u32,
    /// Slots of the ring.
    pub slots: u32,
    /// Whether the budget held something back.
    pub clipped: bool,
    /// Flows alive.
    pub flows: usize,
    /// Those that the ring would place elsewhere now: their pins alone keep them.
    pub displaced: usize,
}

/// A run as it was recorded.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Run {
    /// The intervals.
    pub rows: Vec<Row>,
    /// Requests and flows turned away.
    pub refused: u64,
}

/// A run in a few numbers.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Summary {
    /// Mean over time of the busiest host's load as a multiple of its fair one.
    pub imbalance_mean: f64,
    /// The multiple that is exceeded in one window in twenty.
    pub imbalance_p95: f64,
    /// From when on the windows' imbalance stays below 1.25, for nineteen in twenty windows of the rest.
    pub settled_s: Option<f64>,
    /// Mean over time of the largest share of slots, as a multiple of the fair one: the imbalance that the router makes,
    /// without what chance adds.
    pub placed_mean: f64,
    /// The multiple that is exceeded in one interval in twenty.
    pub placed_p95: f64,
    /// Part of all slots that moved in a second because of costs.
    pub moved_a_second: f64,
    /// The largest part of all slots that moved in one interval because of costs.
    pub moved_most: f64,
    /// Mean part of the flows that only their pins keep where they are.
    pub displaced: f64,
    /// Standard deviation of the hosts' shares over time, as a part of the share: what swings.
    pub swing: f64,
    /// Part of the intervals in which the budget held something back.
    pub clipped: f64,
    /// Requests and flows turned away.
    pub refused: u64,
}

/// Writes rows.
pub struct Recorder {
    run: Run,
    work_s: Vec<f64>,
    busy_s: Vec<f64>,
    at_s: f64,
}

impl Recorder {
    /// A recorder of nothing yet.
    pub fn new(scenario: &Scenario) -> Self {
        let none = vec![0.0; scenario.speeds.len()];
        Self { run: Run::default(), work_s: none.clone(), busy_s: none, at_s: 0.0 }
    }

    /// Work arrives for a host.
    pub fn work(&mut self, host: usize, work_s: f64) {
        self.work_s[host] += work_s;
    }

    /// A request or a flow is turned away.
    pub fn refused(&mut self) {
        self.run.refused += 1;
    }

    /// An interval ends.
    #[expect(clippy::too_many_arguments, reason = "the columns of a row")]
    pub fn turn(
        &mut self,
        at_s: f64,
        turn: &Turn,
        slots: u32,
        shares: Vec<f64>,
        speeds: Vec<f64>,
        busy_s: Vec<f64>,
        flows: usize,
        displaced: usize,
    ) {
        let elapsed_s = at_s - self.at_s;
        let loads = busy_s.iter().zip(&self.busy_s).map(|(now, before)| (now - before) / elapsed_s).collect();
        let work_s = std::mem::replace(&mut self.work_s, vec![0.0; busy_s.len()]);
        debug_assert_eq!(turn.evaluation.moved_by_cost + turn.evaluation.moved_by_state, turn.moved_slots);
        self.run.rows.push(Row {
            at_s,
            shares,
            work_s,
            speeds,
            loads,
            moved_by_cost: turn.evaluation.moved_by_cost,
            moved_by_state: turn.evaluation.moved_by_state,
            slots,
            clipped: turn.evaluation.clipped,
            flows,
            displaced,
        });
        (self.at_s, self.busy_s) = (at_s, busy_s);
    }

    /// The run.
    pub fn finish(self) -> Run {
        self.run
    }
}

impl Row {
    /// The largest share of slots as a multiple of the fair one.
    pub fn placed(&self) -> f64 {
        let speed: f64 = self.speeds.iter().sum();
        let of_fair = self.shares.iter().zip(&self.speeds).filter(|(_, speed)| **speed > 0.0);
        of_fair.map(|(share, host)| share / (host / speed)).fold(0.0, f64::max)
    }
}

impl Run {
    /// The busiest host's work as a multiple of its fair part, in the windows that end in each interval from `from_s` on.
    pub fn imbalance(&self, from_s: f64) -> Vec<(f64, f64)> {
        let ends = self.rows.iter().enumerate().filter(|(_, row)| row.at_s >= from_s);
        ends.filter_map(|(end, row)| {
            let begin = self.rows.partition_point(|row_before| row_before.at_s <= row.at_s - WINDOW_S);
            let rows = &self.rows[begin..=end];
            let sum = |host: usize| rows.iter().map(|row| row.work_s[host]).sum::<f64>();
            let hosts = (0..row.speeds.len()).filter(|&host| row.speeds[host] > 0.0);
            let (work, speed) =
                hosts.clone().fold((0.0, 0.0), |(work, speed), host| (work + sum(host), speed + row.speeds[host]));
            let of_fair = hosts.map(|host| (sum(host) / work) / (row.speeds[host] / speed));
            (work > 0.0).then(|| (row.at_s, of_fair.fold(0.0, f64::max)))
        })
        .collect()
    }

    /// The run from `from_s` on in a few numbers.
    pub fn summary(&self, from_s: f64) -> Summary {
        let mut ratios: Vec<f64> = self.imbalance(from_s).into_iter().map(|(_, ratio)| ratio).collect();
        ratios.sort_unstable_by(f64::total_cmp);
        let rows: Vec<&Row> = self.rows.iter().filter(|row| row.at_s >= from_s).collect();
        let mut placed: Vec<f64> = rows.iter().map(|row| row.placed()).collect();
        placed.sort_unstable_by(f64::total_cmp);
        let moved = |row: &&Row| f64::from(row.moved_by_cost) / f64::from(row.slots.max(1));
        let span_s = rows.last().map_or(0.0, |row| row.at_s) - rows.first().map_or(0.0, |row| row.at_s);
        let flows: usize = rows.iter().map(|row| row.flows).sum();
        Summary {
            imbalance_mean: mean(&ratios),
            imbalance_p95: ratios.get(ratios.len() * 95 / 100).copied().unwrap_or(0.0),
            placed_mean: mean(&placed),
            placed_p95: placed.get(placed.len() * 95 / 100).copied().unwrap_or(0.0),
            settled_s: self.settled_s(),
            moved_a_second: rows.iter().map(moved).sum::<f64>() / span_s.max(1e-9),
            moved_most: rows.iter().map(moved).fold(0.0, f64::max),
            displaced: rows.iter().map(|row| row.displaced).sum::<usize>() as f64 / (flows.max(1)) as f64,
            swing: swing(&rows),
            clipped: rows.iter().filter(|row| row.clipped).count() as f64 / rows.len().max(1) as f64,
            refused: self.refused,
        }
    }

    fn settled_s(&self) -> Option<f64> {
        let ratios = self.imbalance(0.0);
        let rest_is_good = |from: usize| {
            let rest = &ratios[from..];
            rest.iter().filter(|(_, ratio)| *ratio > 1.25).count() * 20 <= rest.len() && rest[0].1 <= 1.25
        };
        (0..ratios.len()).find(|&from| rest_is_good(from)).map(|from| ratios[from].0)
    }
}

/// Mean over the hosts of a share's deviation over time, relative to the share.
fn swing(rows: &[&Row]) -> f64 {
    let hosts = rows.first().map_or(0, |row| row.shares.len());
    let of_host = |host: usize| {
        let shares: Vec<f64> = rows.iter().map(|row| row.shares[host]).collect();
        let middle = mean(&shares);
        let variance = mean(&shares.iter().map(|share| (share - middle).powi(2)).collect::<Vec<_>>());
        if middle > 0.0 { variance.sqrt() / middle } else { 0.0 }
    };
    mean(&(0..hosts).map(of_host).collect::<Vec<_>>())
}

fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}
