//! Every flow of a run, kept whole: what a drill judges when all is over.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    time::{Duration, Instant},
};

use super::{
    flow::{Flow, Outcome, TcpCount},
    kind::FlowKind,
};

/// Most flows kept; a drill opens a thousand, and some hundreds a second of the http kind. More are only counted.
const MAX_TRACES: usize = 200_000;
/// Width of a bin of the throughput: a stall of one round trip time of 10 ms is seen in the recovery times, one of some
/// retransmissions in this.
pub const BIN: Duration = Duration::from_millis(20);
/// Most bins kept: 20 minutes.
const MAX_BINS: usize = 60_000;

/// What one flow was, in microseconds since the run began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    pub kind: FlowKind,
    pub target: String,
    pub client: Option<std::net::IpAddr>,
    pub began_us: u64,
    pub ended_us: u64,
    /// Name of the cause by which it failed.
    pub failure: Option<&'static str>,
    pub detail: Option<String>,
    /// Who answered, in the order of first answers.
    pub servers: Vec<Rc<str>>,
    /// Stretches of sends and of progress, first and last.
    pub sends: Vec<(u64, u64)>,
    pub progress: Vec<(u64, u64)>,
    /// UDP messages that were never answered.
    pub lost: u64,
    /// TCP segments sent again since the mark.
    pub retransmitted: u32,
}

/// What arrived in one bin of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bin {
    pub answers: u64,
    pub bytes: u64,
}

/// The book that flows write into.
pub struct Ledger {
    began: Instant,
    traces: RefCell<Vec<Trace>>,
    /// Flows that did not fit.
    pub left_out: Cell<u64>,
    bins: RefCell<Vec<Bin>>,
    open: RefCell<Vec<Weak<TcpCount>>>,
}

impl Ledger {
    /// An empty one; its times count from `began`.
    pub fn new(began: Instant) -> Self {
        Self {
            began,
            traces: RefCell::default(),
            left_out: Cell::new(0),
            bins: RefCell::default(),
            open: RefCell::default(),
        }
    }

    /// A flow began.
    pub fn opened(&self, count: &Rc<TcpCount>) {
        let mut open = self.open.borrow_mut();
        // Now and then, what has ended makes room.
        if open.len() == open.capacity() {
            open.retain(|count| count.strong_count() > 0);
        }
        open.push(Rc::downgrade(count));
    }

    /// From here on retransmissions count.
    pub fn mark(&self) {
        self.open.borrow().iter().filter_map(Weak::upgrade).for_each(|count| count.mark());
    }

    /// Bytes arrived at either end.
    pub fn moved(&self, now: Instant, bytes: u64) {
        self.in_bin(now, |bin| bin.bytes += bytes);
    }

    /// A request, transfer or message was answered.
    pub fn answered(&self, now: Instant) {
        self.in_bin(now, |bin| bin.answers += 1);
    }

    /// A flow ended.
    pub fn ended(&self, flow: &Flow, now: Instant) {
        let mut traces = self.traces.borrow_mut();
        if traces.len() == MAX_TRACES {
            self.left_out.set(self.left_out.get() + 1);
            return;
        }
        let (record, identities) = (&flow.record, flow.environment.identities.borrow());
        let (failure, detail) = match &record.outcome {
            Outcome::Failed(failure) => (Some(failure.cause.name()), Some(failure.detail.clone())),
            Outcome::Completed | Outcome::Cut => (None, None),
        };
        let spans = |spans: &super::timeline::Spans| {
            spans.iter().map(|span| (self.us(span.first), self.us(span.last))).collect()
        };
        traces.push(Trace {
            kind: flow.group.plan.kind,
            target: flow.group.plan.target.to_string(),
            client: record.client.map(|client| client.ip()),
            began_us: self.us(flow.begun),
            ended_us: self.us(now),
            failure,
            detail,
            servers: record.answers.iter().map(|&(server, _)| identities.name(server)).collect(),
            sends: spans(&record.timeline.sends),
            progress: spans(&record.timeline.progress),
            lost: record.exchanges.lost,
            retransmitted: flow.tcp.since_mark(),
        });
    }

    /// Everything that was written, which is then gone from here.
    pub fn take(&self) -> (Vec<Trace>, Vec<Bin>) {
        (self.traces.take(), self.bins.take())
    }

    /// An instant in microseconds since the run began.
    pub fn us(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.began).as_micros() as u64
    }

    fn in_bin(&self, now: Instant, change: impl FnOnce(&mut Bin)) {
        let at = (self.us(now) / BIN.as_micros() as u64) as usize;
        if at < MAX_BINS {
            let mut bins = self.bins.borrow_mut();
            if bins.len() <= at {
                bins.resize(at + 1, Bin::default());
            }
            change(&mut bins[at]);
        }
    }
}
