//! Trying whether what has a virtual source address gets out and its answers back: the question of `doctor --toward`.

use std::net::{IpAddr, SocketAddr};

use slr_daemon::admin::Call;
use slr_daemon::route::source_toward;
use slr_model::{FlowKey, Protocol, VirtualSubnet};

use super::Daemon;
use crate::config::Subnet;
use crate::echo::Asked;

/// The port of nobody (RFC 863): no client of ours has a flow from it.
const DISCARD: u16 = 9;
const HTTP: u16 = 80;

impl Daemon {
    /// The thread of the echoes answers, in some seconds.
    pub(super) fn try_ways(&self, toward: IpAddr, call: Call) {
        let is_virtual = |ip: &IpAddr| self.settings.subnets.iter().any(|subnet| subnet.prefix.contains(*ip));
        self.echoes.try_ways(Asked {
            own: source_toward(toward).filter(|own| !is_virtual(own)),
            flows: self.settings.subnets.iter().filter_map(|subnet| self.flow_of(subnet, toward)).collect(),
            answer: Box::new(move |ways| call.answer(Ok(ways))),
        });
    }

    /// A flow that routers pin to this host, since it serves it; `None`: the subnet is of the other family.
    fn flow_of(&self, subnet: &Subnet, toward: IpAddr) -> Option<(VirtualSubnet, FlowKey)> {
        let mut services = self.settings.services.iter().filter(|served| served.key.subnet == subnet.prefix);
        let service = services.find_map(|served| served.key.service);
        let (protocol, port) = service.map_or((Protocol::Tcp, HTTP), |service| (service.protocol, service.port.get()));
        let at = SocketAddr::new(some_address(subnet.prefix), port);
        FlowKey::new(SocketAddr::new(toward, DISCARD), at, protocol).ok().map(|flow| (subnet.prefix, flow))
    }
}

/// The first address of a subnet that is not the network's own, if it has more than one.
fn some_address(subnet: VirtualSubnet) -> IpAddr {
    let net = subnet.net();
    net.hosts().next().unwrap_or_else(|| net.addr())
}
