//! The end that tells: batches within a window, and the whole table whenever the peer may lack something. The table is large:
//! it is asked for in parts, as there is room for them, and what changes meanwhile is told beside it.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use slr_model::{FlowKey, NodeName};
use slr_wire::{Mirror, MirrorAck, MirrorKind, bounds};

use super::{LagView, Lags, State};

/// Batches without an answer: 16,384 flows under way, 160,000 a second if the peer, busy as it may be, answers within 100 ms.
pub const WINDOW: usize = 32;
/// The same before its first answer: it may not know the message.
const FIRST_WINDOW: usize = 8;
/// Flows that wait for a peer. What would be more is in the table, which is told instead: 6 MB.
pub const QUEUE_MAX: usize = 65_536;
/// A peer that has not answered for this long is behind: it gets the table when it answers, and no queue until then.
pub const LAG_MAX: Duration = Duration::from_secs(2);
/// A mirror whose oldest change is not answered for this long is lagging: what is promised of 99 of 100 changes.
pub const LATE: Duration = Duration::from_millis(100);
/// Flows of the table that wait at most when more are asked for: a window of them, so that it is not idle for want of flows.
const TABLE_LOW: usize = WINDOW * bounds::MIRROR_FLOWS_MAX;

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
    /// Begin to walk over the flow tables, from their start, and hand own flows to [`Teller::tell_table`] as long as
    /// [`Teller::takes_table`] says so.
    Walk,
}

/// Towards one peer.
#[derive(Clone, Debug, Default)]
pub struct Teller {
    is_open: bool,
    sequence: u64,
    /// Changes, with when they came about.
    queue: VecDeque<(Told, Instant)>,
    /// Read on a walk, for this peer or to tell all peers which flows speak.
    table: VecDeque<Told>,
    walk: Walk,
    sent: VecDeque<Sent>,
    /// The peer has answered in this connection.
    is_answered: bool,
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
    /// Not begun: whatever changes is in the table when it is read.
    #[default]
    Due,
    /// Under way: what changes may be behind it, and is queued.
    Reading,
    /// All was read; the last flows are in `table`.
    Read,
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
    /// Times that telling everything began.
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
        // What an earlier walk ended with ends this one not.
        self.sent.iter_mut().for_each(|sent| sent.complete = false);
    }

    /// Flows that changed since `since`. While a walk is due they are not kept: the table has them.
    pub fn tell(&mut self, told: impl IntoIterator<Item = Told>, since: Instant) {
        if !self.is_open || self.walk == Walk::Due {
            return;
        }
        self.queue.extend(told.into_iter().map(|told| (told, since)));
        if self.queue.len() > QUEUE_MAX {
            self.resync();
        }
    }

    /// Whether the walk that was asked for is to go on.
    pub fn takes_table(&self) -> bool {
        self.walk == Walk::Reading && self.has_room()
    }

    /// A part of the answer to [`Output::Walk`]: own flows, and whether they are the last.
    pub fn tell_table(&mut self, flows: Vec<Told>, is_last: bool) {
        if self.walk == Walk::Reading {
            self.put(flows);
            if is_last {
                self.walk = Walk::Read;
            }
        }
    }

    /// Whether flows that speak can be told of again now. A peer that is told everything needs none of them, and one that is
    /// not there or does not answer is not waited for.
    pub fn takes_again(&self) -> bool {
        !self.needs_again() || self.has_room()
    }

    /// Flows that speak, so that they do not age at the peer. Behind all changes: nothing is lost if they are late.
    pub fn tell_again(&mut self, flows: Vec<Told>) {
        if self.needs_again() {
            self.put(flows);
        }
    }

    fn needs_again(&self) -> bool {
        self.is_open && matches!(self.walk, Walk::Sent | Walk::Done)
    }

    fn has_room(&self) -> bool {
        self.table.len() < TABLE_LOW
    }

    /// A batch has flows of one kind.
    fn put(&mut self, mut flows: Vec<Told>) {
        flows.sort_by_key(|told| told.kind);
        self.table.extend(flows);
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
        (self.is_behind, self.is_answered) = (false, true);
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
        if !self.is_open || self.is_behind || self.sent.len() >= if self.is_answered { WINDOW } else { FIRST_WINDOW } {
            return None;
        }
        if self.walk == Walk::Due {
            self.walk = Walk::Reading;
            self.resyncs += 1;
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
        let complete = self.walk == Walk::Read && self.table.is_empty();
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
        let lagging = !matches!(self.walk, Walk::Sent | Walk::Done) || is_late(self.queue.front().map(|c| c.1), now);
        Some(Mirror { sequence: self.sequence, kind, age_ms, complete, lagging, hosts })
    }

    /// Since when the oldest change is not answered.
    fn oldest(&self) -> Option<Instant> {
        self.sent.iter().find_map(|sent| sent.since).or(self.queue.front().map(|(_, since)| *since))
    }

    /// Where it stands.
    pub fn view(&self, now: Instant) -> TellerView {
        let has_all = self.walk == Walk::Done && !self.is_behind && !is_late(self.oldest(), now);
        let state = match (self.was_complete, has_all) {
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

/// Whether a change has waited for too long.
fn is_late(since: Option<Instant>, now: Instant) -> bool {
    since.is_some_and(|since| now.saturating_duration_since(since) > LATE)
}
