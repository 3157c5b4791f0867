//! WHOHAS: flows of which a router has a packet and no host. It asks its peers and neighbours, and holds one segment of each TCP flow
//! meanwhile, or the first datagrams of a UDP flow, for a bounded time. Pure; the daemon owns one [`Search`], and sends the packets.
//!
//! ```text
//!   hold ──► asked ── one router names a host ──────────────► Found: the packets go there
//!              │  ▲ └─ all of them know nobody, or left ────► Nobody: TCP goes on marked final, and draws a RST; UDP is placed
//!              │  └── each Terms::ask_again: those that did not answer
//!              └───── Terms::hold_for is over ──────────────► TCP: dropped, the client sends again; UDP: Nobody, and asked on
//! ```
//!
//! A connection is not declared dead by silence: only what every router denies is final. A datagram may be a flow's first, so
//! silence and denial lead to the same for UDP, and no datagram is dropped here: what is not held is [`Output::Unheld`]. But who was
//! silent is listened to for [`HOLD_FOR`] in all: a flow that it knows goes back to its host, Found without packets.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use slr_model::{FlowKey, NodeName, Protocol};
use slr_wire::{Has, WhoHas};

use terms::{ASK_LATE, Loads, Terms};

pub use output::{Counters, Output};
pub use terms::{DATAGRAMS_MAX, HOLD_FOR, HOLD_UDP_FOR, HOLD_UDP_FOR_SILENT};

mod output;
mod terms;
#[cfg(test)]
mod tests;

/// Between two rounds of questions, so that those of a burst travel together.
pub const ROUND: Duration = Duration::from_millis(10);

/// Segments of a flow that are kept for its host: what a client has sent at once. Were it the first alone, the others would come no sooner
/// than its stack's time-out, which begins anew with the acknowledgement of the first.
const KEPT_MAX: usize = 8;

struct Held<T> {
    packets: Vec<T>,
    len: usize,
    since: Instant,
    until: Instant,
    again_at: Instant,
    /// Who has not answered.
    waiting: BTreeSet<NodeName>,
    /// UDP: its packets went on, a late answer corrects where to.
    is_placed: bool,
    /// Nobody is asked: only the flow's host can tell where it is.
    is_kept: bool,
    /// A turn came late, and it was given a round more.
    was_late: bool,
}

impl<T> Held<T> {
    fn due(&self) -> Instant {
        self.again_at.min(self.until)
    }
}

/// One that can be asked.
#[derive(Default)]
struct Asked {
    /// What it is to be asked in the next round.
    questions: BTreeSet<FlowKey>,
    /// It has let a question pass, and has answered none since.
    is_silent: bool,
}

/// The search of one router.
pub struct Search<T> {
    /// Those that can be asked.
    routers: BTreeMap<NodeName, Asked>,
    held: BTreeMap<FlowKey, Held<T>>,
    loads: Loads,
    due: BTreeSet<(Instant, FlowKey)>,
    round_at: Option<Instant>,
    outputs: VecDeque<Output<T>>,
    counters: Counters,
}

impl<T> Default for Search<T> {
    fn default() -> Self {
        Self {
            routers: BTreeMap::new(),
            held: BTreeMap::new(),
            loads: Loads::default(),
            due: BTreeSet::new(),
            round_at: None,
            outputs: VecDeque::new(),
            counters: Counters::default(),
        }
    }
}

impl<T> Search<T> {
    /// A router can be asked from now on.
    pub fn connected(&mut self, router: &NodeName) {
        self.routers.entry(router.clone()).or_default();
    }

    /// It cannot any more: nobody waits for it.
    pub fn disconnected(&mut self, router: &NodeName) {
        self.routers.remove(router);
        let waiting = self.held.iter_mut().filter_map(|(flow, held)| held.waiting.remove(router).then_some(*flow));
        for flow in waiting.collect::<Vec<_>>() {
            self.conclude(flow);
        }
    }

    /// Whether anybody can be asked.
    pub fn has_routers(&self) -> bool {
        !self.routers.is_empty()
    }

    /// Looks for the host of a flow; `packet`, of `len` bytes, is given back when it is known where to.
    pub fn hold(&mut self, now: Instant, flow: FlowKey, packet: T, len: usize) {
        self.take(now, flow, packet, len, false);
    }

    /// Holds a packet of a flow that no router is asked about, in case its host tells of it ([`Search::told`]).
    pub fn keep(&mut self, now: Instant, flow: FlowKey, packet: T, len: usize) {
        self.take(now, flow, packet, len, true);
    }

    /// The flow's host has told of it: what is held goes there.
    pub fn told(&mut self, flow: &FlowKey) -> Vec<T> {
        let packets = self.release(flow).unwrap_or_default();
        self.counters.told += u64::from(!packets.is_empty());
        packets
    }

    fn take(&mut self, now: Instant, flow: FlowKey, packet: T, len: usize, is_kept: bool) {
        if self.held.contains_key(&flow) {
            return self.hold_more(&flow, packet, len);
        }
        let terms = Terms::of(&flow);
        let load = self.loads.of(&flow);
        if !load.has_room(terms, len) {
            self.counters.refused += 1;
            return self.decline(&flow, packet);
        }
        load.flows += 1;
        load.bytes += len;
        self.counters.held += 1;
        let waiting: BTreeSet<NodeName> =
            if is_kept { BTreeSet::new() } else { self.routers.keys().cloned().collect() };
        for router in self.routers.values_mut().filter(|_| !is_kept) {
            router.questions.insert(flow);
        }
        let is_silent = !is_kept && self.routers.values().any(|router| router.is_silent);
        let until = now + if is_silent { terms.hold_for_silent } else { terms.hold_for };
        let again_at = if is_kept { until } else { now + terms.ask_again };
        let held = Held {
            packets: vec![packet],
            len,
            since: now,
            until,
            again_at,
            waiting,
            is_placed: false,
            is_kept,
            was_late: false,
        };
        self.due.insert((held.due(), flow));
        self.held.insert(flow, held);
        self.conclude(flow);
    }

    /// Another packet of a flow that is looked for.
    fn hold_more(&mut self, flow: &FlowKey, packet: T, len: usize) {
        let (terms, load) = (Terms::of(flow), self.loads.of(flow));
        let held = self.held.get_mut(flow).expect("it is looked for");
        let most = if held.is_kept { KEPT_MAX } else { terms.packets_of_flow };
        if !held.is_placed && held.packets.len() < most && load.bytes + len <= terms.bytes {
            load.bytes += len;
            held.len += len;
            held.packets.push(packet);
        } else {
            self.counters.repeated += 1;
            self.decline(flow, packet);
        }
    }

    /// There is no room for a packet: TCP sends it again, UDP would not.
    fn decline(&mut self, flow: &FlowKey, packet: T) {
        if flow.protocol() == Protocol::Udp {
            self.outputs.push_back(Output::Unheld { packet });
        }
    }

    /// A router answers. What was not asked is of no interest.
    pub fn handle_answer(&mut self, router: &NodeName, answer: &Has) {
        if let Some(router) = self.routers.get_mut(router) {
            router.is_silent = false;
        }
        for (host, flows) in &answer.hosts {
            for flow in flows {
                let Some(held) = self.held.get_mut(flow) else { continue };
                if !held.waiting.remove(router) {
                    continue;
                }
                match host {
                    None => self.conclude(*flow),
                    Some(host) => {
                        let packets = self.release(flow).expect("it is held");
                        self.counters.found += 1;
                        let (router, host) = (router.clone(), host.clone());
                        self.outputs.push_back(Output::Found { flow: *flow, router, host, packets });
                    }
                }
            }
        }
    }

    /// Asks again, and lets go of what was held for long enough.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, flow)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            let Some(held) = self.held.get_mut(&flow) else { break };
            if held.until <= now {
                if !self.wait_for_late_turn(now, flow) {
                    self.give_up(now, flow);
                }
                continue;
            }
            self.due.remove(&(held.due(), flow));
            held.again_at = now + if held.is_placed { ASK_LATE } else { Terms::of(&flow).ask_again };
            self.due.insert((held.due(), flow));
            for router in &held.waiting {
                if let Some(router) = self.routers.get_mut(router) {
                    router.questions.insert(flow);
                }
            }
        }
    }

    /// When there is something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let due = self.due.first().map(|(due, _)| *due);
        let asks = self.routers.values().any(|router| !router.questions.is_empty());
        let round = self.round_at.filter(|_| asks);
        due.into_iter().chain(round).min()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self, now: Instant) -> Option<Output<T>> {
        if self.outputs.is_empty() && self.round_at.is_none_or(|at| at <= now) {
            for (router, asked) in &mut self.routers {
                let questions = WhoHas::split(std::mem::take(&mut asked.questions));
                let ask = |question| Output::Ask { router: router.clone(), question };
                self.outputs.extend(questions.into_iter().map(ask));
            }
            if !self.outputs.is_empty() {
                self.round_at = Some(now + ROUND);
            }
        }
        self.outputs.pop_front()
    }

    /// What became of flows.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// How many are looked for now.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Nobody is left to answer: nobody has it.
    fn conclude(&mut self, flow: FlowKey) {
        let is_denied = |held: &&Held<T>| held.waiting.is_empty() && !held.is_kept;
        let Some(held) = self.held.get(&flow).filter(is_denied) else { return };
        let is_placed = held.is_placed;
        let packets = self.release(&flow).expect("it is held");
        if !is_placed {
            self.counters.nobody += 1;
            self.outputs.push_back(Output::Nobody { flow, packets });
        }
    }

    /// This turn comes late, since the daemon was not run: answers wait in its sockets, and are read before it gives up.
    fn wait_for_late_turn(&mut self, now: Instant, flow: FlowKey) -> bool {
        let held = self.held.get_mut(&flow).expect("it is held");
        if held.was_late || now < held.until + ROUND {
            return false;
        }
        self.due.remove(&(held.due(), flow));
        held.was_late = true;
        held.until = now + ROUND;
        held.again_at = held.until;
        self.due.insert((held.due(), flow));
        true
    }

    /// Not all have answered in time. UDP is placed, and asked about as long as TCP is.
    fn give_up(&mut self, now: Instant, flow: FlowKey) {
        let held = self.held.get_mut(&flow).expect("it is held");
        for router in &held.waiting {
            if let Some(router) = self.routers.get_mut(router) {
                router.is_silent = true;
            }
        }
        if flow.protocol() != Protocol::Udp || held.is_placed {
            self.counters.unanswered += u64::from(!held.is_placed);
            self.release(&flow);
            return;
        }
        self.counters.unanswered += 1;
        self.due.remove(&(held.due(), flow));
        held.is_placed = true;
        held.until = held.since + HOLD_FOR;
        held.again_at = now + ASK_LATE;
        self.due.insert((held.due(), flow));
        self.loads.of(&flow).bytes -= std::mem::take(&mut held.len);
        let packets = std::mem::take(&mut held.packets);
        self.outputs.push_back(Output::Nobody { flow, packets });
    }

    fn release(&mut self, flow: &FlowKey) -> Option<Vec<T>> {
        let held = self.held.remove(flow)?;
        self.due.remove(&(held.due(), *flow));
        let load = self.loads.of(flow);
        load.flows -= 1;
        load.bytes -= held.len;
        self.routers.values_mut().for_each(|router| {
            router.questions.remove(flow);
        });
        Some(held.packets)
    }
}
