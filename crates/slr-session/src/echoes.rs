//! Flows of a host that have stalled, and the echo requests that ask their clients to carry the flows' state to whichever router hears
//! them now (docs/wire.md, "The augmented echo"). Pure; hostd owns one [`Echoes`], finds the stalls and sends the datagrams.
//!
//! ```text
//!   stalled ──► asking ── each BACKOFF, doubled, ASKS_MAX times: an echo request for it, with others of its client
//!                 │ ▲ └─ all of them without an answer ──────────► resting, REST long: nobody can be reached
//!                 │ └─── progress did not follow: asks go on
//!                 ├──── answered: a nudge, so that the client speaks at once. Nothing is due of it? Then it is resting too
//!                 └──── heard again: over
//! ```
//!
//! Bounds: an echo is sent for a client, and by this host, within a rate; at most [`FLOWS_MAX`] flows are known.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use slr_model::FlowKey;

use crate::limit::Limit;

#[cfg(test)]
mod tests;

/// Flows that are known as stalled: more than an outage of one router leaves to a busy host, 3 MiB.
pub const FLOWS_MAX: usize = 16_384;
/// Flows that one echo tells of: as many as have room in an advertisement.
pub const FLOWS_PER_ECHO: usize = 16;
/// Between the first two echoes for a flow, or two round trips if that is longer; doubled each time.
pub const BACKOFF: Duration = Duration::from_millis(200);
/// Echoes for a flow that nobody answers: the last leaves 6.2 s after the first, when routes have long converged.
pub const ASKS_MAX: u32 = 6;
/// And for one of which we only expect that it goes on: it may have nothing to say.
pub const ASKS_EXPECTED_MAX: u32 = 2;
/// A flow that is not asked about any more is remembered so long, so that it is not begun anew.
pub const REST: Duration = Duration::from_secs(60);
/// What is due so soon goes along with what is due now: one echo for several flows of a client.
const TOGETHER: Duration = Duration::from_millis(20);
/// Clients with a rate of their own: as many as flows, at most.
const CLIENTS_MAX: usize = FLOWS_MAX;
/// Echoes whose answer is still expected: what a host may send in the longest back-off.
const AWAITED_MAX: usize = 8_192;

/// How many echoes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// A second, and at once, to one client.
    pub per_client: u32,
    /// A second, and at once, to all.
    pub per_host: u32,
}

/// What stalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// The client owes an answer to what it was sent.
    Owed,
    /// It was expected to go on, and owes nothing.
    Expected,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<T> {
    /// Send this client an echo request that tells of its flows.
    Ask {
        /// Greater than any before.
        serial: u64,
        /// The flows: of one client and one virtual address, [`FLOWS_PER_ECHO`] at most.
        flows: Vec<FlowKey>,
    },
    /// Draw a word from the client: a router knows the way now.
    Nudge {
        /// Its flow.
        flow: FlowKey,
        /// What was given with the stall.
        state: T,
    },
}

/// What became of stalls, since the daemon started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Flows that stalled.
    pub stalled: u64,
    /// Of those, flows whose client owed something.
    pub owed: u64,
    /// Not followed: too many were.
    pub refused: u64,
    /// Echo requests.
    pub asked: u64,
    /// Flows in them.
    pub told: u64,
    /// Echoes that waited for the client's or the host's rate.
    pub limited: u64,
    /// Echoes that were answered.
    pub answered: u64,
    /// Answers to no echo of ours, or to one that is answered already.
    pub unexpected: u64,
    /// Flows that went on before an echo was answered: the path was well, or another rung was quicker.
    pub by_themselves: u64,
    /// Flows that went on after one.
    pub recovered: u64,
    /// Flows that no echo brought back.
    pub given_up: u64,
}

struct Stalled<T> {
    state: T,
    due: Due,
    backoff: Duration,
    asks: u32,
    is_answered: bool,
    /// When it is asked about again; or, resting, forgotten.
    at: Instant,
    is_resting: bool,
}

/// The stalls of one host.
pub struct Echoes<T> {
    rates: Rates,
    flows: BTreeMap<FlowKey, Stalled<T>>,
    due: BTreeSet<(Instant, FlowKey)>,
    clients: BTreeMap<IpAddr, Limit>,
    host: Limit,
    /// Echoes without an answer yet, oldest first.
    awaited: BTreeMap<u64, Vec<FlowKey>>,
    serial: u64,
    outputs: VecDeque<Output<T>>,
    counters: Counters,
}

impl<T: Copy> Echoes<T> {
    /// `serial` is greater than what any earlier process of this host has used: nanoseconds since 1970 are.
    pub fn new(rates: Rates, serial: u64) -> Self {
        Self {
            rates,
            flows: BTreeMap::new(),
            due: BTreeSet::new(),
            clients: BTreeMap::new(),
            host: limit(rates.per_host),
            awaited: BTreeMap::new(),
            serial,
            outputs: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Other rates, from now on.
    pub fn set_rates(&mut self, rates: Rates) {
        if self.rates != rates {
            (self.rates, self.host) = (rates, limit(rates.per_host));
            self.clients.clear();
        }
    }

    /// A flow has stalled, or still has.
    pub fn stalled(&mut self, now: Instant, flow: FlowKey, due: Due, srtt: Duration, state: T) {
        if let Some(known) = self.flows.get_mut(&flow) {
            // What is owed is told again while it lasts. What is only expected is told once: this is another stall, and so is one of which
            // something is owed now.
            let begins = known.is_resting && (known.due, due) != (Due::Owed, Due::Owed);
            (known.state, known.due) = (state, due);
            if begins {
                (known.asks, known.is_answered, known.is_resting) = (0, false, false);
                self.set_due(flow, now);
            } else if known.is_resting {
                self.rest(flow, now);
            }
            return;
        }
        if self.flows.len() >= FLOWS_MAX {
            self.counters.refused += 1;
            return;
        }
        self.counters.stalled += 1;
        self.counters.owed += u64::from(due == Due::Owed);
        let backoff = BACKOFF.max(2 * srtt);
        let begun = Stalled { state, due, backoff, asks: 0, is_answered: false, at: now, is_resting: false };
        self.flows.insert(flow, begun);
        self.due.insert((now, flow));
    }

    /// The client of a flow was heard.
    pub fn over(&mut self, flow: &FlowKey) {
        let Some(known) = self.remove(flow) else { return };
        match (known.is_answered, known.asks) {
            (true, _) => self.counters.recovered += 1,
            (false, 1..) => self.counters.by_themselves += 1,
            (false, 0) => {}
        }
    }

    /// An echo came back through a router, which knows its flows now.
    pub fn answered(&mut self, now: Instant, serial: u64) {
        let Some(flows) = self.awaited.remove(&serial) else {
            self.counters.unexpected += 1;
            return;
        };
        self.counters.answered += 1;
        for flow in flows {
            let Some(known) = self.flows.get_mut(&flow) else { continue };
            known.is_answered = true;
            self.outputs.push_back(Output::Nudge { flow, state: known.state });
            if known.due == Due::Expected {
                self.rest(flow, now);
            }
        }
    }

    /// The serial number of an echo that somebody else sends for this host.
    pub fn take_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// When [`Echoes::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Asks about what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|at| at > now) {
            return;
        }
        let soon = now + TOGETHER;
        let mut together: BTreeMap<(IpAddr, IpAddr), (bool, Vec<FlowKey>)> = BTreeMap::new();
        let due: Vec<(Instant, FlowKey)> = self.due.iter().take_while(|(at, _)| *at <= soon).copied().collect();
        for (at, flow) in due {
            let Some(known) = self.flows.get(&flow) else { continue };
            if known.is_resting {
                if at <= now {
                    self.remove(&flow);
                }
            } else if self.has_been_asked_enough(&flow) {
                if at <= now {
                    self.counters.given_up += u64::from(known.due == Due::Owed);
                    self.rest(flow, now);
                }
            } else {
                let (is_due, flows) = together.entry((flow.client().ip(), flow.virtual_host().ip())).or_default();
                *is_due |= at <= now;
                flows.push(flow);
            }
        }
        for ((client, _), (is_due, flows)) in together {
            if is_due {
                flows.chunks(FLOWS_PER_ECHO).for_each(|flows| self.ask(now, client, flows));
            }
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output<T>> {
        self.outputs.pop_front()
    }

    /// What became of stalls.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// How many flows are stalled and asked about.
    pub fn asking(&self) -> usize {
        self.flows.values().filter(|flow| !flow.is_resting).count()
    }

    fn has_been_asked_enough(&self, flow: &FlowKey) -> bool {
        self.flows.get(flow).is_some_and(|known| {
            known.asks
                >= match known.due {
                    Due::Owed => ASKS_MAX,
                    Due::Expected => ASKS_EXPECTED_MAX,
                }
        })
    }

    fn ask(&mut self, now: Instant, client: IpAddr, flows: &[FlowKey]) {
        if let Err(ready_at) = self.take_token(now, client) {
            self.counters.limited += 1;
            flows.iter().for_each(|flow| self.set_due(*flow, ready_at));
            return;
        }
        self.serial += 1;
        self.counters.asked += 1;
        self.counters.told += flows.len() as u64;
        if self.awaited.len() >= AWAITED_MAX {
            self.awaited.pop_first();
        }
        self.awaited.insert(self.serial, flows.to_vec());
        for flow in flows {
            let Some(known) = self.flows.get_mut(flow) else { continue };
            let wait = known.backoff * 2u32.pow(known.asks.min(ASKS_MAX));
            known.asks += 1;
            self.set_due(*flow, now + wait);
        }
        self.outputs.push_back(Output::Ask { serial: self.serial, flows: flows.to_vec() });
    }

    /// Takes from the client's bucket and the host's; else when both have some again.
    fn take_token(&mut self, now: Instant, client: IpAddr) -> Result<(), Instant> {
        if self.clients.len() >= CLIENTS_MAX && !self.clients.contains_key(&client) {
            // A full bucket is as good as none.
            self.clients.retain(|_, limit| !limit.is_full(now));
        }
        let bucket = self.clients.entry(client).or_insert_with(|| limit(self.rates.per_client));
        let ready_at = bucket.ready_at(now).max(self.host.ready_at(now));
        if ready_at > now {
            return Err(ready_at);
        }
        bucket.take(now);
        self.host.take(now);
        Ok(())
    }

    fn rest(&mut self, flow: FlowKey, now: Instant) {
        if let Some(known) = self.flows.get_mut(&flow) {
            known.is_resting = true;
            self.set_due(flow, now + REST);
        }
    }

    fn set_due(&mut self, flow: FlowKey, at: Instant) {
        if let Some(known) = self.flows.get_mut(&flow) {
            self.due.remove(&(known.at, flow));
            known.at = at;
            self.due.insert((at, flow));
        }
    }

    fn remove(&mut self, flow: &FlowKey) -> Option<Stalled<T>> {
        let known = self.flows.remove(flow)?;
        self.due.remove(&(known.at, *flow));
        Some(known)
    }
}

fn limit(per_s: u32) -> Limit {
    Limit::new(per_s.max(1), Duration::from_secs(1))
}
