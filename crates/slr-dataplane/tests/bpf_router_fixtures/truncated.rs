//! Packets cut at every byte: as they are, and with their lengths made right again, so that every parser meets its end.

use std::collections::BTreeSet;

use slr_dataplane::reason::RouterReason as R;
use slr_testkit::packet::{Packet, SYN, pkt};

use crate::common::{Bed, site};
use crate::frames::*;

/// Reasons that the sweeps below end by, each seen by the test that checks its sweep.
pub const REASONS: [R; 2] = [R::PassTruncated, R::DropMalformedIp];

/// A packet to be cut, and where its outermost IP header is and whether that is addressed to a virtual address.
struct Whole {
    name: &'static str,
    frame: Vec<u8>,
    ip: usize,
    ours: bool,
    /// What it ends by when it is whole.
    reason: R,
    /// What it may end by when it is cut behind the outer IP header and its lengths are right.
    cut: &'static [R],
}

fn offset(packet: &Packet, layer: &str) -> (Vec<u8>, usize) {
    let (frame, offsets) = packet.build_with_offsets();
    let found = offsets.iter().find(|offset| offset.layer == layer).expect("a layer of the packet");
    (frame, found.at)
}

fn wholes() -> Vec<Whole> {
    let whole = |name, packet: &Packet, layer, ours, reason, cut| {
        let (frame, ip) = offset(packet, layer);
        Whole { name, frame, ip, ours, reason, cut }
    };
    let (f4, f6) = (IPV4, IPV6);
    let tcp = from(f4.client, f4.any).tcp(1, 80).flags(SYN).options(&[2, 4, 5, 0xb4]).payload_len(9);
    let ext =
        from(f6.client, f6.any).hop_by_hop(&[5, 2, 0, 0]).destination_options(&[1, 6, 0, 0, 0, 0, 0, 0]).udp(2, 53);
    let vlan = ip(link().vlan(3).tpid(0x88a8).vlan(4), f4.client, f4.any).options(&[1; 12]).udp(3, 53).payload_len(9);
    let tunnel = from(OUTERS[0].upstream, OUTERS[0].us).ipv6(f6.client, f6.any).tcp(4, 80).flags(SYN).payload_len(5);
    let tunnel6 = from(OUTERS[1].upstream, OUTERS[1].us).ipv4(f4.client, f4.any).udp(4, 80).payload_len(5);
    let quote = pkt().ipv4(f4.any, f4.client).tcp(80, 1).build();
    let error = from(f4.foreign, f4.any).port_unreachable(&quote);
    let quote6 = pkt().ipv6(f6.any, f6.client).udp(53, 2).payload_len(4).build();
    let error6 = from(f6.foreign, f6.any).too_big(1400, &quote6);
    let segment = &[R::DropTruncatedL4, R::FwdNew, R::FwdPending, R::FwdPromoted, R::FwdEstablished][..];
    vec![
        whole("IPv4 TCP", &tcp, "ipv4", true, R::FwdNew, segment),
        whole(
            "IPv6 UDP behind extension headers",
            &ext.payload_len(9),
            "ipv6",
            true,
            R::FwdNew,
            &[R::DropExtHeaders, R::DropTruncatedL4],
        ),
        whole("two tags, IPv4 options, UDP", &vlan, "ipv4", true, R::FwdNew, &[R::DropMalformedIp, R::DropTruncatedL4]),
        whole("IPv6 in IPv4", &tunnel, "ipv4", false, R::FwdNew, &[R::DropTunnelInner, R::DropMalformedIp]),
        whole("IPv4 in IPv6", &tunnel6, "ipv6", false, R::FwdNew, &[R::DropTunnelInner, R::DropMalformedIp]),
        whole(
            "ICMP error",
            &error,
            "ipv4",
            true,
            R::FwdIcmpError,
            &[R::DropTruncatedL4, R::DropIcmpQuote, R::FwdIcmpError],
        ),
        whole(
            "ICMPv6 error",
            &error6,
            "ipv6",
            true,
            R::FwdIcmpError,
            &[R::DropTruncatedL4, R::DropIcmpQuote, R::FwdIcmpError],
        ),
    ]
}

fn is_v6(whole: &Whole) -> bool {
    whole.frame[whole.ip] >> 4 == 6
}

fn fixed_header_end(whole: &Whole) -> usize {
    whole.ip + if is_v6(whole) { 40 } else { 20 }
}

/// The outermost IP header's length made that of what is left.
fn repaired(whole: &Whole, len: usize) -> Vec<u8> {
    let mut frame = whole.frame[..len].to_vec();
    let datagram = u16::try_from(len - whole.ip).expect("short");
    let (at, value) = if is_v6(whole) { (4, datagram - 40) } else { (2, datagram) };
    frame[whole.ip + at..][..2].copy_from_slice(&value.to_be_bytes());
    frame
}

#[test]
fn a_packet_cut_at_any_byte_ends_as_what_is_left_of_it_must() {
    let bed = Bed::new(site::site());
    let mut seen = BTreeSet::new();
    for whole in wholes() {
        for len in 14..whole.frame.len() {
            let reason = bed.send(&whole.frame[..len]).reason;
            let expected = match len < fixed_header_end(&whole) {
                true => R::PassTruncated,
                false if whole.ours => R::DropMalformedIp,
                false => R::PassNotOurs,
            };
            assert_eq!(reason, expected, "{} cut to {len} of {} bytes", whole.name, whole.frame.len());
            seen.insert(reason);
        }
        assert_eq!(bed.send(&whole.frame).reason, whole.reason, "{}", whole.name);
    }
    assert!(REASONS.iter().all(|reason| seen.contains(reason)), "{seen:?}");
}

#[test]
fn a_packet_cut_at_any_byte_with_its_length_made_right_ends_where_its_headers_do() {
    for whole in wholes() {
        let bed = Bed::new(site::site());
        let mut last = None;
        for len in fixed_header_end(&whole)..whole.frame.len() {
            let reason = bed.send(&repaired(&whole, len)).reason;
            assert!(whole.cut.contains(&reason), "{} cut to {len} bytes: {reason:?}", whole.name);
            last = Some(reason);
        }
        assert!(last.is_some());
        let reason = bed.send(&repaired(&whole, whole.frame.len())).reason;
        assert!(reason >= R::FwdEstablished && reason <= R::FwdEcho, "{}: {reason:?}", whole.name);
    }
}
