//! Routers of other clusters, in front of the same virtual subnets: hops that take no new flows, only those that they are known to
//! have; and where chains end.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use slr_dataplane::router::Desired;
use slr_model::{HostState, NodeName};

use super::super::plane::Plane;
use super::{Core, Loaded};
use crate::config::Settings;
use crate::fleet::{Fleet, Hop};

/// What a neighbour said when it was last connected, as far as its certificate has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Where it takes tunnels.
    pub tunnel_addresses: Vec<IpAddr>,
    /// From where it sends them.
    pub sources: Vec<IpNet>,
}

/// What is known of other routers of this tier.
#[derive(Debug, Default)]
pub(super) struct Others {
    neighbours: BTreeMap<NodeName, Neighbour>,
    ends: Ends,
}

/// Where chains end that found no host; nowhere: at their last host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Of orphans.
    pub orphans: Vec<IpAddr>,
    /// Of UDP flows that others are asked about.
    pub datagrams: Vec<IpAddr>,
}

impl Others {
    /// Those that are still configured.
    fn of<'a>(&'a self, settings: &'a Settings) -> impl Iterator<Item = (&'a NodeName, &'a Neighbour)> {
        let configured = settings.control.iter().flat_map(|control| &control.neighbours);
        configured.filter_map(|neighbour| self.neighbours.get_key_value(&neighbour.name))
    }

    /// Neighbours as hops, behind those that the fleet has: a name or address that is there twice is the host's.
    fn add_hops(&self, settings: &Settings, hops: &mut Vec<Hop>) {
        for (name, neighbour) in self.of(settings) {
            let fits = |address: &&IpAddr| settings.sources.iter().any(|net| net.addr().is_ipv4() == address.is_ipv4());
            let Some(address) = neighbour.tunnel_addresses.iter().find(fits).copied() else { continue };
            if !hops.iter().any(|hop| hop.name == *name || hop.address == address) {
                hops.push(Hop { name: name.clone(), address, mac: None, state: HostState::Draining });
            }
        }
    }

    /// Makes the data plane's state say who they are.
    pub fn write(&self, settings: &Settings, wanted: &mut Desired) {
        let (names, facts): (Vec<_>, Vec<_>) = self.of(settings).unzip();
        wanted.neighbours = names.into_iter().cloned().collect();
        wanted.neighbour_sources = facts.iter().flat_map(|neighbour| neighbour.sources.iter().copied()).collect();
        wanted.chain_ends = self.ends.orphans.clone();
        wanted.search_ends = self.ends.datagrams.clone();
    }
}

impl<P: Plane> Core<P> {
    /// Where packets can be tunnelled to under a configuration: the fleet's hosts, and neighbours.
    pub(super) fn hops_of(&self, fleet: &Fleet, loaded: &Loaded) -> Vec<Hop> {
        let mut hops = fleet.hops(&loaded.settings, &loaded.hosts);
        self.others.add_hops(&loaded.settings, &mut hops);
        hops
    }

    /// A neighbour says where its tunnels begin and end. It stays a hop when the connection ends: packets go on.
    pub fn set_neighbour(&mut self, name: NodeName, neighbour: Neighbour, now: Instant) {
        if self.others.neighbours.get(&name) != Some(&neighbour) {
            self.others.neighbours.insert(name, neighbour);
            self.save_soon(now);
            self.place(now);
            self.follow_links(now);
        }
    }

    /// The neighbours, for a restart.
    pub fn neighbours(&self) -> &BTreeMap<NodeName, Neighbour> {
        &self.others.neighbours
    }

    /// What an earlier daemon knew of them.
    pub fn restore_neighbours(&mut self, neighbours: BTreeMap<NodeName, Neighbour>) {
        self.others.neighbours = neighbours;
    }

    /// Where chains end from now on.
    pub fn set_chain_ends(&mut self, ends: Ends, now: Instant) {
        if self.others.ends != ends {
            self.others.ends = ends;
            self.follow_links(now);
        }
    }
}
