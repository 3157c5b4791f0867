//! ICMP to virtual addresses: errors follow the flow that they quote, echo requests are answered, forwarded or dropped.

use slr_dataplane::reason::RouterReason as R;
use slr_testkit::packet::{Packet, SYN, pkt};

use crate::case::{Case, case, run_all, run_one};
use crate::common::site::{GATEWAY_MAC, OUR_MAC};
use crate::common::{Bed, outer, site};
use crate::flows::only;
use crate::frames::*;

/// A router between the client and us, which errors come from.
const HOP4: &str = "203.0.113.254";
const HOP6: &str = "2001:db8:ffff::254";

fn router_of(f: &Family) -> &'static str {
    if f.v6 { HOP6 } else { HOP4 }
}

pub fn cases() -> Vec<Case> {
    FAMILIES.iter().flat_map(|family| [errors(family), quotes(family), echoes(family)].into_iter().flatten()).collect()
}

/// A reply from the virtual host to the client.
fn reply(f: &Family, vaddr: &str) -> Packet {
    ip(pkt(), vaddr, f.client)
}

fn too_big(f: &Family, to: &str, quote: &[u8]) -> Vec<u8> {
    from(router_of(f), to).too_big(1400, quote).build()
}

/// The other kinds of errors: type and code.
fn kinds(f: &Family) -> &'static [(u8, u8)] {
    if f.v6 { &[(1, 4), (2, 0), (3, 0), (4, 1)] } else { &[(3, 3), (3, 4), (11, 0), (12, 0)] }
}

fn errors(f: &Family) -> Vec<Case> {
    let header = if f.v6 { 40 } else { 20 };
    let name = |text: &str| case(format!("{}: {text}", f.name));
    let mut established = name("an error follows the established TCP flow of the reply it quotes")
        .send(syn(f.client, 40000, f.any, 80), R::FwdNew)
        .send(ack(f.client, 40000, f.any, 80, 0), R::FwdPromoted)
        .change(|desired| desired.config.seed += 1);
    // As little as eight bytes of the transport header: RFC 792 promises no more.
    for len in [header + 8, header + 20, header + 500] {
        let quote = quoted(reply(f, f.any).tcp(80, 40000).payload_len(1460), len);
        established = established.send(too_big(f, f.any, &quote), R::FwdIcmpError).same_host();
    }
    let mut pending = name("an error follows the pending UDP flow of the reply it quotes")
        .send(udp(f.client, 40001, f.any, 53), R::FwdNew)
        .change(|desired| only(desired, "a"));
    for (n, (kind, code)) in kinds(f).iter().enumerate() {
        let host = if n % 2 == 0 { "b" } else { "a" }; // one of the two is not the flow's
        pending = pending.change(move |desired| only(desired, host));
        let quote = quoted(reply(f, f.any).udp(53, 40001).payload_len(100), header + 8);
        let error = from(f.client, f.any).icmp(*kind, *code, [0; 4]).payload(&quote).build();
        pending = pending.send(error, R::FwdIcmpError).same_host();
    }
    let quote = quoted(reply(f, f.on_v).tcp(80, 40002), header + 8);
    let unknown = name("an error about an unknown flow goes where the ring points")
        .send(too_big(f, f.on_v, &quote), R::FwdIcmpError)
        .to("v");
    let quote = quoted(reply(f, f.empty).tcp(80, 40002), header + 8);
    let nobody = name("an error for a subnet without hosts").send(too_big(f, f.empty, &quote), R::DropNoActiveHost);
    vec![established, pending, unknown, nobody]
}

fn quotes(f: &Family) -> Vec<Case> {
    let header = if f.v6 { 40 } else { 20 };
    let name = |text: &str| case(format!("{}: {text}", f.name));
    let tcp_reply = || reply(f, f.any).tcp(80, 40000);
    let mut short = name("a quote too short to name the flow");
    for len in [0, 8, header - 1, header, header + 3] {
        short = short.send(too_big(f, f.any, &quoted(tcp_reply(), len)), R::DropIcmpQuote);
    }
    let other_version = [&[0x50], &quoted(tcp_reply(), header + 8)[1..]].concat();
    let unlike = quoted(ip(pkt(), f.client, f.any).tcp(80, 40000), header + 8);
    let other_protocol = quoted(reply(f, f.any).next(132).payload_len(40), header + 8);
    let own_kind = quoted(reply(f, f.any).echo_reply(1, 1), header + 8);
    let mut cases = vec![
        short,
        name("a quote that is no datagram of this family, or not of this address, or of no flow")
            .send(too_big(f, f.any, &other_version), R::DropIcmpQuote)
            .send(too_big(f, f.any, &unlike), R::DropIcmpQuote)
            .send(too_big(f, f.any, &other_protocol), R::DropIcmpQuote)
            .send(too_big(f, f.any, &own_kind), R::DropIcmpQuote)
            .send(too_big(f, f.on_a, &quoted(tcp_reply(), header + 8)), R::DropIcmpQuote),
        name("an error to an address that is not ours passes")
            .send(too_big(f, f.foreign, &quoted(reply(f, f.foreign).tcp(80, 40000), header + 8)), R::PassNotOurs),
    ];
    if !f.v6 {
        let later = pkt().ipv4(f.any, f.client).fragment(800, false).tcp(80, 40000);
        let options = pkt().ipv4(f.any, f.client).options(&[7, 7, 4, 0, 0, 0, 0]).tcp(80, 40000);
        cases.push(
            name("a quote of a later fragment has no ports")
                .send(too_big(f, f.any, &quoted(later, 28)), R::DropIcmpQuote),
        );
        cases.push(
            name("a quote with IP options")
                .send(syn(f.client, 40000, f.any, 80), R::FwdNew)
                .send(too_big(f, f.any, &quoted(options, 36)), R::FwdIcmpError)
                .same_host(),
        );
    }
    cases
}

/// The frame that answers an echo request: addresses exchanged on both layers, a fresh TTL, everything else the same.
fn echo_answer(f: &Family, id: u16, ttl_of_reply: u8, len: usize) -> Vec<u8> {
    let link = pkt().eth(GATEWAY_MAC, OUR_MAC);
    ip(link, f.any, f.client).ttl(ttl_of_reply).echo_reply(id, 3).payload_len(len).build()
}

fn echoes(f: &Family) -> Vec<Case> {
    let name = |text: &str| case(format!("{}: {text}", f.name));
    let request =
        |to: &str, id: u16, len: usize| from(f.client, to).ttl(57).echo_request(id, 3).payload_len(len).build();
    let mut answered = name("an echo request is answered from the virtual address");
    // Identifiers and lengths that take the checksum through its carries, odd lengths among them.
    for (id, len) in [(0, 0), (1, 56), (0xffff, 57), (0xf7ff, 1), (0x0800, 1400)] {
        answered = answered.send(request(f.any, id, len), R::ReplyEcho).reply(echo_answer(f, id, 64, len));
    }
    let tagged = |source, destination, from: &str, to: &str, reply: bool| {
        let link = pkt().eth(destination, source).vlan(100).tpid(0x88a8).vlan(200);
        let packet = ip(link, from, to).ttl(64);
        if reply { packet.echo_reply(9, 3) } else { packet.echo_request(9, 3) }.payload_len(32).build()
    };
    vec![
        answered,
        name("an answer keeps the tags")
            .send(tagged(GATEWAY_MAC, OUR_MAC, f.client, f.any, false), R::ReplyEcho)
            .reply(tagged(OUR_MAC, GATEWAY_MAC, f.any, f.client, true)),
        name("a subnet without hosts answers as well, it is the router that answers")
            .send(request(f.empty, 1, 0), R::ReplyEcho)
            .reply(ip(pkt().eth(GATEWAY_MAC, OUR_MAC), f.empty, f.client).echo_reply(1, 3).build()),
        name("echo requests by the subnet's policy")
            .send(request(f.strict, 1, 56), R::DropEcho)
            .send(request(f.echo, 1, 56), R::FwdEcho)
            .send(request(f.foreign, 1, 56), R::PassNotOurs),
        name("an echo reply, or any other type, to a virtual address")
            .send(from(f.client, f.any).echo_reply(1, 1).payload_len(56).build(), R::DropIcmpType)
            .send(from(f.client, f.any).icmp(if f.v6 { 133 } else { 13 }, 0, [0; 4]).build(), R::DropIcmpType)
            .send(from(f.client, f.any).icmp(if f.v6 { 0 } else { 4 }, 0, [0; 4]).build(), R::DropIcmpType)
            .send(from(f.client, f.foreign).echo_reply(1, 1).build(), R::PassNotOurs),
        name("ICMP cut short")
            .send(from(f.client, f.any).next(icmp_number(f)).payload([8, 0, 0]).build(), R::DropTruncatedL4),
        name("ICMP cut short, not ours")
            .send(from(f.client, f.foreign).next(icmp_number(f)).payload([8, 0, 0]).build(), R::PassNotOurs),
        name("the other family's ICMP")
            .send(from(f.client, f.any).next(59 - icmp_number(f)).payload_len(64).build(), R::DropProtocol)
            .send(from(f.client, f.foreign).next(59 - icmp_number(f)).payload_len(64).build(), R::PassNotOurs),
        name("a fragmented echo request is not put together here").send(first_fragment(f, f.any), R::DropEcho),
    ]
}

/// 1 and 58.
fn icmp_number(f: &Family) -> u16 {
    if f.v6 { 58 } else { 1 }
}

fn first_fragment(f: &Family, to: &str) -> Vec<u8> {
    if f.v6 {
        from(f.client, to).fragment_header(0, true, 77).echo_request(1, 1).payload_len(64).build()
    } else {
        from(f.client, to).id(77).fragment(0, true).echo_request(1, 1).payload_len(64).build()
    }
}

#[test]
fn icmp_ends_as_the_table_says() {
    run_all(&cases());
}

#[test]
fn echo_requests_of_one_client_are_forwarded_to_one_host_whatever_else_comes_by() {
    for f in FAMILIES {
        let bed = Bed::new(site::site());
        let mut hosts = std::collections::BTreeSet::new();
        for port in 1..64 {
            let other = syn(f.other_client, port * 1021, f.any, port);
            bed.send(&other);
            let outcome = bed.send(&from(f.client, f.echo).echo_request(1, port).build());
            assert_eq!(outcome.reason, R::FwdEcho);
            let out = outer::read(&outcome.packet, &bed.desired);
            hosts.insert((out.host, out.source));
        }
        assert_eq!(hosts.len(), 1, "{}: {hosts:?}", f.name);
    }
}

#[test]
fn an_error_about_a_service_that_the_kernel_serves_passes_to_the_kernel() {
    for f in FAMILIES {
        let header = if f.v6 { 40 } else { 20 };
        let quote = quoted(reply(&f, f.listed).tcp(22, 40000), header + 8);
        run_one(case(f.name).send(too_big(&f, f.listed, &quote), R::PassNotServed));
    }
}

#[test]
fn the_fragments_of_an_icmp_error_stay_together() {
    for f in FAMILIES {
        let quote = reply(&f, f.any).tcp(80, 40000).payload_len(400).build();
        let (kind, code) = kinds(&f)[0];
        let (first, later) = if f.v6 {
            let start = || from(router_of(&f), f.any);
            (
                start().fragment_header(0, true, 5).icmp(kind, code, [0; 4]).payload(&quote).build(),
                start().next(44).fragment_header(448, false, 5).next(58).payload_len(32).build(),
            )
        } else {
            let start = || from(router_of(&f), f.any).id(5);
            (
                start().fragment(0, true).icmp(kind, code, [0; 4]).payload(&quote).build(),
                start().fragment(448, false).next(1).payload_len(32).build(),
            )
        };
        run_one(
            case(f.name)
                .send(syn(f.client, 40000, f.any, 80), R::FwdNew)
                .send(first, R::FwdIcmpError)
                .same_host()
                .send(later, R::FwdFragment)
                .same_host(),
        );
    }
}

#[test]
fn the_quote_ends_where_the_datagram_ends() {
    for f in FAMILIES {
        // The ports stand only in what pads the frame; the datagram itself ends before them.
        let header = if f.v6 { 40u16 } else { 20 };
        let quote = quoted(reply(&f, f.any).tcp(80, 40000), usize::from(header) + 8);
        let own_header = if f.v6 { 0 } else { 20 };
        let error = from(router_of(&f), f.any).length(own_header + 8 + header + 2).too_big(1400, &quote).build();
        run_one(case(f.name).send(syn(f.client, 40000, f.any, 80), R::FwdNew).send(error, R::DropIcmpQuote));
    }
}

#[test]
fn a_quote_far_into_the_packet_is_read_where_it_is_or_not_at_all() {
    let f = IPV6;
    let quote = quoted(reply(&f, f.any).tcp(80, 40000), 48);
    let error = from(router_of(&f), f.any)
        .destination_options(&[1, 218].into_iter().chain([0; 218]).collect::<Vec<u8>>())
        .destination_options(&[1, 198].into_iter().chain([0; 198]).collect::<Vec<u8>>())
        .too_big(1400, &quote)
        .build();
    let bed = Bed::new(site::site());
    let to = outer::read(&bed.send(&syn(f.client, 40000, f.any, 80)).packet, &bed.desired).host;
    bed.send(&from(f.client, f.any).tcp(40000, 80).flags(SYN).build());
    let outcome = bed.send(&error);
    match outcome.reason {
        R::DropIcmpQuote => {}
        R::FwdIcmpError => assert_eq!(outer::read(&outcome.packet, &bed.desired).host, to),
        other => panic!("{other:?}"),
    }
}
