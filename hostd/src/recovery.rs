//! `show recovery`: flows that stalled and what was done about them, and flows that were claimed.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use slr_daemon::table::Table;
use slr_daemon::{admin, output};
use slr_dataplane::host::ClaimCounts;

use crate::cli::Output;
use crate::echo::Report;
use crate::status::{Request, Topic};

/// The answer. Counted since the daemon started, but for the claims: since the tables were made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Recovery {
    /// Flows whose clients fell silent, by what became of them.
    pub stalls: Vec<(String, u64)>,
    /// Echo requests, by what became of them.
    pub echoes: Vec<(String, u64)>,
    /// Flows that routers searched for and that this host has.
    pub claims: Vec<(String, u64)>,
    /// Flows that speak, and are watched.
    pub watched: u64,
    /// Flows that clients are asked about now.
    pub asking: u64,
    /// Looks at the watched flows.
    pub sweeps: u64,
    /// Time that they took, in microseconds.
    pub swept_us: u64,
    /// Epoch of the newest keys; without one no echo is sent.
    pub epoch: Option<u32>,
}

impl Report {
    /// Flows that stalled, by what became of them.
    pub fn stalls(&self) -> [(&'static str, u64); 6] {
        let counters = &self.counters;
        [
            ("stalled", counters.stalled),
            ("owed", counters.owed),
            ("recovered", counters.recovered),
            ("by_themselves", counters.by_themselves),
            ("given_up", counters.given_up),
            ("refused", counters.refused),
        ]
    }

    /// Echo requests, by what became of them.
    pub fn echoes(&self) -> [(&'static str, u64); 8] {
        let (counters, edge) = (&self.counters, &self.edge);
        [
            ("asked", counters.asked),
            ("flows", counters.told),
            ("answered", counters.answered),
            ("unexpected", counters.unexpected),
            ("limited", counters.limited),
            ("without_key", edge.without_key),
            ("unsendable", edge.unsendable),
            ("forged", edge.forged),
        ]
    }
}

impl Recovery {
    /// Of what the thread and the data plane have counted.
    pub fn of(report: &Report, claims: ClaimCounts) -> Self {
        let owned = |rows: &[(&'static str, u64)]| rows.iter().map(|(word, n)| ((*word).to_owned(), *n)).collect();
        let ClaimCounts { told, repeated, limited, lost } = claims;
        Self {
            stalls: owned(&report.stalls()),
            echoes: owned(&report.echoes()),
            claims: owned(&[("told", told), ("repeated", repeated), ("limited", limited), ("lost", lost)]),
            watched: report.watched as u64,
            asking: report.asking as u64,
            sweeps: report.sweeps,
            swept_us: u64::try_from(report.swept_for.as_micros()).unwrap_or(u64::MAX),
            epoch: report.epoch,
        }
    }
}

/// Asks and prints.
pub fn show(output: &Output) -> Result<()> {
    let recovery: Recovery = admin::request(&output.socket, &Request::Show(Topic::Recovery))?;
    output::print(if output.json { serde_json::to_string_pretty(&recovery)? } else { text(&recovery) });
    Ok(())
}

fn text(recovery: &Recovery) -> String {
    let mut table = Table::new(["what", "outcome", "count"]);
    for (what, rows) in [("stalls", &recovery.stalls), ("echoes", &recovery.echoes), ("claims", &recovery.claims)] {
        for (outcome, count) in rows {
            table.row([what.to_owned(), outcome.clone(), count.to_string()]);
        }
    }
    let keys = recovery
        .epoch
        .map_or("no keys: no router has granted any".to_owned(), |epoch| format!("keys of epoch {epoch}"));
    let mean = recovery.swept_us.checked_div(recovery.sweeps).unwrap_or(0);
    let (watched, asking, sweeps) = (recovery.watched, recovery.asking, recovery.sweeps);
    format!("{table}\n{watched} flows watched, {asking} asked about; {sweeps} sweeps, {mean} us each; {keys}")
}
