//! From what the kernel says about interfaces, routes and neighbours to links. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use slr_dataplane::router::Link;
use slr_model::MacAddr;
use thiserror::Error;

use super::{Links, Target};

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    /// Its MAC, if it is an Ethernet device.
    pub mac: Option<MacAddr>,
    pub mtu: u32,
    pub up: bool,
}

/// The route to one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub ifindex: u32,
    /// The router in between; `None`: on link.
    pub gateway: Option<IpAddr>,
    /// The route's own MTU, if it has one.
    pub mtu: Option<u32>,
}

/// An entry of the neighbour table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its MAC, if the entry is valid.
    pub mac: Option<MacAddr>,
    /// The operator wrote it; it is not asked for.
    pub fixed: bool,
    /// The kernel keeps it resolved on its own (`NTF_EXT_MANAGED`).
    pub managed: bool,
}

/// Interface and address: what a neighbour is known by.
pub type NeighbourKey = (u32, IpAddr);

/// What the kernel said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub interfaces: BTreeMap<u32, Interface>,
    /// By target address; an address without route is absent.
    pub routes: BTreeMap<IpAddr, Route>,
    pub neighbours: BTreeMap<NeighbourKey, Neighbour>,
}

/// Why a host cannot be reached at present.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Unresolved {
    /// The routing table has no way.
    #[error("no route")]
    NoRoute,
    /// The way leads out of an interface that is down.
    #[error("{0} is down")]
    InterfaceDown(String),
    /// The way leads out of something that is no Ethernet device.
    #[error("{0} is no Ethernet device")]
    NotEthernet(String),
    /// Nobody answers for the address.
    #[error("{address} does not answer on {interface}")]
    NoNeighbour {
        /// The host, or the gateway before it.
        address: IpAddr,
        /// Where it was asked for.
        interface: String,
    },
    /// The netlink lookup has not come back yet.
    #[error("not looked up yet")]
    Unknown,
}

impl Facts {
    /// How this target is reached.
    pub fn link(&self, target: &Target) -> Result<Link, Unresolved> {
        let route = self.routes.get(&target.address).ok_or(Unresolved::NoRoute)?;
        let interface = self.interfaces.get(&route.ifindex).ok_or(Unresolved::NoRoute)?;
        if !interface.up {
            return Err(Unresolved::InterfaceDown(interface.name.clone()));
        }
        let source = interface.mac.ok_or_else(|| Unresolved::NotEthernet(interface.name.clone()))?;
        let (_, address) = neighbour_key(route, target);
        let neighbour = self.neighbours.get(&(route.ifindex, address)).and_then(|neighbour| neighbour.mac);
        let destination = target
            .mac
            .or(neighbour)
            .ok_or_else(|| Unresolved::NoNeighbour { address, interface: interface.name.clone() })?;
        let mtu = route.mtu.map_or(interface.mtu, |mtu| mtu.min(interface.mtu));
        // A template counts in 16 bits, as IPv4 does; loopback-sized links are larger.
        Ok(Link { destination, source, ifindex: route.ifindex, mtu: u16::try_from(mtu).unwrap_or(u16::MAX) })
    }

    /// The links of all targets.
    pub fn links(&self, targets: &[Target]) -> Links {
        targets.iter().map(|target| (target.name.clone(), self.link(target))).collect()
    }

    /// The neighbours that links depend on: those of targets without a MAC of their own, on Ethernet devices.
    pub fn neighbours_wanted(&self, targets: &[Target]) -> BTreeSet<NeighbourKey> {
        let ethernet = |ifindex| self.interfaces.get(&ifindex).is_some_and(|i| i.up && i.mac.is_some());
        targets
            .iter()
            .filter(|target| target.mac.is_none())
            .filter_map(|target| self.routes.get(&target.address).map(|route| neighbour_key(route, target)))
            .filter(|(ifindex, _)| ethernet(*ifindex))
            .collect()
    }

    /// Whether the kernel is to be asked to resolve this neighbour and keep it so. An entry that the operator wrote stays
    /// as it is: taking it over would strip its permanence.
    pub fn needs_asking(&self, key: &NeighbourKey) -> bool {
        let settled = |neighbour: &Neighbour| neighbour.fixed || (neighbour.managed && neighbour.mac.is_some());
        !self.neighbours.get(key).is_some_and(settled)
    }
}

fn neighbour_key(route: &Route, target: &Target) -> NeighbourKey {
    (route.ifindex, route.gateway.unwrap_or(target.address))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const HOST: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
    const GATEWAY: MacAddr = MacAddr([2, 0, 0, 0, 0, 3]);
    const FIXED: MacAddr = MacAddr([2, 0, 0, 0, 0, 4]);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn target(address: &str) -> Target {
        Target { name: "h1".parse().unwrap(), address: ip(address), mac: None }
    }

    fn neighbour(mac: Option<MacAddr>) -> Neighbour {
        Neighbour { mac, fixed: false, managed: false }
    }

    /// Interface 3 is Ethernet; .2 is on it, 10.9/16 behind .254. Interface 4 is down, 5 a tunnel device.
    fn facts() -> Facts {
        let interface = |name: &str, mac, up| Interface { name: name.into(), mac, mtu: 1500, up };
        let route = |ifindex, gateway| Route { ifindex, gateway, mtu: None };
        Facts {
            interfaces: [
                (3, interface("lan0", Some(OURS), true)),
                (4, interface("lan1", Some(OURS), false)),
                (5, interface("tun0", None, true)),
            ]
            .into(),
            routes: [
                (ip("10.1.0.2"), route(3, None)),
                (ip("10.9.0.2"), route(3, Some(ip("10.1.0.254")))),
                (ip("fd00::2"), route(3, None)),
                (ip("10.4.0.2"), route(4, None)),
                (ip("10.5.0.2"), route(5, None)),
                (ip("10.6.0.2"), route(6, None)),
            ]
            .into(),
            neighbours: [
                ((3, ip("10.1.0.2")), neighbour(Some(HOST))),
                ((3, ip("10.1.0.254")), neighbour(Some(GATEWAY))),
                ((3, ip("fd00::2")), neighbour(None)),
            ]
            .into(),
        }
    }

    fn link(destination: MacAddr, mtu: u16) -> Link {
        Link { destination, source: OURS, ifindex: 3, mtu }
    }

    #[test]
    fn a_host_on_the_link_is_sent_to_itself_and_one_behind_a_gateway_to_the_gateway() {
        assert_eq!(facts().link(&target("10.1.0.2")), Ok(link(HOST, 1500)));
        assert_eq!(facts().link(&target("10.9.0.2")), Ok(link(GATEWAY, 1500)));
    }

    #[test]
    fn what_is_missing_is_named() {
        let text = |address: &str| facts().link(&target(address)).unwrap_err().to_string();
        assert_eq!(text("10.7.0.2"), "no route");
        assert_eq!(text("10.6.0.2"), "no route");
        assert_eq!(text("10.4.0.2"), "lan1 is down");
        assert_eq!(text("10.5.0.2"), "tun0 is no Ethernet device");
        assert_eq!(text("fd00::2"), "fd00::2 does not answer on lan0");
        let mut facts = facts();
        facts.neighbours.clear();
        assert_eq!(facts.link(&target("10.9.0.2")).unwrap_err().to_string(), "10.1.0.254 does not answer on lan0");
    }

    #[test]
    fn a_mac_of_the_hosts_file_outranks_the_neighbour_table() {
        let fixed = Target { mac: Some(FIXED), ..target("10.1.0.2") };
        assert_eq!(facts().link(&fixed), Ok(link(FIXED, 1500)));
        let silent = Target { mac: Some(FIXED), ..target("fd00::2") };
        assert_eq!(facts().link(&silent), Ok(link(FIXED, 1500)));
        assert!(facts().neighbours_wanted(&[fixed, silent]).is_empty());
    }

    #[test]
    fn the_smaller_of_route_and_interface_mtu_counts_and_sixteen_bits_are_the_bound() {
        for (route, interface, expected) in
            [(Some(1400), 1500, 1400), (Some(9000), 1500, 1500), (None, 9000, 9000), (None, 65536, u16::MAX)]
        {
            let mut facts = facts();
            facts.routes.get_mut(&ip("10.1.0.2")).unwrap().mtu = route;
            facts.interfaces.get_mut(&3).unwrap().mtu = interface;
            assert_eq!(facts.link(&target("10.1.0.2")), Ok(link(HOST, expected)));
        }
    }

    #[test]
    fn neighbours_are_wanted_once_and_only_where_there_are_any() {
        let addresses = ["10.1.0.2", "10.9.0.2", "10.1.0.254", "10.4.0.2", "10.5.0.2", "10.7.0.2"];
        let targets: Vec<Target> = addresses.map(target).into();
        let wanted: Vec<NeighbourKey> = facts().neighbours_wanted(&targets).into_iter().collect();
        assert_eq!(wanted, [(3, ip("10.1.0.2")), (3, ip("10.1.0.254"))]);
    }

    #[test]
    fn the_kernel_is_asked_until_it_manages_and_never_about_an_operators_entry() {
        let key = (3, ip("10.1.0.2"));
        let with = |mac, fixed, managed| {
            let mut facts = facts();
            facts.neighbours.insert(key, Neighbour { mac, fixed, managed });
            facts.needs_asking(&key)
        };
        assert!(with(Some(HOST), false, false) && with(None, false, true));
        assert!(!with(Some(HOST), false, true) && !with(Some(HOST), true, false));
        assert!(facts().needs_asking(&(3, ip("10.1.0.99"))));
    }
}
