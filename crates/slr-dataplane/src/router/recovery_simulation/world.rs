//! Routers, hosts, clients and the network between them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use slr_model::{FlowKey, NodeName};
use slr_session::mirror::{MirrorKind, Output as MirrorOutput, Told};
use slr_session::search::Output as SearchOutput;
use slr_testkit::seed::Rng;
use slr_wire::{Has, Mirror, MirrorAck, WhoHas};

use super::router::{Packet, Place, Router};

const HOSTS: usize = 4;
const FLOWS: usize = 5;
/// What may go wrong does so for this long; then all messages arrive, and nothing happens any more.
const CHAOS: Duration = Duration::from_secs(60);
const CALM: Duration = Duration::from_secs(4);
/// The longest that a message is under way.
const DELAY_MAX_MS: u64 = 400;
/// A client uses a port again after this at the soonest: RFC 6191 wants a second, and Linux waits for it.
const REUSE_AFTER: Duration = Duration::from_secs(2);
/// Pins are forgotten after so much silence: far less than the shipped time, so that it happens.
const IDLE_S: u32 = 8;

/// Which cluster each router is of.
const CLUSTERS: [&[usize]; 4] = [&[0, 0], &[0, 1], &[0, 0, 1], &[0, 0, 0]];

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub delivered: u64,
    pub chained: u64,
    pub ended: u64,
    pub claimed: u64,
    pub found: u64,
    pub nobody: u64,
    pub mirrored: u64,
    pub reused: u64,
    /// Connections that were reset although their host lived: no rung knew it.
    pub lost: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        let Self { delivered, chained, ended, claimed, found, nobody, mirrored, reused, lost } = other;
        for (sum, part) in [
            (&mut self.delivered, delivered),
            (&mut self.chained, chained),
            (&mut self.ended, ended),
            (&mut self.claimed, claimed),
            (&mut self.found, found),
            (&mut self.nobody, nobody),
            (&mut self.mirrored, mirrored),
            (&mut self.reused, reused),
            (&mut self.lost, lost),
        ] {
            *sum += part;
        }
    }
}

/// A message between nodes, or something that happens by itself.
enum Event {
    Client(usize),
    Fault,
    Clock,
    Claim { router: usize, flow: FlowKey, host: usize },
    Ask { from: usize, to: usize, question: WhoHas },
    Answer { from: usize, to: usize, answer: Has },
    Mirror { from: usize, to: usize, epoch: u64, batch: Mirror },
    MirrorAck { from: usize, to: usize, epoch: u64, ack: MirrorAck },
    Connect { a: usize, b: usize },
    Notice { router: usize, host: usize },
}

/// A client's connection.
struct Flow {
    key: FlowKey,
    /// How often the port was used.
    connection: u64,
    /// The host whose socket it is; none while it is closed.
    owner: Option<usize>,
    /// The client has heard from it.
    is_open: bool,
    closed_at: Instant,
    /// The router that its packets come to.
    router: usize,
}

pub struct World {
    rng: Rng,
    now: Instant,
    end: Instant,
    queue: BTreeMap<(Instant, u64), Event>,
    sequence: u64,
    routers: Vec<Router>,
    names: Vec<NodeName>,
    alive: Vec<bool>,
    flows: Vec<Flow>,
    /// Of the connection of two routers: which one it is; none while it is down.
    links: BTreeMap<(usize, usize), (u64, bool)>,
    tally: Tally,
    is_told: bool,
}

impl World {
    pub fn new(seed: u64, is_told: bool) -> Self {
        let mut rng = Rng::new(seed);
        let now = Instant::now();
        let clusters = rng.pick(&CLUSTERS);
        let routers: Vec<Router> =
            clusters.iter().enumerate().map(|(n, cluster)| Router::new(&format!("r{n}"), *cluster, HOSTS)).collect();
        let flows = (0..FLOWS).map(|n| Flow {
            key: format!("tcp 198.51.100.7:{} > 192.0.2.9:80", 40_000 + n).parse().expect("a flow"),
            connection: 0,
            owner: None,
            is_open: false,
            closed_at: now - REUSE_AFTER,
            router: 0,
        });
        let mut world = Self {
            now,
            end: now + CHAOS,
            queue: BTreeMap::new(),
            sequence: 0,
            names: (0..HOSTS).map(|n| format!("h{n}").parse().expect("a name")).collect(),
            alive: vec![true; HOSTS],
            flows: flows.collect(),
            links: BTreeMap::new(),
            tally: Tally::default(),
            routers,
            rng,
            is_told,
        };
        for n in 0..FLOWS {
            world.after(n as u64 * 10, Event::Client(n));
            for cluster in 0..2 {
                world.move_slot(cluster, n);
            }
        }
        for a in 0..world.routers.len() {
            for b in a + 1..world.routers.len() {
                world.links.insert((a, b), (0, false));
                world.after(1, Event::Connect { a, b });
            }
        }
        world.after(200, Event::Fault);
        world.after(5_000, Event::Clock);
        world
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.is_told {
            println!("{:8.3} {}", (self.now + CHAOS - self.end).as_secs_f64(), what());
        }
    }

    fn after(&mut self, ms: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now + Duration::from_millis(ms), self.sequence), event);
    }

    /// A datagram: late, or not at all.
    fn datagram(&mut self, event: Event) {
        if !self.rng.chance(0.1) {
            let late = 1 + if self.rng.chance(0.1) { self.rng.below(DELAY_MAX_MS) } else { self.rng.below(5) };
            self.after(late, event);
        }
    }

    fn link(&self, a: usize, b: usize) -> (u64, bool) {
        self.links[&(a.min(b), a.max(b))]
    }

    fn is_connected(&self, a: usize, b: usize) -> bool {
        self.link(a, b).1
    }

    /// Runs to the end, and looks at what is left.
    pub fn run(mut self) -> Tally {
        while let Some(due) = self.next_due() {
            if due > self.end + CALM {
                break;
            }
            self.now = self.now.max(due);
            while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let event = entry.remove();
                self.happen(event);
            }
            self.follow();
        }
        self.assert_owners();
        self.tally
    }

    fn next_due(&self) -> Option<Instant> {
        let queued = self.queue.keys().next().map(|(due, _)| *due);
        let searches = self.routers.iter().filter_map(|router| router.search.poll_timeout());
        let tellers =
            self.routers.iter().flat_map(|r| r.mirrors.values().filter_map(|(teller, _)| teller.poll_timeout()));
        queued.into_iter().chain(searches).chain(tellers).min()
    }

    fn assert_owners(&self) {
        for flow in &self.flows {
            let Some(owner) = flow.owner.filter(|owner| flow.is_open && self.alive[*owner]) else { continue };
            for router in &self.routers {
                let pinned = router.pinned(&flow.key).map(|pin| usize::from(pin.hop) - 1);
                assert!(
                    pinned.is_none_or(|host| host == owner),
                    "{}: {} is h{owner}'s and pinned to h{}",
                    router.name,
                    flow.key,
                    pinned.unwrap_or_default()
                );
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Client(n) => self.client(n),
            Event::Fault if self.now < self.end => {
                self.fault();
                let next = 50 + self.rng.below(1_500);
                self.after(next, Event::Fault);
            }
            Event::Fault => {}
            Event::Clock => {
                for router in 0..self.routers.len() {
                    self.routers[router].clock += 5;
                    for flow in self.routers[router].sweep(IDLE_S) {
                        let told = Told { host: self.names[0].clone(), flow, kind: MirrorKind::Forgotten };
                        let now = self.now;
                        self.routers[router].tell(&told, now);
                    }
                    let active = self.routers[router].own_pins(&self.names);
                    let now = self.now;
                    if self.rng.chance(0.2) {
                        active.iter().for_each(|told| self.routers[router].tell(told, now));
                    }
                }
                self.after(5_000, Event::Clock);
            }
            Event::Claim { router, flow, host } => {
                if self.routers[router].claimed(flow, host) {
                    self.say(|| format!("r{router} pins {flow} to h{host}: claimed"));
                    self.tally.claimed += 1;
                    self.tell(router, flow, host);
                }
            }
            Event::Ask { from, to, question } => {
                if self.is_connected(from, to) {
                    let owner = |flow: &FlowKey| self.routers[to].owner_of(flow).map(|host| self.names[host].clone());
                    let answers: Vec<_> = question.flows.iter().map(|flow| (*flow, owner(flow))).collect();
                    for answer in Has::split(answers) {
                        self.datagram(Event::Answer { from: to, to: from, answer });
                    }
                }
            }
            Event::Answer { from, to, answer } => {
                if self.is_connected(from, to) {
                    let name = self.routers[from].name.clone();
                    self.routers[to].search.handle_answer(&name, &answer);
                }
            }
            Event::Mirror { from, to, epoch, batch } if self.link(from, to) == (epoch, true) => {
                let (_, listener) = self.routers[to].mirrors.get_mut(&from).expect("a peer");
                let ack = listener.handle(&batch);
                for (name, flows) in &batch.hosts {
                    let host = self.names.iter().position(|known| known == name).unwrap_or(0);
                    for flow in flows {
                        if self.routers[to].mirrored(*flow, host, batch.kind) {
                            self.say(|| format!("r{to} pins {flow} to h{host}: mirrored by r{from}, {:?}", batch.kind));
                            self.tally.mirrored += 1;
                        }
                    }
                }
                self.after(3, Event::MirrorAck { from: to, to: from, epoch, ack });
            }
            Event::MirrorAck { from, to, epoch, ack } if self.link(from, to) == (epoch, true) => {
                let now = self.now;
                self.routers[to].mirrors.get_mut(&from).expect("a peer").0.handle_ack(now, ack);
            }
            Event::Mirror { .. } | Event::MirrorAck { .. } => {}
            Event::Connect { a, b } => self.connect(a, b),
            Event::Notice { router, host } => {
                let is_up = self.alive[host];
                self.routers[router].set_up(host, is_up);
            }
        }
    }

    fn connect(&mut self, a: usize, b: usize) {
        let link = self.links.get_mut(&(a, b)).expect("a pair");
        if link.1 {
            return;
        }
        *link = (link.0 + 1, true);
        self.say(|| format!("r{a} and r{b} are connected"));
        for (one, other) in [(a, b), (b, a)] {
            let name = self.routers[other].name.clone();
            self.routers[one].search.connected(&name);
            if self.routers[one].cluster == self.routers[other].cluster {
                let (teller, listener) = self.routers[one].mirrors.entry(other).or_default();
                teller.connected();
                listener.connected();
            }
        }
    }

    fn disconnect(&mut self, a: usize, b: usize) {
        self.links.get_mut(&(a, b)).expect("a pair").1 = false;
        self.say(|| format!("r{a} and r{b} are not connected"));
        for (one, other) in [(a, b), (b, a)] {
            let name = self.routers[other].name.clone();
            self.routers[one].search.disconnected(&name);
            if let Some((teller, listener)) = self.routers[one].mirrors.get_mut(&other) {
                teller.disconnected();
                listener.disconnected();
            }
        }
        let back = 100 + self.rng.below(2_000);
        self.after(back, Event::Connect { a, b });
    }

    /// Lets the state machines do what is due.
    fn follow(&mut self) {
        let now = self.now;
        for router in 0..self.routers.len() {
            self.routers[router].search.handle_timeout(now);
            while let Some(output) = self.routers[router].search.poll_output(now) {
                self.searched(router, output);
            }
            let peers: Vec<usize> = self.routers[router].mirrors.keys().copied().collect();
            for peer in peers {
                self.mirror(router, peer);
            }
        }
    }

    fn mirror(&mut self, router: usize, peer: usize) {
        let now = self.now;
        loop {
            let (teller, _) = self.routers[router].mirrors.get_mut(&peer).expect("a peer");
            teller.handle_timeout(now);
            match teller.poll_output(now) {
                None => return,
                Some(MirrorOutput::Send(batch)) => {
                    let (epoch, _) = self.link(router, peer);
                    self.after(2, Event::Mirror { from: router, to: peer, epoch, batch });
                }
                Some(MirrorOutput::Walk) => {
                    let own = self.routers[router].own_pins(&self.names);
                    self.routers[router].mirrors.get_mut(&peer).expect("a peer").0.tell_table(own, true);
                }
            }
        }
    }

    fn tell(&mut self, router: usize, flow: FlowKey, host: usize) {
        let told = Told { host: self.names[host].clone(), flow, kind: MirrorKind::New };
        let now = self.now;
        self.routers[router].tell(&told, now);
    }

    /// A client does the next thing with its port.
    fn client(&mut self, n: usize) {
        let pause = if self.rng.chance(0.1) { 6_000 } else { 400 };
        let next = 20 + self.rng.below(pause);
        self.after(next, Event::Client(n));
        if self.now >= self.end {
            return;
        }
        if self.rng.chance(0.1) {
            self.flows[n].router = self.rng.below(self.routers.len() as u64) as usize;
        }
        let (key, router) = (self.flows[n].key, self.flows[n].router);
        if !self.flows[n].is_open {
            let others = self.routers.iter().enumerate().filter(|(other, _)| *other != router);
            // What is not met (docs/failure-model.md): a port that is used again while another router has its last connection pinned.
            let is_elsewhere = others.map(|(_, router)| router.pinned(&key)).any(|pin| pin.is_some());
            if self.now < self.flows[n].closed_at + REUSE_AFTER || is_elsewhere {
                return;
            }
            // A new connection: its SYN, and if a host takes it the ACK.
            self.tally.reused += u64::from(self.flows[n].owner.is_some());
            self.flows[n].owner = None;
            let mut pins = Vec::new();
            self.flows[n].connection += 1;
            let syn = Packet { key, connection: self.flows[n].connection, is_syn: true, is_end: false };
            let place = self.routers[router].receive(&syn, &mut pins);
            let (Some(Place::Pinned(host) | Place::Pending(host)), true) = (place, pins.is_empty()) else { return };
            if self.alive[host] {
                self.flows[n].owner = Some(host);
                self.flows[n].is_open = true;
                self.say(|| format!("{key} begins at h{host}, through r{router}"));
                self.send(n, router, false);
            }
            return;
        }
        let is_end = self.rng.chance(0.05);
        self.send(n, router, is_end);
        if is_end && self.flows[n].is_open {
            self.say(|| format!("{key} ends, through r{router}"));
            self.close(n);
        }
    }

    /// The owner is kept, so that a later use of the port is told from the first.
    fn close(&mut self, n: usize) {
        self.flows[n].is_open = false;
        self.flows[n].closed_at = self.now;
    }

    /// A packet of an open connection.
    fn send(&mut self, n: usize, router: usize, is_end: bool) {
        let (key, connection, mut pins) = (self.flows[n].key, self.flows[n].connection, Vec::new());
        let packet = Packet { key, connection, is_syn: false, is_end };
        let place = self.routers[router].receive(&packet, &mut pins);
        for host in pins {
            self.say(|| format!("r{router} pins {key} to h{host}"));
            self.tell(router, key, host);
        }
        match place {
            None | Some(Place::Pending(_)) => {}
            Some(Place::Pinned(host)) => {
                let owner = self.flows[n].owner;
                let is_misled = self.flows[n].is_open && owner.is_some_and(|owner| owner != host && self.alive[owner]);
                assert!(!is_misled, "r{router} has {key} pinned to h{host}, and it is {owner:?}'s");
                self.deliver(n, host, false);
            }
            Some(Place::Orphan(through)) => self.search(n, router, &through),
        }
    }

    /// A host gets a packet: of its own connection, or it resets it. `is_searched`: it claims what is its own.
    fn deliver(&mut self, n: usize, host: usize, is_searched: bool) {
        if !self.alive[host] || !self.flows[n].is_open {
            return;
        }
        if self.flows[n].owner != Some(host) {
            let owner = self.flows[n].owner;
            self.tally.lost += u64::from(owner.is_some_and(|owner| self.alive[owner]));
            self.say(|| format!("{} is reset by h{host}, it was {owner:?}'s", self.flows[n].key));
            return self.close(n);
        }
        self.tally.delivered += 1;
        if is_searched {
            let flow = self.flows[n].key;
            for router in 0..self.routers.len() {
                self.datagram(Event::Claim { router, flow, host });
            }
        }
    }

    /// An orphan goes through the hosts of its slot, to the router at the chain's end.
    fn search(&mut self, n: usize, router: usize, through: &[usize]) {
        let key = self.flows[n].key;
        for host in through {
            if !self.alive[*host] {
                return; // its machine is dead, and with it the packet
            }
            if self.flows[n].owner == Some(*host) {
                self.tally.chained += 1;
                return self.deliver(n, *host, true);
            }
        }
        let peers = (0..self.routers.len()).filter(|other| *other != router && self.is_connected(router, *other));
        let others: Vec<usize> = peers.collect();
        let cluster = self.routers[router].cluster;
        let Some(end) = others
            .iter()
            .find(|other| self.routers[**other].cluster == cluster)
            .copied()
            .or((!others.is_empty()).then_some(router))
        else {
            return self.deliver(n, *through.last().expect("somebody"), true);
        };
        if let Some(host) = self.routers[end].owner_or_guess(&key, self.flows[n].connection) {
            self.tally.ended += 1;
            return self.deliver(n, host, true);
        }
        let now = self.now;
        self.say(|| format!("r{end} looks for {key}"));
        self.routers[end].search.hold(now, key, n, 100);
    }

    fn searched(&mut self, router: usize, output: SearchOutput<usize>) {
        match output {
            SearchOutput::Ask { router: to, question } => {
                let to = self.routers.iter().position(|other| other.name == to).expect("a router");
                self.datagram(Event::Ask { from: router, to, question });
            }
            SearchOutput::Found { flow, host, packet, .. } => {
                let host = self.names.iter().position(|name| *name == host).expect("a host");
                let (goes, is_news) = self.routers[router].found(flow, host);
                self.say(|| format!("r{router} hears that h{host} has {flow}: pinned {is_news}"));
                if is_news {
                    self.tally.found += 1;
                    self.tell(router, flow, host);
                }
                if goes {
                    self.deliver(packet, host, true);
                }
            }
            SearchOutput::Nobody { flow, packet } => {
                self.tally.nobody += 1;
                self.say(|| format!("r{router} hears that nobody has {flow}"));
                let slot = self.routers[router].ring.get(&flow).copied().unwrap_or_default();
                let up = slot.into_iter().flatten().find(|host| self.routers[router].hosts[*host].1);
                if let Some(host) = up {
                    self.deliver(packet, host, true);
                }
            }
        }
    }

    /// A flow's slot of a cluster's ring goes to another host.
    fn move_slot(&mut self, cluster: usize, n: usize) {
        let (key, to) = (self.flows[n].key, self.rng.below(HOSTS as u64) as usize);
        for router in self.routers.iter_mut().filter(|router| router.cluster == cluster) {
            let slot = router.ring.entry(key).or_default();
            if slot[0] != Some(to) {
                let older = slot.iter().copied().filter(|host| *host != Some(to));
                let mut all = [Some(to)].into_iter().chain(older);
                *slot = std::array::from_fn(|_| all.next().flatten());
            }
        }
    }

    fn fault(&mut self) {
        match self.rng.below(10) {
            0..=3 => {
                // Often enough at once that a slot forgets who had it.
                let (cluster, n) = (self.rng.below(2) as usize, self.rng.below(FLOWS as u64) as usize);
                for _ in 0..1 + self.rng.below(6) {
                    self.move_slot(cluster, n);
                }
            }
            4 => {
                let router = self.rng.below(self.routers.len() as u64) as usize;
                self.say(|| format!("r{router} forgets everything"));
                self.routers[router].forget();
                let links: Vec<_> = self.links.keys().copied().filter(|(a, b)| *a == router || *b == router).collect();
                for (a, b) in links.into_iter().filter(|link| self.links[link].1).collect::<Vec<_>>() {
                    self.disconnect(a, b);
                }
            }
            5 | 6 => {
                let up: Vec<_> = self.links.iter().filter(|(_, (_, is_up))| *is_up).map(|(pair, _)| *pair).collect();
                if !up.is_empty() {
                    let (a, b) = *self.rng.pick(&up);
                    self.disconnect(a, b);
                }
            }
            7 => self.host_dies(),
            _ => {
                for n in 0..FLOWS {
                    self.flows[n].router = self.rng.below(self.routers.len() as u64) as usize;
                }
            }
        }
    }

    /// A host's machine dies, and each router notices in its own time; and sometime it is back, without its connections.
    fn host_dies(&mut self) {
        let host = self.rng.below(HOSTS as u64) as usize;
        if self.alive.iter().filter(|alive| **alive).count() < 3 && self.alive[host] {
            return;
        }
        self.alive[host] = !self.alive[host];
        let is_up = self.alive[host];
        self.say(|| format!("h{host} {}", if is_up { "is back" } else { "dies" }));
        for flow in self.flows.iter_mut().filter(|flow| flow.owner == Some(host)) {
            flow.is_open = false;
            flow.closed_at = self.now;
        }
        for router in 0..self.routers.len() {
            let late = self.rng.below(1_500);
            self.after(late, Event::Notice { router, host });
        }
    }
}
