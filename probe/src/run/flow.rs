//! One flow while it lives, and its record afterwards.
//!
//! The kinds tell a flow what happens (`sent`, `progressed`, `answered`, `answered_by`); everything reported comes out
//! of that, so that all kinds mean the same by the same word.

use std::{cell::Cell, net::SocketAddr, os::fd::AsRawFd, rc::Rc, time::Instant};

use super::{
    environment::{Environment, Group},
    failure::{Cause, Failure},
    identity::ServerId,
    tally::Exchanges,
    tcp_info,
    timeline::Timeline,
};
use crate::rng;

/// How a flow ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Completed,
    /// By the probe, in the middle of a transfer, because the run was over.
    Cut,
    Failed(Failure),
}

/// What a flow was.
pub struct FlowRecord {
    pub outcome: Outcome,
    /// The client's end.
    pub client: Option<SocketAddr>,
    /// Who answered how often, in the order of their first answers.
    pub answers: Vec<(ServerId, u64)>,
    pub exchanges: Exchanges,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub timeline: Timeline,
}

impl FlowRecord {
    /// A flow that has done nothing; `recording` keeps its sends and its progress one by one.
    pub fn new(recording: bool) -> Self {
        Self {
            outcome: Outcome::Completed,
            client: None,
            answers: Vec::new(),
            exchanges: Exchanges::default(),
            bytes_sent: 0,
            bytes_received: 0,
            timeline: Timeline::new(recording),
        }
    }
}

/// What TCP counted on a flow's connection.
#[derive(Default)]
pub struct TcpCount {
    /// The connection's descriptor while it is open.
    descriptor: Cell<Option<i32>>,
    retransmitted: Cell<u32>,
    retransmitted_at_mark: Cell<u32>,
}

impl TcpCount {
    /// The connection came about.
    pub fn opened(&self, stream: &impl AsRawFd) {
        self.descriptor.set(Some(stream.as_raw_fd()));
    }

    /// The connection is about to be closed.
    pub fn ended(&self, stream: &impl AsRawFd) {
        self.look(stream);
        self.descriptor.set(None);
    }

    /// From here on [`TcpCount::since_mark`] counts.
    pub fn mark(&self) {
        if let Some(descriptor) = self.descriptor.get() {
            self.look(&descriptor);
        }
        self.retransmitted_at_mark.set(self.retransmitted.get());
    }

    /// Segments sent again since the mark, or since the beginning when there was none.
    pub fn since_mark(&self) -> u32 {
        self.retransmitted.get() - self.retransmitted_at_mark.get()
    }

    fn look(&self, socket: &impl AsRawFd) {
        if let Ok(info) = tcp_info::of(socket) {
            self.retransmitted.set(info.tcpi_total_retrans.max(self.retransmitted.get()));
        }
    }
}

/// A live flow.
pub struct Flow {
    pub environment: Rc<Environment>,
    pub group: Rc<Group>,
    /// Number that no other flow of any run is likely to have; it goes into messages.
    pub nonce: u64,
    /// Number that the same flow of another run with the same seed has too; its phase follows from it.
    pub seed: u64,
    pub begun: Instant,
    pub record: FlowRecord,
    pub tcp: Rc<TcpCount>,
    /// The first thing that went wrong on a flow that goes on nevertheless (UDP).
    first_failure: Option<Failure>,
}

impl Flow {
    /// Counts a flow as started.
    pub fn begin(environment: &Rc<Environment>, group: &Rc<Group>, slot: u32) -> Self {
        group.tally.borrow_mut().started += 1;
        let tcp = Rc::new(TcpCount::default());
        if let Some(ledger) = &environment.ledger {
            ledger.opened(&tcp);
        }
        let recording = environment.flows_out.is_some() || environment.ledger.is_some();
        Self {
            environment: Rc::clone(environment),
            group: Rc::clone(group),
            nonce: environment.next_nonce(),
            seed: environment.args.seed ^ rng::mix(u64::from(slot) << 8 | group.plan.kind as u64),
            begun: Instant::now(),
            record: FlowRecord::new(recording),
            tcp,
            first_failure: None,
        }
    }

    /// A request, transfer or message left.
    pub fn exchange_sent(&mut self, bytes: usize) {
        self.record.exchanges.sent += 1;
        self.sent(bytes);
    }

    /// Bytes that are owed an answer left.
    pub fn sent(&mut self, bytes: usize) {
        self.record.bytes_sent += bytes as u64;
        self.record.timeline.sent(Instant::now());
    }

    /// Bytes arrived, and more have to.
    pub fn received(&mut self, bytes: usize) {
        self.record.bytes_received += bytes as u64;
        self.progressed(Instant::now(), true);
        if let Some(ledger) = &self.environment.ledger {
            ledger.moved(Instant::now(), bytes as u64);
        }
    }

    /// What was sent at `since` has been answered in full; `still_owed` when something else has not.
    pub fn answered(&mut self, since: Instant, still_owed: bool) {
        let now = Instant::now();
        self.record.exchanges.answered += 1;
        self.progressed(now, still_owed);
        if let Some(ledger) = &self.environment.ledger {
            ledger.answered(now);
        }
        self.group.tally.borrow_mut().answered(now.saturating_duration_since(since));
    }

    /// The connection moved on; `still_owed` when more has to come.
    pub fn progressed(&mut self, now: Instant, still_owed: bool) {
        self.record.timeline.progressed(now, still_owed);
    }

    /// The server called `name` gave an answer. Fails when it is not the one that answered before, or not one of those
    /// expected.
    pub fn answered_by(&mut self, name: &str) -> Result<(), Failure> {
        let server = self.environment.identities.borrow_mut().intern(name);
        match self.record.answers.iter_mut().find(|(known, _)| *known == server) {
            Some((_, answers)) => *answers += 1,
            None => self.record.answers.push((server, 1)),
        }
        let expected = &self.environment.args.expected_servers;
        if !expected.is_empty() && !expected.iter().any(|prefix| name.starts_with(prefix.as_str())) {
            return Err(Failure::new(Cause::WrongServer, format!("answered by {name}, which is not expected")));
        }
        let first = self.record.answers[0].0;
        if first != server {
            let first = self.environment.identities.borrow().name(first);
            return Err(Failure::new(Cause::WrongServer, format!("first answered by {first}, then by {name}")));
        }
        Ok(())
    }

    /// Remembers a failure that does not end the flow; the first one will be its outcome.
    pub fn note(&mut self, failure: Failure) {
        self.first_failure.get_or_insert(failure);
    }

    /// Counts the flow as ended.
    pub fn end(mut self, result: Result<Outcome, Failure>) {
        let now = Instant::now();
        self.record.timeline.ended(now);
        self.record.outcome = match (self.first_failure.take(), result) {
            (Some(failure), _) | (None, Err(failure)) => Outcome::Failed(failure),
            (None, Ok(outcome)) => outcome,
        };
        self.group.tally.borrow_mut().ended(&self.record);
        if let Some(out) = &self.environment.flows_out {
            out.borrow_mut().write(&self, now);
        }
        if let Some(ledger) = &self.environment.ledger {
            ledger.ended(&self, now);
        }
    }
}
