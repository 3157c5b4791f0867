//! A registry with a clock in hand, and hosts that say what they are told to.
#![allow(dead_code, reason = "each test program uses its part")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use slr_model::{Advert, HostState, Identity, Loads, Role, ServiceAdvert, ServiceKey, Weight};
use slr_session::registry::{
    Admitted, ConnectionId, Event, Hello, PathReport, Refusal, Registry, ServiceState, SessionId, Settings,
};

pub const ALIVE: PathReport = PathReport::Alive { rtt_us: 250, loss: 0.0 };

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub fn key(text: &str) -> ServiceKey {
    text.parse().unwrap()
}

pub fn web() -> ServiceKey {
    key("tcp/80@192.0.2.0/24")
}

/// What the certificate of host `n` says.
pub fn identity(n: u16) -> Identity {
    Identity {
        trust_domain: "example.net".to_owned(),
        role: Role::Host,
        name: format!("h{n}").parse().unwrap(),
        tunnels: vec![
            format!("10.1.{}.{}/32", n / 250, n % 250 + 1).parse().unwrap(),
            format!("2001:db8:1::{n:x}/128").parse().unwrap(),
        ],
        subnets: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8:2::/64".parse().unwrap()],
    }
}

/// A hello of host `n`, with both its tunnel addresses.
pub fn hello(n: u16, incarnation: u64, session: u64) -> Hello {
    Hello {
        session: SessionId { incarnation, session },
        version: "1.0".to_owned(),
        tunnels: identity(n).tunnels.iter().map(|net| net.addr()).collect(),
        source_prefixes: Vec::new(),
        answers_asks: true,
        remote: format!("10.1.{}.{}:50000", n / 250, n % 250 + 1).parse().unwrap(),
    }
}

pub fn service(key: ServiceKey, state: HostState) -> ServiceAdvert {
    ServiceAdvert { key, state, reason: String::new(), loads: Loads::new(), flows: 0, weight: Weight::default() }
}

pub fn advert(services: &[(ServiceKey, HostState)]) -> Advert {
    Advert { loads: Loads::new(), services: services.iter().map(|&(key, state)| service(key, state)).collect() }
}

/// A registry, the time, and how far each host's numbers have come.
pub struct Bench {
    pub registry: Registry,
    pub now: Instant,
    pub connections: BTreeMap<u16, ConnectionId>,
    pub numbers: u64,
    /// What each host said last: so it answers asks.
    pub said: BTreeMap<u16, Vec<(ServiceKey, HostState)>>,
    /// Hosts that answer none.
    pub deaf: BTreeSet<u16>,
    /// Events that were looked through for asks.
    events: Vec<Event>,
}

impl Bench {
    pub fn new(settings: Settings) -> Self {
        Self {
            registry: Registry::new(settings),
            now: Instant::now(),
            connections: BTreeMap::new(),
            numbers: 0,
            said: BTreeMap::new(),
            deaf: BTreeSet::new(),
            events: Vec::new(),
        }
    }

    pub fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Lets time pass, with every timer at its time.
    pub fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.answer();
        while let Some(at) = self.registry.poll_timeout().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.registry.handle_timeout(self.now);
            self.answer();
        }
        self.now = end;
    }

    /// Hosts that are asked say what they said before.
    fn answer(&mut self) {
        while let Some(event) = self.registry.poll_event() {
            let Event::Ask { connection } = event else {
                self.events.push(event);
                continue;
            };
            let is_there = self.registry.owner(connection).is_some();
            let asked = self.connections.iter().find(|(_, known)| **known == connection).map(|(&n, _)| n);
            if let Some((n, said)) = asked.and_then(|n| Some((n, self.said.get(&n)?.clone())))
                && is_there
                && !self.deaf.contains(&n)
            {
                self.advertise_all(n, &said);
            }
        }
    }

    /// Lets time pass while these hosts advert every 100 ms.
    pub fn wait_hearing(&mut self, duration: Duration, hosts: &[u16]) {
        let end = self.now + duration;
        while self.now < end {
            for &n in hosts {
                self.advertise(n, HostState::Active);
            }
            self.wait(ms(100).min(end - self.now));
        }
    }

    pub fn welcome(&mut self, identity: Identity, hello: Hello) -> Result<(ConnectionId, Admitted), Refusal> {
        let connection = ConnectionId(self.number());
        self.registry.welcome(identity, hello, connection, self.now).map(|admitted| (connection, admitted))
    }

    /// Host `n` connects, as a later session than any before.
    pub fn connect(&mut self, n: u16) -> ConnectionId {
        let session = self.number();
        let (connection, _) = self.welcome(identity(n), hello(n, 1, session)).unwrap();
        self.connections.insert(n, connection);
        connection
    }

    /// Host `n` adverts the web service, all it has, connecting first if it must.
    pub fn advertise(&mut self, n: u16, state: HostState) {
        self.advertise_all(n, &[(web(), state)]);
    }

    pub fn advertise_all(&mut self, n: u16, services: &[(ServiceKey, HostState)]) {
        let connection = match self.connections.get(&n) {
            Some(&connection) if self.registry.owner(connection).is_some() => connection,
            _ => self.connect(n),
        };
        self.said.insert(n, services.to_vec());
        let sequence = self.number();
        self.registry.advert(connection, sequence, true, advert(services), self.now).unwrap();
    }

    pub fn path(&mut self, n: u16, report: PathReport) {
        self.registry.path(&identity(n).name, report, self.now);
    }

    /// Host `n`, active and reached.
    pub fn start(&mut self, n: u16) {
        self.connect(n);
        self.path(n, ALIVE);
        self.advertise(n, HostState::Active);
    }

    pub fn disconnect(&mut self, n: u16) {
        if let Some(connection) = self.connections.remove(&n) {
            self.registry.connection_lost(connection, "test", self.now);
        }
    }

    pub fn state_of(&self, n: u16, key: &ServiceKey) -> ServiceState {
        let host = self.registry.host(&identity(n).name);
        host.and_then(|host| host.service(key)).map_or(ServiceState::Removed, |service| service.state())
    }

    pub fn state(&self, n: u16) -> ServiceState {
        self.state_of(n, &web())
    }

    pub fn is_held(&self, n: u16) -> bool {
        let host = self.registry.host(&identity(n).name);
        host.and_then(|host| host.service(&web())).is_some_and(|service| service.is_held())
    }

    pub fn events(&mut self) -> Vec<Event> {
        self.answer();
        std::mem::take(&mut self.events)
    }

    /// The same hosts in a new process, from what the old one wrote down.
    pub fn restart(&mut self) {
        let text = serde_json::to_string(&self.registry.snapshot(self.now)).unwrap();
        let settings = self.registry.settings().clone();
        self.registry = Registry::new(settings);
        self.connections.clear();
        let adopted = self.registry.adopt(serde_json::from_str(&text).unwrap(), self.now);
        assert_eq!(adopted.skipped, Vec::<String>::new());
    }
}
