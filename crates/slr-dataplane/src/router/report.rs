//! Reading the tables for people: what `slr-router show` prints.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::AddAssign;

use slr_model::{ClassName, FlowKey, HopId, NodeName, Service, VirtualSubnet};

use super::desired::Link;
use super::flow_key::Key;
use super::rings::RouteId;
use super::{Router, hops, template};
use crate::abi::{counter, flow, slr_const, usage};
use crate::reason::RouterReason;
use crate::table::MapError;

/// Packets, and bytes of the clients' datagrams, IP header included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What went through a hop or a subnet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Packets.
    pub packets: u64,
    /// Bytes of the clients' datagrams.
    pub bytes: u64,
    /// New flows placed.
    pub flows: u64,
}

impl From<usage> for Usage {
    fn from(total: usage) -> Self {
        Self { packets: total.packets, bytes: total.bytes, flows: total.flows }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.flows += other.flows;
    }
}

/// A next hop as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HopStatus {
    /// Its host; unknown for an adopted entry that no host claims yet.
    pub name: Option<NodeName>,
    /// Index of the template.
    pub hop: u16,
    /// Flows of another generation are not pinned to it.
    pub generation: u16,
    /// Tunnel address.
    pub address: IpAddr,
    /// Resolved and usable.
    pub up: bool,
    /// Bytes of the outer datagram that fit now.
    pub mtu: u16,
    /// Bytes that the link takes; more than `mtu` once a frag-needed said so.
    pub link_mtu: u16,
    /// How long a learned path MTU is still believed.
    pub mtu_expires_in_s: Option<u32>,
    /// Addresses and interface of the link.
    pub link: Link,
    /// What went there.
    pub usage: Usage,
}

/// A virtual subnet as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetStatus {
    /// The range.
    pub prefix: VirtualSubnet,
    /// Its index.
    pub id: u16,
    /// Whom it is charged to.
    pub account: u32,
    /// Serves only what a route names.
    pub listed_only: bool,
    /// Where new flows go.
    pub routes: Vec<RouteStatus>,
    /// What went there.
    pub usage: Usage,
}

/// Where new flows of some clients to some service go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteStatus {
    /// Whose; `None`: clients whose class has no route of its own for this.
    pub class: Option<ClassName>,
    /// To what; `None`: whatever no route names.
    pub service: Option<Service>,
    /// The ring's index; routes of one index share it.
    pub ring: u32,
    /// Slots of the ring.
    pub ring_slots: u32,
    /// How many of them each host has.
    pub shares: Vec<(NodeName, u32)>,
}

impl SubnetStatus {
    /// The route of whatever no other names.
    pub fn own_route(&self) -> Option<&RouteStatus> {
        self.routes.iter().find(|route| route.class.is_none() && route.service.is_none())
    }
}

/// A remembered flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowStatus {
    /// Which.
    pub key: FlowKey,
    /// Where to; unknown if its hop has gone.
    pub host: Option<NodeName>,
    /// Pinned; else it has not shown two ends yet.
    pub pinned: bool,
    /// Seconds since its last packet.
    pub idle_s: u32,
    /// The client has sent FIN or RST.
    pub closing: bool,
}

/// How full the tables are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowCount {
    /// Pinned IPv4 flows.
    pub pinned_v4: u64,
    /// Pinned IPv6 flows.
    pub pinned_v6: u64,
    /// How many of each fit.
    pub capacity_per_family: u32,
}

impl Router {
    /// Packets and bytes by reason, in the reasons' order.
    pub fn reasons(&self) -> Result<Vec<(RouterReason, Counter)>, MapError> {
        let sum = |parts: Vec<counter>| {
            parts.iter().fold(Counter::default(), |sum, part| Counter {
                packets: sum.packets + part.packets,
                bytes: sum.bytes + part.bytes,
            })
        };
        RouterReason::ALL.iter().map(|reason| Ok((*reason, sum(self.tables.reasons.get(*reason as u32)?)))).collect()
    }

    /// Every hop in use.
    pub fn hops(&self) -> Result<Vec<HopStatus>, MapError> {
        let now = self.clock()?;
        let used = self.hop_usage()?;
        let mut all = Vec::new();
        for entry in self.hops.iter() {
            let id = entry.id.get();
            let current = self.tables.hops.get(&u32::from(id))?.unwrap_or_default();
            let usage = used.get(usize::from(id)).copied().unwrap_or_default();
            let expires = current.mtu_until.checked_sub(now).filter(|_| current.mtu_until != 0);
            all.push(HopStatus {
                name: entry.host.as_ref().map(|host| host.name.clone()),
                hop: id,
                generation: current.r#gen,
                address: template::address(&current),
                up: current.flags & template::flag(slr_const::HOP_UP) != 0,
                mtu: current.mtu,
                link_mtu: current.link_mtu,
                mtu_expires_in_s: expires,
                link: Link {
                    destination: slr_model::MacAddr(current.eth[..6].try_into().expect("six of fourteen")),
                    source: slr_model::MacAddr(current.eth[6..12].try_into().expect("six of fourteen")),
                    ifindex: current.ifindex,
                    mtu: current.link_mtu,
                },
                usage: usage.into(),
            });
        }
        Ok(all)
    }

    /// How many packets each host was sent so far: one call of the kernel, cheap enough for every interval.
    pub fn hop_packets(&self) -> Result<Vec<(NodeName, u64)>, MapError> {
        let used = self.hop_usage()?;
        let packets = |id: u16| used.get(usize::from(id)).map_or(0, |usage| usage.packets);
        let named = self.hops.iter().filter_map(|entry| Some((entry.host.as_ref()?.name.clone(), entry.id.get())));
        Ok(named.map(|(name, id)| (name, packets(id))).collect())
    }

    /// What went to each hop, by index.
    fn hop_usage(&self) -> Result<Vec<usage>, MapError> {
        let count = self.hops.iter().map(|entry| u32::from(entry.id.get()) + 1).max().unwrap_or(1);
        let mut used = Vec::with_capacity(count as usize);
        self.tables.hop_usage.for_first(count, |parts| used.push(hops::total(parts)))?;
        Ok(used)
    }

    /// What went to each virtual subnet, and on whose account: what [`Router::subnets`] says, without the rings.
    pub fn subnet_usage(&self) -> Result<Vec<(VirtualSubnet, u32, Usage)>, MapError> {
        let usage = |(prefix, id)| {
            let known = self.tables.subnets.get(&u32::from(id))?.unwrap_or_default();
            Ok((prefix, known.account, hops::total(&self.tables.subnet_usage.get(u32::from(id))?).into()))
        };
        self.subnets.iter().map(usage).collect()
    }

    /// Every virtual subnet.
    pub fn subnets(&self) -> Result<Vec<SubnetStatus>, MapError> {
        let names = self.hop_names();
        let mut all = Vec::new();
        for (prefix, id) in self.subnets.iter() {
            let known = self.tables.subnets.get(&u32::from(id))?.unwrap_or_default();
            all.push(SubnetStatus {
                prefix,
                id,
                account: known.account,
                listed_only: known.flags & slr_const::SUBNET_PORTS.0 != 0,
                routes: self.rings.routes_of(id).map(|(route, ring)| self.route(route, ring, &names)).collect(),
                usage: hops::total(&self.tables.subnet_usage.get(u32::from(id))?).into(),
            });
        }
        Ok(all)
    }

    fn route(&self, route: RouteId, ring: u32, names: &BTreeMap<HopId, &NodeName>) -> RouteStatus {
        let shares = self.rings.ring_of(route).map(|(_, ring)| ring.shares()).unwrap_or_default();
        RouteStatus {
            class: self.classes.name(route.subnet, route.class).cloned(),
            service: route.service,
            ring,
            ring_slots: shares.values().sum(),
            shares: shares.into_iter().filter_map(|(hop, n)| Some(((*names.get(&hop)?).clone(), n))).collect(),
        }
    }

    pub(super) fn hop_names(&self) -> BTreeMap<HopId, &NodeName> {
        self.hops.iter().filter_map(|entry| Some((entry.id, &entry.host.as_ref()?.name))).collect()
    }

    /// Remembered flows that `wanted` accepts, at most `limit`; pinned ones first.
    pub fn flows(&self, limit: usize, wanted: impl Fn(&FlowStatus) -> bool) -> Result<Vec<FlowStatus>, MapError> {
        let now = self.clock()?;
        let names: BTreeMap<u16, (u16, Option<NodeName>)> = self
            .hops
            .iter()
            .map(|e| (e.id.get(), (e.generation, e.host.as_ref().map(|host| host.name.clone()))))
            .collect();
        let mut found = Vec::new();
        let mut add = |key: Option<FlowKey>, flow: &flow, pinned: bool| {
            let Some(key) = key.filter(|_| found.len() < limit) else { return };
            let host = names.get(&flow.hop).filter(|(generation, _)| *generation == flow.hop_gen);
            let status = FlowStatus {
                key,
                host: host.and_then(|(_, name)| name.clone()),
                pinned,
                idle_s: now.saturating_sub(flow.seen),
                closing: u32::from(flow.flags) & slr_const::FLOW_CLOSING.0 != 0,
            };
            if wanted(&status) {
                found.push(status);
            }
        };
        self.tables.flows_v4.for_each(|key, flow| add(key.flow(), &flow, true))?;
        self.tables.flows_v6.for_each(|key, flow| add(key.flow(), &flow, true))?;
        self.tables.pending_v4.for_each(|key, flow| add(key.flow(), flow, false));
        self.tables.pending_v6.for_each(|key, flow| add(key.flow(), flow, false));
        Ok(found)
    }

    /// How many flows are pinned.
    pub fn flow_count(&self) -> Result<FlowCount, MapError> {
        let mut count = FlowCount { capacity_per_family: self.tables.flows_v4.capacity(), ..FlowCount::default() };
        self.tables.flows_v4.for_each(|_, _| count.pinned_v4 += 1)?;
        self.tables.flows_v6.for_each(|_, _| count.pinned_v6 += 1)?;
        Ok(count)
    }
}
