//! The router at a glance: what the web page and `slr-router top` show. One answer, cheap to make: no walk over flows.
//!
//! Counters only ever grow; who shows rates sets two answers against each other, by their `at_ms`.

pub mod happenings;
pub mod history;
#[cfg(test)]
mod sample;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use slr_dataplane::reason::Verdict;
use slr_model::{HostState, Loads, NodeName, Role, ServiceKey, Tier, VirtualSubnet};
use slr_session::registry::{HostView, ServiceState};

use crate::daemon::Daemon;
use crate::show::{self, remedies};
use happenings::Happening;
use history::shares;
#[cfg(test)]
pub use sample::sample;

/// Everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Overview {
    /// When it was made, in Unix milliseconds.
    pub at_ms: u64,
    pub router: NodeName,
    pub tier: Tier,
    pub software: String,
    /// Pinned flows.
    pub flows: u64,
    /// Other routers that this one talks with.
    pub routers: Vec<OtherRouter>,
    pub hosts: Vec<Host>,
    pub subnets: Vec<Subnet>,
    /// Reasons that packets ended with.
    pub reasons: Vec<Reason>,
    /// Flows brought back, by rung.
    pub recovered: BTreeMap<String, u64>,
    /// What somebody should look at.
    pub alarms: Vec<String>,
    /// What happened last, the newest first.
    pub happenings: Vec<Happening>,
}

/// Another router.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OtherRouter {
    pub name: NodeName,
    /// `parent`, `peer` or `neighbour`.
    pub relation: String,
    pub connected: bool,
}

/// A node that packets go to: a host, or a router of the tier below.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Host {
    pub name: NodeName,
    pub address: IpAddr,
    /// Null: another router of this tier.
    pub role: Option<Role>,
    /// The best of its services' states.
    pub state: ServiceState,
    /// Why it is in the state that it came to last, and since when.
    pub reason: String,
    pub for_s: Option<f64>,
    /// Packets are sent there.
    pub up: bool,
    /// `heard`, `fading`, `adopted` or `silent`; null: it has no session.
    pub contact: Option<String>,
    pub rtt_us: Option<u32>,
    /// Part of the keepalives that were lost, 0 to 1.
    pub loss: Option<f64>,
    pub packets: u64,
    pub bytes: u64,
    pub flows_placed: u64,
    /// Connections, as the host counts them.
    pub flows: u64,
    /// Of new flows, in per cent, over all rings that it is in.
    pub share: f64,
    /// What it says of itself.
    pub loads: Loads,
    pub services: Vec<Service>,
}

/// A service of a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Service {
    pub service: ServiceKey,
    pub state: ServiceState,
    pub reason: String,
    pub for_s: Option<f64>,
    pub flows: u64,
}

/// A virtual subnet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Subnet {
    pub name: String,
    pub prefix: VirtualSubnet,
    pub packets: u64,
    pub bytes: u64,
    pub flows_placed: u64,
    /// Hosts that take new flows of it.
    pub active: usize,
    /// Hosts that say they serve it.
    pub hosts: usize,
}

/// A reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    pub reason: String,
    /// `forward`, `reply`, `pass` or `drop`.
    pub verdict: String,
    pub packets: u64,
    pub bytes: u64,
    pub meaning: String,
    /// What usually helps, of drops.
    pub remedy: Option<String>,
}

/// The reason of a state that nobody but the operator tells.
const WRITTEN: &str = "as the hosts file says";

/// Unix time of a moment that lies `before` now, in milliseconds.
fn unix_ms(now: Instant, then: Instant) -> u64 {
    let at = SystemTime::now().checked_sub(now.saturating_duration_since(then)).unwrap_or(UNIX_EPOCH);
    u64::try_from(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

impl Daemon {
    /// The router as it is.
    pub(crate) fn overview(&self) -> anyhow::Result<Overview> {
        let (now, core) = (Instant::now(), self.core());
        let loaded = show::rows::in_force(core)?;
        let plane = core.plane();
        let registry = core.fleet().registry();
        let hops: BTreeMap<IpAddr, _> = plane.hops()?.into_iter().map(|hop| (hop.address, hop)).collect();
        let shares = shares(core.fleet());
        let host = |next: &crate::fleet::Hop| {
            let (hop, known) = (hops.get(&next.address), registry.host(next.name.as_str()));
            let listed = loaded.hosts.iter().find(|host| host.name == next.name);
            let (reason, for_s) = last_change(known.as_ref(), now);
            let session = known.as_ref().map(|host| show::control::session(host, now));
            let usage = hop.map(|hop| hop.usage).unwrap_or_default();
            Host {
                name: next.name.clone(),
                address: next.address,
                role: known.as_ref().map(HostView::role).or(listed.map(|_| Role::Host)),
                state: state(known.as_ref(), next.state),
                reason,
                for_s,
                up: hop.is_some_and(|hop| hop.up),
                contact: session.as_ref().map(|session| session.contact.clone()),
                rtt_us: session.as_ref().and_then(|session| session.rtt_us),
                loss: session.as_ref().and_then(|session| session.loss),
                packets: usage.packets,
                bytes: usage.bytes,
                flows_placed: usage.flows,
                flows: known.iter().flat_map(HostView::services).map(|service| service.flows()).sum(),
                share: shares.get(&next.name).copied().map_or(0.0, rounded),
                loads: known.as_ref().map(|host| host.loads().clone()).unwrap_or_default(),
                services: match (&known, listed) {
                    (None, Some(listed)) => written(listed, state(None, next.state)),
                    _ => known.iter().flat_map(HostView::services).map(|service| of_service(&service, now)).collect(),
                },
            }
        };
        let hosts: Vec<Host> = core.hops().iter().map(host).collect();
        Ok(Overview {
            at_ms: unix_ms(now, now),
            router: loaded.settings.name.clone(),
            tier: loaded.settings.tier,
            software: concat!("slr-router ", env!("CARGO_PKG_VERSION")).to_owned(),
            flows: plane.last_census().pinned.iter().sum(),
            routers: self.other_routers(),
            subnets: self.subnets_at_a_glance(&hosts)?,
            hosts,
            reasons: plane.reasons()?.into_iter().filter(|(_, counter)| counter.packets > 0).map(reason).collect(),
            recovered: self.recovered()?.into_iter().map(|(rung, flows)| (rung.to_owned(), flows)).collect(),
            alarms: registry.alarms().map(|alarm| alarm.to_string()).collect(),
            happenings: core.happenings().list(now, unix_ms),
        })
    }

    fn other_routers(&self) -> Vec<OtherRouter> {
        let relations = self.relations().into_iter();
        relations
            .map(|(name, relation, connected)| OtherRouter { name, relation: relation.to_owned(), connected })
            .collect()
    }

    fn subnets_at_a_glance(&self, hosts: &[Host]) -> anyhow::Result<Vec<Subnet>> {
        let usage: BTreeMap<_, _> =
            self.core().plane().subnet_usage()?.into_iter().map(|(prefix, _, usage)| (prefix, usage)).collect();
        let mut served: BTreeMap<VirtualSubnet, (usize, usize)> = BTreeMap::new();
        for host in hosts {
            let mut of_host: BTreeMap<VirtualSubnet, bool> = BTreeMap::new();
            for service in &host.services {
                *of_host.entry(service.service.subnet).or_default() |= service.state == ServiceState::Active;
            }
            for (subnet, is_active) in of_host {
                let count = served.entry(subnet).or_default();
                *count = (count.0 + usize::from(is_active), count.1 + 1);
            }
        }
        let subnets = show::rows::in_force(self.core())?.settings.subnets.iter();
        Ok(subnets
            .map(|subnet| {
                let usage = usage.get(&subnet.prefix).copied().unwrap_or_default();
                let (active, hosts) = served.get(&subnet.prefix).copied().unwrap_or_default();
                Subnet {
                    name: subnet.name.clone(),
                    prefix: subnet.prefix,
                    packets: usage.packets,
                    bytes: usage.bytes,
                    flows_placed: usage.flows,
                    active,
                    hosts,
                }
            })
            .collect())
    }
}

/// The best that a host is in for any service; of one without services, as the hosts file has it.
fn state(host: Option<&HostView>, written: HostState) -> ServiceState {
    let best = host.into_iter().flat_map(HostView::services).map(|service| service.state()).min();
    best.unwrap_or(match written {
        HostState::Active => ServiceState::Active,
        HostState::Draining => ServiceState::Draining,
        HostState::Down => ServiceState::Down,
    })
}

/// Of all services of a host: the newest state's reason, and how long it has been so.
fn last_change(host: Option<&HostView>, now: Instant) -> (String, Option<f64>) {
    let newest = host.into_iter().flat_map(HostView::services).max_by_key(|service| service.since());
    match newest {
        Some(service) => {
            let age = now.saturating_duration_since(service.since()).as_secs_f64();
            (format!("{}: {}", service.key(), service.reason()), Some(rounded(age)))
        }
        None => (WRITTEN.to_owned(), None),
    }
}

/// What the hosts file says of a host: whole subnets.
fn written(host: &crate::hosts::Host, state: ServiceState) -> Vec<Service> {
    let service = |subnet: &VirtualSubnet| Service {
        service: ServiceKey { subnet: *subnet, service: None },
        state,
        reason: WRITTEN.to_owned(),
        for_s: None,
        flows: 0,
    };
    host.subnets.iter().map(service).collect()
}

fn of_service(service: &slr_session::registry::ServiceView, now: Instant) -> Service {
    Service {
        service: *service.key(),
        state: service.state(),
        reason: service.reason().to_string(),
        for_s: Some(rounded(now.saturating_duration_since(service.since()).as_secs_f64())),
        flows: service.flows(),
    }
}

fn reason((reason, counter): (slr_dataplane::reason::RouterReason, slr_dataplane::router::Counter)) -> Reason {
    Reason {
        reason: reason.name().to_owned(),
        verdict: reason.verdict().as_str().to_owned(),
        packets: counter.packets,
        bytes: counter.bytes,
        meaning: reason.meaning().to_owned(),
        remedy: (reason.verdict() == Verdict::Drop).then(|| remedies::remedy(reason)).flatten().map(str::to_owned),
    }
}
