//! Sessions with the parents: who is told, who has heard, what they tell. The links themselves live in `slr-control`, each
//! on a task of its own.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use ipnet::IpNet;
use slr_control::{ChildLink, Endpoint, LinkEvent, Target, Trust, TrustFiles};
use slr_model::{Advert, FlowKey, HostState, Identity, NodeName, Role, ServiceKey};
use slr_session::conversation::{BackoffSettings, ChildEvent, ChildPhase, ChildSettings, Counters};
use slr_wire::Code;
use tokio::sync::{mpsc, watch};

use crate::config::{Control, Parent, Settings, Subnet};
use crate::drain::Hearing;
use crate::status;

/// Events of all links that wait for the loop; each link waits with its next one until there is room.
const EVENTS_MAX: usize = 64;
/// Links that are made anew begin with sessions that are larger by this: more than a link can open in its life.
const SESSIONS_OF_A_LINK: u64 = 1 << 32;

/// The sessions with all parents.
pub struct Parents {
    control: Option<Control>,
    /// What links were made with: they are made anew if it changes.
    child: Option<ChildSettings>,
    endpoint: Option<Endpoint>,
    links: BTreeMap<NodeName, Link>,
    offer: watch::Sender<Option<Advert>>,
    send: mpsc::Sender<LinkEvent>,
    events: mpsc::Receiver<LinkEvent>,
    incarnation: u64,
    links_made: u64,
    failed: BTreeMap<&'static str, u64>,
}

struct Link {
    parent: Parent,
    link: ChildLink,
    is_welcome: bool,
    is_heard: bool,
    refused: Option<String>,
    welcome: Option<(u32, Vec<IpNet>)>,
}

impl Parents {
    /// Nobody is told yet.
    pub fn new(incarnation: u64) -> Self {
        let (offer, _) = watch::channel(None);
        let (send, events) = mpsc::channel(EVENTS_MAX);
        Self {
            control: None,
            child: None,
            endpoint: None,
            links: BTreeMap::new(),
            offer,
            send,
            events,
            incarnation,
            links_made: 0,
            failed: BTreeMap::new(),
        }
    }

    /// From now on the parents of these settings. Fails before anything has changed. Needs a tokio runtime.
    pub fn set(&mut self, settings: &Settings) -> Result<()> {
        let Some(control) = &settings.control else {
            (self.control, self.child, self.endpoint) = (None, None, None);
            self.links.clear();
            return Ok(());
        };
        let child = child_settings(settings, self.incarnation);
        if !self.control.as_ref().is_some_and(|old| same_files(old, control)) {
            let endpoint = Endpoint::dialling(trust(control, settings)?)?;
            self.links.clear();
            self.endpoint = Some(endpoint);
        }
        if self.child.as_ref() != Some(&child) {
            self.links.clear();
        }
        self.links.retain(|_, link| control.parents.contains(&link.parent));
        for parent in &control.parents {
            if !self.links.contains_key(&parent.name) {
                let link = self.connect(parent, &child);
                self.links.insert(parent.name.clone(), link);
            }
        }
        (self.control, self.child) = (Some(control.clone()), Some(child));
        Ok(())
    }

    fn connect(&mut self, parent: &Parent, child: &ChildSettings) -> Link {
        let first_session = 1 + self.links_made * SESSIONS_OF_A_LINK;
        self.links_made += 1;
        let target = Target { role: Role::Site, name: parent.name.clone(), addresses: parent.addresses.clone() };
        let endpoint = self.endpoint.clone().expect("made before the links");
        let seed = self.incarnation.wrapping_add(self.links_made);
        let settings = ChildSettings { first_session, ..child.clone() };
        let link = ChildLink::spawn(endpoint, target, settings, seed, self.offer.subscribe(), self.send.clone());
        Link { parent: parent.clone(), link, is_welcome: false, is_heard: true, refused: None, welcome: None }
    }

    /// Says this from now on, to everybody.
    pub fn offer(&self, advert: Advert) {
        self.offer.send_if_modified(|offer| {
            let changes = offer.as_ref() != Some(&advert);
            *offer = Some(advert);
            changes
        });
    }

    /// The next thing that a parent tells; never ends. Cancel-safe.
    pub async fn next(&mut self) -> LinkEvent {
        let event = self.events.recv().await.expect("one sender is ours");
        if let Some(link) = self.links.get_mut(&event.parent) {
            match &event.event {
                ChildEvent::Welcomed(welcome) => {
                    link.welcome = Some((welcome.advert_interval_ms, welcome.tunnel_sources.clone()));
                    (link.is_welcome, link.is_heard, link.refused) = (true, true, None);
                }
                ChildEvent::Heard(heard) => link.is_heard = *heard,
                ChildEvent::Refused(refused) => {
                    link.refused = Some(format!("{}; {}", refused.reason, refused.remedy));
                }
                ChildEvent::Lost { code, .. } => {
                    // The end of a session is none that failed to begin.
                    if !std::mem::take(&mut link.is_welcome) {
                        *self.failed.entry(word(*code)).or_default() += 1;
                    }
                }
                ChildEvent::Roster(_) | ChildEvent::Order(_) | ChildEvent::FlowKeys(_) | ChildEvent::Epoch(_) => {}
            }
        }
        event
    }

    /// Tells every parent that this host has these flows.
    pub fn claim(&self, flows: &Arc<[FlowKey]>) {
        self.links.values().for_each(|link| link.link.claim(flows.clone()));
    }

    /// Answers an order.
    pub fn ordered(&self, parent: &NodeName, id: u64, outcome: Result<(), String>) {
        if let Some(link) = self.links.get(parent) {
            link.link.ordered(id, outcome);
        }
    }

    /// What each parent knows of a drain; `is_drained` looks at the states that it has acknowledged.
    pub fn hearing(&self, is_drained: impl Fn(&BTreeMap<ServiceKey, HostState>) -> bool) -> Vec<Hearing> {
        let hearing = |(name, link): (&NodeName, &Link)| {
            let status = link.link.status();
            Hearing {
                parent: name.clone(),
                is_connected: status.phase == ChildPhase::Open,
                has_heard: status.acknowledged.as_ref().is_some_and(&is_drained),
            }
        };
        self.links.iter().map(hearing).collect()
    }

    /// Takes this host's services back, and waits until that has arrived or two seconds have passed.
    pub async fn withdraw(&mut self, reason: &str) {
        let links = std::mem::take(&mut self.links);
        links.values().for_each(|link| link.link.withdraw(reason));
        join_all(links.into_values().map(|link| link.link.finished())).await;
    }

    /// Each session, for people.
    pub fn rows(&self, hearing: &[Hearing]) -> Vec<status::Session> {
        let row = |(name, link): (&NodeName, &Link)| {
            let status = link.link.status();
            let (state, reason) = match (status.phase, &link.refused) {
                (ChildPhase::Open, _) if link.is_heard => ("connected", None),
                (ChildPhase::Open, _) => ("unheard", Some("it acknowledges nothing".to_owned())),
                (_, Some(refused)) => ("refused", Some(refused.clone())),
                (_, None) => ("connecting", status.last_ending.clone()),
            };
            let knows_drain = hearing.iter().any(|hearing| hearing.parent == *name && hearing.has_heard);
            status::Session {
                parent: name.clone(),
                state: state.to_owned(),
                state_age_ms: status.since.elapsed().as_millis() as u64,
                reason: reason.unwrap_or_default(),
                advert_interval_ms: link.welcome.as_ref().map(|(interval, _)| *interval),
                tunnel_sources: link.welcome.as_ref().map(|(_, sources)| sources.clone()).unwrap_or_default(),
                knows_drain,
            }
        };
        self.links.iter().map(row).collect()
    }

    /// Connections that failed to become a session, by reason.
    pub fn handshakes_failed(&self) -> Vec<(&'static str, u64)> {
        self.failed.iter().map(|(why, count)| (*why, *count)).collect()
    }

    /// Messages that were not taken, by reason.
    pub fn messages_bad(&self) -> Vec<(&'static str, u64)> {
        let mut counters = Counters::default();
        self.links.values().for_each(|link| counters.add(&link.link.status().counters));
        let undecoded = slr_wire::DecodeError::REASONS.into_iter().zip(counters.undecoded);
        let others =
            [("misplaced", counters.misplaced), ("over_limit", counters.limited), ("out_of_date", counters.stale)];
        undecoded.chain(others).collect()
    }

    /// Certificates in force, if there are any.
    pub fn trust(&self) -> Option<Arc<Trust>> {
        self.endpoint.as_ref().map(|endpoint| endpoint.trust().clone())
    }

    /// When this host's certificate and the revocation list end, in Unix seconds.
    pub fn certificate_ends(&self) -> Vec<(&'static str, u64)> {
        let Some(endpoint) = &self.endpoint else { return Vec::new() };
        let material = endpoint.trust().current();
        let unix_s = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |past| past.as_secs());
        let own = ("own", unix_s(material.own().not_after));
        std::iter::once(own).chain(material.crl_next_update().map(|time| ("crl", unix_s(time)))).collect()
    }
}

/// Why a connection failed, as metrics have it.
fn word(code: Option<Code>) -> &'static str {
    match code {
        None => "no_answer",
        Some(Code::Revoked) => "revoked",
        Some(Code::Expired) => "expired",
        Some(Code::Role | Code::Violation | Code::HelloTimeout | Code::TunnelsInvalid) => "not_understood",
        Some(Code::Silence) => "silence",
        Some(Code::Superseded | Code::NameInUse) => "name_in_use",
        Some(Code::TunnelTaken) => "tunnel_taken",
        Some(Code::TunnelNotAllowed) => "tunnel_not_allowed",
        Some(Code::Removed) => "removed",
        Some(Code::Full) => "full",
        Some(Code::GoingAway | Code::Restart) => "going_away",
        Some(Code::Internal | Code::Other(_)) => "other",
    }
}

fn same_files(a: &Control, b: &Control) -> bool {
    (&a.ca, &a.certificate, &a.key, &a.crl) == (&b.ca, &b.certificate, &b.key, &b.crl)
}

fn child_settings(settings: &Settings, incarnation: u64) -> ChildSettings {
    let v4 = settings.tunnel_v4.map(IpAddr::V4);
    ChildSettings {
        incarnation,
        first_session: 1,
        software: concat!("hostd ", env!("CARGO_PKG_VERSION")).to_owned(),
        role: Role::Host,
        tunnel_addresses: v4.into_iter().chain(settings.tunnel_v6.map(IpAddr::V6)).collect(),
        tunnel_sources: Vec::new(),
        backoff: BackoffSettings::default(),
    }
}

/// Reads the certificates and sees that they are this host's: a parent would refuse anything else, but later and elsewhere.
pub fn trust(control: &Control, settings: &Settings) -> Result<Arc<Trust>> {
    let trust = Trust::load(TrustFiles {
        ca: control.ca.clone(),
        certificate: control.certificate.clone(),
        key: control.key.clone(),
        crl: control.crl.clone(),
        require_fresh_crl: false,
    })
    .context("certificates")?;
    let material = trust.current();
    let identity = &material.own().identity;
    let file = control.certificate.display();
    ensure!(
        identity.role == Role::Host && identity.name == settings.name,
        "{file} is the certificate of {} {}, and this is host {}: correct [host] name, or issue one for it",
        identity.role,
        identity.name,
        settings.name
    );
    for address in child_settings(settings, 1).tunnel_addresses {
        ensure!(
            identity.allows_tunnel_prefix(address.into()),
            "{file} does not allow tunnel address {address}: renew it with the address, or correct [tunnel] addresses"
        );
    }
    for complaint in foreign_subnets(identity, settings, &file.to_string()) {
        tracing::warn!("{complaint}");
    }
    Ok(trust)
}

/// Subnets that this host is configured to serve and whose services its parents will refuse. No reason to serve none: the
/// rest stands, as it does with the parents.
fn foreign_subnets(identity: &Identity, settings: &Settings, file: &str) -> Vec<String> {
    let foreign = settings.subnets.iter().filter(|subnet| !identity.allows_subnet(subnet.prefix));
    let complaint = |subnet: &Subnet| {
        format!(
            "[[subnet]] {}: {file} does not allow {}, so parents refuse its services: renew it with the subnet, or stop \
             serving it",
            subnet.name, subnet.prefix
        )
    };
    foreign.map(complaint).collect()
}
