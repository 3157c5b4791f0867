//! The end that tells: batches within a window, and the whole table whenever the peer may lack something.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use slr_model::{FlowKey, NodeName};
use slr_wire::{Mirror, MirrorAck, MirrorKind, bounds};

use super::{LagView, Lags, State};

/// Batches without an answer: 4,096 flows under way, 200,000 a second if the peer answers within 20 ms.
pub const WINDOW: usize = 8;
/// Flows that wait for a peer. What would be more is in the table, which is told instead: 6 MB.
pub const QUEUE_MAX: usize = 65_536;
/// A peer that has not answered for this long is behind: it gets the table when it answers, and no queue until then.
pub const LAG_MAX: Duration = Duration::from_secs(2);

/// A flow, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Whose it is.
    pub host: NodeName,
    /// Which.
    pub flow: FlowKey,
    /// What.
    pub kind: MirrorKind,
}

/// What the daemon is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send it to the peer.
    Send(Mirror),
    /// Walk over the flow tables, and hand all own flows to [`Teller::tell_table`].
    Walk,
}

/// Towards one peer.
#[derive(Clone, Debug, Default)]
pub struct Teller {
    is_open: bool,
    sequence: u64,
    /// Changes, with when they came about.
    queue: VecDeque<(Told, Instant)>,
    /// What is left of a walk.
    table: VecDeque<Told>,
    walk: Walk,
    sent: VecDeque<Sent>,
    /// The peer did not answer in time.
    is_behind: bool,
    was_complete: bool,
    lags: Lags,
    flows_sent: u64,
    resyncs: u64,
}

/// How far the telling of the table is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Walk {
    /// Not asked for yet.
    #[default]
    Due,
    /// The daemon was asked.
    Asked,
    /// Its flows are in `table`, or the last ones under way.
    Telling,
    /// The last one was sent.
    Sent,
    /// It was acknowledged.
    Done,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    sequence: u64,
    at: Instant,
    /// When its oldest flow was pinned; none of a walk.
    since: Option<Instant>,
    complete: bool,
}

/// Where a teller stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TellerView {
    /// What the peer knows of this member's flows.
    pub state: State,
    /// The last batch that was sent.
    pub sequence: u64,
    /// Batches without an answer.
    pub unanswered: usize,
    /// Flows that wait.
    pub queue: usize,
    /// Flows that were sent.
    pub flows_sent: u64,
    /// Times that everything was told.
    pub resyncs: u64,
    /// From the pin to the answer.
    pub lag: LagView,
}

impl Teller {
    /// A connection begins: everything is told in it.
    pub fn connected(&mut self) {
        self.restart();
        self.is_open = true;
    }

    /// It has ended.
    pub fn disconnected(&mut self) {
        self.restart();
    }

    fn restart(&mut self) {
        *self = Self {
            lags: std::mem::take(&mut self.lags),
            flows_sent: self.flows_sent,
            resyncs: self.resyncs,
            ..Self::default()
        };
    }

    /// Something of what was to be told is lost: everything is told again.
    pub fn resync(&mut self) {
        self.queue.clear();
        self.table.clear();
        self.walk = Walk::Due;
    }

    /// Flows that changed since `since`. While a walk is due they are not kept: the table has them.
    pub fn tell(&mut self, told: impl IntoIterator<Item = Told>, since: Instant) {
        if !self.is_open || matches!(self.walk, Walk::Due | Walk::Asked) {
            return;
        }
        self.queue.extend(told.into_iter().map(|told| (told, since)));
        if self.queue.len() > QUEUE_MAX {
            self.resync();
        }
    }

    /// The answer to [`Output::Walk`]: all own flows.
    pub fn tell_table(&mut self, mut flows: Vec<Told>) {
        if self.walk == Walk::Asked {
            flows.sort_by_key(|told| told.kind);
            self.table = flows.into();
            self.walk = Walk::Telling;
            self.resyncs += 1;
        }
    }

    /// The peer answers.
    pub fn handle_ack(&mut self, now: Instant, ack: MirrorAck) {
        while let Some(sent) = self.sent.front().copied().filter(|sent| sent.sequence <= ack.sequence) {
            self.sent.pop_front();
            if let Some(since) = sent.since {
                self.lags.add(now, now.saturating_duration_since(since));
            }
            if sent.complete && self.walk == Walk::Sent {
                self.walk = Walk::Done;
                self.was_complete = true;
            }
        }
        self.is_behind = false;
        if ack.resync {
            self.resync();
        }
    }

    /// Looks whether the peer answers in time.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|at| at <= now) {
            self.is_behind = true;
            self.resync();
        }
    }

    /// When [`Teller::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.sent.front().filter(|_| !self.is_behind).map(|sent| sent.at + LAG_MAX)
    }

    /// The next thing to do.
    pub fn poll_output(&mut self, now: Instant) -> Option<Output> {
        if !self.is_open || self.is_behind || self.sent.len() >= WINDOW {
            return None;
        }
        if self.walk == Walk::Due {
            self.walk = Walk::Asked;
            return Some(Output::Walk);
        }
        self.next_batch(now).map(Output::Send)
    }

    /// Changes first: they are what a failure would lose.
    fn next_batch(&mut self, now: Instant) -> Option<Mirror> {
        let since = self.queue.front().map(|(_, since)| *since);
        let mut hosts: BTreeMap<NodeName, Vec<FlowKey>> = BTreeMap::new();
        let (mut kind, mut flows) = (None, 0);
        while flows < bounds::MIRROR_FLOWS_MAX {
            let next = match since {
                Some(_) => self.queue.front().map(|(told, _)| told),
                None => self.table.front(),
            };
            let Some(next) = next.filter(|next| *kind.get_or_insert(next.kind) == next.kind) else { break };
            hosts.entry(next.host.clone()).or_default().push(next.flow);
            flows += 1;
            match since {
                Some(_) => drop(self.queue.pop_front()),
                None => drop(self.table.pop_front()),
            }
        }
        let complete = self.walk == Walk::Telling && self.table.is_empty();
        if flows == 0 && !complete {
            return None;
        }
        if complete {
            self.walk = Walk::Sent;
        }
        // As they are packed.
        hosts.values_mut().for_each(|flows| flows.sort_by_key(|flow| !flow.is_ipv4()));
        self.sequence += 1;
        self.flows_sent += flows as u64;
        self.sent.push_back(Sent { sequence: self.sequence, at: now, since, complete });
        let age = since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let age_ms = u32::try_from(age.as_millis()).unwrap_or(u32::MAX);
        let kind = kind.unwrap_or(MirrorKind::Proven);
        Some(Mirror { sequence: self.sequence, kind, age_ms, complete, hosts })
    }

    /// Where it stands.
    pub fn view(&self, now: Instant) -> TellerView {
        let state = match (self.was_complete, self.walk == Walk::Done && !self.is_behind) {
            (false, _) => State::Cold,
            (true, false) => State::Lagging,
            (true, true) => State::Warm,
        };
        TellerView {
            state,
            sequence: self.sequence,
            unanswered: self.sent.len(),
            queue: self.queue.len() + self.table.len(),
            flows_sent: self.flows_sent,
            resyncs: self.resyncs,
            lag: self.lags.view(now),
        }
    }
}
