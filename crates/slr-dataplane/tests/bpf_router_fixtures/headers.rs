//! Headers around and before the transport header: tags, options, extension headers; and what is copied to the outer one.

use std::collections::BTreeSet;

use slr_dataplane::reason::RouterReason as R;
use slr_testkit::packet::{Packet, SYN, pkt, verify_checksums};

use crate::case::{Case, case, run_all};
use crate::common::site::{GATEWAY_MAC, OUR_MAC};
use crate::common::{Bed, outer, site};
use crate::frames::*;

/// As many headers as the program passes.
const EXT_HEADERS_MAX: usize = 6;

pub fn cases() -> Vec<Case> {
    let of_both = FAMILIES.iter().flat_map(|f| [tags(f), groups(f), copied(f)].into_iter().flatten());
    of_both.chain(options()).chain(extension_headers()).collect()
}

fn tagged(tpids: &[u16]) -> Packet {
    tpids.iter().fold(link(), |packet, tpid| packet.vlan(0x2064).tpid(*tpid))
}

fn tags(f: &Family) -> Vec<Case> {
    let syn_behind =
        |tpids: &[u16]| ip(tagged(tpids), f.client, f.any).tcp(40000, 80).flags(SYN).payload_len(9).build();
    let mut table = Vec::new();
    for tpids in [&[0x8100][..], &[0x88a8], &[0x88a8, 0x8100], &[0x8100, 0x8100]] {
        let name = format!("{}: behind tags {tpids:04x?}", f.name);
        table.push(case(name).send(syn_behind(tpids), R::FwdNew).send(syn_behind(tpids), R::FwdPending).same_host());
    }
    table.push(
        case(format!("{}: behind three tags, or an unknown one, nobody looks", f.name))
            .send(syn_behind(&[0x88a8, 0x8100, 0x8100]), R::PassNotIp)
            .send(syn_behind(&[0x9100]), R::PassNotIp),
    );
    table
}

/// A frame like this one, sent to a group address of the link.
fn to_group(mut frame: Vec<u8>, group: [u8; 6]) -> Vec<u8> {
    frame[..6].copy_from_slice(&group);
    frame
}

fn groups(f: &Family) -> Vec<Case> {
    let mut table = Vec::new();
    for group in [[0xff; 6], [0x33, 0x33, 0, 0, 0, 1], [0x01, 0, 0x5e, 0, 0, 1]] {
        let name = format!("{}: sent to the link's group {group:02x?}, also of a pinned flow", f.name);
        let request = from(f.client, f.any).echo_request(1, 1).build();
        table.push(
            case(name)
                .send(to_group(syn(f.client, 40000, f.any, 80), group), R::PassGroup)
                .send(syn(f.client, 40000, f.any, 80), R::FwdNew)
                .send(ack(f.client, 40000, f.any, 80, 0), R::FwdPromoted)
                .send(to_group(ack(f.client, 40000, f.any, 80, 0), group), R::PassGroup)
                .send(to_group(request, group), R::PassGroup)
                .send(to_group(syn(f.client, 40000, f.foreign, 80), group), R::PassGroup),
        );
    }
    table
}

fn copied(f: &Family) -> Vec<Case> {
    let mut table = Vec::new();
    for vaddr in [f.on_a, f.on_v] {
        // The reader of the outer header compares.
        let mut each = case(format!("{}: class and congestion bits are copied, for {vaddr}", f.name));
        for (port, tos) in (1..).zip([0x00, 0x01, 0x02, 0x03, 0x0f, 0x10, 0xb8, 0xf0, 0xff]) {
            let syn = from(f.client, vaddr).tos(tos).tcp(port, 80).flags(SYN).build();
            each = each.send(syn, R::FwdNew);
        }
        table.push(each);
        let mut ttls = case(format!("{}: the client's TTL stays as it is, for {vaddr}", f.name));
        for (port, ttl) in (1..).zip([1, 2, 63, 64, 255]) {
            ttls = ttls.send(from(f.client, vaddr).ttl(ttl).udp(port, 53).payload_len(1).build(), R::FwdNew);
        }
        table.push(ttls);
        let mut padded = udp(f.client, 40000, vaddr, 53);
        padded.extend([0xee; 17]);
        table.push(
            case(format!("{}: what pads a frame stays behind the datagram, for {vaddr}", f.name))
                .send(padded, R::FwdNew),
        );
    }
    table
}

fn options() -> Vec<Case> {
    let f = IPV4;
    let mut table = Vec::new();
    for len in [4, 12, 40] {
        let with = || from(f.client, f.any).options(&vec![1; len]);
        table.push(
            case(format!("IPv4: {len} bytes of options"))
                .send(with().tcp(40000, 80).flags(SYN).seq(ISN).build(), R::FwdNew)
                .send(with().tcp(40000, 80).seq(ISN.wrapping_add(1)).build(), R::FwdPromoted)
                .same_host()
                .send(with().udp(40000, 53).payload_len(30).build(), R::FwdNew)
                .send(from(f.client, f.foreign).options(&vec![1; len]).tcp(1, 2).build(), R::PassNotOurs),
        );
    }
    table
}

/// A chain of this many extension headers of every kind.
fn chain(to: &str, count: usize) -> Packet {
    (0..count).fold(from(IPV6.client, to), |packet, i| match i % 4 {
        0 => packet.hop_by_hop(&[5, 2, 0, 0]),
        1 => packet.destination_options(&[]),
        2 => packet.routing(4, 0, &[0; 20]),
        _ => packet.fragment_header(0, false, 9),
    })
}

fn extension_headers() -> Vec<Case> {
    let f = IPV6;
    let mut table = Vec::new();
    for count in 1..=EXT_HEADERS_MAX {
        table.push(
            case(format!("IPv6: {count} extension headers"))
                .send(chain(f.any, count).tcp(40000, 80).flags(SYN).seq(ISN).build(), R::FwdNew)
                .send(chain(f.any, count).tcp(40000, 80).seq(ISN.wrapping_add(1)).build(), R::FwdPromoted)
                .same_host()
                .send(syn(f.client, 40000, f.any, 80), R::FwdEstablished)
                .same_host()
                .send(chain(f.any, count).udp(40000, 53).payload_len(30).build(), R::FwdNew)
                .send(chain(f.empty, count).tcp(40000, 80).build(), R::DropNoActiveHost),
        );
    }
    let long = |len: u8| [1, len].into_iter().chain(vec![0; len.into()]).collect::<Vec<u8>>();
    table.extend([
        case("IPv6: one extension header too many")
            .send(chain(f.any, EXT_HEADERS_MAX + 1).tcp(40000, 80).flags(SYN).build(), R::DropExtHeaders)
            .send(chain(f.foreign, EXT_HEADERS_MAX + 1).tcp(40000, 80).flags(SYN).build(), R::PassNotOurs),
        case("IPv6: extension headers up to where the program reads, and beyond")
            .send(from(f.client, f.any).destination_options(&long(250)).tcp(40000, 80).flags(SYN).build(), R::FwdNew)
            .send(
                from(f.client, f.any)
                    .destination_options(&long(250))
                    .destination_options(&long(250))
                    .tcp(40000, 80)
                    .build(),
                R::DropExtHeaders,
            ),
        case("IPv6: an extension header that the datagram ends in")
            .send(from(f.client, f.any).next(0).payload([6, 0, 1]).build(), R::DropExtHeaders)
            .send(from(f.client, f.any).next(60).payload([6, 3, 1, 4, 0, 0, 0, 0]).build(), R::DropExtHeaders)
            .send(from(f.client, f.any).next(44).payload([6, 0, 0, 0]).build(), R::DropExtHeaders)
            .send(from(f.client, f.foreign).next(0).payload([6, 0, 1]).build(), R::PassNotOurs),
        case("IPv6: no next header, and those that hide what follows")
            .send(from(f.client, f.any).next(59).payload_len(8).build(), R::DropProtocol)
            .send(from(f.client, f.any).next(50).payload_len(40).build(), R::DropProtocol)
            .send(from(f.client, f.any).next(51).payload_len(40).build(), R::DropProtocol)
            .send(from(f.client, f.any).hop_by_hop(&[]).next(59).payload_len(8).build(), R::DropProtocol),
    ]);
    table
}

#[test]
fn headers_end_as_the_table_says() {
    run_all(&cases());
}

#[test]
fn flows_differ_in_their_outer_source_and_label_and_a_flow_keeps_its_own() {
    for f in FAMILIES {
        for vaddr in [f.on_a, f.on_v] {
            let bed = Bed::new(site::site());
            let (mut sources, mut labels) = (BTreeSet::new(), BTreeSet::new());
            for port in 1..=200 {
                let first = outer::read(&bed.send(&syn(f.client, port, vaddr, 80)).packet, &bed.desired);
                for behind in 0..2 {
                    let next = bed.send(&ack(f.client, port, vaddr, 80, behind));
                    let next = outer::read(&next.packet, &bed.desired);
                    assert_eq!((next.source, next.flow_label), (first.source, first.flow_label), "port {port}");
                }
                sources.insert(first.source);
                labels.insert(first.flow_label);
            }
            // 200 flows over 256 sources leave about 117 different; over 65,536, nearly 200.
            assert!(sources.len() > 95, "{} {vaddr}: {} outer sources", f.name, sources.len());
            assert!(vaddr == f.on_a || labels.len() > 190, "{} {vaddr}: {} flow labels", f.name, labels.len());
        }
    }
}

#[test]
fn what_comes_out_has_valid_checksums_all_the_way_in() {
    for f in FAMILIES {
        let bed = Bed::new(site::site());
        for vaddr in [f.on_a, f.on_v] {
            for tags in [&[][..], &[0x8100], &[0x88a8, 0x8100]] {
                let start = ip(tagged(tags), f.client, vaddr);
                let outcome = bed.send(&start.tcp(tags.len() as u16 + 1, 80).flags(SYN).payload_len(333).build());
                verify_checksums(&outcome.packet).expect("a valid packet");
            }
        }
    }
}

#[test]
fn a_virtual_lan_tag_does_not_outlive_the_tunnel() {
    let f = IPV4;
    let bed = Bed::new(site::site());
    let frame = ip(pkt().eth(OUR_MAC, GATEWAY_MAC).vlan(5), f.client, f.on_a).udp(1, 2).payload_len(10).build();
    let out = bed.send(&frame).packet;
    assert_eq!(out[12..14], [0x08, 0x00], "the hop's own link header, untagged");
    assert_eq!(out.len(), frame.len() - 4 + 20);
}
