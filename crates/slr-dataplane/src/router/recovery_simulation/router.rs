//! One router: its table, what it believes of hosts, its ring, and the real state machines of its daemon.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Instant;

use slr_model::{FlowKey, NodeName};
use slr_session::mirror::{Listener, MirrorKind, Teller, Told};
use slr_session::search::Search;

use super::super::census::Generations;
use super::super::pins::Pins;
use super::super::{claims, mirror};
use crate::abi::{flow, slr_const};
use crate::table::MapError;

/// A table of a few flows.
#[derive(Default)]
pub struct Memory(pub RefCell<BTreeMap<FlowKey, flow>>);

impl Pins<FlowKey> for Memory {
    fn get(&self, key: &FlowKey) -> Result<Option<flow>, MapError> {
        Ok(self.0.borrow().get(key).copied())
    }

    fn put(&self, key: &FlowKey, pin: &flow) -> Result<(), MapError> {
        self.0.borrow_mut().insert(*key, *pin);
        Ok(())
    }

    fn put_new(&self, key: &FlowKey, pin: &flow) -> Result<bool, MapError> {
        let mut pins = self.0.borrow_mut();
        let is_new = !pins.contains_key(key);
        if is_new {
            pins.insert(*key, *pin);
        }
        Ok(is_new)
    }
}

/// The slot of a flow: its host now, and the two before it.
pub type Slot = [Option<usize>; 3];

/// A packet of a client.
pub struct Packet {
    pub key: FlowKey,
    pub connection: u64,
    pub is_syn: bool,
    pub is_end: bool,
}

/// What a packet meets.
pub enum Place {
    /// A pin.
    Pinned(usize),
    /// A new connection's path, which an ACK makes a pin.
    Pending(usize),
    /// Nothing: through these.
    Orphan(Vec<usize>),
}

/// A router.
pub struct Router {
    pub name: NodeName,
    /// Routers of one cluster have one ring and mirror each other; those of the other are neighbours.
    pub cluster: usize,
    pub pins: Memory,
    /// Host, and which connection on the port: the program knows it by its sequence numbers.
    pub pending: BTreeMap<FlowKey, (usize, u64)>,
    /// Of each host: its generation here, and whether it is up here.
    pub hosts: Vec<(u16, bool)>,
    generations: Generations,
    pub ring: BTreeMap<FlowKey, Slot>,
    pub search: Search<usize>,
    pub mirrors: BTreeMap<usize, (Teller, Listener)>,
    /// The clock of ages, which a sweep advances each 5 s.
    pub clock: u32,
}

fn has(pin: &flow, flag: slr_const) -> bool {
    u32::from(pin.flags) & flag.0 != 0
}

impl Router {
    pub fn new(name: &str, cluster: usize, hosts: usize) -> Self {
        let mut router = Self {
            name: name.parse().expect("a name"),
            cluster,
            pins: Memory::default(),
            pending: BTreeMap::new(),
            hosts: vec![(1, true); hosts],
            generations: Generations::of(&[]),
            ring: BTreeMap::new(),
            search: Search::default(),
            mirrors: BTreeMap::new(),
            clock: 100,
        };
        router.follow_hosts();
        router
    }

    fn follow_hosts(&mut self) {
        let all: Vec<(u16, u16)> =
            self.hosts.iter().zip(1..).map(|((generation, _), hop)| (hop, *generation)).collect();
        self.generations = Generations::of(&all);
    }

    /// A host goes down here: its flows un-pin. Or it is back.
    pub fn set_up(&mut self, host: usize, is_up: bool) {
        let (generation, was_up) = &mut self.hosts[host];
        if *was_up && !is_up {
            *generation += 1;
        }
        *was_up = is_up;
        self.follow_hosts();
    }

    fn pin(&self, host: usize, flags: u32) -> flow {
        let (hop_gen, _) = self.hosts[host];
        flow { hop: host as u16 + 1, hop_gen, seen: self.clock, flags: flags as u8, ..flow::default() }
    }

    /// The pin of a flow, if its host is who it was.
    pub fn pinned(&self, key: &FlowKey) -> Option<flow> {
        self.pins.0.borrow().get(key).copied().filter(|pin| self.generations.has(pin))
    }

    /// What the program does with a packet of a flow, up to where it goes. `new_pins`: hears of what is pinned.
    pub fn receive(&mut self, packet: &Packet, new_pins: &mut Vec<usize>) -> Option<Place> {
        let Packet { key, connection, is_syn, is_end } = *packet;
        let pending = self.pending.get(&key).filter(|(_, of)| *of == connection).map(|(host, _)| *host);
        if let Some(pin) = self.pinned(&key) {
            let closing = has(&pin, slr_const::FLOW_CLOSING);
            match (closing, is_syn, pending) {
                // Used again: placed anew beside the pin, which goes over with the ACK.
                (true, true, _) => return self.place(key, connection).map(Place::Pending),
                (true, false, Some(host)) => {
                    self.promote(key, host, new_pins);
                    return Some(Place::Pinned(host));
                }
                _ => {
                    let mut touched = pin;
                    if touched.seen != self.clock {
                        touched.seen = self.clock;
                        touched.flags |= slr_const::FLOW_REFRESHED.0 as u8;
                    }
                    touched.flags |= if is_end { slr_const::FLOW_CLOSING.0 as u8 } else { 0 };
                    self.pins.put(&key, &touched).expect("memory");
                    return Some(Place::Pinned(usize::from(pin.hop) - 1));
                }
            }
        }
        if is_syn {
            return self.place(key, connection).map(Place::Pending);
        }
        if let Some(host) = pending.filter(|host| self.hosts[*host].1) {
            self.promote(key, host, new_pins);
            return Some(Place::Pinned(host));
        }
        let slot = self.ring.get(&key).copied().unwrap_or_default();
        let through: Vec<usize> = slot.into_iter().flatten().filter(|host| self.hosts[*host].1).collect();
        (!through.is_empty()).then_some(Place::Orphan(through))
    }

    fn place(&mut self, key: FlowKey, connection: u64) -> Option<usize> {
        let slot = self.ring.get(&key).copied().unwrap_or_default();
        let host = slot.into_iter().flatten().find(|host| self.hosts[*host].1)?;
        self.pending.insert(key, (host, connection));
        Some(host)
    }

    fn promote(&mut self, key: FlowKey, host: usize, new_pins: &mut Vec<usize>) {
        self.pending.remove(&key);
        self.pins.put(&key, &self.pin(host, 0)).expect("memory");
        new_pins.push(host);
    }

    /// A host claims a flow; whether that is news for the cluster.
    pub fn claimed(&mut self, key: FlowKey, host: usize) -> bool {
        self.hosts[host].1 && self.put(key, host, 0) == claims::Verdict::Free
    }

    /// Another router says that a host has it: whether the packet goes there, and whether it is news.
    pub fn found(&mut self, key: FlowKey, host: usize) -> (bool, bool) {
        if !self.hosts[host].1 {
            return (false, false);
        }
        let verdict = self.put(key, host, slr_const::FLOW_GUESS.0);
        (verdict != claims::Verdict::Owned, verdict == claims::Verdict::Free)
    }

    fn put(&mut self, key: FlowKey, host: usize, flags: u32) -> claims::Verdict {
        claims::put(&self.pins, &key, &self.pin(host, flags), &self.generations, flags == 0).expect("memory")
    }

    /// The host that this router knows of its own.
    pub fn owner_of(&self, key: &FlowKey) -> Option<usize> {
        let pin = self.pinned(key).filter(|pin| !has(pin, slr_const::FLOW_GUESS))?;
        Some(usize::from(pin.hop) - 1)
    }

    /// The host that a chain's end sends a packet to.
    pub fn owner_or_guess(&self, key: &FlowKey, connection: u64) -> Option<usize> {
        let pending = self.pending.get(key).filter(|(_, of)| *of == connection).map(|(host, _)| *host);
        self.pinned(key).map(|pin| usize::from(pin.hop) - 1).or(pending)
    }

    /// A peer tells of a flow; whether it is pinned now as told.
    pub fn mirrored(&mut self, key: FlowKey, host: usize, kind: MirrorKind) -> bool {
        if kind == MirrorKind::Forgotten {
            let pin = self.pinned(&key);
            if pin.is_some_and(|pin| !mirror::is_own(&pin)) {
                self.pins.0.borrow_mut().remove(&key);
            }
            return false;
        }
        if !self.hosts[host].1 {
            return false;
        }
        let proven = if kind == MirrorKind::Proven { slr_const::FLOW_PROVEN.0 } else { 0 };
        let told = self.pin(host, slr_const::FLOW_MIRRORED.0 | proven);
        mirror::put(&self.pins, &key, &told, &self.generations, kind == MirrorKind::New).expect("memory")
            == mirror::Verdict::Pin
    }

    /// All own pins, for a peer that may lack some.
    pub fn own_pins(&self, names: &[NodeName]) -> Vec<Told> {
        let pins = self.pins.0.borrow();
        let own = pins
            .iter()
            .filter(|(_, pin)| self.generations.has(pin) && mirror::is_own(pin) && !has(pin, slr_const::FLOW_CLOSING));
        let told = own.map(|(key, pin)| {
            let kind = if has(pin, slr_const::FLOW_REFRESHED) { MirrorKind::Proven } else { MirrorKind::New };
            Told { host: names[usize::from(pin.hop) - 1].clone(), flow: *key, kind }
        });
        told.collect()
    }

    /// Tells all peers.
    pub fn tell(&mut self, told: &Told, now: Instant) {
        self.mirrors.values_mut().for_each(|(teller, _)| teller.tell([told.clone()], now));
    }

    /// Forgets what was silent for too long. Which of it was its own, for its peers.
    pub fn sweep(&mut self, idle_s: u32) -> Vec<FlowKey> {
        let (clock, mut own) = (self.clock, Vec::new());
        self.pins.0.get_mut().retain(|key, pin| {
            let stays = clock - pin.seen <= idle_s;
            own.extend((!stays && mirror::is_own(pin)).then_some(*key));
            stays
        });
        own
    }

    /// Its tables are gone.
    pub fn forget(&mut self) {
        self.pins.0.borrow_mut().clear();
        self.pending.clear();
    }
}
