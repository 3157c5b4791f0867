//! The frames that fixtures are made of, for either family.

use crate::common::site::*;
use slr_testkit::packet::{Packet, SYN, pkt};

/// One family's addresses of the site, so that a fixture is written once.
#[derive(Clone, Copy)]
pub struct Family {
    pub name: &'static str,
    pub v6: bool,
    pub client: &'static str,
    pub other_client: &'static str,
    /// A neighbour of the client: in the same wide class, not in the same near one.
    pub neighbour: &'static str,
    pub any: &'static str,
    pub on_a: &'static str,
    pub on_v: &'static str,
    pub listed: &'static str,
    pub strict: &'static str,
    pub echo: &'static str,
    pub empty: &'static str,
    pub mixed: &'static str,
    pub foreign: &'static str,
}

pub const IPV4: Family = Family {
    name: "IPv4",
    v6: false,
    client: C4,
    other_client: "203.0.113.77",
    neighbour: "198.51.100.8",
    any: ANY4,
    on_a: A4,
    on_v: V4,
    listed: LISTED4,
    strict: STRICT4,
    echo: ECHO4,
    empty: EMPTY4,
    mixed: MIXED4,
    foreign: FOREIGN4,
};

pub const IPV6: Family = Family {
    name: "IPv6",
    v6: true,
    client: C6,
    other_client: "2001:db8:d::77",
    neighbour: "2001:db8:c::8",
    any: ANY6,
    on_a: A6,
    on_v: V6,
    listed: LISTED6,
    strict: STRICT6,
    echo: ECHO6,
    empty: EMPTY6,
    mixed: MIXED6,
    foreign: FOREIGN6,
};

pub const FAMILIES: [Family; 2] = [IPV4, IPV6];

/// The same for the outer header of a tunnel to us.
#[derive(Clone, Copy)]
pub struct Outer {
    pub name: &'static str,
    pub v6: bool,
    pub upstream: &'static str,
    pub stranger: &'static str,
    pub us: &'static str,
}

pub const OUTERS: [Outer; 2] = [
    Outer { name: "IPv4", v6: false, upstream: UPSTREAM4, stranger: STRANGER4, us: TUNNEL4 },
    Outer { name: "IPv6", v6: true, upstream: UPSTREAM6, stranger: STRANGER6, us: TUNNEL6 },
];

/// Add an IP header of the family that the addresses are of.
pub fn ip(packet: Packet, source: &str, destination: &str) -> Packet {
    packet.ip(source.parse().expect("an address"), destination.parse().expect("an address"))
}

/// A frame from the gateway, up to its IP header.
pub fn from(source: &str, destination: &str) -> Packet {
    ip(link(), source, destination)
}

/// The gateway's Ethernet header.
pub fn link() -> Packet {
    pkt().eth(OUR_MAC, GATEWAY_MAC)
}

/// The client's initial sequence number in every fixture.
pub const ISN: u32 = 0xffff_ff00;

pub fn syn(client: &str, port: u16, to: &str, vport: u16) -> Vec<u8> {
    from(client, to).tcp(port, vport).flags(SYN).seq(ISN).options(&[2, 4, 5, 0xb4]).build()
}

/// The third packet of the handshake, or any later one: `behind` bytes behind the SYN.
pub fn ack(client: &str, port: u16, to: &str, vport: u16, behind: u32) -> Vec<u8> {
    from(client, to).tcp(port, vport).seq(ISN.wrapping_add(1).wrapping_add(behind)).ack(5).payload_len(64).build()
}

pub fn tcp(client: &str, port: u16, to: &str, vport: u16, flags: u8) -> Vec<u8> {
    from(client, to).tcp(port, vport).flags(flags).seq(ISN.wrapping_add(1)).build()
}

pub fn udp(client: &str, port: u16, to: &str, vport: u16) -> Vec<u8> {
    from(client, to).udp(port, vport).payload_len(40).build()
}

/// The datagram in a frame without tags.
pub fn datagram(frame: &[u8]) -> Vec<u8> {
    frame[14..].to_vec()
}

/// A datagram that a host sent, as an ICMP error quotes it: `len` bytes of it.
pub fn quoted(packet: Packet, len: usize) -> Vec<u8> {
    let mut bytes = packet.build();
    bytes.truncate(len);
    bytes
}
