//! The Internet checksum (RFC 1071), written for clarity: it is the reference the data plane is checked against.

use std::net::IpAddr;

/// Adds `bytes` to a running sum of 16-bit words; an odd last byte is padded with zero.
#[must_use]
pub fn ones_complement_sum(start: u64, bytes: &[u8]) -> u64 {
    bytes.chunks(2).fold(start, |sum, pair| {
        let low = pair.get(1).copied().unwrap_or(0);
        sum + u64::from(u16::from_be_bytes([pair[0], low]))
    })
}

/// Folds the carries in; the checksum field holds the complement of this.
#[must_use]
pub fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).expect("folded to 16 bits above")
}

/// Sum over the pseudo header of RFC 9293 §3.1 (IPv4) or RFC 8200 §8.1 (IPv6).
///
/// # Panics
/// If the two addresses are of different families: no packet is like that.
#[must_use]
pub fn pseudo_header_sum(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> u64 {
    let addresses = match (source, destination) {
        (IpAddr::V4(a), IpAddr::V4(b)) => ones_complement_sum(ones_complement_sum(0, &a.octets()), &b.octets()),
        (IpAddr::V6(a), IpAddr::V6(b)) => ones_complement_sum(ones_complement_sum(0, &a.octets()), &b.octets()),
        _ => panic!("a pseudo header has addresses of one family, not {source} and {destination}"),
    };
    addresses + u64::from(protocol) + length as u64
}
