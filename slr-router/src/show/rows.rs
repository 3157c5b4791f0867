//! Answers: what the daemon knows, joined from configuration, watcher and kernel tables. `--json` prints these as they are.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use slr_dataplane::reason::{RouterReason, Verdict};
use slr_dataplane::router::{FlowStatus, HopStatus, Router, SubnetStatus};
use slr_model::{EchoPolicy, HostState, MacAddr, NodeName, OrphanPolicy, Protocol, Service, VirtualSubnet, Weight};

use super::{FlowFilter, remedies};
use crate::config::Settings;
use crate::daemon::{Core, Loaded};

/// What went through something.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq)]
pub struct Usage {
    /// Packets from clients.
    pub packets: u64,
    /// Bytes of their datagrams.
    pub bytes: u64,
    /// Flows placed since the beginning.
    pub flows_placed: u64,
}

impl From<slr_dataplane::router::Usage> for Usage {
    fn from(usage: slr_dataplane::router::Usage) -> Self {
        Self { packets: usage.packets, bytes: usage.bytes, flows_placed: usage.flows }
    }
}

/// A host.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq)]
pub struct Host {
    pub name: NodeName,
    pub address: IpAddr,
    pub state: HostState,
    pub weight: Weight,
    /// Names of the subnets it serves.
    pub subnets: Vec<String>,
    /// Index of its template; none while it is not in force.
    pub hop: Option<u16>,
    /// Whether packets are sent to it.
    pub up: bool,
    /// Bytes of the outer datagram that fit.
    pub mtu: Option<u16>,
    /// Destination MAC: its own, or its gateway's.
    pub neighbour: Option<MacAddr>,
    /// Why it cannot be reached, if so.
    pub problem: Option<String>,
    #[serde(flatten)]
    pub usage: Usage,
    /// Flows pinned to it now. When a draining host has none, it may be stopped.
    pub flows: u64,
}

/// Every host.
pub fn hosts(core: &Core<Router>) -> Result<Vec<Host>> {
    let loaded = in_force(core)?;
    let hops: BTreeMap<IpAddr, HopStatus> = core.plane().hops()?.into_iter().map(|hop| (hop.address, hop)).collect();
    let pinned = pinned_by_host(core.plane())?;
    let row = |next: &crate::fleet::Hop| {
        let hop = hops.get(&next.address);
        let up = hop.is_some_and(|hop| hop.up);
        let (weight, subnets) = served(core, loaded, &next.name);
        Host {
            name: next.name.clone(),
            address: next.address,
            state: next.state,
            weight,
            subnets: subnets.iter().map(|prefix| subnet_name(&loaded.settings, prefix)).collect(),
            hop: hop.map(|hop| hop.hop),
            up,
            mtu: hop.filter(|_| up).map(|hop| hop.mtu),
            neighbour: hop.map(|hop| hop.link.destination).filter(|mac| !mac.is_zero()),
            problem: match core.report().links.get(&next.name) {
                Some(Err(problem)) => Some(problem.to_string()),
                Some(Ok(_)) => None,
                None => Some(crate::links::Unresolved::Unknown.to_string()),
            },
            usage: hop.map(|hop| hop.usage.into()).unwrap_or_default(),
            flows: pinned.get(&next.name).copied().unwrap_or(0),
        }
    };
    Ok(core.hops().iter().map(row).collect())
}

/// A host's configured weight and its subnets, from its adverts or from the hosts file.
fn served(core: &Core<Router>, loaded: &Loaded, name: &NodeName) -> (Weight, BTreeSet<VirtualSubnet>) {
    if let Some(host) = core.fleet().registry().host(name.as_str()) {
        let weight = host.services().map(|service| service.weight()).max().unwrap_or_default();
        return (weight, host.services().map(|service| service.key().subnet).collect());
    }
    let listed = loaded.hosts.iter().find(|host| host.name == *name);
    listed.map(|host| (host.weight, host.subnets.iter().copied().collect())).unwrap_or_default()
}

pub fn in_force(core: &Core<Router>) -> Result<&Loaded> {
    core.in_force().context("the daemon is starting: its first configuration waits for its hosts to be resolved")
}

fn subnet_name(settings: &Settings, prefix: &VirtualSubnet) -> String {
    settings.subnets.iter().find(|s| s.prefix == *prefix).map_or_else(|| prefix.to_string(), |s| s.name.clone())
}

/// Walks the flow tables once.
fn pinned_by_host(router: &Router) -> Result<BTreeMap<NodeName, u64>> {
    let counts = RefCell::new(BTreeMap::new());
    router.flows(usize::MAX, |flow| {
        if let (true, Some(host)) = (flow.pinned, &flow.host) {
            *counts.borrow_mut().entry(host.clone()).or_insert(0) += 1;
        }
        false
    })?;
    Ok(counts.into_inner())
}

/// A host's part of a subnet's ring.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq)]
pub struct Share {
    pub host: NodeName,
    pub slots: u64,
    /// Of new flows, in per cent.
    pub percent: f64,
}

/// A virtual subnet.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq)]
pub struct Subnet {
    pub name: String,
    pub prefix: VirtualSubnet,
    pub account: u32,
    /// What it serves; null: everything.
    pub services: Option<Vec<Service>>,
    pub orphan: OrphanPolicy,
    pub echo: EchoPolicy,
    pub ring_slots: u64,
    pub shares: Vec<Share>,
    #[serde(flatten)]
    pub usage: Usage,
}

/// Every configured subnet.
pub fn subnets(core: &Core<Router>) -> Result<Vec<Subnet>> {
    let loaded = in_force(core)?;
    let known: BTreeMap<VirtualSubnet, SubnetStatus> =
        core.plane().subnets()?.into_iter().map(|subnet| (subnet.prefix, subnet)).collect();
    let row = |subnet: &crate::config::Subnet| {
        let status = known.get(&subnet.prefix);
        let own = status.and_then(SubnetStatus::own_route);
        let ring_slots = own.map_or(0, |route| u64::from(route.ring_slots));
        let share = |(host, slots): &(NodeName, u32)| {
            let percent = 100.0 * f64::from(*slots) / (ring_slots.max(1) as f64);
            Share { host: host.clone(), slots: u64::from(*slots), percent: (percent * 100.0).round() / 100.0 }
        };
        Subnet {
            name: subnet.name.clone(),
            prefix: subnet.prefix,
            account: subnet.account,
            services: subnet.services.clone(),
            orphan: subnet.orphan,
            echo: subnet.echo,
            ring_slots,
            shares: own.map(|route| route.shares.iter().map(share).collect()).unwrap_or_default(),
            usage: status.map(|status| status.usage.into()).unwrap_or_default(),
        }
    };
    Ok(loaded.settings.subnets.iter().map(row).collect())
}

/// A remembered flow.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq)]
pub struct Flow {
    pub protocol: Protocol,
    pub client: SocketAddr,
    pub virtual_host: SocketAddr,
    /// Where it goes; null if its host is gone.
    pub host: Option<NodeName>,
    /// Pinned; else it has not shown two ends yet.
    pub pinned: bool,
    /// Seconds since its last packet.
    pub idle_s: u32,
    /// The client has sent FIN or RST.
    pub closing: bool,
}

/// Some flows, and how many there are.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq)]
pub struct Flows {
    pub pinned_v4: u64,
    pub pinned_v6: u64,
    pub capacity_per_family: u64,
    /// There may be more than `flows` holds.
    pub limit_reached: bool,
    pub flows: Vec<Flow>,
}

/// Flows that the filter accepts.
pub fn flows(filter: &FlowFilter, router: &Router) -> Result<Flows> {
    let count = router.flow_count()?;
    let limit = filter.limit as usize;
    let flows: Vec<Flow> = router.flows(limit, |flow| accepts(filter, flow))?.iter().map(flow_row).collect();
    Ok(Flows {
        pinned_v4: count.pinned_v4,
        pinned_v6: count.pinned_v6,
        capacity_per_family: u64::from(count.capacity_per_family),
        limit_reached: flows.len() == limit,
        flows,
    })
}

fn accepts(filter: &FlowFilter, flow: &FlowStatus) -> bool {
    filter.client.is_none_or(|prefix| prefix.contains(&flow.key.client().ip()))
        && (filter.host.is_none() || filter.host == flow.host)
}

fn flow_row(flow: &FlowStatus) -> Flow {
    Flow {
        protocol: flow.key.protocol(),
        client: flow.key.client(),
        virtual_host: flow.key.virtual_host(),
        host: flow.host.clone(),
        pinned: flow.pinned,
        idle_s: flow.idle_s,
        closing: flow.closing,
    }
}

/// A hop template.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq)]
pub struct Hop {
    pub hop: u16,
    pub generation: u16,
    /// Null: adopted, and claimed by no configured host.
    pub host: Option<NodeName>,
    pub address: IpAddr,
    pub up: bool,
    /// Bytes of the outer datagram that fit; null while it is not resolved.
    pub mtu: Option<u16>,
    /// Bytes that the link takes; more than `mtu` while a frag-needed is believed.
    pub link_mtu: Option<u16>,
    /// How long a learned path MTU is still believed.
    pub mtu_expires_in_s: Option<u32>,
    pub interface: Option<String>,
    pub ifindex: u32,
    /// Source and destination MAC; null while it is not resolved.
    pub source: Option<MacAddr>,
    pub destination: Option<MacAddr>,
    #[serde(flatten)]
    pub usage: Usage,
}

/// Every template in use.
pub fn hops(core: &Core<Router>) -> Result<Vec<Hop>> {
    let names: BTreeMap<u32, &String> = core.report().interfaces.iter().map(|(name, index)| (*index, name)).collect();
    let row = |hop: HopStatus| {
        let is_resolved = !hop.link.destination.is_zero();
        Hop {
            hop: hop.hop,
            generation: hop.generation,
            host: hop.name,
            address: hop.address,
            up: hop.up,
            mtu: is_resolved.then_some(hop.mtu),
            link_mtu: is_resolved.then_some(hop.link_mtu),
            mtu_expires_in_s: hop.mtu_expires_in_s,
            interface: names.get(&hop.link.ifindex).map(|name| (*name).clone()),
            ifindex: hop.link.ifindex,
            source: is_resolved.then_some(hop.link.source),
            destination: is_resolved.then_some(hop.link.destination),
            usage: hop.usage.into(),
        }
    };
    Ok(core.plane().hops()?.into_iter().map(row).collect())
}

/// A reason and how often it applied.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq)]
pub struct Counter {
    pub reason: String,
    /// `forward`, `reply`, `pass` or `drop`.
    pub verdict: String,
    pub packets: u64,
    pub bytes: u64,
    pub meaning: String,
    /// What usually helps; drops only.
    pub remedy: Option<String>,
}

/// Every reason.
pub fn counters(router: &Router) -> Result<Vec<Counter>> {
    let row = |(reason, counter): (RouterReason, slr_dataplane::router::Counter)| Counter {
        reason: reason.name().to_owned(),
        verdict: reason.verdict().as_str().to_owned(),
        packets: counter.packets,
        bytes: counter.bytes,
        meaning: reason.meaning().to_owned(),
        remedy: remedies::remedy(reason).map(str::to_owned),
    };
    Ok(router.reasons()?.into_iter().map(row).collect())
}

/// The drops that happened, most frequent first.
pub fn drops(router: &Router) -> Result<Vec<Counter>> {
    let mut drops = counters(router)?;
    drops.retain(|counter| counter.verdict == Verdict::Drop.as_str() && counter.packets > 0);
    drops.sort_by_key(|counter| std::cmp::Reverse(counter.packets));
    Ok(drops)
}
