//! Two routers, some hosts, the network between them, and what befalls all of them, in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use slr_model::{Advert, HostState, ServiceKey};
use slr_session::registry::{Cause, ConnectionId, PathReport, ServiceState, SessionId, Settings};

use crate::dice::Dice;
use crate::network::Link;
use crate::nodes::{ACK_WAIT, Node};
use crate::observer::Observer;
use crate::registry_support::{ALIVE, hello, identity, key, ms};

/// Keepalives in a row without an answer, after which a path is lost.
const KEEPALIVES_LOST: u32 = 5;
const KEEPALIVE_INTERVAL: Duration = Duration::from_millis(200);
/// A router that hears nothing on a connection for this long gives it up.
const IDLE: Duration = Duration::from_millis(2_500);

/// What happens at some time.
#[derive(Clone, Debug)]
enum Happening {
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
enum Message {
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
enum Answer {
    Welcome,
    Ack,
    Closed,
}

/// A router's edge.
struct Router {
    observer: Observer,
    /// Until when the process does not run; messages wait.
    stalled_until: Instant,
    waiting: Vec<Message>,
    /// Connections that are open here: the node, and when something came last.
    open: BTreeMap<ConnectionId, (usize, Instant)>,
    /// By host, keepalives in a row without an answer.
    missed: BTreeMap<u16, u32>,
}

/// Everything.
pub struct World {
    now: Instant,
    dice: Dice,
    queue: BTreeMap<(Instant, u64), Happening>,
    happenings: u64,
    connections: u64,
    hosts: u16,
    nodes: Vec<Node>,
    routers: [Router; 2],
    links: BTreeMap<(usize, u16), Link>,
    revoked: BTreeSet<u16>,
    is_healed: bool,
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

fn keys() -> [ServiceKey; 2] {
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
            missed: BTreeMap::new(),
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

    fn add(&mut self, node: Node) {
        self.nodes.push(node);
        let at = self.now + self.dice.ms(0, 400);
        self.plan(at, Happening::Tick { node: self.nodes.len() - 1 });
    }

    fn plan(&mut self, at: Instant, happening: Happening) {
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
                let at = self.now + ms(400);
                self.plan(at, Happening::Tick { node });
            }
            Happening::Keepalives { router } => {
                if self.routers[router].stalled_until <= self.now {
                    self.keepalives(router);
                    self.close_idle(router);
                }
                self.plan(self.now + KEEPALIVE_INTERVAL, Happening::Keepalives { router });
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
                let advert = self.nodes[node].advert();
                let sequence = self.next_sequence(node, router);
                for part in split(advert, self.dice.percent(50)) {
                    let message = Message::Advert { connection, sequence, full: false, advert: part };
                    self.send_datagram(node, router, message);
                }
            }
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
    fn say_all(&mut self, node: usize, router: usize) {
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

    fn send_stream(&mut self, node: usize, router: usize, message: Message) {
        let link = self.links[&(router, self.nodes[node].host)];
        let before = self.nodes[node].uplinks[router].stream_until;
        let at = link.stream(self.now, before, &mut self.dice);
        self.nodes[node].uplinks[router].stream_until = at;
        self.plan(at, Happening::Arrives { router, message });
    }

    fn send_answer(&mut self, router: usize, node: usize, connection: ConnectionId, answer: Answer) {
        let link = self.links[&(router, self.nodes[node].host)];
        let at = match answer {
            Answer::Ack => link.datagram(self.now, &mut self.dice),
            _ => Some(link.stream(self.now, self.now, &mut self.dice)),
        };
        if let Some(at) = at {
            self.plan(at, Happening::Answers { router, node, connection, answer });
        }
    }

    /// The router's edge takes a message.
    fn receive(&mut self, router: usize, message: Message) {
        let now = self.now;
        let edge = &mut self.routers[router];
        match message {
            Message::Hello { node, connection, session } => {
                let host = self.nodes[node].host;
                if self.revoked.contains(&host) {
                    return self.send_answer(router, node, connection, Answer::Closed);
                }
                let mut said = hello(host, session.incarnation, session.session);
                if self.nodes[node].is_clone {
                    said.remote = "203.0.113.9:9".parse().expect("an address");
                }
                let answer = if edge.observer.welcome(identity(host), said, connection, now) {
                    edge.open.insert(connection, (node, now));
                    Answer::Welcome
                } else {
                    Answer::Closed
                };
                self.send_answer(router, node, connection, answer);
            }
            Message::Advert { connection, sequence, full, advert } => {
                // On a connection that is closed nothing is read.
                let Some((node, heard_at)) = edge.open.get_mut(&connection) else { return };
                *heard_at = now;
                let node = *node;
                edge.observer.advert(connection, sequence, full, advert, now);
                self.send_answer(router, node, connection, Answer::Ack);
            }
            Message::Withdraw { connection } => {
                if edge.open.remove(&connection).is_some() {
                    edge.observer.withdraw(connection, now);
                }
            }
            Message::Close { connection } => {
                if edge.open.remove(&connection).is_some() {
                    edge.observer.connection_lost(connection, now);
                }
            }
            Message::Release { key } => edge.observer.release_hold(&key, now),
            Message::Revoke { host } => edge.observer.remove(&identity(host).name, Cause::Revoked, now),
        }
        self.close_unwanted(router);
    }

    /// Closes what the registry wants closed. The edge may be late: adverts that came before are handed in.
    fn close_unwanted(&mut self, router: usize) {
        for connection in std::mem::take(&mut self.routers[router].observer.to_close) {
            if let Some((node, _)) = self.routers[router].open.remove(&connection) {
                self.send_answer(router, node, connection, Answer::Closed);
                self.routers[router].observer.connection_lost(connection, self.now);
            }
        }
    }

    fn close_idle(&mut self, router: usize) {
        let edge = &mut self.routers[router];
        let idle: Vec<_> =
            edge.open.iter().filter(|(_, (_, heard_at))| self.now > *heard_at + IDLE).map(|(id, _)| *id).collect();
        for connection in idle {
            edge.open.remove(&connection);
            edge.observer.connection_lost(connection, self.now);
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
            Answer::Welcome => {
                (uplink.is_welcome, uplink.acked_at) = (true, now);
                self.say_all(node, router);
            }
            Answer::Closed => (uplink.connection, uplink.retry_at) = (None, now + wait),
        }
    }

    fn keepalives(&mut self, router: usize) {
        let registry = &self.routers[router].observer.registry;
        let names: Vec<_> = registry.hosts().map(|host| host.name().clone()).collect();
        for name in names {
            let host: u16 = name[1..].parse().expect("hosts are named by number");
            let is_cut = self.now < self.links[&(router, host)].tunnel_cut_until;
            let edge = &mut self.routers[router];
            let missed = edge.missed.entry(host).or_default();
            *missed = if is_cut { *missed + 1 } else { 0 };
            match *missed {
                0 => edge.observer.path(&name, ALIVE, self.now),
                KEEPALIVES_LOST => edge.observer.path(&name, PathReport::Lost, self.now),
                _ => {}
            }
        }
    }

    /// One thing goes wrong, or somebody does something.
    fn fault(&mut self) {
        let host = self.dice.number(1, u64::from(self.hosts)) as u16;
        let node = usize::from(host) - 1;
        let router = self.dice.number(0, 1) as usize;
        let until = self.now + self.dice.ms(200, 4_000);
        let link = self.links.get_mut(&(router, host)).expect("every pair has a link");
        match self.dice.number(0, 16) {
            0 => self.nodes[node].crash(until),
            1 => {
                // The machine dies: nobody reaches it either.
                self.nodes[node].crash(until);
                (0..2).for_each(|router| self.cut(router, host, until, false, true));
            }
            2 => link.control_cut_until = until,
            3 => link.tunnel_cut_until = until,
            4 => self.cut(router, host, until, true, true),
            5..=6 => (1..=self.hosts).for_each(|host| self.cut(router, host, until, true, false)),
            7 => (1..=self.hosts).for_each(|host| self.cut(router, host, until, false, true)),
            8 => (1..=self.hosts).for_each(|host| self.cut(router, host, until, true, true)),
            9..=10 => self.change_services(node),
            11 => self.go_away(node, until),
            12 => self.restart(router),
            13 => self.routers[router].stalled_until = until,
            14 => {
                let services = self.nodes[node].services.clone();
                self.add(Node::new(host, true, services, self.now));
            }
            15 => {
                let key = keys()[self.dice.number(0, 1) as usize];
                self.plan(self.now, Happening::Arrives { router, message: Message::Release { key } });
            }
            _ => self.revoke(host),
        }
    }

    fn cut(&mut self, router: usize, host: u16, until: Instant, control: bool, tunnel: bool) {
        let link = self.links.get_mut(&(router, host)).expect("every pair has a link");
        if control {
            link.control_cut_until = until;
        }
        if tunnel {
            link.tunnel_cut_until = until;
        }
    }

    fn change_services(&mut self, node: usize) {
        let states = [None, Some(HostState::Active), Some(HostState::Draining), Some(HostState::Down)];
        let said = keys().map(|key| (key, states[self.dice.number(0, 3) as usize]));
        self.nodes[node].services = said.into_iter().filter_map(|(key, state)| Some((key, state?))).collect();
        (0..2).for_each(|router| self.say_all(node, router));
    }

    fn go_away(&mut self, node: usize, until: Instant) {
        for router in 0..2 {
            if let Some(connection) = self.nodes[node].uplinks[router].connection {
                let message = if self.dice.percent(70) {
                    Message::Withdraw { connection }
                } else {
                    Message::Close { connection }
                };
                self.send_stream(node, router, message);
            }
        }
        self.nodes[node].away_until = until;
        self.nodes[node].forget_connections(until);
    }

    fn restart(&mut self, router: usize) {
        let edge = &mut self.routers[router];
        if edge.stalled_until > self.now {
            return;
        }
        edge.observer.restart(self.now);
        edge.missed.clear();
        let connections: Vec<_> = std::mem::take(&mut edge.open).into_iter().collect();
        for (connection, (node, _)) in connections {
            // Some hear of it, others find out.
            if self.dice.percent(50) {
                self.send_answer(router, node, connection, Answer::Closed);
            }
        }
    }

    fn revoke(&mut self, host: u16) {
        // Rarely, or nobody would be left.
        if !self.dice.percent(30) {
            return;
        }
        self.revoked.insert(host);
        for router in 0..2 {
            self.plan(self.now, Happening::Arrives { router, message: Message::Revoke { host } });
        }
    }

    /// All is well from now on: links, processes, and one node for a name.
    fn heal(&mut self) {
        self.is_healed = true;
        let now = self.now;
        self.links.values_mut().for_each(|link| link.heal(now));
        for router in &mut self.routers {
            router.stalled_until = router.stalled_until.min(now);
        }
        for node in &mut self.nodes {
            node.dead_until = node.dead_until.min(now);
            node.away_until = node.away_until.min(now);
            if node.is_clone {
                node.dead_until = now + ms(3_600_000);
            }
        }
        // What a second node still had under way, it takes along: a cut link would deliver it seconds from now.
        let nodes = &self.nodes;
        self.queue.retain(|_, happening| match happening {
            Happening::Arrives { message: Message::Hello { node, .. }, .. } => !nodes[*node].is_clone,
            _ => true,
        });
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
