//! Routers, hosts, clients and the network between them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use slr_model::{FlowKey, NodeName};
use slr_session::mirror::{MirrorKind, Output as MirrorOutput, Told};
use slr_testkit::seed::Rng;
use slr_wire::{Has, Mirror, MirrorAck, WhoHas};

use super::router::Router;
use super::tally::Tally;

mod clients;
mod faults;

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
}
