//! `struct host_config` from a desired state: the scan lists, the addresses, the limits. Pure but for the namespace's cookie.

use std::io;

use ipnet::IpNet;
use slr_model::VirtualSubnet;

use super::abi::{host_config, short_v4, short_v6, slr_host_const};
use super::cgroup;
use super::desired::{HostDesired, SocketScope};
use crate::router::addr;

const SHORT_MAX: usize = slr_host_const::SLR_SHORT_MAX.0 as usize;

/// The settings for `desired`, with the index that each of its subnets has.
pub fn settings(desired: &HostDesired, indices: &[(VirtualSubnet, u32)]) -> io::Result<host_config> {
    let mut settings = host_config {
        netns_cookie: match desired.sockets {
            SocketScope::OwnNamespace => cgroup::netns_cookie()?,
            SocketScope::AnyNamespace => 0,
        },
        tunnel_v4: desired.tunnel_v4.map_or(0, addr::word),
        tunnel_v6: desired.tunnel_v6.map_or([0; 4], addr::words),
        socket_netns: u32::MAX, // our own
        mss_v4: desired.mss_v4.unwrap_or(0),
        mss_v6: desired.mss_v6.unwrap_or(0),
        ..host_config::default()
    };
    // A scan takes the first that matches, so the longest come first, as in a trie.
    let mut served: Vec<(IpNet, u32)> = indices.iter().map(|(subnet, index)| (subnet.net(), *index)).collect();
    served.sort_by_key(|(net, _)| (std::cmp::Reverse(net.prefix_len()), *net));
    let routers: Vec<(IpNet, u32)> = desired.routers.iter().map(|net| (net.trunc(), 0)).collect();
    settings.routers_v4_num = fill(&mut settings.routers_v4, &routers, short4).unwrap_or(0);
    settings.routers_v6_num = fill(&mut settings.routers_v6, &routers, short6).unwrap_or(0);
    match fill(&mut settings.served_v4, &served, short4) {
        Some(count) => settings.served_v4_num = count,
        None => settings.tries |= slr_host_const::TRIE_SERVED_V4.0,
    }
    match fill(&mut settings.served_v6, &served, short6) {
        Some(count) => settings.served_v6_num = count,
        None => settings.tries |= slr_host_const::TRIE_SERVED_V6.0,
    }
    Ok(settings)
}

/// Fills a list with the prefixes of its family; `None`, and an empty list, if they are more than fit.
fn fill<T: Copy>(
    list: &mut [T; SHORT_MAX],
    prefixes: &[(IpNet, u32)],
    short: impl Fn(IpNet, u32) -> Option<T>,
) -> Option<u8> {
    let found: Vec<T> = prefixes.iter().filter_map(|(net, value)| short(*net, *value)).collect();
    if found.len() > SHORT_MAX {
        return None;
    }
    list[..found.len()].copy_from_slice(&found);
    Some(u8::try_from(found.len()).expect("at most eight"))
}

fn short4(net: IpNet, value: u32) -> Option<short_v4> {
    let IpNet::V4(net) = net else { return None };
    Some(short_v4 { addr: addr::word(net.network()), mask: addr::word(net.netmask()), value })
}

fn short6(net: IpNet, value: u32) -> Option<short_v6> {
    let IpNet::V6(net) = net else { return None };
    let halves = |address: std::net::Ipv6Addr| {
        let octets = address.octets();
        [0, 8].map(|at| u64::from_ne_bytes(octets[at..at + 8].try_into().expect("eight of sixteen")))
    };
    Some(short_v6 { addr: halves(net.network()), mask: halves(net.netmask()), value: value.into() })
}
