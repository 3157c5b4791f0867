//! From settings to what the data plane and the kernel shall say. Pure.

use std::collections::BTreeSet;

use slr_dataplane::host::{HostDesired, SocketScope};

use crate::config::Settings;
use crate::peers::Peers;

const IPV4_HEADER: u16 = 20;
const IPV6_HEADER: u16 = 40;
const TCP_HEADER: u16 = 20;

/// The data plane's tables for these settings and peers, where `link_mtu` is the smallest of the underlay interfaces' MTUs.
pub fn tables(settings: &Settings, peers: &Peers, link_mtu: u16) -> HostDesired {
    let (mss_v4, mss_v6) = mss(settings, link_mtu);
    HostDesired {
        tunnel_v4: settings.tunnel_v4,
        tunnel_v6: settings.tunnel_v6,
        routers: peers.routers.values().flatten().copied().collect::<BTreeSet<_>>().into_iter().collect(),
        site_hosts: peers.site_hosts.values().flatten().copied().collect::<BTreeSet<_>>().into_iter().collect(),
        subnets: settings.subnets.iter().map(|subnet| subnet.prefix).collect(),
        stall_floors: settings
            .subnets
            .iter()
            .filter(|subnet| !subnet.stall.is_zero())
            .map(|subnet| (subnet.prefix, subnet.stall))
            .collect(),
        mss_v4: Some(mss_v4),
        mss_v6: Some(mss_v6),
        sockets: SocketScope::OwnNamespace,
    }
}

/// The largest segments that still fit, IPv4 and IPv6, when a client's segment arrives inside the longest chain: of IPv6
/// headers if this host has an IPv6 tunnel address, for nothing says which family the next router takes.
pub fn mss(settings: &Settings, link_mtu: u16) -> (u16, u16) {
    let header = if settings.tunnel_v6.is_some() { IPV6_HEADER } else { IPV4_HEADER };
    let chain = u16::from(settings.chain_headers) * header;
    let room = settings.path_mtu.unwrap_or(link_mtu).saturating_sub(chain + TCP_HEADER);
    (room.saturating_sub(IPV4_HEADER), room.saturating_sub(IPV6_HEADER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_leave_room_for_the_longest_chain() {
        let text = |addresses: &str, more: &str| {
            format!(
                "[host]\nname = \"h\"\n[tunnel]\naddresses = [{addresses}]\n{more}\n[dataplane]\ninterfaces = [\"e\"]\n"
            )
        };
        let table = [
            ("\"10.0.0.1\"", "", 1500, (1380, 1360)),
            ("\"10.0.0.1\", \"fd00::1\"", "", 1500, (1300, 1280)),
            ("\"10.0.0.1\"", "path_mtu = 1400", 9000, (1280, 1260)),
            ("\"10.0.0.1\"", "chain_headers = 1", 1500, (1440, 1420)),
        ];
        for (addresses, more, link_mtu, expected) in table {
            let settings = Settings::parse("x", &text(addresses, more)).unwrap();
            assert_eq!(mss(&settings, link_mtu), expected, "{addresses} {more}");
        }
    }
}
