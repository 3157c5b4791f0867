//! What came out, for people and for programs.

use serde::{Deserialize, Serialize};
use slr_daemon::table::Table;

use super::phase::Phase;
use crate::machine::{Machine, Noise};
use crate::target::{Measure, Target, Verdict};

/// From a new flow to its being known elsewhere, with a hundred thousand a second.
const LAG: Target = Target { measure: Measure::MirrorMs, limit: 100.0 };

/// All of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What it ran on.
    pub machine: Machine,
    /// What else ran; the daemons are among it.
    pub noise: Noise,
    /// New flows a second that were asked for.
    pub rate: u32,
    /// Flows that spoke all the time.
    pub speaking: u32,
    /// Between the routers.
    pub round_trip_ms: u32,
    /// `v4` or `v6`.
    pub family: String,
    /// The loads, in order.
    pub phases: Vec<Phase>,
    /// After the overload, until both said that nothing is missing.
    pub warm_after_s: Option<f64>,
    /// Flows that the first router had in the end and the second had not, of how many that were looked for.
    pub missing: [u32; 2],
}

impl Report {
    /// A load by its name.
    pub fn phase(&self, name: &str) -> Option<&Phase> {
        self.phases.iter().find(|phase| phase.name == name)
    }

    /// The target: as the daemon says, and as the tables show.
    pub fn verdicts(&self) -> [Verdict; 2] {
        let phase = self.phase("rate");
        let said = phase.and_then(|phase| phase.lag_ms).map_or(f64::NAN, |[_, p99, _]| p99);
        // A flow that never came is later than any.
        let seen = phase.filter(|phase| phase.outside.absent * 100 <= phase.outside.flows);
        let seen = seen.and_then(|phase| phase.outside.ms).map_or(f64::NAN, |spread| spread.p99);
        [LAG.judge(said), LAG.judge(seen)]
    }

    /// For a terminal.
    pub fn table(&self) -> String {
        let mut table = Table::new([
            "load",
            "flows/s",
            "pinned",
            "lost",
            "taken",
            "resyncs",
            "lag p50/p99/max ms",
            "seen p50/p99/max ms",
            "absent",
            "wrongly warm",
            "warm told/heard",
            "queue",
            "answer ms",
            "CPU a/b",
        ]);
        for phase in &self.phases {
            let lag = |lag: Option<[f64; 3]>| {
                lag.map_or_else(|| "-".to_owned(), |ms| ms.map(|ms| format!("{ms:.1}")).join("/"))
            };
            let share = |states: &std::collections::BTreeMap<String, f64>| {
                let all: f64 = states.values().sum();
                format!("{:.1}%", states.get("warm").copied().unwrap_or(0.0) / all.max(f64::MIN_POSITIVE) * 100.0)
            };
            let outside = &phase.outside;
            table.row([
                phase.name.clone(),
                format!("{:.0}", f64::from(phase.flows) / phase.seconds),
                phase.pinned.to_string(),
                phase.lost.to_string(),
                phase.taken.to_string(),
                phase.resyncs.to_string(),
                lag(phase.lag_ms),
                lag(outside.ms.map(|spread| [spread.p50, spread.p99, spread.max])),
                format!("{}/{}", outside.absent, outside.flows),
                outside.called_warm.to_string(),
                format!("{}/{}", share(&phase.inside.told_s), share(&phase.inside.heard_s)),
                phase.inside.queue_max.to_string(),
                format!("{:.1}", phase.inside.answer_ms_max),
                phase.cpu.each_ref().map(|cpu| format!("{:.1}%", cpu.percent)).join("/"),
            ]);
        }
        let [said, seen] = self.verdicts();
        let warm = self.warm_after_s.map_or_else(|| "-".to_owned(), |s| format!("{s:.1} s"));
        format!(
            "{table}\nlag as the daemon says: p99 {:.1} ms, {}, {}; as the tables show: p99 {:.1} ms, {}\nwarm again after the \
             overload: {warm}; missing at the second router in the end: {} of {} looked for",
            said.measured,
            said.limit_text(),
            said.outcome(),
            seen.measured,
            seen.outcome(),
            self.missing[0],
            self.missing[1],
        )
    }

    /// For the results' folder.
    pub fn markdown(&self) -> String {
        let phases: String = self.phases.iter().map(states).collect();
        format!(
            "# The mirror, {}, {}\n\n`bench mirror --rate {} --speaking {} --round-trip-ms {}`, {}: two slr-routers of one cluster, each \
             in a namespace of its own, a real control connection between them. New flows (SYN, 30 ms later ACK) come as live frames \
             through the first one's program, native on a veth; {} older ones speak all the time and are told of again each 10 s. 100 \
             listed hosts. *lag*: from the pin to the second daemon's answer, as `slr-router show mirror` has it (of the last minute). \
             *seen*: from a flow being in the first one's kernel table to being in the second's, looked for each millisecond; *absent*: not there after 3 s; *wrongly warm*: missing for more than 120 ms, and the first router, \
             asked then, said \"warm\". *answer*: \
             the longest that both admin sockets took to answer one after the other.\n\n```text\n{}\n```\n{phases}\n{}",
            self.machine.date,
            self.machine.host,
            self.rate,
            self.speaking,
            self.round_trip_ms,
            self.family,
            self.speaking,
            self.table(),
            self.machine.markdown(&self.noise),
        )
    }
}

/// States over time, a line for each pair that was entered. Of many the first ones.
fn states(phase: &Phase) -> String {
    const LINES_MAX: usize = 20;
    let line = |(at, told, heard, queue): &(f64, String, String, u64)| {
        format!("{at:6.2} s  told {told}, heard {heard}, {queue} wait\n")
    };
    let lines: String = phase.inside.changes.iter().take(LINES_MAX).map(line).collect();
    let more = phase.inside.changes.len().saturating_sub(LINES_MAX);
    let more = if more > 0 { format!("and {more} changes more\n") } else { String::new() };
    format!(
        "\n{}, {:.1} s, longest look apart {:.1} ms:\n\n```text\n{lines}{more}```\n",
        phase.name, phase.seconds, phase.outside.look_ms_max
    )
}
