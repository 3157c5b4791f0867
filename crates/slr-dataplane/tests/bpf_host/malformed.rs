//! Cut short, or lying about lengths: never delivered, never read beyond the end.

use slr_dataplane::reason::HostReason::{self, *};

use crate::bed::*;

/// What a frame may end with when its last bytes are missing: nothing but delivery of a datagram that is not whole is
/// wrong, so the table says which reasons may follow one another as bytes are taken away.
fn cut(whole: &[u8], expected: &[(usize, HostReason)]) {
    let bed = Bed::new();
    for len in 14..whole.len() {
        let (reason, _) = bed.send(&whole[..len]);
        let (_, due) = expected.iter().find(|(up_to, _)| len < *up_to).expect("the table covers every length");
        assert_eq!(reason, *due, "cut to {len} of {} bytes", whole.len());
    }
}

#[test]
fn truncated_at_every_byte_ipv4() {
    let whole = frame().ipv4(ROUTER4, US4).ipv4(C4, V4).tcp(1, 80).payload_len(30).build();
    cut(&whole, &[(34, PassTruncated), (whole.len(), DropMalformedOuter)]);
}

#[test]
fn truncated_at_every_byte_ipv6() {
    let whole = frame().ipv6(ROUTER6, US6).ipv6(C6, V6).tcp(1, 80).payload_len(30).build();
    cut(&whole, &[(54, PassTruncated), (whole.len(), DropMalformedOuter)]);
}

#[test]
fn truncated_behind_tags() {
    let whole = frame().vlan(1).vlan(2).ipv4(ROUTER4, US4).ipv4(C4, V4).tcp(1, 80).build();
    cut(&whole, &[(42, PassTruncated), (whole.len(), DropMalformedOuter)]);
}

#[test]
fn content_cut_at_every_byte_inside_a_whole_tunnel_packet() {
    let bed = Bed::new();
    let inner4 = frame().ipv4(C4, V4).tcp(1, 80).payload_len(30).build().split_off(14);
    let inner6 = frame().ipv6(C6, V6).tcp(1, 80).payload_len(30).build().split_off(14);
    for (inner, number) in [(inner4, 4), (inner6, 41)] {
        for len in 0..inner.len() {
            let v4 = frame().ipv4(ROUTER4, US4).next(number).payload(&inner[..len]).build();
            assert_eq!(bed.send(&v4).0, DropMalformedInner, "IPv4 tunnel, {number}, {len} bytes");
            let v6 = frame().ipv6(ROUTER6, US6).next(number).payload(&inner[..len]).build();
            assert_eq!(bed.send(&v6).0, DropMalformedInner, "IPv6 tunnel, {number}, {len} bytes");
        }
    }
}

#[test]
fn chains_and_keepalives_cut_at_every_byte_are_never_acted_on() {
    let bed = Bed::new();
    let chain = frame().ipv4(ROUTER4, US4).ipv6(US6, OTHER6).ipv4(C4, V4).tcp(1, 80).build();
    let keepalive = frame().ipv4(ROUTER4, US4).ipv6(ROUTER6, US6).udp(9, 6101).payload([0; 24]).build();
    for whole in [chain, keepalive] {
        for len in 14..whole.len() {
            let (reason, _) = bed.send(&whole[..len]);
            assert!(matches!(reason, PassTruncated | DropMalformedOuter), "{reason:?} at {len}");
        }
    }
}

#[test]
fn lengths_and_versions_that_contradict_the_frame() {
    let bed = Bed::new();
    let v4 = || frame().ipv4(ROUTER4, US4);
    let v6 = || frame().ipv6(ROUTER6, US6);
    let table: Vec<(&str, Vec<u8>, HostReason)> = vec![
        ("outer total length too long", v4().length(2000).ipv4(C4, V4).tcp(1, 80).build(), DropMalformedOuter),
        ("outer total length below its header", v4().length(19).ipv4(C4, V4).tcp(1, 80).build(), DropMalformedOuter),
        ("outer header of 16 bytes", v4().header_words(4).ipv4(C4, V4).tcp(1, 80).build(), DropMalformedOuter),
        (
            "outer header longer than the packet",
            v4().length(40).header_words(15).ipv4(C4, V4).build(),
            DropMalformedOuter,
        ),
        ("outer version 6 in an IPv4 frame", v4().version(6).ipv4(C4, V4).tcp(1, 80).build(), DropMalformedOuter),
        ("outer payload length too long", v6().length(2000).ipv6(C6, V6).tcp(1, 80).build(), DropMalformedOuter),
        ("outer version 4 in an IPv6 frame", v6().version(4).ipv6(C6, V6).tcp(1, 80).build(), DropMalformedOuter),
        ("outer payload shorter than the content", v6().length(50).ipv6(C6, V6).tcp(1, 80).build(), DropMalformedInner),
        ("outer total shorter than the content", v4().length(50).ipv4(C4, V4).tcp(1, 80).build(), DropMalformedInner),
        ("inner total length too long", v4().ipv4(C4, V4).length(41).tcp(1, 80).build(), DropMalformedInner),
        ("inner total length below its header", v4().ipv4(C4, V4).length(19).tcp(1, 80).build(), DropMalformedInner),
        ("inner header of 16 bytes", v4().ipv4(C4, V4).header_words(4).tcp(1, 80).build(), DropMalformedInner),
        ("inner header beyond its length", v4().ipv4(C4, V4).header_words(15).tcp(1, 80).build(), DropMalformedInner),
        ("inner payload length too long", v6().ipv6(C6, V6).length(21).tcp(1, 80).build(), DropMalformedInner),
        ("inner IPv6 said to be IPv4", v4().next(4).ipv6(C6, V6).tcp(1, 80).build(), DropMalformedInner),
        (
            "inner IPv4 said to be IPv6",
            v4().next(41).ipv4(C4, V4).tcp(1, 80).payload_len(40).build(),
            DropMalformedInner,
        ),
        ("nothing inside", v4().next(4).build(), DropMalformedInner),
        ("a limit option that runs on", v6().next(60).payload([4, 99, 4, 1, 4, 0, 0, 0]).build(), PassNotTunnel),
    ];
    for (what, sent, expected) in table {
        assert_eq!(bed.send(&sent).0, expected, "{what}");
    }
}
