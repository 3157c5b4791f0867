//! Reads what the router put around a client's datagram, and insists on every field that is the same for all tunnels.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use slr_dataplane::router::Desired;
use slr_testkit::packet::{fold, ones_complement_sum};

/// A forwarded frame, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnelled {
    pub host: String,
    pub source: IpAddr,
    pub flow_label: Option<u32>,
    pub tos: u8,
    /// The client's datagram and whatever padding followed it.
    pub inner: Vec<u8>,
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The frame's outer header must be one of ours: right link, right lengths, DF, TTL 64, valid checksum, source within the
/// registered prefix, congestion and class bits those of the datagram inside.
pub fn read(frame: &[u8], desired: &Desired) -> Tunnelled {
    let (ethernet, packet) = frame.split_at(14);
    let v6 = match word(ethernet, 12) {
        0x0800 => false,
        0x86dd => true,
        other => panic!("outer Ethernet type {other:#06x}"),
    };
    let (outer, inner) = packet.split_at(if v6 { 40 } else { 20 });
    let inner_version = inner[0] >> 4;
    let inner_len = match inner_version {
        4 => word(inner, 2),
        6 => word(inner, 4) + 40,
        other => panic!("inner version {other}"),
    };
    let protocol = if inner_version == 4 { 4 } else { 41 };
    let (source, destination, tos, flow_label) =
        if v6 { outer_v6(outer, inner_len, protocol) } else { outer_v4(outer, inner_len, protocol) };
    let inner_tos = if inner_version == 4 { inner[1] } else { (word(inner, 0) >> 4) as u8 };
    assert_eq!(tos, inner_tos, "class and congestion bits are copied");
    assert!(desired.sources.iter().any(|net| net.contains(&source)), "{source} is not of a registered prefix");
    let host = desired.hosts.iter().find(|host| host.address == destination);
    let host = host.unwrap_or_else(|| panic!("{destination} is no host"));
    let link = host.link.expect("a host that gets packets is reachable");
    assert_eq!(ethernet[..6], link.destination.octets(), "destination MAC");
    assert_eq!(ethernet[6..12], link.source.octets(), "source MAC");
    Tunnelled { host: host.name.to_string(), source, flow_label, tos, inner: inner.to_vec() }
}

fn outer_v4(outer: &[u8], inner_len: u16, protocol: u8) -> (IpAddr, IpAddr, u8, Option<u32>) {
    assert_eq!(outer[0], 0x45, "IPv4, no options");
    assert_eq!(word(outer, 2), inner_len + 20, "total length");
    assert_eq!(word(outer, 4), 0, "identification of an atomic datagram");
    assert_eq!(word(outer, 6), 0x4000, "DF alone");
    assert_eq!((outer[8], outer[9]), (64, protocol), "TTL and protocol");
    assert_eq!(fold(ones_complement_sum(0, outer)), 0xffff, "header checksum");
    let address =
        |at: usize| IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(&outer[at..at + 4]).expect("four bytes")));
    (address(12), address(16), outer[1], None)
}

fn outer_v6(outer: &[u8], inner_len: u16, protocol: u8) -> (IpAddr, IpAddr, u8, Option<u32>) {
    let first = u32::from_be_bytes(outer[..4].try_into().expect("four bytes"));
    assert_eq!(first >> 28, 6, "version");
    assert_eq!(word(outer, 4), inner_len, "payload length");
    assert_eq!((outer[6], outer[7]), (protocol, 64), "next header and hop limit");
    let address = |at: usize| IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(&outer[at..at + 16]).expect("sixteen")));
    (address(8), address(24), (first >> 20) as u8, Some(first & 0xf_ffff))
}

/// The network header's offset in a client's frame: behind Ethernet and at most two tags.
pub fn l3_offset(frame: &[u8]) -> usize {
    (0..2).fold(14, |at, _| if matches!(word(frame, at - 2), 0x8100 | 0x88a8) { at + 4 } else { at })
}

/// What a [`Leg`] to where chains end is called.
pub const END_NAME: &str = "the end";

/// One tunnel header: whom it leads to, and its mark.
#[derive(Debug, PartialEq, Eq)]
pub struct Leg(pub String, pub u32);

/// Takes a chain apart: its headers from the outermost on, and the client's datagram.
pub fn legs(packet: &[u8], desired: &Desired) -> (Vec<Leg>, Vec<u8>) {
    let mut rest = &packet[14..];
    let mut legs = Vec::new();
    loop {
        let v6 = rest[0] >> 4 == 6;
        let (protocol, length) = if v6 { (rest[6], 40 + word(rest, 4)) } else { (rest[9], word(rest, 2)) };
        if !matches!(protocol, 4 | 41) {
            return (legs, rest.to_vec());
        }
        assert_eq!(usize::from(length), rest.len(), "each header counts what it carries");
        let (to, mark): (IpAddr, u32) = if v6 {
            let label = u32::from_be_bytes([0, rest[1] & 0xf, rest[2], rest[3]]);
            assert_eq!(rest[7], 64, "hop limit");
            (Ipv6Addr::from(<[u8; 16]>::try_from(&rest[24..40]).unwrap()).into(), label >> 16)
        } else {
            assert_eq!(fold(ones_complement_sum(0, &rest[..20])), 0xffff, "header checksum");
            assert_eq!((rest[8], word(rest, 6)), (64, 0x4000), "TTL, DF");
            (Ipv4Addr::from(<[u8; 4]>::try_from(&rest[16..20]).unwrap()).into(), word(rest, 4).into())
        };
        let host = desired.hosts.iter().find(|host| host.address == to).map(|host| host.name.to_string());
        let is_end = desired.chain_ends.contains(&to) || desired.search_ends.contains(&to);
        let end = is_end.then(|| END_NAME.to_owned());
        legs.push(Leg(host.or(end).expect("a host of the site, or where chains end"), mark));
        rest = &rest[if v6 { 40 } else { 20 }..];
    }
}
