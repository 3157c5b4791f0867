//! The layers of a packet as data: what the builder collects and the renderer writes.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Protocol and next-header numbers (IANA).
pub(super) mod number {
    pub(in crate::packet) const HOP_BY_HOP: u8 = 0;
    pub(in crate::packet) const ICMP: u8 = 1;
    pub(in crate::packet) const IPV4: u8 = 4;
    pub(in crate::packet) const TCP: u8 = 6;
    pub(in crate::packet) const UDP: u8 = 17;
    pub(in crate::packet) const IPV6: u8 = 41;
    pub(in crate::packet) const ROUTING: u8 = 43;
    pub(in crate::packet) const FRAGMENT: u8 = 44;
    pub(in crate::packet) const ICMPV6: u8 = 58;
    pub(in crate::packet) const NONE: u8 = 59;
    pub(in crate::packet) const DESTINATION_OPTIONS: u8 = 60;
    /// "Use for experimentation": what an IP header says when only bytes follow.
    pub(in crate::packet) const EXPERIMENT: u8 = 253;
}

/// One layer, and the fields a fixture sets to something else than what follows from the packet.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub kind: Kind,
    pub checksum: Option<u16>,
    pub length: Option<u16>,
    pub header_words: Option<u8>,
    pub next: Option<u16>,
    pub version: Option<u8>,
}

impl Layer {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, checksum: None, length: None, header_words: None, next: None, version: None }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Eth(Eth),
    Vlan { tpid: u16, tci: u16 },
    Ipv4(Ipv4),
    Ipv6(Ipv6),
    OptionsHeader { number: u8, options: Vec<u8> },
    Routing { kind: u8, segments_left: u8, data: Vec<u8> },
    Fragment { offset_bytes: u16, more: bool, id: u32 },
    Tcp(Tcp),
    Udp(Udp),
    Icmp(Icmp),
    Payload(Vec<u8>),
}

impl Kind {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Kind::Eth(_) => "eth",
            Kind::Vlan { .. } => "vlan",
            Kind::Ipv4(_) => "ipv4",
            Kind::Ipv6(_) => "ipv6",
            Kind::OptionsHeader { number: number::HOP_BY_HOP, .. } => "hop_by_hop",
            Kind::OptionsHeader { .. } => "destination_options",
            Kind::Routing { .. } => "routing",
            Kind::Fragment { .. } => "fragment_header",
            Kind::Tcp(_) => "tcp",
            Kind::Udp(_) => "udp",
            Kind::Icmp(_) => "icmp",
            Kind::Payload(_) => "payload",
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Eth {
    pub destination: [u8; 6],
    pub source: [u8; 6],
}

#[derive(Clone, Debug)]
pub(super) struct Ipv4 {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub ttl: u8,
    pub tos: u8,
    pub id: u16,
    pub df: bool,
    pub more_fragments: bool,
    pub offset_bytes: u16,
    pub options: Vec<u8>,
}

impl Ipv4 {
    pub(super) fn new(source: Ipv4Addr, destination: Ipv4Addr) -> Self {
        let (df, more_fragments, options) = (false, false, Vec::new());
        Self { source, destination, ttl: 64, tos: 0, id: 0, df, more_fragments, offset_bytes: 0, options }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Ipv6 {
    pub source: Ipv6Addr,
    pub destination: Ipv6Addr,
    pub hop_limit: u8,
    pub traffic_class: u8,
    pub flow_label: u32,
}

impl Ipv6 {
    pub(super) fn new(source: Ipv6Addr, destination: Ipv6Addr) -> Self {
        Self { source, destination, hop_limit: 64, traffic_class: 0, flow_label: 0 }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Tcp {
    pub source_port: u16,
    pub destination_port: u16,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub window: u16,
    pub options: Vec<u8>,
}

impl Tcp {
    pub(super) fn new(source_port: u16, destination_port: u16) -> Self {
        let (flags, options) = (super::ACK, Vec::new());
        Self { source_port, destination_port, seq: 0, ack: 0, flags, window: u16::MAX, options }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Udp {
    pub source_port: u16,
    pub destination_port: u16,
}

#[derive(Clone, Debug)]
pub(super) struct Icmp {
    pub kind: u8,
    pub code: u8,
    pub rest: [u8; 4],
}
