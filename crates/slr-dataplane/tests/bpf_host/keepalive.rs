//! Keepalives are answered in place.

use slr_dataplane::reason::HostReason::*;
use slr_testkit::packet::{Packet, verify_checksums};

use crate::bed::*;

const PORT: u16 = 6101;
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
/// Where the router listens for answers: an address of its own, not of its tunnels' prefix.
const PROBER4: &str = "10.1.1.2";
const PROBER6: &str = "fd00:1:1::2";

fn body(kind: u8) -> Vec<u8> {
    let mut body = b"SLRK".to_vec();
    body.extend([1, kind, 0, 0]);
    body.extend(0x1122_3344_5566_7788_u64.to_be_bytes());
    body.extend(0x99aa_bbcc_ddee_ff00_u64.to_be_bytes());
    body
}

#[test]
fn a_request_is_answered_with_its_own_nonce_and_clock() {
    let bed = Bed::new();
    let table = [
        (ROUTER4, US4, PROBER4, US4),
        (ROUTER4, US4, PROBER6, US6),
        (ROUTER6, US6, PROBER4, US4),
        (ROUTER6, US6, PROBER6, US6),
    ];
    for link in [frame as fn() -> Packet, || frame().vlan(7)] {
        for (outer, us, prober, inner_us) in table {
            let request =
                ip(ip(link(), outer, us), prober, inner_us).ttl(3).tos(0x10).udp(9000, PORT).payload(body(REQUEST));
            let tagged = link().build().len() > 14;
            let back = if tagged { returned().vlan(7) } else { returned() };
            let expected = ip(back, inner_us, prober);
            let expected = if prober.contains(':') { expected } else { expected.df() };
            let expected = expected.udp(PORT, 9000).payload(body(REPLY)).build();
            let (reason, out) = bed.send(&request.build());
            assert_eq!((reason, &out), (ReplyKeepalive, &expected), "{outer} {prober}");
            verify_checksums(&out).unwrap();
        }
    }
}

#[test]
fn a_padded_request_gets_a_short_answer() {
    let bed = Bed::new();
    for (prober, us) in [(PROBER4, US4), (PROBER6, US6)] {
        for padding in [1, 2, 1300] {
            let mut long = body(REQUEST);
            long.resize(24 + padding, 0xee);
            let mut request = ip(frame().ipv4(ROUTER4, US4), prober, us).udp(9000, PORT).payload(long).build();
            request.extend([0; 4]); // and Ethernet padding
            let (reason, out) = bed.send(&request);
            assert_eq!(reason, ReplyKeepalive);
            let expected = ip(returned(), us, prober);
            let expected = if prober.contains(':') { expected } else { expected.df() };
            assert_eq!(out, expected.udp(PORT, 9000).payload(body(REPLY)).build());
        }
    }
}

#[test]
fn what_is_no_request_of_a_router_is_not_answered() {
    let bed = Bed::new();
    let with = |change: fn(&mut Vec<u8>)| {
        let mut body = body(REQUEST);
        change(&mut body);
        frame().ipv4(ROUTER4, US4).ipv4(PROBER4, US4).udp(9000, PORT).payload(body).build()
    };
    let tunnelled = |source| ip(frame(), source, US4).ipv4(PROBER4, US4).udp(9000, PORT).payload(body(REQUEST));
    let table = [
        ("another magic", with(|b| b[0] = b'X'), DropKeepalive),
        ("another version", with(|b| b[4] = 2), DropKeepalive),
        ("a reply", with(|b| b[5] = REPLY), DropKeepalive),
        ("too short", with(|b| b.truncate(23)), DropKeepalive),
        ("empty", with(Vec::clear), DropKeepalive),
        (
            "a UDP length beyond the datagram",
            frame().ipv4(ROUTER4, US4).ipv4(PROBER4, US4).udp(9000, PORT).length(200).payload(body(REQUEST)).build(),
            DropKeepalive,
        ),
        (
            "a UDP length that is too short",
            frame().ipv4(ROUTER4, US4).ipv4(PROBER4, US4).udp(9000, PORT).length(20).payload(body(REQUEST)).build(),
            DropKeepalive,
        ),
        ("from another host", tunnelled(OTHER4).build(), DropKeepalive),
        ("from a stranger", tunnelled(STRANGER4).build(), DropStranger),
        (
            "another port",
            frame().ipv4(ROUTER4, US4).ipv4(PROBER4, US4).udp(9000, 53).payload(body(REQUEST)).build(),
            DropNotServed,
        ),
        ("TCP", frame().ipv4(ROUTER4, US4).ipv4(PROBER4, US4).tcp(9000, PORT).payload_len(40).build(), DropNotServed),
        (
            "a fragment",
            frame()
                .ipv4(ROUTER4, US4)
                .ipv4(PROBER4, US4)
                .fragment(0, true)
                .udp(9000, PORT)
                .payload(body(REQUEST))
                .build(),
            DropNotServed,
        ),
    ];
    for (what, sent, expected) in table {
        assert_eq!(bed.send(&sent).0, expected, "{what}");
    }
    let direct = frame().ipv4(PROBER4, US4).udp(9000, PORT).payload(body(REQUEST)).build();
    assert_eq!(bed.send(&direct).0, PassNotTunnel, "without a tunnel it says nothing about the tunnel");
}
