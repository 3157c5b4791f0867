//! Random operations against a registry and a model of it: see `registry_support/observer.rs` for what is compared.

#[path = "registry_support/observer.rs"]
mod observer;
mod registry_support;

use std::collections::BTreeMap;
use std::time::Instant;

use observer::Observer;
use proptest::prelude::*;
use registry_support::{ALIVE, advert, hello, identity, key, ms, web};
use slr_model::{HostState, ServiceKey};
use slr_session::registry::{Cause, ConnectionId, PathReport, Settings};

/// Hosts of a run: few enough that most of them vanish at once now and then.
const HOSTS: u16 = 5;

/// Something that happens. Numbers of sessions and adverts are relative to the last one.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Hello {
        host: u16,
        incarnation: i64,
        session: i64,
        elsewhere: bool,
    },
    Advert {
        host: u16,
        old_connection: bool,
        sequence: i64,
        full: bool,
        services: [Option<HostState>; 2],
    },
    Disconnect {
        host: u16,
    },
    Withdraw {
        host: u16,
    },
    Path {
        host: u16,
        report: PathReport,
    },
    Revoke {
        host: u16,
    },
    Release {
        service: usize,
    },
    Wait {
        ms: u64,
    },
    /// All hosts that are connected say what they said before.
    Repeat,
    Restart,
    /// The process does not run for so long.
    Stall {
        ms: u64,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    let host = || 1..=HOSTS;
    let state = || {
        prop_oneof![
            1 => Just(None),
            4 => Just(Some(HostState::Active)),
            1 => Just(Some(HostState::Draining)),
            1 => Just(Some(HostState::Down)),
        ]
    };
    prop_oneof![
        6 => (host(), -1..=1i64, -1..=2i64, proptest::bool::weighted(0.1))
            .prop_map(|(host, incarnation, session, elsewhere)| Operation::Hello { host, incarnation, session, elsewhere }),
        8 => (host(), proptest::bool::weighted(0.1), -2..=2i64, any::<bool>(), [state(), state()])
            .prop_map(|(host, old_connection, sequence, full, services)| {
                Operation::Advert { host, old_connection, sequence, full, services }
            }),
        3 => host().prop_map(|host| Operation::Disconnect { host }),
        1 => host().prop_map(|host| Operation::Withdraw { host }),
        10 => (host(), prop_oneof![5 => Just(ALIVE), 2 => Just(PathReport::Lost), 3 => Just(PathReport::Doubted)])
            .prop_map(|(host, report)| Operation::Path { host, report }),
        1 => host().prop_map(|host| Operation::Revoke { host }),
        1 => (0..2usize).prop_map(|service| Operation::Release { service }),
        8 => prop_oneof![1..=400u64, 400..=1_500u64, 1_500..=20_000u64].prop_map(|ms| Operation::Wait { ms }),
        12 => Just(Operation::Repeat),
        1 => Just(Operation::Restart),
        1 => (300..6_000u64).prop_map(|ms| Operation::Stall { ms }),
    ]
}

/// What a host did last.
#[derive(Default)]
struct Node {
    incarnation: u64,
    session: u64,
    sequence: u64,
    connections: Vec<ConnectionId>,
    services: [Option<HostState>; 2],
}

struct Run {
    observer: Observer,
    nodes: BTreeMap<u16, Node>,
    connections: u64,
    now: Instant,
}

fn keys() -> [ServiceKey; 2] {
    [web(), key("any@2001:db8:2::/64")]
}

fn moved(number: u64, by: i64) -> u64 {
    number.saturating_add_signed(by)
}

impl Run {
    fn new() -> Self {
        let settings = Settings { forget_after: ms(15_000), gone_memory: ms(3_000), ..Settings::default() };
        let mut run =
            Self { observer: Observer::new(settings), nodes: BTreeMap::new(), connections: 0, now: Instant::now() };
        for host in 1..=HOSTS {
            run.nodes.insert(host, Node { incarnation: 5, session: 5, sequence: 5, ..Node::default() });
            run.perform(Operation::Hello { host, incarnation: 0, session: 1, elsewhere: false });
            run.perform(Operation::Path { host, report: ALIVE });
            let services = [Some(HostState::Active); 2];
            run.perform(Operation::Advert { host, old_connection: false, sequence: 1, full: true, services });
        }
        run
    }

    fn perform(&mut self, operation: Operation) {
        let now = self.now;
        match operation {
            Operation::Hello { host, incarnation, session, elsewhere } => {
                self.connections += 1;
                let connection = ConnectionId(self.connections);
                let node = self.nodes.get_mut(&host).unwrap();
                let mut said = hello(host, moved(node.incarnation, incarnation), moved(node.session, session));
                if elsewhere {
                    said.remote = "203.0.113.1:9".parse().unwrap();
                }
                let number = said.session;
                if self.observer.welcome(identity(host), said, connection, now) {
                    (node.incarnation, node.session) = (number.incarnation, number.session);
                    node.sequence = 5;
                    node.connections.push(connection);
                }
            }
            Operation::Advert { host, old_connection, sequence, full, services } => {
                let node = self.nodes.get_mut(&host).unwrap();
                let back = usize::from(old_connection);
                let Some(&connection) = node.connections.iter().rev().nth(back) else { return };
                let number = moved(node.sequence, sequence);
                node.sequence = node.sequence.max(number);
                node.services = services;
                self.observer.advert(connection, number, full, content(services), now);
            }
            Operation::Disconnect { host } => {
                if let Some(&connection) = self.nodes[&host].connections.last() {
                    self.observer.connection_lost(connection, now);
                }
            }
            Operation::Withdraw { host } => {
                if let Some(&connection) = self.nodes[&host].connections.last() {
                    self.observer.withdraw(connection, now);
                }
            }
            Operation::Path { host, report } => self.observer.path(&identity(host).name, report, now),
            Operation::Revoke { host } => self.observer.remove(&identity(host).name, Cause::Revoked, now),
            Operation::Release { service } => self.observer.release_hold(&keys()[service], now),
            Operation::Wait { ms: duration } => {
                self.now += ms(duration);
                self.observer.run_until(self.now);
            }
            Operation::Repeat => {
                for node in self.nodes.values_mut() {
                    let Some(&connection) = node.connections.last() else { continue };
                    node.sequence += 1;
                    self.observer.advert(connection, node.sequence, true, content(node.services), now);
                }
            }
            Operation::Restart => self.observer.restart(now),
            Operation::Stall { ms: duration } => {
                self.now += ms(duration);
                self.observer.handle_timeout(self.now);
            }
        }
    }
}

fn content(services: [Option<HostState>; 2]) -> slr_model::Advert {
    let said = keys().into_iter().zip(services).filter_map(|(key, state)| Some((key, state?)));
    advert(&said.collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_registry_does_what_the_facts_allow(operations in prop::collection::vec(operation(), 1..120)) {
        let mut run = Run::new();
        for operation in operations {
            run.perform(operation);
        }
    }
}

/// An ask for a late advert counts towards giving the host up, whatever good is reported of its path meanwhile.
#[test]
fn asks_are_not_forgotten_when_a_path_that_is_well_is_reported_again() {
    let alive = |host| Operation::Path { host, report: PathReport::Alive { rtt_us: 250, loss: 0.0 } };
    let lost = |host| Operation::Path { host, report: PathReport::Lost };
    let mut run = Run::new();
    for operation in [
        Operation::Stall { ms: 1_500 },
        alive(1),
        Operation::Disconnect { host: 2 },
        lost(1),
        lost(3),
        Operation::Wait { ms: 400 },
        alive(1),
    ] {
        run.perform(operation);
    }
}
