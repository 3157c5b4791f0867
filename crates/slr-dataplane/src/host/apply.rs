//! From desired to actual. New peers and subnets enter the tries first, then the settings are flipped, then what is not
//! wanted any more leaves the tries. A subnet keeps its index, and so its counters, for as long as it is served.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use slr_model::VirtualSubnet;
use thiserror::Error;

use super::Host;
use super::abi::{host_config, prefix_v4, prefix_v6, slr_host_const, stall_limit};
use super::desired::HostDesired;
use super::settings::settings;
use crate::abi::Pod;
use crate::router::addr;
use crate::table::{MapError, Table};

/// What changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostApplied {
    /// Newly served.
    pub subnets_added: Vec<VirtualSubnet>,
    /// No longer served.
    pub subnets_removed: Vec<VirtualSubnet>,
    /// Peers, by prefix, that were added or may do something else now.
    pub peers_changed: Vec<IpNet>,
    /// Peers that are gone.
    pub peers_removed: Vec<IpNet>,
}

/// Why a desired state was not applied.
#[derive(Debug, Error)]
pub enum HostApplyError {
    /// More than the tables hold.
    #[error("{given} {what}: the table holds {most}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        given: usize,
        /// How many fit.
        most: u32,
    },
    /// The namespace has no cookie.
    #[error("the network namespace's cookie cannot be read: {0} (kernel 5.14 or later?)")]
    Namespace(io::Error),
    /// A table refused.
    #[error(transparent)]
    Table(#[from] MapError),
}

impl Host {
    /// Make the tables say `desired`. Bounds are checked first: either it fits, or nothing changes.
    pub fn apply(&mut self, desired: &HostDesired) -> Result<HostApplied, HostApplyError> {
        let peers = desired.peers();
        check("peers", peers.len(), slr_host_const::SLR_PEERS_MAX.0)?;
        let wanted: BTreeSet<VirtualSubnet> = desired.subnets.iter().copied().collect();
        check("virtual subnets", wanted.len(), slr_host_const::SLR_SERVED_MAX.0)?;
        let known_peers = self.known_peers()?;
        let mut served = self.served()?;
        let mut applied = HostApplied::default();
        for (net, rights) in &peers {
            if known_peers.get(net) != Some(rights) {
                self.put_peer(*net, *rights)?;
                applied.peers_changed.push(*net);
            }
        }
        // What goes must free its place in the trie before what comes takes it; a full table has no room for both.
        let gone: Vec<VirtualSubnet> = served.keys().filter(|subnet| !wanted.contains(subnet)).copied().collect();
        for subnet in gone {
            self.remove_served(subnet)?;
            served.remove(&subnet);
            applied.subnets_removed.push(subnet);
        }
        for subnet in wanted {
            if !served.contains_key(&subnet) {
                let index = free_index(&served);
                self.tables.usage.clear(index)?;
                self.put_served(subnet, index)?;
                served.insert(subnet, index);
                applied.subnets_added.push(subnet);
            }
        }
        for (subnet, index) in &served {
            let floor = desired.stall_floors.get(subnet).map_or(0, Duration::as_micros);
            let floor_us = u32::try_from(floor).unwrap_or(u32::MAX);
            self.tables.stall_limits.put(index, &stall_limit { floor_us, ..stall_limit::default() })?;
        }
        let indices: Vec<(VirtualSubnet, u32)> = served.into_iter().collect();
        self.publish(settings(desired, &indices).map_err(HostApplyError::Namespace)?)?;
        for net in known_peers.into_keys().filter(|net| !peers.contains_key(net)) {
            self.remove_peer(net)?;
            applied.peers_removed.push(net);
        }
        self.desired = desired.clone();
        Ok(applied)
    }

    /// Puts settings in force, unless they are already: into the element that nobody reads, then that one is named.
    fn publish(&self, settings: host_config) -> Result<(), MapError> {
        let now = self.tables.active.get(&0)?.unwrap_or(0) & 1;
        if self.tables.settings.get(&now)?.is_some_and(|current| current.bytes() == settings.bytes()) {
            return Ok(());
        }
        self.tables.settings.put(&(now ^ 1), &settings)?;
        self.tables.active.put(&0, &(now ^ 1))
    }

    /// Served subnets and their indices, as the kernel has them.
    pub(super) fn served(&self) -> Result<BTreeMap<VirtualSubnet, u32>, MapError> {
        let entries = entries(&self.tables.served_v4, &self.tables.served_v6)?;
        Ok(entries.into_iter().filter_map(|(net, index)| Some((VirtualSubnet::new(net).ok()?, index))).collect())
    }

    /// Peers and their flags, as the kernel has them.
    pub(super) fn known_peers(&self) -> Result<BTreeMap<IpNet, u32>, MapError> {
        entries(&self.tables.peers_v4, &self.tables.peers_v6)
    }

    fn put_peer(&self, net: IpNet, flags: u32) -> Result<(), MapError> {
        match key(net) {
            Key::V4(key) => self.tables.peers_v4.put(&key, &flags),
            Key::V6(key) => self.tables.peers_v6.put(&key, &flags),
        }
    }

    fn remove_peer(&self, net: IpNet) -> Result<bool, MapError> {
        match key(net) {
            Key::V4(key) => self.tables.peers_v4.remove(&key),
            Key::V6(key) => self.tables.peers_v6.remove(&key),
        }
    }

    fn put_served(&self, subnet: VirtualSubnet, index: u32) -> Result<(), MapError> {
        match key(subnet.net()) {
            Key::V4(key) => self.tables.served_v4.put(&key, &index),
            Key::V6(key) => self.tables.served_v6.put(&key, &index),
        }
    }

    fn remove_served(&self, subnet: VirtualSubnet) -> Result<bool, MapError> {
        match key(subnet.net()) {
            Key::V4(key) => self.tables.served_v4.remove(&key),
            Key::V6(key) => self.tables.served_v6.remove(&key),
        }
    }
}

fn check(what: &'static str, given: usize, most: u32) -> Result<(), HostApplyError> {
    if given > most as usize { Err(HostApplyError::TooMany { what, given, most }) } else { Ok(()) }
}

/// The lowest index that no subnet has; there is one, since the number of subnets was checked.
fn free_index(served: &BTreeMap<VirtualSubnet, u32>) -> u32 {
    let used: BTreeSet<u32> = served.values().copied().collect();
    (0..).find(|index| !used.contains(index)).expect("fewer subnets than numbers")
}

enum Key {
    V4(prefix_v4),
    V6(prefix_v6),
}

fn key(net: IpNet) -> Key {
    match net {
        IpNet::V4(net) => Key::V4(prefix_v4 { len: net.prefix_len().into(), addr: addr::word(net.network()) }),
        IpNet::V6(net) => Key::V6(prefix_v6 { len: net.prefix_len().into(), addr: addr::words(net.network()) }),
    }
}

fn entries(v4: &Table<prefix_v4, u32>, v6: &Table<prefix_v6, u32>) -> Result<BTreeMap<IpNet, u32>, MapError> {
    let net = |address: IpAddr, len: u32| IpNet::new(address, u8::try_from(len).ok()?).ok();
    let mut all = BTreeMap::new();
    for (key, value) in v4.entries()? {
        all.extend(net(addr::from_word(key.addr).into(), key.len).map(|net| (net, value)));
    }
    for (key, value) in v6.entries()? {
        all.extend(net(addr::from_words(key.addr).into(), key.len).map(|net| (net, value)));
    }
    Ok(all)
}
