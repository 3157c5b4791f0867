//! Writes layers as bytes, innermost first, because lengths and checksums cover what is inside.

use super::checksum::{fold, ones_complement_sum, pseudo_header_sum};
use super::layer::{Ipv4, Ipv6, Kind, Layer, Tcp, Udp, number};
use std::net::IpAddr;

/// Where a layer starts in the built packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// The builder method that started the layer, such as `"ipv4"`.
    pub layer: &'static str,
    /// Bytes from the start of the packet.
    pub at: usize,
}

pub(super) struct Rendered {
    pub bytes: Vec<u8>,
    pub offsets: Vec<Offset>,
}

pub(super) fn render(layers: &[Layer]) -> Rendered {
    let mut inner = Vec::new();
    let mut lengths_after = Vec::with_capacity(layers.len());
    for (index, layer) in layers.iter().enumerate().rev() {
        let header = header_bytes(layers, index, layer, &inner);
        inner.splice(0..0, header);
        lengths_after.push(inner.len());
    }
    let total = inner.len();
    let starts = lengths_after.into_iter().rev().map(|remaining| total - remaining);
    let offsets = layers.iter().zip(starts).map(|(layer, at)| Offset { layer: layer.kind.name(), at }).collect();
    Rendered { bytes: inner, offsets }
}

fn header_bytes(layers: &[Layer], index: usize, layer: &Layer, inner: &[u8]) -> Vec<u8> {
    let next = layers.get(index + 1);
    match &layer.kind {
        Kind::Eth(eth) => {
            let mut bytes = [eth.destination, eth.source].concat();
            bytes.extend(layer.next.unwrap_or_else(|| ether_type(next)).to_be_bytes());
            bytes
        }
        Kind::Vlan { tci, .. } => {
            let mut bytes = tci.to_be_bytes().to_vec();
            bytes.extend(layer.next.unwrap_or_else(|| ether_type(next)).to_be_bytes());
            bytes
        }
        Kind::Ipv4(ip) => ipv4_bytes(layer, ip, ip_next(layer, next, false), inner.len()),
        Kind::Ipv6(ip) => ipv6_bytes(layer, ip, ip_next(layer, next, true), inner.len()),
        Kind::OptionsHeader { options, .. } => options_bytes(ip_next(layer, next, true), options),
        Kind::Routing { kind, segments_left, data } => {
            let mut bytes = vec![ip_next(layer, next, true), 0, *kind, *segments_left];
            bytes.extend(data);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            bytes[1] = units_of_eight_after_first(bytes.len());
            bytes
        }
        Kind::Fragment { offset_bytes, more, id } => {
            let mut bytes = vec![ip_next(layer, next, true), 0];
            bytes.extend((offset_bytes | u16::from(*more)).to_be_bytes());
            bytes.extend(id.to_be_bytes());
            bytes
        }
        Kind::Tcp(tcp) => tcp_bytes(layer, tcp, addresses(layers, index), inner),
        Kind::Udp(udp) => udp_bytes(layer, udp, addresses(layers, index), inner),
        Kind::Icmp(icmp) => {
            let mut bytes = vec![icmp.kind, icmp.code, 0, 0];
            bytes.extend(icmp.rest);
            let length = bytes.len() + inner.len();
            let start = match addresses(layers, index) {
                (source @ IpAddr::V6(_), destination) => pseudo_header_sum(source, destination, number::ICMPV6, length),
                _ => 0,
            };
            finish_checksum(layer, &mut bytes, 2, start, inner);
            bytes
        }
        Kind::Payload(bytes) => bytes.clone(),
    }
}

fn ether_type(next: Option<&Layer>) -> u16 {
    match next.map(|layer| &layer.kind) {
        Some(Kind::Vlan { tpid, .. }) => *tpid,
        Some(Kind::Ipv4(_)) => 0x0800,
        Some(Kind::Ipv6(_)) => 0x86dd,
        // Local experimental type 1 (IEEE 802): a frame of which only bytes are known.
        _ => 0x88b5,
    }
}

/// The protocol number of what follows an IP or extension header.
fn ip_next(layer: &Layer, next: Option<&Layer>, v6: bool) -> u8 {
    if let Some(value) = layer.next {
        return u8::try_from(value).expect("packet fixture: next() of an IP layer is a protocol number below 256");
    }
    match next.map(|layer| &layer.kind) {
        Some(Kind::Ipv4(_)) => number::IPV4,
        Some(Kind::Ipv6(_)) => number::IPV6,
        Some(Kind::OptionsHeader { number, .. }) => *number,
        Some(Kind::Routing { .. }) => number::ROUTING,
        Some(Kind::Fragment { .. }) => number::FRAGMENT,
        Some(Kind::Tcp(_)) => number::TCP,
        Some(Kind::Udp(_)) => number::UDP,
        Some(Kind::Icmp(_)) if v6 => number::ICMPV6,
        Some(Kind::Icmp(_)) => number::ICMP,
        None if v6 => number::NONE,
        None | Some(Kind::Payload(_) | Kind::Eth(_) | Kind::Vlan { .. }) => number::EXPERIMENT,
    }
}

fn ipv4_bytes(layer: &Layer, ip: &Ipv4, protocol: u8, inner_len: usize) -> Vec<u8> {
    let options_len = ip.options.len().next_multiple_of(4);
    let words = u8::try_from(5 + options_len / 4).expect("packet fixture: too many IPv4 options");
    assert!(words <= 15, "packet fixture: {options_len} bytes of IPv4 options, at most 40 fit");
    let total = layer.length.unwrap_or_else(|| length_field("IPv4 total length", 20 + options_len + inner_len));
    let fragment = (u16::from(ip.df) << 14) | (u16::from(ip.more_fragments) << 13) | (ip.offset_bytes / 8);
    let mut bytes = vec![layer.version.unwrap_or(4) << 4 | layer.header_words.unwrap_or(words), ip.tos];
    bytes.extend(total.to_be_bytes());
    bytes.extend(ip.id.to_be_bytes());
    bytes.extend(fragment.to_be_bytes());
    bytes.extend([ip.ttl, protocol, 0, 0]);
    bytes.extend(ip.source.octets());
    bytes.extend(ip.destination.octets());
    bytes.extend(&ip.options);
    bytes.resize(20 + options_len, 0);
    finish_checksum(layer, &mut bytes, 10, 0, &[]);
    bytes
}

fn ipv6_bytes(layer: &Layer, ip: &Ipv6, next_header: u8, inner_len: usize) -> Vec<u8> {
    let version = u32::from(layer.version.unwrap_or(6));
    let mut bytes = (version << 28 | u32::from(ip.traffic_class) << 20 | ip.flow_label).to_be_bytes().to_vec();
    bytes.extend(layer.length.unwrap_or_else(|| length_field("IPv6 payload length", inner_len)).to_be_bytes());
    bytes.extend([next_header, ip.hop_limit]);
    bytes.extend(ip.source.octets());
    bytes.extend(ip.destination.octets());
    bytes
}

/// Hop-by-hop or destination options with the padding of RFC 8200 §4.2.
fn options_bytes(next_header: u8, options: &[u8]) -> Vec<u8> {
    let mut bytes = vec![next_header, 0];
    bytes.extend(options);
    match bytes.len().next_multiple_of(8) - bytes.len() {
        0 => {}
        1 => bytes.push(0),
        gap => {
            bytes.extend([1, u8::try_from(gap - 2).expect("a gap is below 8")]);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
    }
    bytes[1] = units_of_eight_after_first(bytes.len());
    bytes
}

fn units_of_eight_after_first(len: usize) -> u8 {
    u8::try_from(len / 8 - 1).expect("packet fixture: an extension header is at most 2048 bytes")
}

fn tcp_bytes(layer: &Layer, tcp: &Tcp, ends: (IpAddr, IpAddr), inner: &[u8]) -> Vec<u8> {
    let header_len = 20 + tcp.options.len().next_multiple_of(4);
    let words = u8::try_from(header_len / 4).expect("packet fixture: too many TCP options");
    assert!(words <= 15, "packet fixture: at most 40 bytes of TCP options fit");
    let mut bytes = tcp.source_port.to_be_bytes().to_vec();
    bytes.extend(tcp.destination_port.to_be_bytes());
    bytes.extend(tcp.seq.to_be_bytes());
    bytes.extend(tcp.ack.to_be_bytes());
    bytes.extend([layer.header_words.unwrap_or(words) << 4, tcp.flags]);
    bytes.extend(tcp.window.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(&tcp.options);
    bytes.resize(header_len, 0);
    let start = pseudo_header_sum(ends.0, ends.1, number::TCP, header_len + inner.len());
    finish_checksum(layer, &mut bytes, 16, start, inner);
    bytes
}

fn udp_bytes(layer: &Layer, udp: &Udp, ends: (IpAddr, IpAddr), inner: &[u8]) -> Vec<u8> {
    let mut bytes = udp.source_port.to_be_bytes().to_vec();
    bytes.extend(udp.destination_port.to_be_bytes());
    bytes.extend(layer.length.unwrap_or_else(|| length_field("UDP length", 8 + inner.len())).to_be_bytes());
    bytes.extend([0, 0]);
    let start = pseudo_header_sum(ends.0, ends.1, number::UDP, 8 + inner.len());
    finish_checksum(layer, &mut bytes, 6, start, inner);
    // RFC 768: a computed zero is sent as all ones, because zero means "no checksum".
    if layer.checksum.is_none() && bytes[6..8] == [0, 0] {
        bytes[6..8].copy_from_slice(&[0xff, 0xff]);
    }
    bytes
}

/// Writes the checksum over `start`, the header and `inner` at byte `at` of the header, or the one the fixture asks for.
fn finish_checksum(layer: &Layer, header: &mut [u8], at: usize, start: u64, inner: &[u8]) {
    // Headers are of even length, so the sum may go on over `inner` as if it followed without a seam.
    let right = !fold(ones_complement_sum(ones_complement_sum(start, header), inner));
    header[at..at + 2].copy_from_slice(&layer.checksum.unwrap_or(right).to_be_bytes());
}

fn length_field(what: &str, bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or_else(|_| panic!("packet fixture: {what} {bytes} does not fit; set length()"))
}

/// Addresses of the IP layer that encloses layer `index`.
fn addresses(layers: &[Layer], index: usize) -> (IpAddr, IpAddr) {
    let enclosing = layers[..index].iter().rev().find_map(|layer| match &layer.kind {
        Kind::Ipv4(ip) => Some((ip.source.into(), ip.destination.into())),
        Kind::Ipv6(ip) => Some((ip.source.into(), ip.destination.into())),
        _ => None,
    });
    enclosing.expect("packet fixture: a transport layer needs an IP layer before it")
}
