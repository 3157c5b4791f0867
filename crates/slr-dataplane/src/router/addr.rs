//! Addresses between Rust and the tables, which hold them in network order and IPv4 mapped into IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::abi::{prefix_v6, slr_addr};

/// Words as the kernel loads them: the bytes stay in network order.
pub fn words(address: Ipv6Addr) -> [u32; 4] {
    let octets = address.octets();
    std::array::from_fn(|i| u32::from_ne_bytes(octets[i * 4..][..4].try_into().expect("four of sixteen")))
}

pub fn word(address: Ipv4Addr) -> u32 {
    u32::from_ne_bytes(address.octets())
}

pub fn from_words(words: [u32; 4]) -> Ipv6Addr {
    let mut octets = [0u8; 16];
    for (chunk, word) in octets.chunks_exact_mut(4).zip(words) {
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
    octets.into()
}

pub fn from_word(word: u32) -> Ipv4Addr {
    word.to_ne_bytes().into()
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(a) => a.to_ipv6_mapped(),
        IpAddr::V6(a) => a,
    }
}

/// Either family as one key.
pub fn key(address: IpAddr) -> slr_addr {
    slr_addr { word: words(mapped(address)) }
}

/// The address a key stands for.
pub fn from_key(key: slr_addr) -> IpAddr {
    let address = from_words(key.word);
    address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4)
}

/// A prefix of either family as a trie key.
pub fn prefix_key(net: IpNet) -> prefix_v6 {
    prefix_v6 { len: mapped_len(net), addr: words(mapped(net.network())) }
}

/// A prefix's length in the mapped form.
pub fn mapped_len(net: IpNet) -> u32 {
    u32::from(net.prefix_len()) + if net.addr().is_ipv4() { 96 } else { 0 }
}

/// The prefix of this mapped form.
pub fn from_prefix(key: slr_addr, mapped_len: u8) -> Option<IpNet> {
    let address = from_key(key);
    let len = if address.is_ipv4() { mapped_len.checked_sub(96)? } else { mapped_len };
    IpNet::new(address, len).ok()
}
