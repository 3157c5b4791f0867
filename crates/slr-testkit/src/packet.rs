//! Builds packets for fixtures, layer by layer, and checks the checksums of packets that came back.
//!
//! A fixture should read like the packet it is. Every method either starts a layer (`eth`, `ipv4`, `tcp`, …) or
//! changes the layer started last (`ttl`, `flags`, `checksum`, …); lengths, protocol numbers and checksums follow
//! from the layers unless a modifier sets them to something wrong on purpose.
//!
//! ```
//! use slr_testkit::packet::{SYN, pkt, verify_checksums};
//! let frame = pkt()
//!     .eth("02:00:00:00:00:01", "02:00:00:00:00:02")
//!     .ipv4("10.1.255.7", "10.1.11.2") // an outer header: IP in IP, because another IP layer follows
//!     .ipv4("10.0.1.2", "192.0.2.10")
//!     .ttl(63)
//!     .tcp(40000, 80)
//!     .flags(SYN)
//!     .seq(1)
//!     .build();
//! assert_eq!(frame.len(), 14 + 20 + 20 + 20);
//! verify_checksums(&frame).unwrap();
//! ```
//!
//! A modifier on a layer that has no such field panics: it is a mistake in the fixture, and the test says where.

mod address;
mod checksum;
mod layer;
mod modify;
mod render;
#[cfg(test)]
mod tests;
mod verify;

pub use address::{ToIpv4, ToIpv6, ToMac};
pub use checksum::{fold, ones_complement_sum, pseudo_header_sum};
use layer::{Eth, Icmp, Ipv4, Ipv6, Kind, Layer, Tcp, Udp};
pub use render::Offset;
use std::net::IpAddr;
pub use verify::{BadPacket, verify_checksums, verify_checksums_l3};

/// TCP flag FIN.
pub const FIN: u8 = 0x01;
/// TCP flag SYN.
pub const SYN: u8 = 0x02;
/// TCP flag RST.
pub const RST: u8 = 0x04;
/// TCP flag PSH.
pub const PSH: u8 = 0x08;
/// TCP flag ACK.
pub const ACK: u8 = 0x10;

/// Starts an empty packet.
#[must_use]
pub fn pkt() -> Packet {
    Packet { layers: Vec::new() }
}

/// A packet under construction; see the module documentation.
#[derive(Clone, Debug)]
pub struct Packet {
    layers: Vec<Layer>,
}

/// Layers, outermost first.
impl Packet {
    /// Ethernet header; note the order on the wire: destination, then source.
    #[must_use]
    pub fn eth(self, destination: impl ToMac, source: impl ToMac) -> Self {
        self.push(Kind::Eth(Eth { destination: destination.to_mac(), source: source.to_mac() }))
    }

    /// An 802.1Q tag (TPID 0x8100) with the given VLAN id; use [`tpid`](Self::tpid) for 802.1ad.
    #[must_use]
    pub fn vlan(self, id: u16) -> Self {
        self.push(Kind::Vlan { tpid: 0x8100, tci: id })
    }

    /// IPv4 header, TTL 64, DF clear, id 0.
    #[must_use]
    pub fn ipv4(self, source: impl ToIpv4, destination: impl ToIpv4) -> Self {
        self.push(Kind::Ipv4(Ipv4::new(source.to_ipv4(), destination.to_ipv4())))
    }

    /// IPv6 header, hop limit 64, flow label 0.
    #[must_use]
    pub fn ipv6(self, source: impl ToIpv6, destination: impl ToIpv6) -> Self {
        self.push(Kind::Ipv6(Ipv6::new(source.to_ipv6(), destination.to_ipv6())))
    }

    /// IPv4 or IPv6 by the family of the addresses, which must be the same.
    #[must_use]
    pub fn ip(self, source: IpAddr, destination: IpAddr) -> Self {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => self.ipv4(source, destination),
            (IpAddr::V6(source), IpAddr::V6(destination)) => self.ipv6(source, destination),
            _ => panic!("packet fixture: {source} and {destination} are of different families"),
        }
    }

    /// IPv6 hop-by-hop options (RFC 8200 §4.3). `options` is padded with PadN to the 8-byte boundary.
    #[must_use]
    pub fn hop_by_hop(self, options: &[u8]) -> Self {
        self.push(Kind::OptionsHeader { number: 0, options: options.to_vec() })
    }

    /// IPv6 destination options (RFC 8200 §4.6), padded like [`hop_by_hop`](Self::hop_by_hop).
    #[must_use]
    pub fn destination_options(self, options: &[u8]) -> Self {
        self.push(Kind::OptionsHeader { number: 60, options: options.to_vec() })
    }

    /// IPv6 routing header (RFC 8200 §4.4); `data` follows the fixed four bytes and is zero-padded.
    #[must_use]
    pub fn routing(self, kind: u8, segments_left: u8, data: &[u8]) -> Self {
        self.push(Kind::Routing { kind, segments_left, data: data.to_vec() })
    }

    /// IPv6 fragment header (RFC 8200 §4.5); `offset_bytes` is a multiple of eight.
    #[must_use]
    pub fn fragment_header(self, offset_bytes: u16, more: bool, id: u32) -> Self {
        assert_eq!(offset_bytes % 8, 0, "packet fixture: a fragment offset is a multiple of 8");
        self.push(Kind::Fragment { offset_bytes, more, id })
    }

    /// TCP header: flags ACK, sequence numbers 0, window 65535.
    #[must_use]
    pub fn tcp(self, source_port: u16, destination_port: u16) -> Self {
        self.push(Kind::Tcp(Tcp::new(source_port, destination_port)))
    }

    /// UDP header.
    #[must_use]
    pub fn udp(self, source_port: u16, destination_port: u16) -> Self {
        self.push(Kind::Udp(Udp { source_port, destination_port }))
    }

    /// ICMP (inside IPv4) or ICMPv6 (inside IPv6), with `rest` the second word of the header.
    #[must_use]
    pub fn icmp(self, kind: u8, code: u8, rest: [u8; 4]) -> Self {
        self.push(Kind::Icmp(Icmp { kind, code, rest }))
    }

    /// Echo request, of the family of the enclosing IP layer.
    #[must_use]
    pub fn echo_request(self, id: u16, sequence: u16) -> Self {
        let kind = if self.inside_ipv6() { 128 } else { 8 };
        self.icmp(kind, 0, echo_word(id, sequence))
    }

    /// Echo reply, of the family of the enclosing IP layer.
    #[must_use]
    pub fn echo_reply(self, id: u16, sequence: u16) -> Self {
        let kind = if self.inside_ipv6() { 129 } else { 0 };
        self.icmp(kind, 0, echo_word(id, sequence))
    }

    /// Fragmentation needed (RFC 1191) or packet too big (RFC 4443 §3.2), quoting `quoted`, a datagram from its IP header on.
    #[must_use]
    pub fn too_big(self, mtu: u16, quoted: &[u8]) -> Self {
        let [high, low] = mtu.to_be_bytes();
        let (kind, code) = if self.inside_ipv6() { (2, 0) } else { (3, 4) };
        self.icmp(kind, code, [0, 0, high, low]).payload(quoted)
    }

    /// Port unreachable, quoting `quoted`.
    #[must_use]
    pub fn port_unreachable(self, quoted: &[u8]) -> Self {
        let (kind, code) = if self.inside_ipv6() { (1, 4) } else { (3, 3) };
        self.icmp(kind, code, [0; 4]).payload(quoted)
    }

    /// The bytes that follow the last header.
    #[must_use]
    pub fn payload(self, bytes: impl AsRef<[u8]>) -> Self {
        self.push(Kind::Payload(bytes.as_ref().to_vec()))
    }

    /// A payload of `len` bytes counting up, so that a shifted copy is recognised.
    #[must_use]
    pub fn payload_len(self, len: usize) -> Self {
        let bytes: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).expect("less than 251")).collect();
        self.payload(bytes)
    }

    fn push(mut self, kind: Kind) -> Self {
        self.layers.push(Layer::new(kind));
        self
    }

    fn inside_ipv6(&self) -> bool {
        let ip = self.layers.iter().rev().find(|l| matches!(l.kind, Kind::Ipv4(_) | Kind::Ipv6(_)));
        matches!(ip.expect("packet fixture: ICMP needs an IP layer before it").kind, Kind::Ipv6(_))
    }
}

/// Results.
impl Packet {
    /// The packet's bytes.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        render::render(&self.layers).bytes
    }

    /// The packet's bytes and where each layer starts in them, for a fixture that then damages a field.
    #[must_use]
    pub fn build_with_offsets(&self) -> (Vec<u8>, Vec<Offset>) {
        let rendered = render::render(&self.layers);
        (rendered.bytes, rendered.offsets)
    }
}

fn echo_word(id: u16, sequence: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (id.to_be_bytes(), sequence.to_be_bytes());
    [a, b, c, d]
}
