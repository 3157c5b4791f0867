//! What became of a group's flows, in numbers.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{
    failure::Cause,
    flow::{FlowRecord, Outcome},
    histogram,
    identity::ServerId,
};

/// Unlike failures of a group told in words; the rest are only counted.
const EXAMPLES_KEPT: usize = 5;

/// Requests, transfers or messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Exchanges {
    pub sent: u64,
    pub answered: u64,
    /// UDP: not answered within `--timeout`, or by the end of the flow.
    pub lost: u64,
    /// UDP: answers to a message already answered or given up.
    pub duplicate: u64,
    /// UDP: answers that came after the answer to a later message.
    pub reordered: u64,
    /// UDP: answers from another address or port than was asked.
    pub wrong_source: u64,
}

impl Exchanges {
    fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.answered += other.answered;
        self.lost += other.lost;
        self.duplicate += other.duplicate;
        self.reordered += other.reordered;
        self.wrong_source += other.wrong_source;
    }
}

/// What one server did for a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerTally {
    pub answers: u64,
    /// Flows that it answered at least once.
    pub flows: u64,
}

/// The sums of one group. `started = completed + failed + cut` once every flow has ended.
pub struct Tally {
    pub started: u64,
    pub completed: u64,
    pub failed: u64,
    /// Ended by the probe in the middle of a transfer, because the run was over.
    pub cut: u64,
    /// Flows that more than one server answered.
    pub changed_server: u64,
    pub failures: BTreeMap<Cause, u64>,
    pub examples: Vec<String>,
    pub exchanges: Exchanges,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub latency_us: Histogram<u64>,
    pub connect_us: Histogram<u64>,
    pub gap_us: Histogram<u64>,
    pub servers: BTreeMap<ServerId, ServerTally>,
    pub client_addresses: BTreeSet<IpAddr>,
}

impl Tally {
    /// Nothing yet.
    pub fn new() -> Self {
        Self {
            started: 0,
            completed: 0,
            failed: 0,
            cut: 0,
            changed_server: 0,
            failures: BTreeMap::new(),
            examples: Vec::new(),
            exchanges: Exchanges::default(),
            bytes_sent: 0,
            bytes_received: 0,
            latency_us: histogram::empty(),
            connect_us: histogram::empty(),
            gap_us: histogram::empty(),
            servers: BTreeMap::new(),
            client_addresses: BTreeSet::new(),
        }
    }

    /// A connection came about.
    pub fn connected(&mut self, took: Duration) {
        histogram::record(&mut self.connect_us, took);
    }

    /// A request, transfer or message was answered.
    pub fn answered(&mut self, took: Duration) {
        histogram::record(&mut self.latency_us, took);
    }

    /// A flow ended.
    pub fn ended(&mut self, record: &FlowRecord) {
        match &record.outcome {
            Outcome::Completed => self.completed += 1,
            Outcome::Cut => self.cut += 1,
            Outcome::Failed(failure) => {
                self.failed += 1;
                *self.failures.entry(failure.cause).or_default() += 1;
                if self.examples.len() < EXAMPLES_KEPT {
                    let told = failure.to_string();
                    if !self.examples.contains(&told) {
                        self.examples.push(told);
                    }
                }
            }
        }
        self.exchanges.add(&record.exchanges);
        self.bytes_sent += record.bytes_sent;
        self.bytes_received += record.bytes_received;
        self.changed_server += u64::from(record.answers.len() > 1);
        for &(server, answers) in &record.answers {
            let tally = self.servers.entry(server).or_default();
            tally.answers += answers;
            tally.flows += 1;
        }
        self.client_addresses.extend(record.client.map(|client| client.ip()));
        histogram::record(&mut self.gap_us, record.timeline.longest_gap());
    }

    /// Flows that failed by a reset.
    pub fn reset(&self) -> u64 {
        self.failures.get(&Cause::Reset).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{failure::Failure, identity::Identities};

    #[test]
    fn flows_are_summed_by_what_became_of_them() {
        let mut identities = Identities::default();
        let (web1, web2) = (identities.intern("web1"), identities.intern("web2"));
        let failed = |cause| Outcome::Failed(Failure::new(cause, "seen"));
        let flows = [
            (Outcome::Completed, vec![(web1, 3)]),
            (Outcome::Completed, vec![(web2, 1)]),
            (failed(Cause::Reset), vec![(web1, 1)]),
            (failed(Cause::Reset), vec![]),
            (failed(Cause::WrongServer), vec![(web1, 5), (web2, 1)]),
            (Outcome::Cut, vec![(web2, 1)]),
        ];
        let mut tally = Tally::new();
        for (outcome, answers) in flows {
            tally.started += 1;
            let mut record = FlowRecord::new(false);
            record.exchanges.sent = 2;
            record.bytes_received = 10;
            (record.outcome, record.answers) = (outcome, answers);
            tally.ended(&record);
        }
        assert_eq!((tally.started, tally.completed, tally.failed, tally.cut), (6, 2, 3, 1));
        assert_eq!((tally.reset(), tally.changed_server), (2, 1));
        assert_eq!(tally.failures, BTreeMap::from([(Cause::Reset, 2), (Cause::WrongServer, 1)]));
        assert_eq!(tally.examples[0], "reset (seen)");
        assert_eq!((tally.exchanges.sent, tally.bytes_received), (12, 60));
        assert_eq!(tally.servers[&web1], ServerTally { answers: 9, flows: 3 });
        assert_eq!(tally.servers[&web2], ServerTally { answers: 3, flows: 3 });
        assert_eq!(tally.gap_us.len(), 6);
    }

    #[test]
    fn examples_are_bounded_and_counts_are_not() {
        let mut tally = Tally::new();
        for number in 0..2 * (EXAMPLES_KEPT + 3) {
            let mut record = FlowRecord::new(false);
            record.outcome = Outcome::Failed(Failure::new(Cause::Stalled, format!("{}", number / 2)));
            tally.ended(&record);
        }
        assert_eq!(tally.examples.len(), EXAMPLES_KEPT);
        assert_eq!(tally.examples[1], "stalled (1)", "the same words are told once");
        assert_eq!(tally.failures[&Cause::Stalled], 2 * (EXAMPLES_KEPT as u64 + 3));
    }
}
