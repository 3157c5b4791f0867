//! The report of a run, and its JSON shape.
//!
//! ```text
//! {
//!   "schema": "probe-run/1",
//!   "ok": bool,                      nothing failed
//!   "interrupted": bool,             ended by a signal
//!   "seed": number,
//!   "started_at_unix_ms": number,
//!   "elapsed_us": number,
//!   "own_lateness_us": {             how late the probe itself ran: its measuring error
//!     "count", "p50", "p90", "p99", "p999", "max", "missed_ticks"
//!   },
//!   "total": {"started", "completed", "failed", "cut", "reset", "changed_server"},
//!   "kinds": [{                      one per kind and target, in this order: http keepalive download upload
//!     "kind": string,                interactive udp, then the targets as given
//!     "target": "address:port",
//!     "flows": number,               concurrent flows asked for
//!     "client_addresses": number,    distinct source addresses used
//!     "started", "completed", "failed", "cut", "reset", "changed_server": numbers of flows,
//!     "failures": {cause: number of flows, …},       causes: see failure.rs
//!     "examples": [string, …],       the first five unlike failures in words
//!     "exchanges": {"sent", "answered", "lost", "duplicate", "reordered", "wrong_source"},
//!     "answers_per_s": number,
//!     "bytes_sent", "bytes_received": numbers,
//!     "latency_us": {"count", "p50", "p90", "p99", "p999", "max"},     per answer
//!     "connect_us": {…},             per TCP connection
//!     "gap_us": {…},                 per flow: its longest wait without progress
//!     "servers": [{"server", "answers", "flows", "share"}, …]          most answers first; share of all answers
//!   }, …]
//! }
//! ```
//!
//! `started = completed + failed + cut`. A flow is one connection (of http: one request), or one UDP socket. `reset` is
//! contained in `failed`. `changed_server` counts flows that more than one server answered. Fields may be added within
//! `probe-run/1`; none is renamed or given another meaning.

use std::{collections::BTreeMap, rc::Rc};

use serde::Serialize;

use super::{
    environment::{Environment, Group},
    failure::Cause,
    histogram::Summary,
    identity::Identities,
    lateness::Lateness,
    tally::{Exchanges, Tally},
};

/// The version of the shape.
const SCHEMA: &str = "probe-run/1";

/// A run, told.
#[derive(Debug, Serialize)]
pub struct Report {
    pub schema: &'static str,
    pub ok: bool,
    pub interrupted: bool,
    pub seed: u64,
    pub started_at_unix_ms: u64,
    pub elapsed_us: u64,
    pub own_lateness_us: OwnLateness,
    pub total: Flows,
    pub kinds: Vec<KindReport>,
}

/// The probe's own measuring error.
#[derive(Debug, Serialize)]
pub struct OwnLateness {
    #[serde(flatten)]
    pub late: Summary,
    pub missed_ticks: u64,
}

/// Numbers of flows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Flows {
    pub started: u64,
    pub completed: u64,
    pub failed: u64,
    pub cut: u64,
    pub reset: u64,
    pub changed_server: u64,
}

/// One kind towards one target.
#[derive(Debug, Serialize)]
pub struct KindReport {
    pub kind: &'static str,
    pub target: String,
    pub flows: u32,
    pub client_addresses: usize,
    #[serde(flatten)]
    pub ended: Flows,
    pub failures: BTreeMap<&'static str, u64>,
    pub examples: Vec<String>,
    pub exchanges: Exchanges,
    pub answers_per_s: f64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub latency_us: Summary,
    pub connect_us: Summary,
    pub gap_us: Summary,
    pub servers: Vec<ServerReport>,
    /// What can be done about failures that are the probe's own; for people.
    #[serde(skip)]
    pub remedies: Vec<&'static str>,
}

/// One server's part in a kind.
#[derive(Debug, PartialEq, Serialize)]
pub struct ServerReport {
    pub server: String,
    pub answers: u64,
    pub flows: u64,
    pub share: f64,
}

impl Report {
    /// Tells a run that has ended.
    pub fn new(
        environment: &Environment,
        groups: &[Rc<Group>],
        lateness: &Lateness,
        started_at_unix_ms: u64,
        interrupted: bool,
    ) -> Self {
        let elapsed_us = environment.began.elapsed().as_micros() as u64;
        let identities = environment.identities.borrow();
        let kinds: Vec<_> = groups.iter().map(|group| KindReport::new(group, &identities, elapsed_us)).collect();
        let mut total = Flows::default();
        for kind in &kinds {
            total.add(&kind.ended);
        }
        Self {
            schema: SCHEMA,
            ok: total.failed == 0,
            interrupted,
            seed: environment.args.seed,
            started_at_unix_ms,
            elapsed_us,
            own_lateness_us: OwnLateness { late: (&lateness.late_us).into(), missed_ticks: lateness.missed },
            total,
            kinds,
        }
    }
}

impl Flows {
    fn add(&mut self, other: &Self) {
        self.started += other.started;
        self.completed += other.completed;
        self.failed += other.failed;
        self.cut += other.cut;
        self.reset += other.reset;
        self.changed_server += other.changed_server;
    }
}

impl KindReport {
    fn new(group: &Group, identities: &Identities, elapsed_us: u64) -> Self {
        let tally = group.tally.borrow();
        let ended = Flows {
            started: tally.started,
            completed: tally.completed,
            failed: tally.failed,
            cut: tally.cut,
            reset: tally.reset(),
            changed_server: tally.changed_server,
        };
        Self {
            kind: group.plan.kind.name(),
            target: group.plan.target.to_string(),
            flows: group.plan.flows,
            client_addresses: tally.client_addresses.len(),
            ended,
            failures: tally.failures.iter().map(|(cause, count)| (cause.name(), *count)).collect(),
            examples: tally.examples.clone(),
            exchanges: tally.exchanges,
            answers_per_s: tally.exchanges.answered as f64 / (elapsed_us.max(1) as f64 / 1e6),
            bytes_sent: tally.bytes_sent,
            bytes_received: tally.bytes_received,
            latency_us: (&tally.latency_us).into(),
            connect_us: (&tally.connect_us).into(),
            gap_us: (&tally.gap_us).into(),
            servers: servers(&tally, identities),
            remedies: tally.failures.keys().filter_map(|cause: &Cause| cause.remedy()).collect(),
        }
    }
}

/// Who answered, most answers first, then by name so that equal runs print equal reports.
fn servers(tally: &Tally, identities: &Identities) -> Vec<ServerReport> {
    let answers: u64 = tally.servers.values().map(|server| server.answers).sum();
    let mut servers: Vec<_> = tally
        .servers
        .iter()
        .map(|(&id, server)| ServerReport {
            server: identities.name(id).to_string(),
            answers: server.answers,
            flows: server.flows,
            share: server.answers as f64 / answers.max(1) as f64,
        })
        .collect();
    servers.sort_by(|left, right| right.answers.cmp(&left.answers).then_with(|| left.server.cmp(&right.server)));
    servers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{flow::FlowRecord, tally::ServerTally};

    #[test]
    fn servers_by_their_share() {
        let (mut tally, mut identities) = (Tally::new(), Identities::default());
        for (name, answers) in [("web2", 10), ("web1", 10), ("web3", 20)] {
            tally.servers.insert(identities.intern(name), ServerTally { answers, flows: 1 });
        }
        let told: Vec<_> = servers(&tally, &identities).into_iter().map(|s| (s.server, s.share)).collect();
        assert_eq!(told, [("web3".to_owned(), 0.5), ("web1".to_owned(), 0.25), ("web2".to_owned(), 0.25)]);
        assert_eq!(servers(&Tally::new(), &identities), []);
    }

    #[test]
    fn totals_add_up() {
        let mut tally = Tally::new();
        tally.started = 1;
        tally.ended(&FlowRecord::new(false));
        let flows = Flows { started: 1, completed: tally.completed, ..Flows::default() };
        let mut total = Flows::default();
        total.add(&flows);
        total.add(&flows);
        assert_eq!((total.started, total.completed, total.failed), (2, 2, 0));
    }
}
