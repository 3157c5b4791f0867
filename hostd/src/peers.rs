//! Whose tunnels are taken: what the configuration says, and what parents tell. Pure.
//!
//! A router is believed about itself as far as its certificate goes, and about the site's hosts as a whole. What was told is
//! remembered over a restart, so that tunnels are taken before the parents are heard again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use slr_model::{NodeName, VirtualSubnet};

use crate::config::Settings;

/// The site's other hosts, by name, with their tunnel addresses.
pub type Hosts = BTreeMap<NodeName, Vec<IpAddr>>;

/// What one parent told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Prefixes that its tunnels come from.
    pub sources: Vec<IpNet>,
    /// The site's hosts.
    pub hosts: Hosts,
}

/// What all parents told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Learned(BTreeMap<NodeName, Told>);

/// Whose tunnels are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    /// Routers, by name, with the prefixes their tunnels come from.
    pub routers: BTreeMap<NodeName, BTreeSet<IpNet>>,
    /// The site's other hosts, by name.
    pub site_hosts: BTreeMap<NodeName, BTreeSet<IpAddr>>,
}

impl Learned {
    /// A parent told where its tunnels come from; its certificate allows it.
    pub fn sources(&mut self, parent: &NodeName, sources: Vec<IpNet>) {
        self.0.entry(parent.clone()).or_default().sources = sources;
    }

    /// A parent told who the site's hosts are.
    pub fn hosts(&mut self, parent: &NodeName, hosts: Hosts) {
        self.0.entry(parent.clone()).or_default().hosts = hosts;
    }

    /// Forgets whoever is no parent any more.
    pub fn keep(&mut self, parents: &[crate::config::Parent]) {
        self.0.retain(|name, _| parents.iter().any(|parent| parent.name == *name));
    }
}

impl Peers {
    /// The configuration's and the learned ones. This host itself is none, and what claims a virtual address is none.
    pub fn of(settings: &Settings, learned: &Learned) -> Self {
        let mut peers = Self::default();
        for (name, prefixes) in &settings.routers {
            peers.routers.entry(name.clone()).or_default().extend(prefixes);
        }
        for (name, addresses) in &settings.site_hosts {
            peers.site_hosts.entry(name.clone()).or_default().extend(addresses);
        }
        let subnets: Vec<VirtualSubnet> = settings.subnets.iter().map(|subnet| subnet.prefix).collect();
        for (parent, told) in &learned.0 {
            peers.routers.entry(parent.clone()).or_default().extend(&told.sources);
            for (name, addresses) in told.hosts.iter().filter(|(name, _)| **name != settings.name) {
                let good = addresses.iter().filter(|address| is_host(**address, &subnets));
                peers.site_hosts.entry(name.clone()).or_default().extend(good);
            }
        }
        peers.routers.retain(|_, prefixes| !prefixes.is_empty());
        peers.site_hosts.retain(|_, addresses| !addresses.is_empty());
        peers
    }

    /// Names of the peers that a prefix stands for.
    pub fn names(&self, prefix: IpNet) -> Vec<String> {
        let routers = self.routers.iter().filter(|(_, prefixes)| prefixes.contains(&prefix)).map(|(name, _)| name);
        let is_of = |addresses: &BTreeSet<IpAddr>| addresses.iter().any(|address| IpNet::from(*address) == prefix);
        let hosts = self.site_hosts.iter().filter(|(_, addresses)| is_of(addresses)).map(|(name, _)| name);
        routers.chain(hosts).map(ToString::to_string).collect()
    }
}

fn is_host(address: IpAddr, subnets: &[VirtualSubnet]) -> bool {
    let odd = address.is_unspecified() || address.is_loopback() || address.is_multicast();
    !odd && !subnets.iter().any(|subnet| subnet.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "[host]\nname = \"h1\"\n[tunnel]\naddresses = [\"10.1.11.2\"]\n[dataplane]\ninterfaces = [\"e\"]\n\
        [[router]]\nname = \"slr1\"\nprefixes = [\"10.1.255.0/24\"]\n[[site_host]]\nname = \"h2\"\naddresses = [\"10.1.12.2\"]\n\
        [[subnet]]\nname = \"web\"\nprefix = \"192.0.2.0/24\"\n";

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn hosts(list: &[(&str, &str)]) -> Hosts {
        list.iter().map(|(name, address)| (name.parse().unwrap(), vec![address.parse().unwrap()])).collect()
    }

    #[test]
    fn routers_are_those_of_the_file_and_parents() {
        let (settings, slr2) = (Settings::parse("x", CONFIG).unwrap(), "slr2".parse().unwrap());
        let mut learned = Learned::default();
        learned.sources(&slr2, nets(&["10.1.254.0/25", "fd00:1::/64"]));
        learned.sources(&"slr1".parse().unwrap(), nets(&["10.1.253.0/24"]));
        let peers = Peers::of(&settings, &learned);
        assert_eq!(peers.routers[&slr2], BTreeSet::from_iter(nets(&["10.1.254.0/25", "fd00:1::/64"])));
        assert_eq!(peers.routers["slr1"].len(), 2, "the configured prefix and the one it told");
        assert_eq!(peers.names("10.1.254.0/25".parse().unwrap()), ["slr2"]);
        learned.keep(&[]);
        assert_eq!(Peers::of(&settings, &learned).routers.len(), 1);
    }

    #[test]
    fn the_sites_hosts_are_those_of_all_parents_without_this_one() {
        let settings = Settings::parse("x", CONFIG).unwrap();
        let mut learned = Learned::default();
        let told = [("h1", "10.1.11.2"), ("h3", "10.1.13.2"), ("odd", "192.0.2.9"), ("none", "0.0.0.0")];
        learned.hosts(&"slr1".parse().unwrap(), hosts(&told));
        learned.hosts(&"slr2".parse().unwrap(), hosts(&[("h2", "10.1.12.3"), ("h3", "10.1.13.2")]));
        let peers = Peers::of(&settings, &learned);
        let names: Vec<&str> = peers.site_hosts.keys().map(NodeName::as_str).collect();
        assert_eq!(names, ["h2", "h3"]);
        assert_eq!(peers.site_hosts["h2"].len(), 2, "the configured address and the learned one");
        let json = serde_json::to_string(&learned).unwrap();
        assert_eq!(serde_json::from_str::<Learned>(&json).unwrap(), learned, "it is remembered as it is");
    }
}
