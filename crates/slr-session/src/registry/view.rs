//! What is known of hosts and services, for placement, for `show`, for metrics.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use ipnet::IpNet;
use slr_model::{HostState, Identity, Loads, NodeName, Role, ServiceKey, Weight};

use super::hosts::{Contact, Host, Path, Service};
use super::{ConnectionId, Reason, Registry, ServiceState, SessionId};

/// Whether a host is heard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ContactView<'a> {
    /// Adverts come, or the first is awaited.
    Heard,
    /// They do not, and until then everything counts as before.
    Fading {
        /// Since when.
        since: Instant,
        /// Until when.
        until: Instant,
        /// Why.
        why: &'a str,
    },
    /// The host is from a snapshot and has until then to come back.
    Adopted {
        /// Until when.
        until: Instant,
    },
    /// It is not.
    Silent {
        /// Since when.
        since: Instant,
        /// Why.
        why: &'a str,
    },
}

/// Whether a host's tunnel answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PathView {
    /// Nothing is known yet.
    Unknown,
    /// It did before this router was started again.
    Assumed,
    /// It does.
    Alive {
        /// Since when.
        since: Instant,
        /// Round trip, in microseconds.
        rtt_us: u32,
        /// Share of keepalives without an answer, 0 to 1.
        loss: f64,
    },
    /// It does not.
    Lost {
        /// Since when.
        since: Instant,
        /// Whether that counts already.
        is_settled: bool,
    },
}

/// A host, as it is known.
#[derive(Clone, Copy, Debug)]
pub struct HostView<'a>(&'a Host);

/// A service of a host, as it is known.
#[derive(Clone, Copy, Debug)]
pub struct ServiceView<'a>(&'a Service);

impl Registry {
    /// How many hosts are known.
    pub fn hosts_len(&self) -> usize {
        self.hosts.len()
    }

    /// Every host, by name.
    pub fn hosts(&self) -> impl Iterator<Item = HostView<'_>> {
        self.hosts.iter().map(|(_, host)| HostView(host))
    }

    /// The host of that name.
    pub fn host(&self, name: &str) -> Option<HostView<'_>> {
        self.hosts.find(name).map(|index| HostView(self.hosts.get(index)))
    }

    /// The host that owns the connection.
    pub fn owner(&self, connection: ConnectionId) -> Option<HostView<'_>> {
        self.hosts.of_connection(connection).map(|index| HostView(self.hosts.get(index)))
    }

    /// Every service that some host has, by key.
    pub fn services(&self) -> impl Iterator<Item = ServiceKey> {
        self.members.keys().copied()
    }

    /// The hosts of a service, by name.
    pub fn service(&self, key: &ServiceKey) -> impl Iterator<Item = (HostView<'_>, ServiceView<'_>)> {
        let indices = self.members.get(key).into_iter().flat_map(|members| members.hosts.values());
        indices.filter_map(|&index| {
            let service = &self.hosts.get(index).services[self.find_service(index, key)?];
            Some((HostView(self.hosts.get(index)), ServiceView(service)))
        })
    }

    /// The held hosts of a service, by name.
    pub fn held_names(&self, key: &ServiceKey) -> Vec<NodeName> {
        self.service(key).filter(|(_, service)| service.is_held()).map(|(host, _)| host.name().clone()).collect()
    }
}

impl<'a> HostView<'a> {
    /// Its name.
    pub fn name(&self) -> &'a NodeName {
        &self.0.name
    }

    /// What it is.
    pub fn role(&self) -> Role {
        self.0.role
    }

    /// What its certificate says; `None` for an adopted host that is not back.
    pub fn identity(&self) -> Option<&'a Identity> {
        self.0.identity.as_ref()
    }

    /// Its last session.
    pub fn session(&self) -> SessionId {
        self.0.session
    }

    /// Version of its software.
    pub fn version(&self) -> &'a str {
        &self.0.version
    }

    /// Where it takes tunnels.
    pub fn tunnels(&self) -> &'a [IpAddr] {
        &self.0.tunnels
    }

    /// Prefixes from which it sends tunnels.
    pub fn source_prefixes(&self) -> &'a [IpNet] {
        &self.0.source_prefixes
    }

    /// The connection that owns its name, where it comes from, since when.
    pub fn connection(&self) -> Option<(ConnectionId, SocketAddr, Instant)> {
        self.0.connection.map(|connection| (connection.id, connection.remote, connection.since))
    }

    /// When its last advert came.
    pub fn heard_at(&self) -> Option<Instant> {
        self.0.heard_at
    }

    /// Whether it is heard.
    pub fn contact(&self) -> ContactView<'a> {
        match (&self.0.contact, self.0.window) {
            (Contact::Heard, _) => ContactView::Heard,
            (Contact::Lost { .. }, Some(until)) if self.0.is_adopted => ContactView::Adopted { until },
            (Contact::Lost { since, why }, Some(until)) if self.0.settled_at.is_none() => {
                ContactView::Fading { since: *since, until, why }
            }
            (Contact::Lost { since, why }, _) => ContactView::Silent { since: *since, why },
        }
    }

    /// Whether its tunnel has not answered the last keepalives, and is not lost for that yet.
    pub fn is_path_doubted(&self) -> bool {
        self.0.is_path_doubted
    }

    /// Whether its tunnel answers.
    pub fn path(&self) -> PathView {
        match self.0.path {
            Path::Unknown => PathView::Unknown,
            Path::Assumed => PathView::Assumed,
            Path::Alive { since, rtt_us, loss } => PathView::Alive { since, rtt_us, loss },
            Path::Lost { since } => PathView::Lost { since, is_settled: self.0.path_lost },
        }
    }

    /// Load values of the node as a whole.
    pub fn loads(&self) -> &'a Loads {
        &self.0.loads
    }

    /// Its services, by key.
    pub fn services(&self) -> impl Iterator<Item = ServiceView<'a>> + use<'a> {
        self.0.services.iter().map(ServiceView)
    }

    /// Its service of that key.
    pub fn service(&self, key: &ServiceKey) -> Option<ServiceView<'a>> {
        let at = self.0.services.binary_search_by(|service| service.key.cmp(key)).ok()?;
        Some(ServiceView(&self.0.services[at]))
    }
}

impl<'a> ServiceView<'a> {
    /// Which.
    pub fn key(&self) -> &'a ServiceKey {
        &self.0.key
    }

    /// Its state.
    pub fn state(&self) -> ServiceState {
        self.0.state
    }

    /// Since when.
    pub fn since(&self) -> Instant {
        self.0.since
    }

    /// Why.
    pub fn reason(&self) -> &'a Reason {
        &self.0.reason
    }

    /// What the host said last, which is not what it is when it is silent.
    pub fn said(&self) -> HostState {
        self.0.said
    }

    /// Whether it keeps its place although it is lost, like most hosts of the service.
    pub fn is_held(&self) -> bool {
        self.0.held
    }

    /// Load values of the service alone; they hide those of the node that have the same name.
    pub fn loads(&self) -> &'a Loads {
        &self.0.loads
    }

    /// Connections it has.
    pub fn flows(&self) -> u64 {
        self.0.flows
    }

    /// Its configured share.
    pub fn weight(&self) -> Weight {
        self.0.weight
    }

    /// When it became active after it was new, silent or down: the beginning of its ramp. A host that was adopted or
    /// only connected again has none.
    pub fn returned_at(&self) -> Option<Instant> {
        self.0.returned_at
    }
}
