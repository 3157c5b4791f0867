//! WHOHAS: flows of which a router has a packet and no host. It asks its peers and neighbours, and holds one segment of each TCP flow
//! meanwhile, or the first datagrams of a UDP flow, for a bounded time. Pure; the daemon owns one [`Search`], and sends the packets.
//!
//! ```text
//!   hold ──► asked ── one router names a host ──────────────► Found: the packets go there
//!              │  ▲ └─ all of them know nobody, or left ────► Nobody: TCP goes on marked final, and draws a RST; UDP is placed
//!              │  └── each Terms::ask_again: those that did not answer
//!              └───── Terms::hold_for is over ──────────────► TCP: dropped, the client sends again; UDP: Nobody
//! ```
//!
//! A connection is not declared dead by silence: only what every router denies is final. A datagram may be a flow's first, so
//! silence and denial lead to the same for UDP, and no datagram is dropped here: what is not held is [`Output::Unheld`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use slr_model::{FlowKey, NodeName, Protocol};
use slr_wire::{Has, WhoHas};

use terms::{Loads, Terms};

pub use terms::{DATAGRAMS_MAX, HOLD_FOR, HOLD_UDP_FOR};

mod terms;
#[cfg(test)]
mod tests;

/// Between two rounds of questions, so that those of a burst travel together.
pub const ROUND: Duration = Duration::from_millis(10);

/// What the daemon is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<T> {
    /// Ask a router.
    Ask {
        /// Which.
        router: NodeName,
        /// What.
        question: WhoHas,
    },
    /// A router says that a host has the flow.
    Found {
        /// Which.
        flow: FlowKey,
        /// Who says so.
        router: NodeName,
        /// The host.
        host: NodeName,
        /// What was held, in the order in which it came.
        packets: Vec<T>,
    },
    /// All routers that there are know nobody; or of a UDP flow not all have answered in time.
    Nobody {
        /// Which flow.
        flow: FlowKey,
        /// What was held, in the order in which it came.
        packets: Vec<T>,
    },
    /// A datagram for which there is no room.
    Unheld {
        /// It.
        packet: T,
    },
}

/// What became of flows, since the daemon started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Looked for.
    pub held: u64,
    /// Packets too many of flows that were looked for already: dropped; datagrams go on unheld.
    pub repeated: u64,
    /// Not looked for, because too many were: dropped; datagrams go on unheld.
    pub refused: u64,
    /// A router named a host.
    pub found: u64,
    /// All of them knew nobody.
    pub nobody: u64,
    /// Not all of them answered in time: dropped; UDP as if nobody had it.
    pub unanswered: u64,
}

struct Held<T> {
    packets: Vec<T>,
    len: usize,
    until: Instant,
    again_at: Instant,
    /// Who has not answered.
    waiting: BTreeSet<NodeName>,
}

impl<T> Held<T> {
    fn due(&self) -> Instant {
        self.again_at.min(self.until)
    }
}

/// The search of one router.
pub struct Search<T> {
    /// Those that can be asked, with what they are to be asked in the next round.
    routers: BTreeMap<NodeName, BTreeSet<FlowKey>>,
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
        let waiting: BTreeSet<NodeName> = self.routers.keys().cloned().collect();
        self.routers.values_mut().for_each(|questions| {
            questions.insert(flow);
        });
        let (until, again_at) = (now + terms.hold_for, now + terms.ask_again);
        let held = Held { packets: vec![packet], len, until, again_at, waiting };
        self.due.insert((held.due(), flow));
        self.held.insert(flow, held);
        self.conclude(flow);
    }

    /// Another packet of a flow that is looked for.
    fn hold_more(&mut self, flow: &FlowKey, packet: T, len: usize) {
        let (terms, load) = (Terms::of(flow), self.loads.of(flow));
        let held = self.held.get_mut(flow).expect("it is looked for");
        if held.packets.len() < terms.packets_of_flow && load.bytes + len <= terms.bytes {
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
                self.give_up(flow);
                continue;
            }
            self.due.remove(&(held.due(), flow));
            held.again_at = now + Terms::of(&flow).ask_again;
            self.due.insert((held.due(), flow));
            for router in &held.waiting {
                if let Some(questions) = self.routers.get_mut(router) {
                    questions.insert(flow);
                }
            }
        }
    }

    /// When there is something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let due = self.due.first().map(|(due, _)| *due);
        let asks = self.routers.values().any(|questions| !questions.is_empty());
        let round = self.round_at.filter(|_| asks);
        due.into_iter().chain(round).min()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self, now: Instant) -> Option<Output<T>> {
        if self.outputs.is_empty() && self.round_at.is_none_or(|at| at <= now) {
            for (router, questions) in &mut self.routers {
                let questions = WhoHas::split(std::mem::take(questions));
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
        if self.held.get(&flow).is_some_and(|held| held.waiting.is_empty())
            && let Some(packets) = self.release(&flow)
        {
            self.counters.nobody += 1;
            self.outputs.push_back(Output::Nobody { flow, packets });
        }
    }

    /// Not all have answered in time.
    fn give_up(&mut self, flow: FlowKey) {
        let packets = self.release(&flow).expect("it is held");
        self.counters.unanswered += 1;
        if flow.protocol() == Protocol::Udp {
            self.outputs.push_back(Output::Nobody { flow, packets });
        }
    }

    fn release(&mut self, flow: &FlowKey) -> Option<Vec<T>> {
        let held = self.held.remove(flow)?;
        self.due.remove(&(held.due(), *flow));
        let load = self.loads.of(flow);
        load.flows -= 1;
        load.bytes -= held.len;
        self.routers.values_mut().for_each(|questions| {
            questions.remove(flow);
        });
        Some(held.packets)
    }
}
