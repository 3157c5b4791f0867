//! What is kept of each host, and the ways to find one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use ipnet::IpNet;
use slr_model::{HostState, Identity, Loads, NodeName, Role, ServiceAdvert, ServiceKey, Weight};

use super::state::{Evidence, PathBelief};
use super::{ConnectionId, Reason, ServiceState, SessionId};

/// A host's place in the table. Small numbers that are used again, local to one registry.
pub(super) type Index = u32;

/// The connection that owns a name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connection {
    pub id: ConnectionId,
    pub remote: SocketAddr,
    pub since: Instant,
}

/// Whether adverts come.
#[derive(Clone, Debug)]
pub(super) enum Contact {
    /// They do, or the first is awaited.
    Heard,
    /// They do not, since then and for that reason.
    Lost { since: Instant, why: Box<str> },
}

/// What the keepalives say of the tunnel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Path {
    /// Nothing yet.
    Unknown,
    /// Nothing yet since the restart, before which it answered.
    Assumed,
    /// It answers.
    Alive { since: Instant, rtt_us: u32, loss: f64 },
    /// It does not.
    Lost { since: Instant },
}

/// One service of a host.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub key: ServiceKey,
    pub said: HostState,
    /// The host's words for that.
    pub said_reason: Box<str>,
    /// Number of the advert that said so, on the connection that there is; `None`: an earlier connection's.
    pub sequence: Option<u64>,
    /// Whether contact was lost, the window over, and its host has not stood by it since.
    pub unheard: bool,
    pub held: bool,
    pub state: ServiceState,
    pub since: Instant,
    pub reason: Reason,
    pub loads: Loads,
    pub flows: u64,
    pub weight: Weight,
    pub returned_at: Option<Instant>,
}

impl Service {
    /// A service that is said for the first time and not judged yet.
    pub fn new(advert: ServiceAdvert, sequence: u64, now: Instant) -> Self {
        Self {
            key: advert.key,
            said: advert.state,
            said_reason: advert.reason.into(),
            sequence: Some(sequence),
            unheard: false,
            held: false,
            state: ServiceState::Removed,
            since: now,
            reason: Reason::new(super::Cause::Said, ""),
            loads: advert.loads,
            flows: advert.flows,
            weight: advert.weight,
            returned_at: None,
        }
    }
}

/// One host, or SLR of the tier below.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub name: NodeName,
    pub role: Role,
    /// What its certificate says; `None` until an adopted host is back.
    pub identity: Option<Identity>,
    pub session: SessionId,
    pub version: String,
    pub tunnels: Vec<IpAddr>,
    pub source_prefixes: Vec<IpNet>,
    pub connection: Option<Connection>,
    pub heard_at: Option<Instant>,
    /// When contact is lost if nothing is heard until then.
    pub silent_at: Option<Instant>,
    /// Whether it answers asks, and how many it was sent since it was heard.
    pub answers_asks: bool,
    pub asks: u32,
    pub contact: Contact,
    pub path: Path,
    /// Whether the last keepalives have no answer, and it is not yet decided what that means.
    pub is_path_doubted: bool,
    /// Whether the path is lost and the window over.
    pub path_lost: bool,
    /// Set while a loss is fresh: until then everything counts as before.
    pub window: Option<Instant>,
    /// Whether that window was made longer to see what becomes of others.
    pub is_extended: bool,
    /// When a window last ended with something lost that still is.
    pub settled_at: Option<Instant>,
    /// From a snapshot, and not heard since.
    pub is_adopted: bool,
    /// Of the newest advert on this connection, and of the newest whole one.
    pub sequence: u64,
    pub full_sequence: u64,
    pub loads: Loads,
    /// By key.
    pub services: Vec<Service>,
    /// Services that it may not advertise and was told so.
    pub refused: BTreeSet<ServiceKey>,
}

impl Host {
    /// A host of this name of which nothing else is known.
    pub fn new(name: NodeName, role: Role) -> Self {
        Self {
            name,
            role,
            identity: None,
            session: SessionId::default(),
            version: String::new(),
            tunnels: Vec::new(),
            source_prefixes: Vec::new(),
            connection: None,
            heard_at: None,
            silent_at: None,
            answers_asks: false,
            asks: 0,
            contact: Contact::Heard,
            path: Path::Unknown,
            is_path_doubted: false,
            path_lost: false,
            window: None,
            is_extended: false,
            settled_at: None,
            is_adopted: false,
            sequence: 0,
            full_sequence: 0,
            loads: Loads::new(),
            services: Vec::new(),
            refused: BTreeSet::new(),
        }
    }

    pub fn is_heard(&self) -> bool {
        matches!(self.contact, Contact::Heard)
    }

    /// Whether contact or path is lost at this moment, believed or not.
    pub fn is_troubled(&self) -> bool {
        !self.is_heard() || matches!(self.path, Path::Lost { .. })
    }

    /// Whether its tunnel answers, as far as is known.
    pub fn is_path_well(&self) -> bool {
        !self.is_path_doubted && !matches!(self.path, Path::Lost { .. })
    }

    /// The connection on which it can be asked for an advert.
    pub fn askable(&self) -> Option<ConnectionId> {
        self.connection.filter(|_| self.answers_asks).map(|connection| connection.id)
    }

    /// Whether nobody speaks for the name, and that is not new: another may have it.
    pub fn is_away(&self) -> bool {
        self.connection.is_none() && !self.is_heard() && self.window.is_none()
    }

    /// What decides the service's state, but for what the service's other hosts tell.
    pub fn evidence(&self, service: &Service, await_path: bool, doubted: bool) -> Evidence {
        let path = match self.path {
            _ if self.path_lost => PathBelief::Lost,
            // Fresh losses are not believed; a path that never answered has nothing to lose.
            Path::Unknown if await_path => PathBelief::Awaited,
            _ => PathBelief::Good,
        };
        Evidence { said: service.said, unheard: service.unheard, path, held: service.held, doubted }
    }

    /// Whether the certificate lets it advertise the service.
    pub fn may_serve(&self, key: &ServiceKey) -> bool {
        let Some(identity) = &self.identity else { return false };
        identity.subnets.iter().any(|allowed| allowed.net().contains(&key.subnet.net()))
    }
}

/// All hosts.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosts {
    slots: Vec<Option<Host>>,
    free: Vec<Index>,
    names: BTreeMap<NodeName, Index>,
    tunnels: BTreeMap<IpAddr, Index>,
    connections: BTreeMap<ConnectionId, Index>,
}

impl Hosts {
    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn find(&self, name: &str) -> Option<Index> {
        self.names.get(name).copied()
    }

    pub fn of_connection(&self, connection: ConnectionId) -> Option<Index> {
        self.connections.get(&connection).copied()
    }

    pub fn of_tunnel(&self, address: IpAddr) -> Option<Index> {
        self.tunnels.get(&address).copied()
    }

    /// Every host, by name.
    pub fn iter(&self) -> impl Iterator<Item = (Index, &Host)> {
        self.names.values().map(|&index| (index, self.get(index)))
    }

    /// Every index, by name.
    pub fn indices(&self) -> Vec<Index> {
        self.names.values().copied().collect()
    }

    pub fn get(&self, index: Index) -> &Host {
        self.slots[index as usize].as_ref().expect("an index is forgotten before its host is")
    }

    pub fn get_mut(&mut self, index: Index) -> &mut Host {
        self.slots[index as usize].as_mut().expect("an index is forgotten before its host is")
    }

    /// Puts the host in, under its name.
    pub fn insert(&mut self, host: Host) -> Index {
        let index = self.free.pop().unwrap_or(self.slots.len() as Index);
        if index as usize == self.slots.len() {
            self.slots.push(None);
        }
        self.names.insert(host.name.clone(), index);
        self.tunnels.extend(host.tunnels.iter().map(|&address| (address, index)));
        self.slots[index as usize] = Some(host);
        index
    }

    /// Takes the host out, with every way to find it.
    pub fn remove(&mut self, index: Index) -> Host {
        let host = self.slots[index as usize].take().expect("an index is forgotten before its host is");
        self.free.push(index);
        self.names.remove(&host.name);
        for address in &host.tunnels {
            self.tunnels.remove(address);
        }
        if let Some(connection) = host.connection {
            self.connections.remove(&connection.id);
        }
        host
    }

    /// Gives the host these tunnel addresses.
    pub fn set_tunnels(&mut self, index: Index, addresses: Vec<IpAddr>) {
        for address in std::mem::take(&mut self.get_mut(index).tunnels) {
            self.tunnels.remove(&address);
        }
        self.tunnels.extend(addresses.iter().map(|&address| (address, index)));
        self.get_mut(index).tunnels = addresses;
    }

    /// Gives the name to this connection, or to none; returns the one that had it.
    pub fn set_connection(&mut self, index: Index, connection: Option<Connection>) -> Option<Connection> {
        if let Some(new) = connection {
            self.connections.insert(new.id, index);
        }
        let before = std::mem::replace(&mut self.get_mut(index).connection, connection);
        if let Some(old) = before {
            self.connections.remove(&old.id);
        }
        before
    }
}
