//! The control plane's edge: certificates, connections, keepalives. It carries what is said to the daemon's loop, and what
//! the loop answers back; it decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use ipnet::IpNet;
use slr_control::{ChildLink, EndpointSettings, Hub, HubEvent, HubSettings, LinkEvent, Target, Trust, TrustFiles};
use slr_model::{Advert, NodeName, Role, Tier};
use slr_session::conversation::{BackoffSettings, ChildSettings, PeerSettings};
use slr_wire::Welcome;
use tokio::sync::{mpsc, watch};

use crate::config::{self, Settings};
use crate::keepalive::{self, Addresses, Change, Keepalives};

/// Events of links to parents that wait for the loop: a few for each of a handful of parents.
const LINK_EVENTS_MAX: usize = 256;
/// A child hears at most this often, in advert intervals, that its adverts arrive.
const ACK_EVERY: u32 = 4;

/// Something that came in.
#[derive(Debug)]
pub enum News {
    /// From a child or a peer.
    Hub(HubEvent),
    /// From a parent.
    Link(LinkEvent),
    /// A path is another than it was.
    Path(Change),
}

/// The files that say who this router is, and whom it trusts.
pub fn trust_files(control: &config::Control) -> TrustFiles {
    TrustFiles {
        ca: control.ca.clone(),
        certificate: control.certificate.clone(),
        key: control.key.clone(),
        crl: control.crl.clone(),
        require_fresh_crl: false,
    }
}

/// The control plane's sockets and threads.
pub struct Control {
    hub: Hub,
    hub_events: mpsc::Receiver<HubEvent>,
    links: BTreeMap<NodeName, (config::Neighbour, ChildLink)>,
    link_events: (mpsc::Sender<LinkEvent>, mpsc::Receiver<LinkEvent>),
    offer: watch::Sender<Option<Advert>>,
    keepalives: Keepalives,
    trust: Arc<Trust>,
    incarnation: u64,
}

impl Control {
    /// Opens everything that the configuration names.
    pub fn start(settings: &Settings, control: &config::Control) -> Result<Self> {
        let trust = Trust::load(trust_files(control))?;
        let incarnation = incarnation();
        let peer = PeerSettings {
            incarnation,
            first_session: 1,
            software: software(),
            role: settings.tier.into(),
            tunnel_addresses: one_a_family(settings),
            tunnel_sources: settings.sources.clone(),
            backoff: BackoffSettings::default(),
        };
        let hub = HubSettings {
            endpoint: EndpointSettings { listen: control.listen.clone(), ..EndpointSettings::default() },
            peers: talking(control, peer.role),
            peer,
            seed: incarnation,
        };
        let (hub, hub_events) = Hub::start(hub, trust.clone()).context("cannot open the control channel")?;
        let keepalives = Keepalives::start(probing(settings)?, addresses(settings)).context("cannot probe hosts")?;
        let mut started = Self {
            hub,
            hub_events,
            links: BTreeMap::new(),
            link_events: mpsc::channel(LINK_EVENTS_MAX),
            offer: watch::Sender::new(None),
            keepalives,
            trust,
            incarnation,
        };
        started.connect(settings, control);
        Ok(started)
    }

    /// Follows another configuration, as far as it may change.
    pub fn configure(&mut self, settings: &Settings, control: &config::Control) -> Result<()> {
        self.keepalives.configure(probing(settings)?, addresses(settings)).context("keepalives stay as they are")?;
        self.hub.set_peers(talking(control, settings.tier.into()));
        self.connect(settings, control);
        Ok(())
    }

    /// Links to the parents that are configured, and to no others.
    fn connect(&mut self, settings: &Settings, control: &config::Control) {
        self.links.retain(|_, (known, _)| control.parents.contains(known));
        let Some(role) = parent_role(settings.tier) else { return };
        for parent in &control.parents {
            if self.links.contains_key(&parent.name) {
                continue;
            }
            let child = ChildSettings {
                incarnation: self.incarnation,
                first_session: 1,
                software: software(),
                role: settings.tier.into(),
                tunnel_addresses: one_a_family(settings),
                tunnel_sources: settings.sources.clone(),
                backoff: BackoffSettings::default(),
            };
            let target = Target { role, name: parent.name.clone(), addresses: parent.addresses.clone() };
            let (offer, events) = (self.offer.subscribe(), self.link_events.0.clone());
            let link = ChildLink::spawn(self.hub.endpoint().clone(), target, child, self.incarnation, offer, events);
            self.links.insert(parent.name.clone(), (parent.clone(), link));
        }
    }

    /// What comes in next. Cancel-safe.
    pub async fn next(&mut self) -> Result<News> {
        tokio::select! {
            biased;
            change = self.keepalives.next() => Ok(News::Path(change?)),
            event = self.hub_events.recv() => event.map(News::Hub).context("the control channel has ended"),
            event = self.link_events.1.recv() => event.map(News::Link).context("the links to parents have ended"),
        }
    }

    /// Children and peers.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Certificates in force.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The same, for whoever outlives a turn of the loop.
    pub fn shared_trust(&self) -> Arc<Trust> {
        self.trust.clone()
    }

    /// How the ways are.
    pub fn keepalives(&self) -> &Keepalives {
        &self.keepalives
    }

    /// Parents.
    pub fn links(&self) -> impl Iterator<Item = (&NodeName, &ChildLink)> {
        self.links.iter().map(|(name, (_, link))| (name, link))
    }

    /// The link to a parent.
    pub fn link(&self, parent: &NodeName) -> Option<&ChildLink> {
        self.links.get(parent).map(|(_, link)| link)
    }

    /// Which start of the process this is.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// What is advertised to all parents from now on.
    pub fn offer(&self, advert: Advert) {
        self.offer.send_if_modified(|offered| {
            let is_new = offered.as_ref() != Some(&advert);
            *offered = Some(advert);
            is_new
        });
    }
}

/// Where tunnels come from, as children are told: the registered prefixes, and the addresses where chains may end.
fn tunnel_sources(settings: &Settings) -> Vec<IpNet> {
    let own = one_a_family(settings).into_iter().map(IpNet::from);
    let further = own.filter(|own| !settings.sources.iter().any(|source| source.contains(own)));
    settings.sources.iter().copied().chain(further).collect()
}

/// What a child is told when it is admitted. Its session is filled in.
pub fn welcome(settings: &Settings, control: &config::Control) -> Welcome {
    let millis = |time: std::time::Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    let interval = millis(control.advert_interval);
    Welcome {
        session: 0,
        advert_interval_ms: interval,
        silent_after_ms: millis(control.silent_after),
        ack_interval_ms: interval.saturating_mul(ACK_EVERY).min(60_000),
        tunnel_sources: tunnel_sources(settings),
    }
}

/// Greater for each start: the time, which the daemons of a node do not share to the microsecond.
fn incarnation() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX).max(1)
}

fn software() -> String {
    concat!("slr-router ", env!("CARGO_PKG_VERSION")).to_owned()
}

/// The tier whose SLRs may be parents.
fn parent_role(tier: Tier) -> Option<Role> {
    [Role::As, Role::Network].into_iter().find(|role| role.child() == Some(tier.into()))
}

/// Routers of this one's tier that it has a connection with: the cluster's other members, and neighbours.
fn talking(control: &config::Control, role: Role) -> Vec<Target> {
    let all = control.peers.iter().chain(&control.neighbours);
    all.map(|n| Target { role, name: n.name.clone(), addresses: n.addresses.clone() }).collect()
}

/// The first tunnel address of each family: what children and parents use.
fn one_a_family(settings: &Settings) -> Vec<std::net::IpAddr> {
    let mut seen = BTreeSet::new();
    settings.tunnel_addresses.iter().copied().filter(|address| seen.insert(address.is_ipv4())).collect()
}

fn addresses(settings: &Settings) -> Addresses {
    Addresses { sources: settings.sources.clone(), tunnel_addresses: one_a_family(settings) }
}

fn probing(settings: &Settings) -> Result<keepalive::Settings> {
    let config::Keepalive { interval, reply_wait, lost_after } = settings.keepalive;
    Ok(keepalive::Settings::new(interval, reply_wait, lost_after)?)
}
