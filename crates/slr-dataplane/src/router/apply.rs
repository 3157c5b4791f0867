//! From desired to actual: reconcile the kernel's tables, in an order in which no packet meets half of a change.
//!
//! Hops first (rings may point to them), then rings and routes, then the client and virtual prefixes that lead packets
//! there; what goes away leaves in the opposite order.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use slr_model::{NodeName, VirtualSubnet};

use super::check::check;
use super::desired::{Config, Desired};
use super::hops::HopChanges;
use super::layout::Layout;
use super::moved::Moved;
use super::rings::{Published, RouteId};
use super::tables::Tables;
use super::{Router, addr, subnets, template};
use crate::abi::{Pod, hop, router_config, service, slr_const, subnet};
use crate::table::{MapError, Table};

pub use super::check::ApplyError;

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
    /// Slots of these rings whose current host changed, each ring once though many routes may share it.
    pub slots_moved: u64,
    /// Routes of which slots point elsewhere now, for whatever reason.
    pub moved: Vec<Moved>,
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
        tell_pins: u32::from(config.tell_pins),
        hold_orphans: u32::from(config.hold_orphans),
        pad: 0,
    }
}

/// Make a small table exactly this; of a key that is there twice the last value counts.
fn reconcile_entries<K: Pod>(table: &Table<K, u32>, wanted: &[(K, u32)]) -> Result<(), MapError> {
    let present = table.entries()?;
    let value_of =
        |key: &K| wanted.iter().rev().find(|(other, _)| other.bytes() == key.bytes()).map(|(_, value)| *value);
    for (key, _) in wanted {
        let value = value_of(key).unwrap_or_default();
        if !present.iter().any(|(have, found)| have.bytes() == key.bytes() && *found == value) {
            table.put(key, &value)?;
        }
    }
    for (have, _) in present {
        if value_of(&have).is_none() {
            table.remove(&have)?;
        }
    }
    Ok(())
}

/// Headers for the routers where chains end, one a family.
fn write_ends(table: &Table<u32, hop>, ends: &[IpAddr], sources: &[IpNet]) -> Result<(), MapError> {
    for is_v6 in [false, true] {
        let address = ends.iter().copied().find(|address| address.is_ipv6() == is_v6);
        let end = address.map(|address| template::end_of_chain(address, sources)).unwrap_or_else(hop::zeroed);
        table.put(&u32::from(is_v6), &end)?;
    }
    Ok(())
}

impl Router {
    /// Whether the host behind this tunnel is in doubt: its last keepalives have no answer. A new connection then goes to another
    /// host of its slot that is not, be it that its SYN comes for the first time or again. Costs one write, and moves no flow. It
    /// holds over [`Router::apply`] until it is taken back or the host is removed.
    pub fn doubt(&mut self, tunnel: IpAddr, is_doubted: bool) -> Result<(), MapError> {
        self.hops.doubt(tunnel, is_doubted, &self.tables)
    }

    /// Make the kernel's tables say what `desired` says. Refused whole if it contradicts itself or does not fit.
    pub fn apply(&mut self, desired: &Desired) -> Result<Applied, ApplyError> {
        check(desired)?;
        let Some(hops) = self.hops.reconcile(desired, &self.tables)? else {
            return Err(ApplyError::TooManyHosts { given: desired.hosts.len() });
        };
        self.write_settings(desired)?;
        let mut applied = Applied::default();
        let before = self.routes_before(desired)?;
        let names = self.classes.names();
        self.hide_removed(desired, &mut applied)?;
        let rings = &self.rings;
        let held = |subnet| rings.classes_of(subnet);
        let layout = Layout::new(desired, &self.hops.ids(), &mut self.subnets, &mut self.classes, held)?;
        let known = self.begin_subnets(&layout, &mut applied)?;
        let published = self.publish(&layout, &hops)?;
        let mut changed = self.reconcile_services(&layout)?;
        changed.extend(self.classes.write(&layout.subnets, &self.tables)?);
        changed.extend(self.end_subnets(&layout, &known)?);
        for (prefix, id) in self.subnets.iter() {
            subnets::expose(id, prefix, &self.tables)?;
        }
        applied.subnets_changed = layout
            .subnets
            .iter()
            .filter(|(id, _)| known.contains_key(id) && changed.contains(id))
            .map(|(_, subnet)| subnet.prefix)
            .collect();
        applied.moved = self.moved(&before, &layout, &names);
        let gone = self.hops.remove(&hops.doomed, &self.tables)?;
        applied.hosts_removed = hops.doomed;
        applied.hosts_added = hops.added;
        applied.hosts_changed = hops.changed;
        applied.rings_published = published.rings;
        applied.slots_moved = published.slots_moved;
        tracing::debug!(gone = gone.len(), ?applied, "applied");
        Ok(applied)
    }

    fn write_settings(&mut self, desired: &Desired) -> Result<(), MapError> {
        let before = self.tables.settings.get(&0)?.unwrap_or_default();
        self.tables.settings.put(&0, &settings(&desired.config, self.tables.pending_v4.sets()))?;
        if before.seed != desired.config.seed {
            self.tables.forget_pending(); // they are kept under the seed's hash: not found now, and stale if it came back
        }
        let addresses: Vec<_> = desired.tunnel_addresses.iter().map(|address| (addr::key(*address), 1)).collect();
        reconcile_entries(&self.tables.tunnel_addrs, &addresses)?;
        let of =
            |nets: &[IpNet], kind: slr_const| nets.iter().map(move |net| (addr::prefix_key(*net), kind.0)).collect();
        let mut upstreams: Vec<_> = of(&desired.upstreams, slr_const::UPSTREAM_PARENT);
        upstreams.append(&mut of(&desired.neighbour_sources, slr_const::UPSTREAM_NEIGHBOUR));
        reconcile_entries(&self.tables.upstreams, &upstreams)?;
        write_ends(&self.tables.chain_ends, &desired.chain_ends, &desired.sources)?;
        write_ends(&self.tables.search_ends, &desired.search_ends, &desired.sources)?;
        Ok(())
    }

    /// Subnets that are gone stop matching before anything else of theirs changes.
    fn hide_removed(&mut self, desired: &Desired, applied: &mut Applied) -> Result<(), MapError> {
        let stays: BTreeSet<_> = desired.subnets.iter().map(|subnet| subnet.prefix).collect();
        let gone: Vec<_> = self.subnets.iter().filter(|(prefix, _)| !stays.contains(prefix)).collect();
        for (prefix, id) in &gone {
            subnets::hide(*prefix, &self.tables)?;
            self.accounts.close(*id, &self.tables)?;
            self.tables.subnets.put(&u32::from(*id), &Default::default())?;
            self.classes.forget(*id, &self.tables)?;
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

    /// New subnets are written, not yet exposed; those that are known look up what is or will be there. Returns what the
    /// kernel knew of these.
    fn begin_subnets(&mut self, layout: &Layout, applied: &mut Applied) -> Result<BTreeMap<u16, subnet>, MapError> {
        let mut known = BTreeMap::new();
        for (id, desired) in &layout.subnets {
            // The ring it has: another subnet that had this id may have left one that stays as it is.
            let ring = self.rings.ring_of(RouteId::of_subnet(*id)).map_or(0, |(index, _)| index);
            let mut value = subnets::value(desired, ring);
            if let Some(before) = subnets::read(*id, &self.tables)? {
                value.flags = subnets::flags_between(before.flags, value.flags);
                if before.account != value.account {
                    self.accounts.close(*id, &self.tables)?;
                }
                known.insert(*id, before);
            } else {
                self.tables.subnet_usage.clear(u32::from(*id))?;
                applied.subnets_added.push(desired.prefix);
            }
            subnets::write(*id, &value, &self.tables)?;
        }
        Ok(known)
    }

    /// All routes stand. Returns the subnets whose policies differ from what they were.
    fn end_subnets(&self, layout: &Layout, known: &BTreeMap<u16, subnet>) -> Result<Vec<u16>, MapError> {
        let mut changed = Vec::new();
        for (id, desired) in &layout.subnets {
            let ring = self.rings.ring_of(RouteId::of_subnet(*id)).map_or(0, |(index, _)| index);
            let value = subnets::value(desired, ring);
            subnets::write(*id, &value, &self.tables)?;
            let policies = |of: &subnet| subnet { ring: 0, ..*of };
            if known.get(id).is_some_and(|before| policies(before).bytes() != policies(&value).bytes()) {
                changed.push(*id);
            }
        }
        Ok(changed)
    }

    fn publish(&mut self, layout: &Layout, hops: &HopChanges) -> Result<Published, ApplyError> {
        let tables: &Tables = &self.tables;
        let attach = |route: RouteId, ring: u32| {
            if route.is_of_subnet() {
                return subnets::set_ring(route.subnet, ring, tables);
            }
            let mask = u32::from(layout.masks[&route].bits());
            tables.services.put(&route.key(), &service { ring, mask })
        };
        let detach = |route: RouteId| {
            if route.is_of_subnet() {
                subnets::set_ring(route.subnet, 0, tables)
            } else {
                tables.services.remove(&route.key()).map(drop)
            }
        };
        Ok(self.rings.publish(&layout.rings, &hops.removed, tables, attach, detach)?)
    }

    /// A route's key mask may change while its ring does not. Returns the subnets of which something changed.
    fn reconcile_services(&self, layout: &Layout) -> Result<BTreeSet<u16>, MapError> {
        let mut present: BTreeMap<_, _> = BTreeMap::new();
        self.tables.services.for_each(|key, value| {
            present.insert(key.bytes().to_vec(), (key, value));
        })?;
        let mut changed = BTreeSet::new();
        for (route, mask) in layout.masks.iter().filter(|(route, _)| !route.is_of_subnet()) {
            let ring = self.rings.ring_of(*route).map_or(0, |(index, _)| index);
            let (key, value) = (route.key(), service { ring, mask: u32::from(mask.bits()) });
            if present.remove(key.bytes()).is_none_or(|(_, have)| have.bytes() != value.bytes()) {
                self.tables.services.put(&key, &value)?;
                changed.insert(route.subnet);
            }
        }
        for (key, _) in present.values() {
            self.tables.services.remove(key)?;
            changed.insert(key.subnet);
        }
        Ok(changed)
    }
}
