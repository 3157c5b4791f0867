//! What a drill came to, and its JSON shape (`probe-drill/1`). Fields may be added; none is renamed or given another
//! meaning. Times are microseconds; instants count from the beginning of the flows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::figures::{Judged, NewFlows};
use crate::units::show_us;

/// The version of the shape.
pub const SCHEMA: &str = "probe-drill/1";

/// A drill, told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrillReport {
    pub schema: String,
    pub drill: String,
    pub summary: String,
    /// The rungs that were asked for; absent: as the site was configured.
    pub rungs: Option<String>,
    pub seed: u64,
    pub setup: Setup,
    /// The drill with its failure; absent with --null.
    pub measured: Option<Pass>,
    /// The same without: the measuring error.
    pub null: Option<Pass>,
}

/// What it was made on and with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    pub started_at_unix_ms: u64,
    pub machine: String,
    pub kernel: String,
    pub probe: String,
    pub command_line: String,
    pub way: String,
    /// The round-trip time that was asked for; absent: as the way has it.
    pub rtt_us: Option<u64>,
    /// Likewise the packets lost each way.
    pub loss_percent: Option<f64>,
    pub targets: Vec<String>,
    pub inject: Option<String>,
    pub heal: Option<String>,
}

/// One time that flows were opened and watched.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pass {
    /// The instants of the failures; with no failure, the one at which there would have been one.
    pub failures_us: Vec<u64>,
    /// How long the command took that made them: they are known this well, unless it told them.
    pub inject_took_us: u64,
    pub healed_us: Option<u64>,
    pub ended_us: u64,
    pub client_addresses: u64,
    pub interrupted: bool,
    /// Median time to connect, before all else: the round-trip time as the client saw it.
    pub connect_p50_us: u64,
    /// How late the probe itself ran.
    pub own_lateness_p99_us: u64,
    pub own_lateness_max_us: u64,
    pub total: Judged,
    pub kinds: BTreeMap<String, Judged>,
    pub new_flows: NewFlows,
    /// Of every survivor, in order.
    pub recoveries_us: BTreeMap<String, Vec<u64>>,
    /// The first unlike ways in which flows were lost, in words.
    pub examples: Vec<String>,
    pub throughput: Throughput,
    pub rungs_saved: Saved,
    /// Flows that were not kept and are in no figure.
    pub left_out: u64,
}

/// What arrived over time, by bins of equal width.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throughput {
    pub bin_us: u64,
    pub answers: Vec<u64>,
    pub transfer_bytes: Vec<u64>,
}

/// How many flows each rung saved, as the site tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    pub flows: BTreeMap<String, u64>,
    /// Why nothing, or not everything, was told.
    pub not_told: Option<String>,
}

impl DrillReport {
    /// The drill with all that it was made under, as headings have it: a page has the same drill many times.
    pub fn title(&self) -> String {
        let mut title = self.drill.clone();
        if let Some(us) = self.setup.rtt_us {
            title += &format!(", {} RTT", show_us(us));
        }
        if let Some(percent) = self.lossy() {
            title += &format!(", {percent} % loss");
        }
        if let Some(rungs) = &self.rungs {
            title += &format!(", rungs: {rungs}");
        }
        title
    }

    /// The same as the name of a file, without its ending: what has another title has another file.
    pub fn file_stem(&self) -> String {
        let mut stem = self.drill.replace('/', "-");
        if let Some(us) = self.setup.rtt_us {
            stem += &format!("-rtt-{}ms", us as f64 / 1e3);
        }
        if let Some(percent) = self.lossy() {
            stem += &format!("-loss-{percent}");
        }
        if let Some(rungs) = &self.rungs {
            stem += &format!("-{}", rungs.replace([',', '/'], "+"));
        }
        stem
    }

    fn lossy(&self) -> Option<f64> {
        self.setup.loss_percent.filter(|percent| *percent > 0.0)
    }

    /// The pass that counts.
    pub fn main(&self) -> Option<&Pass> {
        self.measured.as_ref().or(self.null.as_ref())
    }

    /// Every flow that was open survived.
    pub fn is_clean(&self) -> bool {
        self.main()
            .is_some_and(|pass| !pass.interrupted && pass.total.survived + pass.total.untested == pass.total.flows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drills_made_under_other_conditions_have_other_titles_and_files() {
        let told = |rtt_us, loss_percent, rungs: Option<&str>| {
            let report = DrillReport {
                schema: SCHEMA.to_owned(),
                drill: "route-change".to_owned(),
                summary: String::new(),
                rungs: rungs.map(str::to_owned),
                seed: 1,
                setup: Setup { rtt_us, loss_percent, ..Setup::default() },
                measured: None,
                null: None,
            };
            [report.title(), report.file_stem()]
        };
        for (rtt_us, loss_percent, rungs, expected) in [
            (None, None, None, ["route-change", "route-change"]),
            (None, Some(0.0), None, ["route-change", "route-change"]),
            (None, Some(1.0), Some("none"), ["route-change, 1 % loss, rungs: none", "route-change-loss-1-none"]),
            (Some(10_000), None, None, ["route-change, 10.0 ms RTT", "route-change-rtt-10ms"]),
            (
                Some(500),
                Some(0.5),
                Some("mirror,chain"),
                [
                    "route-change, 500 us RTT, 0.5 % loss, rungs: mirror,chain",
                    "route-change-rtt-0.5ms-loss-0.5-mirror+chain",
                ],
            ),
        ] {
            assert_eq!(told(rtt_us, loss_percent, rungs), expected);
        }
    }
}
