//! What a host's tables shall say, in the words of the configuration. [`super::Host::apply`] makes it so.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;
use slr_model::VirtualSubnet;

use super::abi::slr_host_const;

/// Whose UDP sockets get virtual sources. Programs on a cgroup see the sockets of every network namespace in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SocketScope {
    /// Those of the network namespace of the process that applies.
    #[default]
    OwnNamespace,
    /// Those of any.
    AnyNamespace,
}

/// The whole desired state of a host's data plane.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostDesired {
    /// Where tunnels for this host end.
    pub tunnel_v4: Option<Ipv4Addr>,
    /// The same, IPv6.
    pub tunnel_v6: Option<Ipv6Addr>,
    /// Prefixes that registered routers send tunnels from.
    pub routers: Vec<IpNet>,
    /// Tunnel addresses of the site's other hosts, for chains.
    pub site_hosts: Vec<IpAddr>,
    /// Virtual subnets served here.
    pub subnets: Vec<VirtualSubnet>,
    /// How long a client of a subnet may be silent that owes something, at least; flows of subnets that are not named are not
    /// watched.
    pub stall_floors: BTreeMap<VirtualSubnet, Duration>,
    /// Largest MSS that a reply's SYN may carry over IPv4; `None`: left alone.
    pub mss_v4: Option<u16>,
    /// The same over IPv6.
    pub mss_v6: Option<u16>,
    /// Whose UDP sockets get virtual sources.
    pub sockets: SocketScope,
}

impl HostDesired {
    /// `TUNNEL_*` by prefix. A lookup finds the longest prefix only, so each carries what the shorter ones around it allow.
    pub(super) fn peers(&self) -> BTreeMap<IpNet, u32> {
        let routers = self.routers.iter().map(|net| (net.trunc(), slr_host_const::TUNNEL_ROUTER.0));
        let hosts = self.site_hosts.iter().map(|host| (IpNet::from(*host), slr_host_const::TUNNEL_SITE_HOST.0));
        let all: Vec<(IpNet, u32)> = routers.chain(hosts).collect();
        let allowed =
            |net: &IpNet| all.iter().filter(|(of, _)| of.contains(net)).fold(0, |sum, (_, flags)| sum | flags);
        all.iter().map(|(net, _)| (*net, allowed(net))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_inside_a_routers_prefix_may_do_what_both_may() {
        let desired = HostDesired {
            routers: vec!["10.1.0.0/16".parse().unwrap(), "fd00::/64".parse().unwrap()],
            site_hosts: vec!["10.1.2.3".parse().unwrap(), "10.2.0.1".parse().unwrap()],
            ..HostDesired::default()
        };
        let table = [("10.1.0.0/16", 1), ("10.1.2.3/32", 3), ("10.2.0.1/32", 2), ("fd00::/64", 1)];
        let expected: BTreeMap<IpNet, u32> = table.map(|(net, flags)| (net.parse().unwrap(), flags)).into();
        assert_eq!(desired.peers(), expected);
    }
}
