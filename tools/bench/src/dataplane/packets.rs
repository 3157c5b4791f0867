//! Packets of the benchmark, and their flows by number: a shot's packet is the last one with another client patched in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use slr_testkit::packet::{ACK, Packet, SYN, pkt};

/// Where a packet's transport header starts, without VLAN tags or options.
pub const L4_V4: usize = 34;
/// The same for IPv6.
pub const L4_V6: usize = 54;

/// The router's interface and the gateway that clients' packets come from.
pub const ROUTER_MAC: &str = "02:00:00:00:00:02";
/// See [`ROUTER_MAC`].
pub const GATEWAY_MAC: &str = "02:00:00:00:00:01";

/// Bytes of TCP payload: the IPv4 frame is then the 64 bytes of a minimal one.
const PAYLOAD: usize = 10;
/// Flows per client address; the rest of a flow's number is the address.
const FLOWS_PER_CLIENT: u32 = 4;
const CLIENTS_V4: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 0); // RFC 6598: 4 million clients
const CLIENTS_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 0);

/// A service address of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// IPv4.
    V4(Ipv4Addr),
    /// IPv6.
    V6(Ipv6Addr),
}

fn client_v4(flow: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(CLIENTS_V4.to_bits() + flow / FLOWS_PER_CLIENT)
}

fn client_v6(flow: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(CLIENTS_V6.to_bits() + u128::from(flow / FLOWS_PER_CLIENT))
}

/// Client ports as a client's kernel would pick them: far apart.
fn port(flow: u32) -> u16 {
    let nth = u16::try_from(flow % FLOWS_PER_CLIENT).expect("a few");
    32_768 + nth * 7_001
}

/// Client ports in a row.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// The first.
    pub first: u16,
    /// How many.
    pub count: u16,
}

impl Ports {
    /// The port of a flow.
    pub fn nth(self, flow: u32) -> u16 {
        self.first + u16::try_from(flow % u32::from(self.count)).expect("less than the count")
    }
}

impl Service {
    fn network(self, flow: u32) -> Packet {
        let frame = pkt().eth(ROUTER_MAC, GATEWAY_MAC);
        match self {
            Self::V4(address) => frame.ipv4(client_v4(flow), address).df(),
            Self::V6(address) => frame.ipv6(client_v6(flow), address),
        }
    }

    /// The first packet of a flow.
    pub fn syn(self, flow: u32) -> Vec<u8> {
        self.network(flow).tcp(port(flow), 80).flags(SYN).seq(1).payload_len(PAYLOAD).build()
    }

    /// What follows it once the server has answered.
    pub fn ack(self, flow: u32) -> Vec<u8> {
        self.network(flow).tcp(port(flow), 80).flags(ACK).seq(2).ack(1).payload_len(PAYLOAD).build()
    }

    /// The same in tunnel headers, outermost first, as a host gets it.
    pub fn tunnelled(self, headers: &[(IpAddr, IpAddr)]) -> Vec<u8> {
        let frame = pkt().eth(ROUTER_MAC, GATEWAY_MAC);
        let outer = headers.iter().fold(frame, |frame, &(source, destination)| frame.ip(source, destination));
        let (client, server) = self.endpoints(0);
        outer.ip(client.ip(), server.ip()).tcp(client.port(), server.port()).flags(ACK).payload_len(PAYLOAD).build()
    }

    /// Client and server of a flow.
    pub fn endpoints(self, flow: u32) -> (SocketAddr, SocketAddr) {
        let (client, server) = match self {
            Self::V4(address) => (client_v4(flow).into(), address.into()),
            Self::V6(address) => (client_v6(flow).into(), address.into()),
        };
        (SocketAddr::new(client, port(flow)), SocketAddr::new(server, 80))
    }

    /// An echo request.
    pub fn echo(self, flow: u32) -> Vec<u8> {
        self.network(flow).echo_request(1, 1).payload_len(18).build()
    }

    /// Make `packet`, of this service, one of another flow. Checksums go stale; no program here reads them.
    pub fn set_flow(self, packet: &mut [u8], flow: u32) {
        match self {
            Self::V4(_) => packet[26..30].copy_from_slice(&client_v4(flow).octets()),
            Self::V6(_) => packet[22..38].copy_from_slice(&client_v6(flow).octets()),
        }
        self.set_port(packet, port(flow));
    }

    /// Make `packet`, of this service, one from another port of its client.
    pub fn set_port(self, packet: &mut [u8], port: u16) {
        let l4 = match self {
            Self::V4(_) => L4_V4,
            Self::V6(_) => L4_V6,
        };
        packet[l4..l4 + 2].copy_from_slice(&port.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patched_packet_is_the_packet_of_that_flow_but_for_checksums() {
        for service in [Service::V4([192, 0, 2, 1].into()), Service::V6("2001:db8::1".parse().unwrap())] {
            let (mut patched, mut built) = (service.ack(0), service.ack(123_457));
            service.set_flow(&mut patched, 123_457);
            for packet in [&mut patched, &mut built] {
                match service {
                    Service::V4(_) => [24, 25, L4_V4 + 16, L4_V4 + 17].map(|at| packet[at] = 0).to_vec(),
                    Service::V6(_) => [L4_V6 + 16, L4_V6 + 17].map(|at| packet[at] = 0).to_vec(),
                };
            }
            assert_eq!(patched, built);
        }
    }

    #[test]
    fn flows_differ() {
        let service = Service::V4([192, 0, 2, 1].into());
        let mut seen: Vec<_> = (0..100).map(|flow| service.ack(flow)[26..38].to_vec()).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 100);
    }
}
