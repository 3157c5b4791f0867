//! A router's edge: it hands messages to its registry, answers, sends keepalives, and closes what is to be closed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use slr_session::registry::{Cause, ConnectionId, PathReport, PathView};

use crate::observer::Observer;
use crate::registry_support::{ALIVE, hello, identity};
use crate::world::{Answer, Message, World};

/// Keepalives in a row without an answer, after which a path is in doubt, and lost.
const KEEPALIVES_DOUBTED: u32 = 3;
const KEEPALIVES_LOST: u32 = 14;
const KEEPALIVE_INTERVAL: Duration = Duration::from_millis(400);
/// A path that has not answered is asked this often.
pub const KEEPALIVE_TURN: Duration = Duration::from_millis(50);
/// A router that hears nothing on a connection for this long gives it up.
const IDLE: Duration = Duration::from_millis(5_000);

/// A router's edge.
pub struct Router {
    pub observer: Observer,
    /// Until when the process does not run; messages wait.
    pub stalled_until: Instant,
    pub waiting: Vec<Message>,
    /// Connections that are open here: the node, and when something came last.
    pub open: BTreeMap<ConnectionId, (usize, Instant)>,
    pub probing: BTreeMap<u16, Probing>,
}

/// A host's keepalives.
pub struct Probing {
    /// When the next one of the interval is due.
    next: Instant,
    /// In a row without an answer.
    missed: u32,
}

impl World {
    /// The router's edge takes a message.
    pub fn receive(&mut self, router: usize, message: Message) {
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
    pub fn close_unwanted(&mut self, router: usize) {
        for connection in std::mem::take(&mut self.routers[router].observer.to_close) {
            if let Some((node, _)) = self.routers[router].open.remove(&connection) {
                self.send_answer(router, node, connection, Answer::Closed);
                self.routers[router].observer.connection_lost(connection, self.now);
            }
        }
    }

    pub fn close_idle(&mut self, router: usize) {
        let edge = &mut self.routers[router];
        let idle: Vec<_> =
            edge.open.iter().filter(|(_, (_, heard_at))| self.now > *heard_at + IDLE).map(|(id, _)| *id).collect();
        for connection in idle {
            edge.open.remove(&connection);
            edge.observer.connection_lost(connection, self.now);
        }
    }

    /// Sends the asks that the registry wants sent.
    pub fn ask_wanted(&mut self, router: usize) {
        for connection in std::mem::take(&mut self.routers[router].observer.to_ask) {
            if let Some((node, _)) = self.routers[router].open.get(&connection).copied() {
                self.send_answer(router, node, connection, Answer::Ask);
            }
        }
    }

    /// One turn of all keepalives: those of the interval, and those that insist.
    pub fn keepalives(&mut self, router: usize) {
        let registry = &self.routers[router].observer.registry;
        let names: Vec<_> = registry.hosts().map(|host| (host.name().clone(), host.path())).collect();
        for (name, path) in names {
            let host: u16 = name[1..].parse().expect("hosts are named by number");
            let link = self.links[&(router, host)];
            let (now, phase) = (self.now, self.dice.ms(0, 350));
            let edge = &mut self.routers[router];
            let probing = edge.probing.entry(host).or_insert(Probing { next: now + phase, missed: 0 });
            let insists = probing.missed > 0 && !matches!(path, PathView::Lost { .. });
            if now < probing.next && !insists {
                continue;
            }
            if now >= probing.next {
                probing.next += KEEPALIVE_INTERVAL;
            }
            let is_answered = now >= link.tunnel_cut_until && !(0..2).any(|_| self.dice.percent(link.loss));
            let was_missed = probing.missed;
            probing.missed = if is_answered { 0 } else { was_missed + 1 };
            let is_alive = matches!(path, PathView::Alive { .. });
            let report = match probing.missed {
                0 if was_missed >= KEEPALIVES_DOUBTED || !is_alive => ALIVE,
                KEEPALIVES_DOUBTED => PathReport::Doubted,
                KEEPALIVES_LOST => PathReport::Lost,
                _ => continue,
            };
            edge.observer.path(&name, report, now);
        }
        self.ask_wanted(router);
    }
}
