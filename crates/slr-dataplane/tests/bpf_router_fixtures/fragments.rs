//! Fragments: the first one has the ports and records, the later ones follow it or drop.

use slr_dataplane::reason::RouterReason as R;

use crate::case::{Case, case, run_all, run_one};
use crate::frames::*;

/// A fragment of a UDP datagram; a first one (`offset` 0) has the header.
fn fragment(f: &Family, client: &str, to: &str, id: u16, offset: u16, more: bool) -> Vec<u8> {
    udp_fragment(f, client, to, 53, id, offset, more)
}

fn udp_fragment(f: &Family, client: &str, to: &str, vport: u16, id: u16, offset: u16, more: bool) -> Vec<u8> {
    let start = from(client, to);
    let start = if f.v6 { start.fragment_header(offset, more, id.into()) } else { start.id(id).fragment(offset, more) };
    match offset {
        // The length is the whole datagram's, as it is on a real first fragment.
        0 => start.udp(40000, vport).length(4000).payload_len(504).build(),
        _ => start.next(17).payload_len(512).build(),
    }
}

pub fn cases() -> Vec<Case> {
    FAMILIES.iter().flat_map(datagrams).collect()
}

fn datagrams(f: &Family) -> Vec<Case> {
    let name = |text: &str| case(format!("{}: {text}", f.name));
    let mut table = vec![
        name("later fragments follow the first one, in any order")
            .send(fragment(f, f.client, f.any, 1, 0, true), R::FwdNew)
            .send(fragment(f, f.client, f.any, 1, 1024, false), R::FwdFragment)
            .same_host()
            .send(fragment(f, f.client, f.any, 1, 512, true), R::FwdFragment)
            .same_host(),
        name("the first fragment of an established flow records as well")
            .send(udp(f.client, 40000, f.any, 53), R::FwdNew)
            .send(udp(f.client, 40000, f.any, 53), R::FwdPromoted)
            .change(|desired| desired.config.seed += 1)
            .send(fragment(f, f.client, f.any, 2, 0, true), R::FwdEstablished)
            .same_host()
            .send(fragment(f, f.client, f.any, 2, 512, false), R::FwdFragment)
            .same_host(),
        name("a later fragment alone, or of another datagram, client or virtual address")
            .send(fragment(f, f.client, f.on_a, 3, 512, false), R::DropFragment)
            .send(fragment(f, f.client, f.on_a, 3, 0, true), R::FwdNew)
            .send(fragment(f, f.client, f.on_a, 4, 512, false), R::DropFragment)
            .send(fragment(f, f.other_client, f.on_a, 3, 512, false), R::DropFragment)
            .send(fragment(f, f.client, f.on_v, 3, 512, false), R::DropFragment)
            .send(fragment(f, f.client, f.foreign, 3, 512, false), R::PassNotOurs)
            .send(fragment(f, f.client, f.on_a, 3, 512, false), R::FwdFragment)
            .to("a"),
        name("fragments of a host that is gone")
            .send(fragment(f, f.client, f.on_a, 5, 0, true), R::FwdNew)
            .change(|desired| crate::common::site::remove_host(desired, "a"))
            .send(fragment(f, f.client, f.on_a, 5, 512, false), R::DropFragment),
        name("a fragmented echo request, forwarded by policy")
            .send(echo_fragment(f, f.echo, 0), R::FwdEcho)
            .send(echo_fragment(f, f.echo, 512), R::FwdFragment)
            .same_host(),
        name("a first fragment that ends inside the transport header")
            .send(cut_first(f, f.any, 17, 7), R::DropTruncatedL4)
            .send(cut_first(f, f.any, 6, 16), R::DropTruncatedL4)
            .send(cut_first(f, f.foreign, 6, 16), R::PassNotOurs),
    ];
    if f.v6 {
        table.push(
            name("a fragment header on a whole datagram changes nothing (RFC 6946)")
                .send(
                    from(f.client, f.any).fragment_header(0, false, 6).udp(40000, 53).payload_len(9).build(),
                    R::FwdNew,
                )
                .send(fragment(f, f.client, f.any, 6, 512, false), R::DropFragment),
        );
    } else {
        let of =
            |protocol: u16| from(f.client, f.any).id(7).fragment(512, false).next(protocol).payload_len(64).build();
        table.push(
            name("the protocol is part of a datagram's identity (RFC 791)")
                .send(fragment(f, f.client, f.any, 7, 0, true), R::FwdNew)
                .send(of(6), R::DropFragment)
                .send(of(17), R::FwdFragment),
        );
    }
    table
}

fn echo_fragment(f: &Family, to: &str, offset: u16) -> Vec<u8> {
    let start = from(f.client, to);
    let start =
        if f.v6 { start.fragment_header(offset, offset == 0, 9) } else { start.id(9).fragment(offset, offset == 0) };
    match offset {
        0 => start.echo_request(1, 1).payload_len(504).build(),
        _ => start.next(if f.v6 { 58 } else { 1 }).payload_len(100).build(),
    }
}

/// A first fragment with this many bytes behind its IP header.
fn cut_first(f: &Family, to: &str, protocol: u16, len: usize) -> Vec<u8> {
    let start = from(f.client, to);
    let start = if f.v6 { start.fragment_header(0, true, 8) } else { start.id(8).fragment(0, true) };
    start.next(protocol).payload_len(len).build()
}

#[test]
fn fragments_end_as_the_table_says() {
    run_all(&cases());
}

#[test]
fn the_fragments_of_a_datagram_that_the_kernel_serves_pass_to_the_kernel() {
    for f in FAMILIES {
        run_one(
            case(f.name)
                .send(udp_fragment(&f, f.client, f.listed, 4000, 1, 0, true), R::PassNotServed)
                .send(udp_fragment(&f, f.client, f.listed, 4000, 1, 512, false), R::PassNotServed),
        );
    }
}

#[test]
fn the_fragments_of_an_icmp_error_for_the_kernel_pass_to_the_kernel() {
    for f in FAMILIES {
        let quote = ip(slr_testkit::packet::pkt(), f.listed, f.client).tcp(22, 40000).payload_len(400).build();
        let start = |offset: u16| {
            let start = from(f.foreign, f.listed);
            let more = offset == 0;
            if f.v6 { start.fragment_header(offset, more, 5) } else { start.id(5).fragment(offset, more) }
        };
        run_one(
            case(f.name)
                .send(start(0).port_unreachable(&quote).build(), R::PassNotServed)
                .send(start(448).next(if f.v6 { 58 } else { 1 }).payload_len(32).build(), R::PassNotServed),
        );
    }
}
