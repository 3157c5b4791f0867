//! Tunnel headers made in user space, as the data plane makes them (docs/wire.md, "The tunnel"): for keepalives, and for packets
//! that were held.

use std::io;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use socket2::{Domain, Protocol, Socket, Type};

const IPIP: u8 = 4;
const IPV6_IN_IP: u8 = 41;
const TTL: u8 = 64;
/// IANA's "reserved"; to Linux: whole datagrams, with sources that are not this machine's.
const IPPROTO_RAW: i32 = 255;
/// What a tunnel header is marked with whose content was searched for and is not to be searched for again.
pub const FINAL: u8 = 4;

/// What a tunnel header says beside its ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// Tells flows apart on the way: IPv6's flow label (RFC 6438).
    pub entropy: u16,
    /// How its content is searched for: IPv4's identification, the flow label's upper four bits. 0: not at all.
    pub mark: u8,
}

/// An outer source of a registered prefix: its lower 16 bits vary as far as the prefix leaves them free, as the data
/// plane's do.
pub fn outer_source(prefix: IpNet, entropy: u16) -> IpAddr {
    let free = u32::from(prefix.max_prefix_len() - prefix.prefix_len()).min(16);
    let vary = u32::from(entropy) & ((1 << free) - 1);
    match prefix.network() {
        IpAddr::V4(base) => IpAddr::V4((u32::from(base) | vary).into()),
        IpAddr::V6(base) => IpAddr::V6((u128::from(base) | u128::from(vary)).into()),
    }
}

/// Bytes of a header to this address.
pub fn header_len(address: IpAddr) -> usize {
    if address.is_ipv4() { 20 } else { 40 }
}

/// What a header says that it carries.
pub fn protocol_of(is_ipv4: bool) -> u8 {
    if is_ipv4 { IPIP } else { IPV6_IN_IP }
}

/// A header. Traffic class 0: the path that clients' datagrams take is the one to be known. Both ends are of one family.
pub fn put_header(datagram: &mut Vec<u8>, ends: (IpAddr, IpAddr), protocol: u8, len: usize, label: Label) {
    let start = datagram.len();
    match ends {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let len = ((20 + len) as u16).to_be_bytes();
            // DF, so the id may be anything (RFC 6864 4.1).
            datagram.extend([0x45, 0, len[0], len[1], 0, label.mark, 0x40, 0, TTL, protocol, 0, 0]);
            datagram.extend(from.octets());
            datagram.extend(to.octets());
            let checksum = fold(sum(&datagram[start..])).to_be_bytes();
            datagram[start + 10..start + 12].copy_from_slice(&checksum);
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let word = 0x6000_0000 | u32::from(label.mark & 0xf) << 16 | u32::from(label.entropy);
            datagram.extend(word.to_be_bytes());
            datagram.extend((len as u16).to_be_bytes());
            datagram.extend([protocol, TTL]);
            datagram.extend(from.octets());
            datagram.extend(to.octets());
        }
        _ => unreachable!("the callers match families"),
    }
}

/// Of 16-bit words in network order; all that is summed here is of even length and far below 64 KiB.
pub fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum()
}

/// RFC 1071.
pub fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Sends clients' datagrams through tunnels, one by one.
#[derive(Debug)]
pub struct Sender {
    v4: Socket,
    v6: Socket,
}

impl Sender {
    /// Needs CAP_NET_RAW.
    pub fn open() -> io::Result<Self> {
        let raw = |domain| {
            let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(IPPROTO_RAW)))?;
            socket.set_nonblocking(true)?;
            Ok::<_, io::Error>(socket)
        };
        Ok(Self { v4: raw(Domain::IPV4)?, v6: raw(Domain::IPV6)? })
    }

    /// Sends a whole datagram as it is.
    pub fn send_plain(&self, to: IpAddr, datagram: &[u8]) -> io::Result<()> {
        let socket = if to.is_ipv4() { &self.v4 } else { &self.v6 };
        // The address is for the route; the header's counts. Raw IPv6 takes no port.
        socket.send_to(datagram, &SocketAddr::new(to, 0).into()).map(drop)
    }

    /// Sends a datagram to a tunnel address, from one of the registered prefixes.
    pub fn send(&self, sources: &[IpNet], to: IpAddr, datagram: &[u8], label: Label) -> io::Result<()> {
        let prefix = sources.iter().find(|net| net.addr().is_ipv4() == to.is_ipv4());
        let prefix = prefix.ok_or_else(|| io::Error::other("no tunnel source of its family"))?;
        let is_ipv4 = datagram.first().is_some_and(|byte| byte >> 4 == 4);
        let mut packet = Vec::with_capacity(header_len(to) + datagram.len());
        let ends = (outer_source(*prefix, label.entropy), to);
        put_header(&mut packet, ends, protocol_of(is_ipv4), datagram.len(), label);
        packet.extend(datagram);
        self.send_plain(to, &packet)
    }
}

#[cfg(test)]
mod tests {
    use slr_testkit::packet::pkt;

    use super::*;

    #[test]
    fn marks_are_where_the_data_plane_has_them() {
        let label = Label { entropy: 0xabcd, mark: FINAL };
        let inner = pkt().ipv4("198.51.100.7", "192.0.2.9").tcp(40000, 80).payload_len(9).build();
        for (from, to) in [("10.1.255.9", "10.1.11.2"), ("fd00:1:ff::9", "fd00:1:11::2")] {
            let mut packet = Vec::new();
            put_header(
                &mut packet,
                (from.parse().unwrap(), to.parse().unwrap()),
                protocol_of(true),
                inner.len(),
                label,
            );
            packet.extend(&inner);
            let outer = pkt().ip(from.parse().unwrap(), to.parse().unwrap());
            let outer = if to.contains(':') { outer.flow_label(0x4abcd) } else { outer.df().id(4) };
            let expected = outer.next(4).payload(&inner).build();
            assert_eq!(packet, expected, "{to}");
        }
    }

    #[test]
    fn outer_sources_stay_in_their_prefix() {
        let table = [
            ("10.1.255.0/24", 0xabcd, "10.1.255.205"),
            ("10.1.255.9/32", 0xabcd, "10.1.255.9"),
            ("10.0.0.0/8", 0xabcd, "10.0.171.205"),
            ("fd00:1:ff::/64", 0xabcd, "fd00:1:ff::abcd"),
            ("fd00::1/128", 0xabcd, "fd00::1"),
        ];
        for (prefix, entropy, expected) in table {
            assert_eq!(outer_source(prefix.parse().unwrap(), entropy), expected.parse::<IpAddr>().unwrap(), "{prefix}");
        }
    }
}
