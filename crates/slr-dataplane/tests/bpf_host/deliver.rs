//! One tunnel header: taken off, and the client's datagram is handed up exactly as it was sent.

use slr_dataplane::reason::HostReason::{self, *};
use slr_testkit::packet::{Packet, SYN, verify_checksums};

use crate::bed::*;

/// Outer source and destination, client, virtual address: every pair of families.
const FAMILIES: [(&str, &str, &str, &str); 4] =
    [(ROUTER4, US4, C4, V4), (ROUTER4, US4, C6, V6), (ROUTER6, US6, C4, V4), (ROUTER6, US6, C6, V6)];

const CONTENTS: [fn(Packet) -> Packet; 6] = [
    |p| p.tcp(40000, 80).payload_len(100),
    |p| p.tcp(40000, 80).flags(SYN),
    |p| p.udp(4000, 53).payload("x"),
    |p| p.echo_request(7, 1).payload_len(56),
    |p| p.payload_len(1400),
    |p| p,
];

#[test]
fn the_clients_datagram_comes_out_as_it_was_sent_in_every_pair_of_families() {
    let bed = Bed::new();
    for (outer_source, us, client, virtual_address) in FAMILIES {
        for content in CONTENTS {
            let inner = |p| content(ip(p, client, virtual_address));
            let sent = inner(ip(frame(), outer_source, us)).build();
            let expected = inner(frame()).build();
            let (reason, out) = bed.send(&sent);
            assert_eq!((reason, &out), (Deliver, &expected), "{outer_source} {client}");
            verify_checksums(&out).unwrap();
        }
    }
}

#[test]
fn tags_stay_in_front_of_what_comes_out() {
    let bed = Bed::new();
    let one = || frame().vlan(5);
    let two = || frame().vlan(9).tpid(0x88a8).vlan(5);
    for link in [one as fn() -> Packet, two] {
        for (outer_source, us, client, virtual_address) in FAMILIES {
            let sent = ip(ip(link(), outer_source, us), client, virtual_address).tcp(1, 80).build();
            let expected = ip(link(), client, virtual_address).tcp(1, 80).build();
            assert_eq!(bed.send(&sent), (Deliver, expected));
        }
    }
}

#[test]
fn padding_options_and_encapsulation_limits_do_not_matter() {
    let bed = Bed::new();
    let inner = |p| ip(p, C4, V4).udp(1, 2).build();
    let mut padded = inner(frame().ipv4(ROUTER4, US4));
    padded.extend([0; 6]);
    let mut expected = inner(frame());
    expected.extend([0; 6]);
    assert_eq!(bed.send(&padded), (Deliver, expected), "Ethernet padding stays behind the datagram");

    let options = inner(frame().ipv4(ROUTER4, US4).options(&[1; 8]));
    assert_eq!(bed.send(&options), (Deliver, inner(frame())), "IPv4 options of the tunnel header");
    // RFC 2473 4.1.1: what Linux' ip6tnl puts there.
    let limit = inner(frame().ipv6(ROUTER6, US6).destination_options(&[4, 1, 4]));
    assert_eq!(bed.send(&limit), (Deliver, inner(frame())), "tunnel encapsulation limit");
    let client_options = ip(frame().ipv4(ROUTER4, US4), C4, V4).options(&[1; 40]).tcp(1, 2).build();
    assert_eq!(bed.send(&client_options).0, Deliver, "IPv4 options of the client");
    let fragment = frame().ipv4(ROUTER4, US4).ipv4(C4, V4).fragment(8, true).payload_len(16).build();
    assert_eq!(bed.send(&fragment).0, Deliver, "fragments are the stack's to reassemble");
}

#[test]
fn congestion_marks_of_the_tunnel_reach_the_client_datagram() {
    const NOT_ECT: u8 = 0;
    const ECT1: u8 = 1;
    const ECT0: u8 = 2;
    const CE: u8 = 3;
    let bed = Bed::new();
    for (outer_source, us, client, virtual_address) in FAMILIES {
        // RFC 6040 figure 4: inner, outer, what comes out.
        let table = [
            (NOT_ECT, NOT_ECT, Some(NOT_ECT)),
            (NOT_ECT, ECT0, Some(NOT_ECT)),
            (NOT_ECT, CE, None),
            (ECT0, NOT_ECT, Some(ECT0)),
            (ECT0, CE, Some(CE)),
            (ECT1, CE, Some(CE)),
            (CE, NOT_ECT, Some(CE)),
            (CE, CE, Some(CE)),
        ];
        for (inner, outer, expected) in table {
            let tos = 0b1011_1000;
            let datagram = |p, ecn| ip(p, client, virtual_address).tos(tos | ecn).tcp(1, 80).build();
            let sent = datagram(ip(frame(), outer_source, us).tos(outer), inner);
            match expected {
                Some(ecn) => assert_eq!(bed.send(&sent), (Deliver, datagram(frame(), ecn)), "{inner} {outer}"),
                None => assert_eq!(bed.send(&sent).0, DropEcn),
            }
        }
    }
}

#[test]
fn who_may_send_what_to_whom() {
    let bed = Bed::new();
    let table: &[(&str, &str, &str, &str, &str, HostReason)] = &[
        ("a stranger", STRANGER4, US4, C4, V4, DropStranger),
        ("a stranger, IPv6", STRANGER6, US6, C6, V6, DropStranger),
        ("another host, the last of a chain", OTHER4, US4, C4, V4, Deliver),
        ("another host, IPv6", OTHER6, US6, C6, V6, Deliver),
        ("not served here", ROUTER4, US4, C4, ELSEWHERE4, DropNotServed),
        ("not served here, IPv6", ROUTER6, US6, C6, ELSEWHERE6, DropNotServed),
        ("from one of our own virtual addresses", ROUTER4, US4, "192.0.2.77", V4, DropSpoofedSource),
        ("the same, IPv6", ROUTER6, US6, "2001:db8:100::77", V6, DropSpoofedSource),
        ("a tunnel for another host", ROUTER4, OTHER4, C4, V4, PassNotTunnel),
        ("the same, IPv6", ROUTER6, OTHER6, C6, V6, PassNotTunnel),
    ];
    for (what, outer_source, us, client, virtual_address, expected) in table {
        let sent = ip(ip(frame(), outer_source, us), client, virtual_address).tcp(1, 80).build();
        assert_eq!(bed.send(&sent).0, *expected, "{what}");
    }
}

#[test]
fn what_is_no_tunnel_packet_passes() {
    let bed = Bed::new();
    let mut arp = frame().build();
    arp[12..14].copy_from_slice(&[8, 6]);
    arp.resize(60, 0);
    let table: Vec<(&str, Vec<u8>, HostReason)> = vec![
        ("ARP", arp, PassNotIp),
        ("TCP to our tunnel address", frame().ipv4(C4, US4).tcp(1, 22).build(), PassNotTunnel),
        ("UDP, IPv6", frame().ipv6(C6, US6).udp(1, 22).payload_len(8).build(), PassNotTunnel),
        ("TCP to a virtual address without a tunnel", frame().ipv4(C4, V4).tcp(1, 80).build(), PassNotTunnel),
        ("ICMPv6", frame().ipv6(C6, US6).echo_request(1, 1).payload_len(8).build(), PassNotTunnel),
        ("options before TCP", frame().ipv6(C6, US6).destination_options(&[1, 0]).tcp(1, 2).build(), PassNotTunnel),
        ("three tags", frame().vlan(1).vlan(2).vlan(3).ipv4(C4, US4).tcp(1, 2).build(), PassNotIp),
    ];
    for (what, sent, expected) in table {
        assert_eq!(bed.send(&sent).0, expected, "{what}");
    }
}

#[test]
fn a_tunnel_packet_in_fragments_is_dropped_by_name() {
    let bed = Bed::new();
    let outer = || frame().ipv4(ROUTER4, US4);
    let v4 = |first: bool| outer().fragment(if first { 0 } else { 800 }, first).ipv4(C4, V4).tcp(1, 80).build();
    let v6 = |offset, more| frame().ipv6(ROUTER6, US6).fragment_header(offset, more, 9).ipv6(C6, V6).tcp(1, 80).build();
    for sent in [v4(true), v4(false), v6(0, true), v6(800, false)] {
        assert_eq!(bed.send(&sent).0, DropTunnelFragment);
    }
    assert_eq!(bed.send(&v6(0, false)).0, Deliver, "RFC 8200 5: an atomic fragment is a whole packet");
}

#[test]
fn a_host_without_an_address_of_a_family_takes_no_tunnels_in_it() {
    let mut without = desired();
    without.tunnel_v6 = None;
    let bed = Bed::with(&without);
    assert_eq!(bed.send(&frame().ipv6(ROUTER6, US6).ipv4(C4, V4).tcp(1, 80).build()).0, PassNotTunnel);
    assert_eq!(bed.send(&frame().ipv6(ROUTER6, "::").ipv4(C4, V4).tcp(1, 80).build()).0, PassNotTunnel);
    assert_eq!(bed.send(&frame().ipv4(ROUTER4, US4).ipv4(C4, V4).tcp(1, 80).build()).0, Deliver);
}
