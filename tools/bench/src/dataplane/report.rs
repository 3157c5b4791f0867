//! What was measured, as JSON, as a table, as Markdown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use slr_daemon::table::Table;

use super::Args;
use super::case::Case;
use super::measure::{Batch, Estimator, Measured};
use crate::machine::{Machine, Noise};
use crate::statistics::Summary;
use crate::target::{Measure, Verdict};

/// All of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What it ran on.
    pub machine: Machine,
    /// What else ran.
    pub noise: Noise,
    /// Single shots per batch.
    pub shots: u32,
    /// Batches per case and load.
    pub batches: u32,
    /// How often everything was loaded anew.
    #[serde(default = "once")]
    pub loads: u32,
    /// Flows of the cold cases.
    pub cold_flows: u32,
    /// Sweeps over them.
    pub sweeps: u32,
    /// Hosts of each tunnel family.
    pub hosts: u16,
    /// Every case, yardsticks first.
    pub cases: Vec<Row>,
}

/// In results from before this was asked for.
fn once() -> u32 {
    1
}

/// One case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// What it is.
    pub what: String,
    /// What the router or the host counted it as; none for yardsticks.
    pub reason: Option<String>,
    /// How a batch's shots became the figure that verdicts are about.
    pub estimator: Estimator,
    /// Nanoseconds over the null program of the same round, by that estimator.
    pub over_null_ns: Summary,
    /// The same by the mean of all shots but the slowest hundredth.
    pub mean_over_null_ns: Summary,
    /// The same by the mean of the middle half.
    pub midmean_over_null_ns: Summary,
    /// The case that `ratio` divides by.
    pub floor: Option<String>,
    /// Over null, divided by the floor's over null of the same round.
    pub ratio: Option<Summary>,
    /// Targets and whether they are met.
    pub targets: Vec<Verdict>,
    /// Every batch.
    pub batches: Vec<Batch>,
}

impl Report {
    /// Sum up.
    pub fn new(machine: Machine, noise: Noise, args: &Args, measured: Vec<Measured>) -> Self {
        let by_name: BTreeMap<&str, &[Batch]> =
            measured.iter().map(|(case, all)| (case.name, all.as_slice())).collect();
        let cases = measured.iter().map(|(case, batches)| row(case, batches, &by_name)).collect();
        Self {
            machine,
            noise,
            shots: args.shots,
            batches: args.batches,
            loads: args.loads,
            cold_flows: args.cold_flows,
            sweeps: args.sweeps,
            hosts: args.hosts,
            cases,
        }
    }

    /// For the terminal.
    pub fn table(&self) -> String {
        let header =
            ["case", "ns over null", "p10", "p90", "mean", "midmean", "of floor", "p10", "p90", "target", "verdict"]
                .map(str::to_owned);
        let mut table = Table::new(header);
        for row in &self.cases {
            let ns = row.over_null_ns;
            let ratio =
                |of: fn(&Summary) -> f64| row.ratio.as_ref().map_or("-".to_owned(), |r| format!("{:.3}", of(r)));
            let mut targets = row.targets.iter();
            let (limit, outcome) = cells(targets.next());
            table.row([
                row.name.clone(),
                format!("{:.1}", ns.median),
                format!("{:.1}", ns.p10),
                format!("{:.1}", ns.p90),
                format!("{:.1}", row.mean_over_null_ns.median),
                format!("{:.1}", row.midmean_over_null_ns.median),
                ratio(|r| r.median),
                ratio(|r| r.p10),
                ratio(|r| r.p90),
                limit,
                outcome,
            ]);
            for verdict in targets {
                let (limit, outcome) = cells(Some(verdict));
                table.row([[""; 9].map(str::to_owned).to_vec(), vec![limit, outcome]].concat());
            }
        }
        format!(
            "{table}\n{} times {} batches of {} single shots; {}",
            self.loads,
            self.batches,
            self.shots,
            self.setting()
        )
    }

    fn setting(&self) -> String {
        format!(
            "cold over {} flows, {} hosts per tunnel family; {}, Linux {}, CPU {} of {}",
            self.cold_flows,
            self.hosts,
            self.machine.cpu,
            self.machine.kernel,
            self.machine.pinned_to.unwrap_or_default(),
            self.machine.cpus
        )
    }

    /// For the results folder.
    pub fn markdown(&self) -> String {
        let m = &self.machine;
        format!(
            "# Nanoseconds per packet, {date}, {host}\n\n\
             `bench dataplane --batches {batches} --shots {shots} --cold-flows {cold} --sweeps {sweeps} --hosts {hosts} --loads {loads}`: single shots \
             (`BPF_PROG_TEST_RUN`, repeat 1). A batch's figure is the mean of its shots but the slowest hundredth, for cold cases the \
             mean of the middle half; the null program's figure of the same round is subtracted, ratios are formed within a round (cold: over the same flows); shown are median, 10th and 90th \
             percentile over the batches. \"Mean\" and \"midmean\" show both estimators. Verdicts compare unrounded medians.\n\n\
             ```text\n{table}\n```\n\n\
             {setup}",
            date = m.date,
            host = m.host,
            batches = self.batches,
            shots = self.shots,
            cold = self.cold_flows,
            sweeps = self.sweeps,
            hosts = self.hosts,
            loads = self.loads,
            table = self.table(),
            setup = m.markdown(&self.noise),
        )
    }
}

fn cells(verdict: Option<&Verdict>) -> (String, String) {
    verdict.map_or(("-".to_owned(), "-".to_owned()), |v| (v.limit_text(), v.outcome().to_owned()))
}

fn over_null(batches: &[Batch], estimator: Estimator) -> Vec<f64> {
    batches.iter().map(|batch| batch.over_null_ns(estimator)).collect()
}

fn row(case: &Case, batches: &[Batch], by_name: &BTreeMap<&str, &[Batch]>) -> Row {
    let estimator = case.estimator();
    let own = over_null(batches, estimator);
    let over_null_ns = Summary::of(&own);
    let ratio = case.floor.map(|floor| {
        let floor = over_null(by_name[floor], estimator);
        Summary::of(&own.iter().zip(floor).map(|(own, floor)| own / floor).collect::<Vec<f64>>())
    });
    let measured = |measure| match measure {
        Measure::RatioToFloor => ratio.map_or(f64::NAN, |ratio| ratio.median),
        Measure::OverNullNs => over_null_ns.median,
        Measure::BuildMs | Measure::CorePercent | Measure::MemoryMb | Measure::ChangeMs | Measure::MirrorMs => f64::NAN,
    };
    Row {
        name: case.name.to_owned(),
        what: case.what.to_owned(),
        reason: case.reason.map(str::to_owned),
        estimator,
        over_null_ns,
        mean_over_null_ns: Summary::of(&over_null(batches, Estimator::Mean)),
        midmean_over_null_ns: Summary::of(&over_null(batches, Estimator::Midmean)),
        floor: case.floor.map(str::to_owned),
        ratio,
        targets: case.targets.iter().map(|target| target.judge(measured(target.measure))).collect(),
        batches: batches.to_vec(),
    }
}
