//! Where packets can be tunnelled to: every host, under its one tunnel address.

use std::net::IpAddr;

use slr_model::{HostState, MacAddr, NodeName};
use slr_session::registry::{HostView, ServiceState};

use super::Fleet;
use crate::config::Settings;
use crate::hosts::Host;

/// A host as a next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Its name.
    pub name: NodeName,
    /// Where its tunnel ends.
    pub address: IpAddr,
    /// Where frames for it go, if that is not to be resolved.
    pub mac: Option<MacAddr>,
    /// `Down` when no service of it keeps flows: then all of them un-pin at once.
    pub state: HostState,
}

impl Fleet {
    /// Every host. One that has a session outranks one of the same name or address in the hosts file, so that a server can
    /// be given hostd before the file is changed.
    pub fn hops(&self, settings: &Settings, listed: &[Host]) -> Vec<Hop> {
        let mut hops: Vec<Hop> = self.registry.hosts().filter_map(|host| hop(&host, settings)).collect();
        for host in listed {
            if !hops.iter().any(|hop| hop.name == host.name || hop.address == host.address) {
                let (name, address) = (host.name.clone(), host.address);
                hops.push(Hop { name, address, mac: host.mac, state: host.state });
            }
        }
        hops
    }
}

/// A host that is reached by a family without an outer source prefix is none: it is told so in `show hosts`.
fn hop(host: &HostView, settings: &Settings) -> Option<Hop> {
    let reachable = |address: &&IpAddr| settings.sources.iter().any(|net| net.addr().is_ipv4() == address.is_ipv4());
    let address = *host.tunnels().iter().find(reachable)?;
    let mut states = host.services().map(|service| service.state());
    let keeps = host.services().any(|service| service.state().keeps_flows());
    let state = if states.any(ServiceState::takes_new_flows) {
        HostState::Active
    } else if keeps || host.services().next().is_none() {
        HostState::Draining
    } else {
        HostState::Down
    };
    Some(Hop { name: host.name().clone(), address, mac: None, state })
}
