//! Which host has which index in the kernel's table of hop templates, and under which generation.
//!
//! A flow remembers index and generation. A generation changes when the index goes to another host, and when its host
//! goes down: both un-pin the flows, and nothing else does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use slr_model::{HopId, HostState, NodeName};
use slr_policy::HopSet;

use super::addr;
use super::desired::{Desired, Host};
use super::tables::Tables;
use super::template;
use crate::abi::{Pod, hop, slr_const, usage};
use crate::table::MapError;

/// A host's place in the table.
#[derive(Clone, Debug)]
pub struct Entry {
    pub id: HopId,
    pub generation: u16,
    /// As written last.
    pub template: hop,
    /// Unknown for an entry that was adopted and not yet claimed by a desired host.
    pub host: Option<Host>,
}

/// All places, by tunnel address: that is what tells hosts apart in the kernel.
#[derive(Debug, Default)]
pub struct HopTable {
    entries: BTreeMap<IpAddr, Entry>,
    /// Generations of indexes that nobody has at present.
    free: BTreeMap<HopId, u16>,
    /// Whose last keepalives have no answer.
    doubted: BTreeSet<IpAddr>,
}

/// What a reconciliation did.
#[derive(Debug, Default)]
pub struct HopChanges {
    pub added: Vec<NodeName>,
    pub changed: Vec<NodeName>,
    /// No longer desired; still in the table until the rings have let go of them.
    pub doomed: Vec<IpAddr>,
    pub removed: HopSet,
}

impl HopTable {
    /// Take over an index found in the kernel's table.
    pub fn adopt(&mut self, id: HopId, template: hop) {
        let generation = template.r#gen;
        if template.flags == 0 && template.eth == [0; 14] {
            self.free.insert(id, generation);
        } else {
            self.entries.insert(template::address(&template), Entry { id, generation, template, host: None });
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// The lowest index without an owner, with the generation that a new owner gets.
    fn allocate(&mut self) -> Option<(HopId, u16)> {
        if let Some((id, generation)) = self.free.pop_first() {
            return Some((id, next(generation)));
        }
        let used: HopSet = self.entries.values().fold(HopSet::new(), |mut set, entry| {
            set.insert(entry.id);
            set
        });
        (1..=HopId::MAX).filter_map(|n| HopId::new(n).ok()).find(|id| !used.contains(*id)).map(|id| (id, 1))
    }

    /// An index for every desired host, those that [`HopTable::reconcile`] would find and some that are free. `None`: more
    /// hosts than the table has room for.
    pub fn foresee(&self, desired: &Desired) -> Option<BTreeMap<IpAddr, HopId>> {
        let used: BTreeSet<HopId> = self.entries.values().map(|entry| entry.id).collect();
        let mut free = (1..=HopId::MAX).filter_map(|n| HopId::new(n).ok()).filter(|id| !used.contains(id));
        let mut index = |address| self.entries.get(&address).map(|entry| entry.id).or_else(|| free.next());
        desired.hosts.iter().map(|host| Some((host.address, index(host.address)?))).collect()
    }

    /// Indexes by tunnel address.
    pub fn ids(&self) -> BTreeMap<IpAddr, HopId> {
        self.entries.iter().map(|(address, entry)| (*address, entry.id)).collect()
    }

    /// Write templates for every desired host. `None`: more hosts than the table has room for.
    pub fn reconcile(&mut self, desired: &Desired, tables: &Tables) -> Result<Option<HopChanges>, MapError> {
        let mut changes = HopChanges::default();
        for host in &desired.hosts {
            let known = self.entries.get(&host.address).cloned();
            let (id, generation) = match &known {
                Some(entry) => (entry.id, entry.generation_for(host)),
                None => match self.allocate() {
                    Some(fresh) => fresh,
                    None => return Ok(None),
                },
            };
            let template = self.template_for(host, desired, known.as_ref(), id, generation, tables)?;
            let entry = Entry { id, generation, template, host: Some(host.clone()) };
            match &known {
                None => changes.added.push(host.name.clone()),
                Some(old) if !same(&old.template, &template) => changes.changed.push(host.name.clone()),
                Some(_) => {}
            }
            if known.as_ref().is_none_or(|old| !same(&old.template, &template)) {
                write(&entry, host.address, known.is_none(), tables)?;
            }
            self.entries.insert(host.address, entry);
        }
        let stays: BTreeSet<IpAddr> = desired.hosts.iter().map(|host| host.address).collect();
        for (address, entry) in &self.entries {
            if !stays.contains(address) {
                changes.doomed.push(*address);
                changes.removed.insert(entry.id);
            }
        }
        Ok(Some(changes))
    }

    fn template_for(
        &self,
        host: &Host,
        desired: &Desired,
        known: Option<&Entry>,
        id: HopId,
        generation: u16,
        tables: &Tables,
    ) -> Result<hop, MapError> {
        let source = template::source_for(host.address, &desired.sources);
        let mut template = match (&host.link, source) {
            (Some(link), Some(source)) => {
                let mut template = template::build(host.address, link, source);
                if host.state.keeps_flows() {
                    template.flags |= template::flag(slr_const::HOP_UP);
                }
                if self.doubted.contains(&host.address) {
                    template.flags |= template::flag(slr_const::HOP_DOUBTED);
                }
                if desired.neighbours.contains(&host.name) {
                    template.flags |= template::flag(slr_const::HOP_NEIGHBOUR);
                }
                template
            }
            _ => unreachable_template(host),
        };
        template.r#gen = generation;
        if known.is_some() {
            // The program may have learned a smaller path MTU since we wrote; it stays as long as the link is the same.
            let current = tables.hops.get(&u32::from(id.get()))?.unwrap_or_default();
            if current.mtu_until != 0 && current.link_mtu == template.link_mtu {
                template.mtu = current.mtu;
                template.mtu_until = current.mtu_until;
            }
        }
        Ok(template)
    }

    /// Write down whether a host's last keepalives have no answer. What is no hop is ignored.
    pub fn doubt(&mut self, address: IpAddr, is_doubted: bool, tables: &Tables) -> Result<(), MapError> {
        let Some(entry) = self.entries.get_mut(&address) else { return Ok(()) };
        let is_changed = if is_doubted { self.doubted.insert(address) } else { self.doubted.remove(&address) };
        let id = u32::from(entry.id.get());
        if !is_changed || entry.template.flags & template::flag(slr_const::HOP_UP) == 0 {
            return Ok(()); // an unresolved one is written with the mark when it is resolved
        }
        let mark = template::flag(slr_const::HOP_DOUBTED);
        entry.template.flags = entry.template.flags & !mark | if is_doubted { mark } else { 0 };
        // The program may have learned a path MTU since.
        let current = tables.hops.get(&id)?.unwrap_or(entry.template);
        tables.hops.put(&id, &hop { flags: entry.template.flags, ..current })
    }

    /// Clear the entries of hosts that are gone; their indexes may be given to others.
    pub fn remove(&mut self, doomed: &[IpAddr], tables: &Tables) -> Result<Vec<Entry>, MapError> {
        let mut gone = Vec::new();
        for address in doomed {
            let Some(entry) = self.entries.remove(address) else { continue };
            self.doubted.remove(address);
            let generation = next(entry.generation);
            tables.hop_by_addr.remove(&addr::key(*address))?;
            tables.hops.put(&u32::from(entry.id.get()), &hop { r#gen: generation, ..hop::zeroed() })?;
            self.free.insert(entry.id, generation);
            gone.push(entry);
        }
        Ok(gone)
    }
}

impl Entry {
    /// Going down un-pins; so does coming back as another host at the same address.
    fn generation_for(&self, host: &Host) -> u16 {
        let renamed = self.host.as_ref().is_some_and(|old| old.name != host.name);
        // Of an adopted entry nobody knows whether it was down already: un-pinning twice costs nothing.
        let went_down =
            host.state == HostState::Down && self.host.as_ref().is_none_or(|old| old.state != HostState::Down);
        if went_down || renamed { next(self.generation) } else { self.generation }
    }
}

/// Generations run from 1: an all-zero entry matches no flow.
fn next(generation: u16) -> u16 {
    generation.checked_add(1).unwrap_or(1)
}

/// A host that cannot be reached yet: nothing is sent, but its address and family are on record.
fn unreachable_template(host: &Host) -> hop {
    let nowhere = super::desired::Link {
        destination: slr_model::MacAddr([0; 6]),
        source: slr_model::MacAddr([0; 6]),
        ifindex: 0,
        mtu: u16::MAX,
    };
    let any = match host.address {
        IpAddr::V4(_) => ipnet::IpNet::from(IpAddr::from([0; 4])),
        IpAddr::V6(_) => ipnet::IpNet::from(IpAddr::from([0u16; 8])),
    };
    template::build(host.address, &nowhere, any)
}

fn same(a: &hop, b: &hop) -> bool {
    let neutral = |h: &hop| hop { mtu: 0, mtu_until: 0, ..*h };
    neutral(a).bytes() == neutral(b).bytes()
}

fn write(entry: &Entry, address: IpAddr, fresh: bool, tables: &Tables) -> Result<(), MapError> {
    let id = u32::from(entry.id.get());
    if fresh {
        tables.hop_usage.clear(id)?; // what the index's last owner sent is not this host's
    }
    tables.hops.put(&id, &entry.template)?;
    tables.hop_by_addr.put(&addr::key(address), &id)
}

/// Sum of a hop's use over all CPUs.
pub fn total(parts: &[usage]) -> usage {
    parts.iter().fold(usage::default(), |sum, part| usage {
        packets: sum.packets + part.packets,
        bytes: sum.bytes + part.bytes,
        flows: sum.flows + part.flows,
        pad: 0,
    })
}
