//! A router's edge: it hands messages to its registry, answers, sends keepalives, and closes what is to be closed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use slr_session::registry::{Cause, ConnectionId, PathReport};

use crate::observer::Observer;
use crate::registry_support::{ALIVE, hello, identity};
use crate::world::{Answer, Message, World};

/// Keepalives in a row without an answer, after which a path is lost.
const KEEPALIVES_LOST: u32 = 5;
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_millis(200);
/// A router that hears nothing on a connection for this long gives it up.
const IDLE: Duration = Duration::from_millis(2_500);

/// A router's edge.
pub struct Router {
    pub observer: Observer,
    /// Until when the process does not run; messages wait.
    pub stalled_until: Instant,
    pub waiting: Vec<Message>,
    /// Connections that are open here: the node, and when something came last.
    pub open: BTreeMap<ConnectionId, (usize, Instant)>,
    /// By host, keepalives in a row without an answer.
    pub missed: BTreeMap<u16, u32>,
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

    pub fn keepalives(&mut self, router: usize) {
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
}
