//! Lengths that contradict each other: dropped by name if the destination is ours, passed untouched if not.

use slr_dataplane::reason::RouterReason as R;
use slr_testkit::packet::{Packet, SYN, pkt};

use crate::case::{Case, case, run_all, run_one};
use crate::common::Bed;
use crate::common::site::{self, GATEWAY_MAC, OUR_MAC};
use crate::frames::*;

pub fn cases() -> Vec<Case> {
    let of_both = FAMILIES.iter().flat_map(|f| [network(f), transport(f)].into_iter().flatten());
    of_both.chain(links()).collect()
}

/// A segment behind an IP header that the test makes wrong; to us and to others.
fn both(f: &Family, text: &str, change: impl Fn(Packet) -> Packet, reason: R) -> Case {
    let frame = |to: &str| change(from(f.client, to)).tcp(40000, 80).flags(SYN).payload_len(10).build();
    case(format!("{}: {text}", f.name)).send(frame(f.any), reason).send(frame(f.foreign), R::PassNotOurs)
}

fn network(f: &Family) -> Vec<Case> {
    let whole = if f.v6 { 30 } else { 50 };
    let mut table = vec![
        both(f, "one byte more announced than there is", |p| p.length(whole + 1), R::DropMalformedIp),
        both(f, "as much announced as there can be", |p| p.length(0xffff), R::DropMalformedIp),
        both(f, "less announced: the rest pads the frame", |p| p.length(whole - 10), R::FwdNew),
        both(f, "announced until inside the transport header", |p| p.length(whole - 11), R::DropTruncatedL4),
        both(f, "announced until behind the IP header", |p| p.length(whole - 30), R::DropTruncatedL4),
    ];
    for version in [0, 5, 7, 15] {
        table.push(both(f, &format!("version {version}"), |p| p.version(version), R::DropMalformedIp));
    }
    table.push(both(f, "the other family's version", |p| p.version(if f.v6 { 4 } else { 6 }), R::DropMalformedIp));
    if !f.v6 {
        for words in [0, 4] {
            table.push(both(f, &format!("a header of {words} words"), |p| p.header_words(words), R::DropMalformedIp));
        }
        table.push(both(f, "a header longer than the datagram", |p| p.header_words(15), R::DropMalformedIp));
        table.push(both(f, "a datagram shorter than its header", |p| p.length(19), R::DropMalformedIp));
        table.push(both(f, "a datagram without length", |p| p.length(0), R::DropMalformedIp));
        let bad_sum = from(f.client, f.any).checksum(0x1234).tcp(40000, 80).flags(SYN).build();
        table.push(case("IPv4: checksums are the host's to verify").send(bad_sum, R::FwdNew));
    } else {
        // A jumbogram's length (RFC 2675) is not in the header; nothing that fits a frame needs one.
        table.push(both(f, "a length of zero", |p| p.length(0), R::DropTruncatedL4));
    }
    table
}

fn transport(f: &Family) -> Vec<Case> {
    let name = |text: &str| case(format!("{}: {text}", f.name));
    let data_offset = |to: &str, words: u8| from(f.client, to).tcp(40000, 80).flags(SYN).header_words(words).build();
    let udp_length = |to: &str, len: u16| from(f.client, to).udp(40000, 53).length(len).payload_len(20).build();
    let mut table = vec![
        name("a TCP header of less than five words")
            .send(data_offset(f.any, 0), R::DropTruncatedL4)
            .send(data_offset(f.any, 4), R::DropTruncatedL4)
            .send(data_offset(f.foreign, 4), R::PassNotOurs),
        name("a UDP length that cannot be")
            .send(udp_length(f.any, 0), R::DropTruncatedL4)
            .send(udp_length(f.any, 7), R::DropTruncatedL4)
            .send(udp_length(f.any, 29), R::DropTruncatedL4)
            .send(udp_length(f.any, 0xffff), R::DropTruncatedL4)
            .send(udp_length(f.foreign, 7), R::PassNotOurs),
        name("a UDP datagram shorter than its packet").send(udp_length(f.any, 8), R::FwdNew),
    ];
    let mut zero = name("port 0");
    for (client, port) in [(0, 80), (40000, 0), (0, 0)] {
        zero = zero
            .send(tcp(f.client, client, f.any, port, SYN), R::DropPortZero)
            .send(udp(f.client, client, f.any, port), R::DropPortZero)
            .send(tcp(f.client, client, f.foreign, port, SYN), R::PassNotOurs);
    }
    table.push(zero);
    let mut short = name("a transport header cut short by the datagram's end");
    for (protocol, need) in [(6u16, 20), (17, 8)] {
        for len in 0..need {
            let frame = |to: &str| from(f.client, to).next(protocol).payload(vec![0x55; len]).build();
            short = short.send(frame(f.any), R::DropTruncatedL4).send(frame(f.foreign), R::PassNotOurs);
        }
    }
    table.push(short);
    table
}

fn links() -> Vec<Case> {
    let ethernet = |kind: u16, len: usize| pkt().eth(OUR_MAC, GATEWAY_MAC).next(kind).payload_len(len).build();
    vec![
        case("not IP at all")
            .send(ethernet(0x0806, 28), R::PassNotIp)
            .send(ethernet(0x88cc, 40), R::PassNotIp)
            .send(ethernet(0x05dc, 40), R::PassNotIp)
            .send(ethernet(0, 0), R::PassNotIp)
            .send(pkt().eth(OUR_MAC, GATEWAY_MAC).vlan(1).next(0x0806).payload_len(28).build(), R::PassNotIp),
        case("an Ethernet header and nothing or too little behind it")
            .send(ethernet(0x0800, 0), R::PassTruncated)
            .send(ethernet(0x0800, 19), R::PassTruncated)
            .send(ethernet(0x86dd, 0), R::PassTruncated)
            .send(ethernet(0x86dd, 39), R::PassTruncated)
            .send(ethernet(0x8100, 0), R::PassTruncated)
            .send(ethernet(0x8100, 3), R::PassTruncated)
            .send(ethernet(0x88a8, 3), R::PassTruncated),
    ]
}

#[test]
fn malformed_packets_end_as_the_table_says() {
    run_all(&cases());
}

#[test]
fn a_tcp_header_longer_than_its_segment_is_cut_short() {
    for f in FAMILIES {
        let long = from(f.client, f.any).tcp(40000, 80).flags(SYN).header_words(6).build();
        run_one(case(f.name).send(long, R::DropTruncatedL4));
    }
}

#[test]
fn bytes_are_counted_as_they_were_on_the_wire() {
    // A frame without a network header counts whole; nothing of an earlier packet is in the counter.
    let bed = Bed::new(site::site());
    bed.send(&syn(IPV4.client, 40000, IPV4.any, 80));
    for len in [14, 15, 17] {
        let mut frame = pkt().eth(OUR_MAC, GATEWAY_MAC).vlan(1).next(0x0800).payload_len(20).build();
        frame.truncate(len);
        let outcome = bed.send(&frame);
        assert_eq!((outcome.reason, outcome.bytes), (R::PassTruncated, len as u64));
    }
    for f in FAMILIES {
        let frame = syn(f.client, 40000, f.on_a, 80);
        assert_eq!(bed.send(&frame).bytes, frame.len() as u64 - 14, "{}: the client's datagram", f.name);
    }
}
