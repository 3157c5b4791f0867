//! What a router writes down for the next one, so that a restart is no event for its hosts.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use slr_model::{HostState, Loads, NodeName, Role, ServiceAdvert, ServiceKey, Weight};

use super::hosts::{Contact, Host, Index, Path, Service};
use super::timers::Timer;
use super::{AlarmKey, Cause, HOSTS_MAX, Reason, Registry, SERVICES_MAX, ServiceState, SessionId, event};

/// Every host of a registry at one moment. Ages are counted to that moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// By name.
    pub hosts: Vec<HostSnapshot>,
}

/// A host of a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostSnapshot {
    /// Its name.
    pub name: NodeName,
    /// What it is.
    pub role: Role,
    /// Its last session.
    pub session: SessionId,
    /// Version of its software.
    pub version: String,
    /// Where it takes tunnels.
    pub tunnels: Vec<IpAddr>,
    /// Prefixes from which it sends tunnels.
    pub source_prefixes: Vec<IpNet>,
    /// Whether its tunnel has answered and did at that moment; `None`: it has not answered yet.
    pub is_reached: Option<bool>,
    /// For how long it was known not to be heard.
    pub away_ms: Option<u64>,
    /// Load values of the node.
    pub loads: Loads,
    /// Its services, by key.
    pub services: Vec<ServiceSnapshot>,
}

/// A service of a host of a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceSnapshot {
    /// Which.
    pub key: ServiceKey,
    /// What the host said.
    pub said: HostState,
    /// Its words.
    pub said_reason: String,
    /// Whether it was not heard after that.
    pub unheard: bool,
    /// Whether it was held.
    pub held: bool,
    /// The state.
    pub state: ServiceState,
    /// Why.
    pub cause: Cause,
    /// In whose words.
    pub detail: String,
    /// For how long.
    pub since_ms: u64,
    /// How long ago it came back, for the ramp of its share.
    pub returned_ms: Option<u64>,
    /// Load values of the service.
    pub loads: Loads,
    /// Connections.
    pub flows: u64,
    /// Configured share.
    pub weight: Weight,
}

/// What became of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Hosts that were taken over.
    pub hosts: usize,
    /// Hosts that were not, each with the reason.
    pub skipped: Vec<String>,
}

impl Registry {
    /// What the next process needs to go on.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        Snapshot { hosts: self.hosts.iter().map(|(_, host)| snapshot_host(host, now)).collect() }
    }

    /// Takes over the hosts of a snapshot. Each begins as it was, and those that were heard have
    /// [`super::Settings::adopt_hold`] to come back. Call it before the first welcome: a host that is known already is left as
    /// it is.
    pub fn adopt(&mut self, snapshot: Snapshot, now: Instant) -> Adopted {
        let mut adopted = Adopted::default();
        for host in snapshot.hosts {
            match self.check_adoptable(&host) {
                Ok(()) => {
                    self.adopt_host(host, now);
                    adopted.hosts += 1;
                }
                Err(why) => adopted.skipped.push(format!("{}: {why}", host.name)),
            }
        }
        self.alarm_held(now);
        self.generation += 1;
        adopted
    }

    fn check_adoptable(&self, host: &HostSnapshot) -> Result<(), &'static str> {
        if self.hosts.find(&host.name).is_some() {
            return Err("a host of that name is registered already");
        }
        if host.tunnels.is_empty() || host.tunnels.iter().any(|&address| self.hosts.of_tunnel(address).is_some()) {
            return Err("it has no tunnel address of its own");
        }
        if self.hosts.len() >= HOSTS_MAX || host.services.len() > SERVICES_MAX {
            return Err("there is no room for it");
        }
        if host.services.windows(2).any(|pair| pair[0].key >= pair[1].key) {
            return Err("its services are not in order");
        }
        Ok(())
    }

    fn adopt_host(&mut self, from: HostSnapshot, now: Instant) {
        let mut host = Host::new(from.name, from.role);
        host.session = from.session;
        host.version = from.version;
        host.tunnels = from.tunnels;
        host.source_prefixes = from.source_prefixes;
        host.loads = from.loads;
        host.path = match from.is_reached {
            None => Path::Unknown,
            Some(true) => Path::Assumed,
            Some(false) => Path::Lost { since: now },
        };
        host.path_lost = from.is_reached == Some(false);
        let why: Box<str> = "this router was started again".into();
        let away_since = from.away_ms.map(|ms| before(now, ms));
        host.contact = Contact::Lost { since: away_since.unwrap_or(now), why };
        host.settled_at = away_since;
        host.is_adopted = away_since.is_none();
        host.window = host.is_adopted.then(|| now + self.settings.adopt_hold);
        host.services = from.services.into_iter().map(|service| adopt_service(service, now)).collect();
        let (window, away_since) = (host.window, host.settled_at);
        let index = self.hosts.insert(host);
        if let Some(until) = window {
            self.timers.set(Timer::Window(index), until);
        }
        if let Some(away_since) = away_since {
            self.timers.set(Timer::Forget(index), away_since + self.settings.forget_after);
        }
        self.index_adopted(index);
    }

    fn index_adopted(&mut self, index: Index) {
        let host = self.hosts.get(index);
        for service in &host.services {
            let members = self.members.entry(service.key).or_default();
            members.hosts.insert(host.name.clone(), index);
            members.active += usize::from(service.state == ServiceState::Active);
            members.held += usize::from(service.held);
        }
    }

    /// Raises the alarms again that the last process had raised about held hosts.
    fn alarm_held(&mut self, now: Instant) {
        let keys: Vec<ServiceKey> =
            self.members.iter().filter(|(_, members)| members.is_held()).map(|(key, _)| *key).collect();
        for key in keys {
            let names: Vec<NodeName> = self.held_names(&key);
            let text = format!(
                "{} hosts of {key} were held when this router was started again ({}): they keep their place and their \
                 flows; release {key} if they are really gone",
                names.len(),
                event::list(&names),
            );
            self.raise(AlarmKey::Vanish(key), names, text, now);
            self.review_hold(&key, now);
        }
    }
}

fn snapshot_host(host: &Host, now: Instant) -> HostSnapshot {
    let is_away = !host.is_heard() && host.window.is_none();
    HostSnapshot {
        name: host.name.clone(),
        role: host.role,
        session: host.session,
        version: host.version.clone(),
        tunnels: host.tunnels.clone(),
        source_prefixes: host.source_prefixes.clone(),
        is_reached: match host.path {
            Path::Unknown => None,
            // A fresh loss counts as before, here as elsewhere.
            _ => Some(!host.path_lost),
        },
        away_ms: host.settled_at.filter(|_| is_away).map(|since| age_ms(since, now)),
        loads: host.loads.clone(),
        services: host.services.iter().map(|service| snapshot_service(service, now)).collect(),
    }
}

fn snapshot_service(service: &Service, now: Instant) -> ServiceSnapshot {
    ServiceSnapshot {
        key: service.key,
        said: service.said,
        said_reason: service.said_reason.to_string(),
        unheard: service.unheard,
        held: service.held,
        state: service.state,
        cause: service.reason.cause,
        detail: service.reason.detail.to_string(),
        since_ms: age_ms(service.since, now),
        returned_ms: service.returned_at.map(|at| age_ms(at, now)),
        loads: service.loads.clone(),
        flows: service.flows,
        weight: service.weight,
    }
}

fn adopt_service(from: ServiceSnapshot, now: Instant) -> Service {
    let advert = ServiceAdvert {
        key: from.key,
        state: from.said,
        reason: from.said_reason,
        loads: from.loads,
        flows: from.flows,
        weight: from.weight,
    };
    let mut service = Service::new(advert, 0, now);
    service.sequence = None;
    service.unheard = from.unheard;
    // What is held has a place; nothing else in the file may say so.
    service.held = from.held && from.said.takes_new_flows();
    service.state = if service.held { ServiceState::Active } else { from.state };
    service.reason = Reason::new(from.cause, from.detail);
    service.since = before(now, from.since_ms);
    service.returned_at = from.returned_ms.map(|ms| before(now, ms));
    service
}

fn age_ms(since: Instant, now: Instant) -> u64 {
    now.saturating_duration_since(since).as_millis() as u64
}

/// So long before, or as long as the clock goes back.
fn before(now: Instant, ms: u64) -> Instant {
    now.checked_sub(Duration::from_millis(ms)).unwrap_or(now)
}
