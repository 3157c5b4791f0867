//! From desired to actual: reconcile the kernel's tables, in an order in which no packet meets half of a change.
//!
//! Hops first (rings may point to them), then rings and services, then the prefixes that lead packets there; what goes
//! away leaves in the opposite order.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use slr_model::{HostState, NodeName, VirtualSubnet, Weight};
use slr_policy::{Member, Placement, RingError, RingSpec, TableError};
use thiserror::Error;

use super::desired::{Config, Desired, Subnet};
use super::hops::HopChanges;
use super::rings::{PublishError, Published, User, service_entries};
use super::tables::Tables;
use super::{Router, addr, subnets};
use crate::abi::{Pod, router_config, service_key, slr_const};
use crate::table::{MapError, Table};

/// What changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// New hosts.
    pub hosts_added: Vec<NodeName>,
    /// Hosts whose template or state changed.
    pub hosts_changed: Vec<NodeName>,
    /// Tunnel addresses of hosts that are gone.
    pub hosts_removed: Vec<IpAddr>,
    /// New subnets.
    pub subnets_added: Vec<VirtualSubnet>,
    /// Subnets whose policies changed.
    pub subnets_changed: Vec<VirtualSubnet>,
    /// Subnets that are gone.
    pub subnets_removed: Vec<VirtualSubnet>,
    /// Rings written.
    pub rings_published: u64,
    /// Slots of rings whose current host changed.
    pub slots_moved: u64,
}

/// Why a desired state was not applied.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// More hosts than hop templates.
    #[error("{given} hosts: the table holds {}", slr_const::SLR_HOPS_MAX.0 - 1)]
    TooManyHosts {
        /// How many.
        given: usize,
    },
    /// More subnets than ids.
    #[error("{given} virtual subnets: the table holds {}", slr_const::SLR_SUBNETS_MAX.0)]
    TooManySubnets {
        /// How many.
        given: usize,
    },
    /// A subnet names a host that is not in the list.
    #[error("subnet {subnet} names host {host}, which is not in the list of hosts")]
    UnknownHost {
        /// The subnet.
        subnet: VirtualSubnet,
        /// The host.
        host: NodeName,
    },
    /// Two hosts share a tunnel address, or two subnets a prefix.
    #[error("{what} {which} is given twice")]
    Duplicate {
        /// What kind.
        what: &'static str,
        /// Which.
        which: String,
    },
    /// A ring's members are inconsistent.
    #[error("subnet {subnet}: {source}")]
    Ring {
        /// The subnet.
        subnet: VirtualSubnet,
        /// What is wrong.
        source: RingError,
    },
    /// The rings do not fit.
    #[error(transparent)]
    Rings(#[from] TableError),
    /// A kernel table refused.
    #[error(transparent)]
    Map(#[from] MapError),
}

impl From<PublishError> for ApplyError {
    fn from(e: PublishError) -> Self {
        match e {
            PublishError::Table(e) => Self::Rings(e),
            PublishError::Map(e) => Self::Map(e),
        }
    }
}

/// What must hold before anything is written.
fn check(desired: &Desired) -> Result<(), ApplyError> {
    let mut seen = BTreeSet::new();
    for host in &desired.hosts {
        if !seen.insert(host.address) {
            return Err(ApplyError::Duplicate { what: "host address", which: host.address.to_string() });
        }
    }
    let names: BTreeSet<_> = desired.hosts.iter().map(|host| &host.name).collect();
    let mut prefixes = BTreeSet::new();
    for subnet in &desired.subnets {
        if !prefixes.insert(subnet.prefix) {
            return Err(ApplyError::Duplicate { what: "subnet", which: subnet.prefix.to_string() });
        }
        if let Some((host, _)) = subnet.members.iter().find(|(host, _)| !names.contains(host)) {
            return Err(ApplyError::UnknownHost { subnet: subnet.prefix, host: host.clone() });
        }
    }
    if desired.subnets.len() > slr_const::SLR_SUBNETS_MAX.0 as usize {
        return Err(ApplyError::TooManySubnets { given: desired.subnets.len() });
    }
    Ok(())
}

fn settings(config: &Config, pending_sets: u32) -> router_config {
    router_config {
        seed: config.seed,
        promote_per_s: config.promote_per_s,
        promote_burst: config.promote_burst,
        icmp_per_s: config.icmp_per_s,
        icmp_burst: config.icmp_burst,
        pending_sets,
        pmtu_s: config.pmtu_expiry_s,
        pmtu_floor: u32::from(config.pmtu_floor),
        pad: 0,
    }
}

/// Make a small table's keys exactly these.
fn reconcile_keys<K: Pod>(table: &Table<K, u32>, wanted: &[K]) -> Result<(), MapError> {
    let present = table.entries()?;
    for key in wanted {
        if !present.iter().any(|(have, _)| have.bytes() == key.bytes()) {
            table.put(key, &1)?;
        }
    }
    for (have, _) in present {
        if !wanted.iter().any(|key| key.bytes() == have.bytes()) {
            table.remove(&have)?;
        }
    }
    Ok(())
}

impl Router {
    /// Make the kernel's tables say what `desired` says. Refused whole if it contradicts itself or does not fit.
    pub fn apply(&mut self, desired: &Desired) -> Result<Applied, ApplyError> {
        check(desired)?;
        let Some(hops) = self.hops.reconcile(desired, &self.tables)? else {
            return Err(ApplyError::TooManyHosts { given: desired.hosts.len() });
        };
        let before = self.tables.settings.get(&0)?.unwrap_or_default();
        self.tables.settings.put(&0, &settings(&desired.config, self.tables.pending_v4.capacity()))?;
        if before.seed != desired.config.seed {
            self.tables.forget_pending()?; // they are kept under the seed's hash: not found now, and stale if it came back
        }
        let addresses: Vec<_> = desired.tunnel_addresses.iter().map(|address| addr::key(*address)).collect();
        reconcile_keys(&self.tables.tunnel_addrs, &addresses)?;
        let upstreams: Vec<_> = desired.upstreams.iter().map(|net| addr::prefix_key(*net)).collect();
        reconcile_keys(&self.tables.upstreams, &upstreams)?;

        let mut applied = Applied::default();
        self.hide_removed(desired, &mut applied)?;
        let mut wanted = BTreeMap::new();
        let mut by_id: BTreeMap<User, &Subnet> = BTreeMap::new();
        for subnet in &desired.subnets {
            let known = self.subnets.get(&subnet.prefix).is_some();
            let id = self
                .subnets
                .assign(subnet.prefix)
                .ok_or(ApplyError::TooManySubnets { given: desired.subnets.len() })?;
            if !known {
                self.tables.subnet_usage.clear(u32::from(id))?;
            }
            // The ring it has: another subnet that had this id may have left one that stays as it is.
            let ring = self.rings.ring_of(id).map(|(index, _)| index);
            match (known, subnets::write(id, subnet, ring, &self.tables)?) {
                (false, _) => applied.subnets_added.push(subnet.prefix),
                (true, true) => applied.subnets_changed.push(subnet.prefix),
                (true, false) => {}
            }
            let source = |source| ApplyError::Ring { subnet: subnet.prefix, source };
            wanted.insert(id, self.ring_spec(subnet, desired).map_err(source)?);
            by_id.insert(id, subnet);
        }
        let published = self.publish(&wanted, &by_id, &hops)?;
        self.reconcile_services(&by_id)?;
        for (prefix, id) in self.subnets.iter() {
            subnets::expose(id, prefix, &self.tables)?;
        }
        let gone = self.hops.remove(&hops.doomed, &self.tables)?;
        applied.hosts_removed = hops.doomed;
        applied.hosts_added = hops.added;
        applied.hosts_changed = hops.changed;
        applied.rings_published = published.rings;
        applied.slots_moved = published.slots_moved;
        tracing::debug!(gone = gone.len(), ?applied, "applied");
        self.desired = desired.clone();
        Ok(applied)
    }

    /// Subnets that are gone stop matching before anything else of theirs changes.
    fn hide_removed(&mut self, desired: &Desired, applied: &mut Applied) -> Result<(), MapError> {
        let gone: Vec<_> =
            self.subnets.iter().filter(|(prefix, _)| !desired.subnets.iter().any(|s| s.prefix == *prefix)).collect();
        for (prefix, id) in &gone {
            subnets::hide(*prefix, &self.tables)?;
            self.tables.subnets.put(&u32::from(*id), &Default::default())?;
        }
        if !gone.is_empty() {
            // Flows are matched before subnets: those of a subnet that is gone go too, before another gets its id.
            let ids: BTreeSet<u16> = gone.iter().map(|(_, id)| *id).collect();
            self.tables.forget_flows(|flow| ids.contains(&flow.subnet))?;
        }
        for (prefix, _) in gone {
            self.subnets.release(&prefix);
            applied.subnets_removed.push(prefix);
        }
        Ok(())
    }

    /// New flows go to active hosts that can be reached, by weight. All hosts count for the ring's size.
    fn ring_spec(&self, subnet: &Subnet, desired: &Desired) -> Result<RingSpec, RingError> {
        let members: Vec<Member> = subnet
            .members
            .iter()
            .filter_map(|(name, weight)| {
                let host = desired.hosts.iter().find(|host| host.name == *name)?;
                let entry = self.hops.get(host.address)?;
                let takes = host.state == HostState::Active && host.is_reachable(&desired.sources);
                let weight = if takes { *weight } else { Weight::ZERO };
                Some(Member { name: name.clone(), hop: entry.id, weight })
            })
            .collect();
        RingSpec::new(&members, Placement::for_hosts(members.len(), desired.config.seed))
    }

    fn publish(
        &mut self,
        wanted: &BTreeMap<User, RingSpec>,
        subnets: &BTreeMap<User, &Subnet>,
        hops: &HopChanges,
    ) -> Result<Published, ApplyError> {
        let tables: &Tables = &self.tables;
        let attach = |user: User, ring: u32| {
            let Some(subnet) = subnets.get(&user) else { return Ok(()) };
            subnets::write(user, subnet, Some(ring), tables)?;
            service_entries(user, subnet, ring).iter().try_for_each(|(key, value)| tables.services.put(key, value))
        };
        let detach = |user: User| {
            let mut keys: Vec<service_key> = Vec::new();
            tables.services.for_each(|key, _| keys.extend((key.subnet == user).then_some(key)))?;
            keys.iter().try_for_each(|key| tables.services.remove(key).map(drop))
        };
        Ok(self.rings.publish(wanted, &hops.removed, tables, attach, detach)?)
    }

    /// A subnet's list of services, or its key mask, may change while its ring does not.
    fn reconcile_services(&self, subnets: &BTreeMap<User, &Subnet>) -> Result<(), MapError> {
        let mut wanted = Vec::new();
        for (id, subnet) in subnets {
            let ring = self.rings.ring_of(*id).map_or(0, |(index, _)| index);
            wanted.extend(service_entries(*id, subnet, ring));
        }
        let present = self.tables.services.entries()?;
        for (key, value) in &wanted {
            let same = |(k, v): &(service_key, _)| k.bytes() == key.bytes() && Pod::bytes(v) == value.bytes();
            if !present.iter().any(same) {
                self.tables.services.put(key, value)?;
            }
        }
        for (have, _) in present {
            if !wanted.iter().any(|(key, _)| key.bytes() == have.bytes()) {
                self.tables.services.remove(&have)?;
            }
        }
        Ok(())
    }
}
