//! A trust domain in a temporary folder, and nodes of it on the loopback.
#![allow(dead_code, reason = "each test binary uses its part of this module")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use slr_ca::{Authority, IssueRequest, Moment, RevocationReason, RevokeWhat};
use slr_control::{
    ChildLink, Endpoint, EndpointSettings, Hub, HubEvent, HubSettings, LinkEvent, Target, Trust, TrustFiles,
};
use slr_model::{Advert, HostState, LoadName, Role, ServiceAdvert, Weight};
use slr_session::conversation::{BackoffSettings, ChildEvent, ChildSettings, ParentEvent, PeerSettings};
use slr_session::registry::ConnectionId;
use slr_wire::Welcome;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

pub const DAY: Duration = Duration::from_secs(86_400);
/// Whatever is waited for in these tests comes sooner, on the slowest machine.
pub const PATIENCE: Duration = Duration::from_secs(20);
pub const INTERVAL_MS: u32 = 100;

/// A trust domain.
pub struct Domain {
    dir: tempfile::TempDir,
    name: String,
}

impl Domain {
    pub fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Authority::init(&dir.path().join("ca"), name, DAY * 365, DAY * 35).unwrap();
        Self { dir, name: name.to_owned() }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    fn ca(&self) -> Authority {
        Authority::open(&self.dir.path().join("ca")).unwrap()
    }

    /// A node with a certificate that is good for a day.
    pub fn node(&self, role: Role, name: &str) -> TrustFiles {
        self.node_valid(role, name, Moment::now(), DAY)
    }

    /// A node whose certificate begins then and lasts so long.
    pub fn node_valid(&self, role: Role, name: &str, now: Moment, valid_for: Duration) -> TrustFiles {
        let out = self.dir.path().join(name);
        let request = IssueRequest {
            role,
            name: name.parse().unwrap(),
            tunnels: vec!["10.1.0.2/32".parse().unwrap()],
            subnets: vec!["192.0.2.0/24".parse().unwrap()],
            valid_for,
            now,
        };
        let issued = self.ca().issue(request, &out).unwrap();
        TrustFiles {
            ca: issued.ca,
            certificate: issued.certificate,
            key: issued.key,
            crl: Some(issued.crl),
            require_fresh_crl: false,
        }
    }

    pub fn renew(&self, name: &str) {
        let out = self.dir.path().join(name);
        self.ca().renew(&name.parse().unwrap(), None, None, DAY, &out).unwrap();
    }

    /// Revokes every certificate of a node and copies the list to those nodes.
    pub fn revoke(&self, name: &str, copy_to: &[&str]) {
        let mut ca = self.ca();
        ca.revoke(&RevokeWhat::Name(name.parse().unwrap()), RevocationReason::KeyCompromise, DAY * 35).unwrap();
        copy_to.iter().for_each(|node| ca.copy_crl(&self.dir.path().join(node)).unwrap());
    }

    pub fn files_of(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

pub fn load(files: &TrustFiles) -> Arc<Trust> {
    Trust::load(files.clone()).unwrap()
}

pub fn backoff() -> BackoffSettings {
    BackoffSettings {
        first: Duration::from_millis(50),
        longest: Duration::from_millis(200),
        first_refused: Duration::from_millis(50),
        longest_refused: Duration::from_millis(200),
    }
}

pub fn peer_settings(role: Role) -> PeerSettings {
    PeerSettings {
        incarnation: 1,
        first_session: 1,
        software: "test".to_owned(),
        role,
        tunnel_addresses: vec!["10.1.0.2".parse().unwrap()],
        tunnel_sources: vec![],
        backoff: backoff(),
    }
}

pub fn hub_settings(role: Role, listen: &str, peers: Vec<Target>) -> HubSettings {
    let endpoint = EndpointSettings {
        listen: vec![listen.parse().unwrap()],
        handshakes_burst: 10_000,
        handshakes_per_s: 10_000,
        ..EndpointSettings::default()
    };
    HubSettings { endpoint, peer: peer_settings(role), peers, seed: 7 }
}

/// A router on a port of its own, at 127.0.0.1 or ::1.
pub struct Router {
    pub hub: Hub,
    pub events: mpsc::Receiver<HubEvent>,
    pub address: SocketAddr,
}

impl Router {
    pub fn start(files: &TrustFiles, role: Role, listen: &str) -> Self {
        Self::with(files, hub_settings(role, listen, vec![]))
    }

    pub fn with(files: &TrustFiles, settings: HubSettings) -> Self {
        let (hub, events) = Hub::start(settings, load(files)).unwrap();
        let address = hub.endpoint().local_addresses()[0];
        Self { hub, events, address }
    }

    pub fn target(&self, role: Role, name: &str) -> Target {
        Target { role, name: name.parse().unwrap(), addresses: vec![self.address] }
    }

    /// The next event for which `pick` has an answer; the others are dropped.
    pub async fn until<T>(&mut self, what: &str, mut pick: impl FnMut(&HubEvent) -> Option<T>) -> T {
        let wait = async {
            loop {
                let event = self.events.recv().await.expect("the hub lives");
                if let Some(found) = pick(&event) {
                    return found;
                }
            }
        };
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what} in vain"))
    }

    /// Welcomes the next child that says hello.
    pub async fn welcome(&mut self) -> ConnectionId {
        let id = self.until("a hello", hello).await;
        self.hub.welcome(id, welcome()).unwrap();
        id
    }

    /// Why the next handshake was refused here.
    pub async fn refusal(&mut self) -> String {
        self.until("a refusal", |event| match event {
            HubEvent::Refused { ending, .. } => Some(ending.to_string()),
            _ => None,
        })
        .await
    }

    /// Why the next child's connection ended.
    pub async fn ended(&mut self) -> String {
        self.until("an end", |event| match event {
            HubEvent::Child { event: ParentEvent::Ended { why, .. }, .. } => Some(why.clone()),
            _ => None,
        })
        .await
    }
}

pub fn hello(event: &HubEvent) -> Option<ConnectionId> {
    match event {
        HubEvent::Child { id, event: ParentEvent::Hello(_), .. } => Some(*id),
        _ => None,
    }
}

pub fn welcome() -> Welcome {
    Welcome {
        session: 1,
        advert_interval_ms: INTERVAL_MS,
        silent_after_ms: INTERVAL_MS * 5 / 2,
        ack_interval_ms: INTERVAL_MS * 2,
        tunnel_sources: vec![],
    }
}

/// A host's daemon: its link to one parent.
pub struct Host {
    pub link: ChildLink,
    pub events: mpsc::Receiver<LinkEvent>,
    pub offer: watch::Sender<Option<Advert>>,
    pub endpoint: Endpoint,
}

impl Host {
    pub fn start(files: &TrustFiles, parent: Target) -> Self {
        Self::with_role(files, parent, Role::Host)
    }

    pub fn with_role(files: &TrustFiles, parent: Target, role: Role) -> Self {
        let endpoint = Endpoint::dialling(load(files)).unwrap();
        let (offer, offered) = watch::channel(None);
        let (sender, events) = mpsc::channel(64);
        let settings = ChildSettings {
            incarnation: 1,
            first_session: 1,
            software: "test".to_owned(),
            role,
            tunnel_addresses: vec!["10.1.0.2".parse().unwrap()],
            tunnel_sources: vec![],
            backoff: backoff(),
        };
        let link = ChildLink::spawn(endpoint.clone(), parent, settings, 3, offered, sender);
        Self { link, events, offer, endpoint }
    }

    /// The next event for which `pick` has an answer; the others are dropped.
    pub async fn until<T>(&mut self, what: &str, mut pick: impl FnMut(&ChildEvent) -> Option<T>) -> T {
        let wait = async {
            loop {
                let event = self.events.recv().await.expect("the link lives");
                if let Some(found) = pick(&event.event) {
                    return found;
                }
            }
        };
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what} in vain"))
    }

    pub async fn welcomed(&mut self) -> Welcome {
        self.until("a welcome", |event| match event {
            ChildEvent::Welcomed(welcome) => Some(welcome.clone()),
            _ => None,
        })
        .await
    }

    /// Why there is no connection.
    pub async fn lost(&mut self) -> String {
        self.until("a loss", |event| match event {
            ChildEvent::Lost { why, .. } => Some(why.clone()),
            _ => None,
        })
        .await
    }
}

/// An advert of one service with a load.
pub fn advert(load: f64) -> Advert {
    let mut advert = Advert::default();
    advert.loads.set("load".parse::<LoadName>().unwrap(), load).unwrap();
    advert.services.push(ServiceAdvert {
        key: "tcp/80@192.0.2.0/24".parse().unwrap(),
        state: HostState::Active,
        reason: String::new(),
        loads: slr_model::Loads::new(),
        flows: 0,
        weight: Weight::default(),
    });
    advert
}

/// Polls until it is true.
pub async fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is() {
        assert!(begin.elapsed() < PATIENCE, "{what} in vain");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
