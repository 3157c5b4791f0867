//! Hop templates: a host and its link as the 64 bytes that the program prepends from.

use std::net::IpAddr;

use ipnet::IpNet;
use slr_model::MacAddr;

use super::addr;
use super::desired::Link;
use crate::abi::{Pod, hop, slr_const};

const TYPE_V4: [u8; 2] = [0x08, 0x00];
const TYPE_V6: [u8; 2] = [0x86, 0xdd];

/// The registered prefix that outer sources towards `address` are taken from.
pub fn source_for(address: IpAddr, sources: &[IpNet]) -> Option<IpNet> {
    sources.iter().copied().find(|source| source.addr().is_ipv4() == address.is_ipv4())
}

/// Which of the low 16 bits of an outer source in `source` may vary, in host order.
fn free_bits(source: IpNet) -> u16 {
    let host_bits = u32::from(source.max_prefix_len() - source.prefix_len());
    u16::try_from((1u64 << host_bits.min(16)) - 1).expect("at most 16 bits")
}

/// Sum of the 16-bit words of `bytes`, as the kernel loads them.
fn word_sum(bytes: &[u8]) -> u32 {
    bytes.chunks_exact(2).map(|pair| u32::from(u16::from_ne_bytes([pair[0], pair[1]]))).sum()
}

/// The template for a tunnel address, not yet with a generation. A learned path MTU is the caller's to carry over.
pub fn build(to: IpAddr, link: &Link, source: IpNet) -> hop {
    let mut template = hop {
        flags: 0,
        mtu: link.mtu,
        link_mtu: link.mtu,
        src_mask: free_bits(source).to_be(),
        ifindex: link.ifindex,
        ..hop::zeroed()
    };
    template.eth[..6].copy_from_slice(&link.destination.0);
    template.eth[6..12].copy_from_slice(&link.source.0);
    match (source.network(), to) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            const DF: [u8; 2] = [0x40, 0];
            template.eth[12..].copy_from_slice(&TYPE_V4);
            let csum = word_sum(&src.octets()) + word_sum(&dst.octets()) + word_sum(&DF);
            set_v4(&mut template, addr::word(src), addr::word(dst), csum);
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            template.eth[12..].copy_from_slice(&TYPE_V6);
            template.flags |= flag(slr_const::HOP_V6);
            set_v6(&mut template, addr::words(src), addr::words(dst));
        }
        _ => unreachable!("source_for matches families"),
    }
    template
}

/// The header of the router where chains end; all zero if there is no outer source of its family. Only what is of the outer IP
/// header counts: hosts send the packet, from their own address.
pub fn end_of_chain(address: IpAddr, sources: &[IpNet]) -> hop {
    let Some(source) = source_for(address, sources) else { return hop::zeroed() };
    let nowhere = Link { destination: MacAddr([0; 6]), source: MacAddr([0; 6]), ifindex: 0, mtu: u16::MAX };
    let mut template = build(address, &nowhere, source);
    template.flags |= flag(slr_const::HOP_UP);
    template
}

/// A constant of abi.h as the 16 bits of `hop.flags`.
pub fn flag(constant: slr_const) -> u16 {
    u16::try_from(constant.0).expect("hop flags are 16 bits")
}

fn set_v4(template: &mut hop, src: u32, dst: u32, csum: u32) {
    template.__anon_hop_1.v4.src = src;
    template.__anon_hop_1.v4.dst = dst;
    template.__anon_hop_1.v4.csum = csum;
}

fn set_v6(template: &mut hop, src: [u32; 4], dst: [u32; 4]) {
    template.__anon_hop_1.v6.src = src;
    template.__anon_hop_1.v6.dst = dst;
}

/// The tunnel address that a template leads to.
#[expect(unsafe_code, reason = "the union is generated; flags say which member was written")]
pub fn address(template: &hop) -> IpAddr {
    // SAFETY: both members are plain integers, so any bytes are a value of either.
    unsafe {
        if template.flags & flag(slr_const::HOP_V6) != 0 {
            IpAddr::V6(addr::from_words(template.__anon_hop_1.v6.dst))
        } else {
            IpAddr::V4(addr::from_word(template.__anon_hop_1.v4.dst))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_never_leaves_the_registered_prefix() {
        for (source, bits) in [
            ("10.1.255.0/24", 0xff),
            ("10.1.255.9/32", 0),
            ("10.0.0.0/8", 0xffff),
            ("fd00::/64", 0xffff),
            ("fd00::1/128", 0),
            ("fd00::/124", 0xf),
        ] {
            assert_eq!(free_bits(source.parse().unwrap()), bits, "{source}");
        }
    }

    #[test]
    fn a_template_names_its_host() {
        let link = Link {
            destination: "02:00:00:00:00:01".parse().unwrap(),
            source: "02:00:00:00:00:02".parse().unwrap(),
            ifindex: 3,
            mtu: 1500,
        };
        for (address, source) in [("10.1.0.9", "10.1.255.0/24"), ("fd00:1::9", "fd00:1:ff::/64")] {
            let address: IpAddr = address.parse().unwrap();
            let template = build(address, &link, source.parse().unwrap());
            assert_eq!(super::address(&template), address);
            let used = if address.is_ipv4() { 44 } else { 64 };
            assert!(template.bytes()[used..].iter().all(|byte| *byte == 0), "no stack leaks: {:?}", template.bytes());
        }
    }
}
