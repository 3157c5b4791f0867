//! Two routers, some hosts, the network between them, and what befalls all of them, in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use slr_model::{Advert, HostState, ServiceKey};
use slr_session::registry::{ConnectionId, ServiceState, SessionId, Settings};

use crate::dice::Dice;
use crate::edge::{KEEPALIVE_TURN, Router};
use crate::network::Link;
use crate::nodes::{ACK_WAIT, Node};
use crate::observer::Observer;
use crate::registry_support::{identity, key, ms};

/// What happens at some time.
#[derive(Clone, Debug)]
pub enum Happening {
    /// A node's daemon has its turn.
    Tick {
        node: usize,
    },
    /// A router sends keepalives and looks for idle connections.
    Keepalives {
        router: usize,
    },
    Arrives {
        router: usize,
        message: Message,
    },
    /// A router's answer reaches a node.
    Answers {
        router: usize,
        node: usize,
        connection: ConnectionId,
        answer: Answer,
    },
    /// Something goes wrong.
    Fault,
}

#[derive(Clone, Debug)]
pub enum Message {
    Hello {
        node: usize,
        connection: ConnectionId,
        session: SessionId,
    },
    Advert {
        connection: ConnectionId,
        sequence: u64,
        full: bool,
        advert: Advert,
    },
    Withdraw {
        connection: ConnectionId,
    },
    Close {
        connection: ConnectionId,
    },
    /// An operator at this router lets the held hosts of a service go.
    Release {
        key: ServiceKey,
    },
    /// The router reads a list of revoked certificates.
    Revoke {
        host: u16,
    },
}

#[derive(Clone, Copy, Debug)]
pub enum Answer {
    Welcome,
    Ack,
    Ask,
    Closed,
}

/// Everything.
pub struct World {
    pub now: Instant,
    pub dice: Dice,
    pub queue: BTreeMap<(Instant, u64), Happening>,
    pub happenings: u64,
    pub connections: u64,
    pub hosts: u16,
    pub nodes: Vec<Node>,
    pub routers: [Router; 2],
    pub links: BTreeMap<(usize, u16), Link>,
    pub revoked: BTreeSet<u16>,
    pub is_healed: bool,
}

/// Shorter than shipped where only patience is tested.
fn settings() -> Settings {
    Settings {
        adopt_hold: ms(3_000),
        hold_settle: ms(1_000),
        forget_after: ms(6_000),
        conflict_memory: ms(2_000),
        gone_memory: ms(2_000),
        ..Settings::default()
    }
}

pub fn keys() -> [ServiceKey; 2] {
    [key("tcp/80@192.0.2.0/24"), key("any@2001:db8:2::/64")]
}

impl World {
    pub fn new(seed: u64) -> Self {
        let now = Instant::now();
        let mut dice = Dice::new(seed);
        let hosts = dice.number(2, 6) as u16;
        let router = || Router {
            observer: Observer::new(settings()),
            stalled_until: now,
            waiting: Vec::new(),
            open: BTreeMap::new(),
            probing: BTreeMap::new(),
        };
        let links = (1..=hosts).flat_map(|host| [(0, host), (1, host)]);
        let mut world = Self {
            now,
            queue: BTreeMap::new(),
            happenings: 0,
            connections: 0,
            hosts,
            nodes: Vec::new(),
            routers: [router(), router()],
            links: links.map(|at| (at, Link::new(now, &mut dice))).collect(),
            revoked: BTreeSet::new(),
            is_healed: false,
            dice,
        };
        for host in 1..=hosts {
            let services = keys().map(|key| (key, HostState::Active)).to_vec();
            world.add(Node::new(host, false, services, now));
        }
        for router in 0..2 {
            let at = now + world.dice.ms(0, 200);
            world.plan(at, Happening::Keepalives { router });
        }
        world
    }

    /// So long of everything that may go wrong, then so long of nothing; then all must be as the hosts say.
    pub fn run(&mut self, chaos: Duration, calm: Duration) {
        let end = self.now + chaos;
        self.plan(self.now + ms(1_500), Happening::Fault);
        self.run_until(end);
        self.heal();
        self.run_until(end + calm);
        self.check_converged();
    }

    /// Calls that the registries had.
    pub fn steps(&self) -> u64 {
        self.routers.iter().map(|router| router.observer.steps).sum()
    }

    pub fn add(&mut self, node: Node) {
        self.nodes.push(node);
        let at = self.now + self.dice.ms(0, 1_000);
        self.plan(at, Happening::Tick { node: self.nodes.len() - 1 });
    }

    pub fn plan(&mut self, at: Instant, happening: Happening) {
        self.happenings += 1;
        self.queue.insert((at, self.happenings), happening);
    }

    fn run_until(&mut self, end: Instant) {
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((at, _), happening) = entry.remove_entry();
            self.advance(at);
            self.happen(happening);
        }
        self.advance(end);
    }

    /// Lets the routers' timers run up to this time.
    fn advance(&mut self, to: Instant) {
        self.now = to;
        for router in 0..2 {
            if self.routers[router].stalled_until > to {
                continue;
            }
            if !self.routers[router].waiting.is_empty() {
                self.resume(router);
            }
            self.routers[router].observer.run_until(to);
            self.close_unwanted(router);
            self.ask_wanted(router);
        }
    }

    /// A router that was stopped finds its timers overdue, and then reads what came meanwhile.
    fn resume(&mut self, router: usize) {
        self.routers[router].observer.handle_timeout(self.now);
        for message in std::mem::take(&mut self.routers[router].waiting) {
            self.receive(router, message);
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Tick { node } => {
                self.tick(node);
                let at = self.now + ms(1_000);
                self.plan(at, Happening::Tick { node });
            }
            Happening::Keepalives { router } => {
                if self.routers[router].stalled_until <= self.now {
                    self.keepalives(router);
                    self.close_idle(router);
                }
                self.plan(self.now + KEEPALIVE_TURN, Happening::Keepalives { router });
            }
            Happening::Arrives { router, message } if self.routers[router].stalled_until > self.now => {
                self.routers[router].waiting.push(message);
            }
            Happening::Arrives { router, message } => self.receive(router, message),
            Happening::Answers { router, node, connection, answer } => self.answer(router, node, connection, answer),
            Happening::Fault => {
                if !self.is_healed {
                    self.fault();
                    let at = self.now + self.dice.ms(100, 1_500);
                    self.plan(at, Happening::Fault);
                }
            }
        }
    }

    /// A node's turn: connect where it is not connected, advert where it is.
    fn tick(&mut self, node: usize) {
        if !self.nodes[node].is_running(self.now) {
            return;
        }
        for router in 0..2 {
            let uplink = &self.nodes[node].uplinks[router];
            let is_deaf = uplink.connection.is_some() && self.now > uplink.acked_at + ACK_WAIT;
            if uplink.connection.is_none() && self.now >= uplink.retry_at || is_deaf {
                self.connect(node, router);
            } else if let (Some(connection), true) = (uplink.connection, uplink.is_welcome) {
                self.advertise(node, router, connection);
            }
        }
    }

    fn advertise(&mut self, node: usize, router: usize, connection: ConnectionId) {
        let advert = self.nodes[node].advert();
        let sequence = self.next_sequence(node, router);
        for part in split(advert, self.dice.percent(50)) {
            let message = Message::Advert { connection, sequence, full: false, advert: part };
            self.send_datagram(node, router, message);
        }
    }

    fn connect(&mut self, node: usize, router: usize) {
        self.connections += 1;
        let connection = ConnectionId(self.connections);
        let session = self.nodes[node].next_session();
        let uplink = &mut self.nodes[node].uplinks[router];
        (uplink.connection, uplink.is_welcome, uplink.acked_at) = (Some(connection), false, self.now);
        uplink.stream_until = self.now;
        self.send_stream(node, router, Message::Hello { node, connection, session });
    }

    fn next_sequence(&mut self, node: usize, router: usize) -> u64 {
        let uplink = &mut self.nodes[node].uplinks[router];
        uplink.sequence += 1;
        uplink.sequence
    }

    /// Says on the stream what it serves, all of it.
    pub fn say_all(&mut self, node: usize, router: usize) {
        let uplink = &self.nodes[node].uplinks[router];
        let (Some(connection), true) = (uplink.connection, uplink.is_welcome) else { return };
        let advert = self.nodes[node].advert();
        let sequence = self.next_sequence(node, router);
        self.send_stream(node, router, Message::Advert { connection, sequence, full: true, advert });
    }

    fn send_datagram(&mut self, node: usize, router: usize, message: Message) {
        let link = self.links[&(router, self.nodes[node].host)];
        // Now and then a datagram comes twice.
        for _ in 0..1 + u32::from(self.dice.percent(3)) {
            if let Some(at) = link.datagram(self.now, &mut self.dice) {
                self.plan(at, Happening::Arrives { router, message: message.clone() });
            }
        }
    }

    pub fn send_stream(&mut self, node: usize, router: usize, message: Message) {
        let link = self.links[&(router, self.nodes[node].host)];
        let before = self.nodes[node].uplinks[router].stream_until;
        let at = link.stream(self.now, before, &mut self.dice);
        self.nodes[node].uplinks[router].stream_until = at;
        self.plan(at, Happening::Arrives { router, message });
    }

    pub fn send_answer(&mut self, router: usize, node: usize, connection: ConnectionId, answer: Answer) {
        let link = self.links[&(router, self.nodes[node].host)];
        let at = match answer {
            Answer::Ack | Answer::Ask => link.datagram(self.now, &mut self.dice),
            _ => Some(link.stream(self.now, self.now, &mut self.dice)),
        };
        if let Some(at) = at {
            self.plan(at, Happening::Answers { router, node, connection, answer });
        }
    }

    fn answer(&mut self, router: usize, node: usize, connection: ConnectionId, answer: Answer) {
        let now = self.now;
        let wait = self.dice.ms(50, 800);
        let uplink = &mut self.nodes[node].uplinks[router];
        if uplink.connection != Some(connection) {
            return;
        }
        match answer {
            Answer::Ack => uplink.acked_at = now,
            Answer::Ask => {
                if uplink.is_welcome && self.nodes[node].is_running(now) {
                    self.advertise(node, router, connection);
                }
            }
            Answer::Welcome => {
                (uplink.is_welcome, uplink.acked_at) = (true, now);
                self.say_all(node, router);
            }
            Answer::Closed => (uplink.connection, uplink.retry_at) = (None, now + wait),
        }
    }

    /// Every router knows of every host what it says, and of no other.
    fn check_converged(&self) {
        for (number, router) in self.routers.iter().enumerate() {
            let registry = &router.observer.registry;
            for node in self.nodes.iter().filter(|node| !node.is_clone) {
                let name = identity(node.host).name;
                let known = registry.host(&name).map(|host| {
                    let services = host.services().map(|service| (*service.key(), service.state()));
                    services.collect::<Vec<_>>()
                });
                let said = node.services.iter().map(|&(key, state)| (key, ServiceState::from(state)));
                let expected = (!self.revoked.contains(&node.host)).then(|| said.collect::<Vec<_>>());
                assert_eq!(known, expected, "{name} at router {number} after the network healed");
            }
            let alarms: Vec<_> = registry.alarms().map(ToString::to_string).collect();
            assert_eq!(alarms, Vec::<String>::new(), "router {number}");
        }
    }
}

/// An advert in the datagrams that carry it.
fn split(advert: Advert, apart: bool) -> Vec<Advert> {
    if !apart {
        return vec![advert];
    }
    let parts =
        advert.services.into_iter().map(|service| Advert { loads: advert.loads.clone(), services: vec![service] });
    parts.collect()
}
