//! Tunnels that end here: stripped and routed on if a registered upstream sent them, refused by name if not.

use slr_dataplane::reason::RouterReason as R;
use slr_testkit::packet::{Packet, SYN, pkt};

use crate::case::{Case, case, run_all, run_one};
use crate::common::Bed;
use crate::common::site::{self, GATEWAY_MAC, OUR_MAC};
use crate::frames::*;

pub fn cases() -> Vec<Case> {
    let mut table = Vec::new();
    for o in &OUTERS {
        table.extend(strangers(o));
        table.extend(contents(o));
        for f in &FAMILIES {
            table.extend(stripped(o, f));
            table.extend(congestion(o, f));
            table.extend(inner(o, f));
            table.extend(keepalives(o, f));
        }
    }
    table
}

/// A tunnel from the upstream, up to its inner IP header.
fn tunnel(o: &Outer) -> Packet {
    from(o.upstream, o.us)
}

fn number(f: &Family) -> u16 {
    if f.v6 { 41 } else { 4 }
}

/// A datagram of the client without a link.
fn inside(f: &Family, to: &str) -> Packet {
    ip(pkt(), f.client, to)
}

/// What the upstream sends when this is the datagram.
fn wrap(start: Packet, f: &Family, datagram: &[u8]) -> Vec<u8> {
    start.next(number(f)).payload(datagram).build()
}

fn stripped(o: &Outer, f: &Family) -> Vec<Case> {
    let name = |text: &str| case(format!("{} in {}: {text}", f.name, o.name));
    let plain = datagram(&syn(f.client, 40000, f.any, 80));
    let next = datagram(&ack(f.client, 40000, f.any, 80, 0));
    let mut table = vec![
        name("only the datagram inside remains, and its flow is the same with and without the tunnel")
            .send(wrap(tunnel(o), f, &plain), R::FwdNew)
            .inner(plain.clone())
            .send(wrap(tunnel(o), f, &next), R::FwdPromoted)
            .inner(next.clone())
            .same_host()
            .send(ack(f.client, 40000, f.any, 80, 0), R::FwdEstablished)
            .same_host()
            .send(wrap(tunnel(o), f, &next), R::FwdEstablished)
            .inner(next)
            .same_host(),
    ];
    let with_options = match o.v6 {
        false => tunnel(o).options(&[1; 8]),
        true => tunnel(o).destination_options(&[4, 1, 3]), // the encapsulation limit of RFC 2473
    };
    let behind_tags = ip(link().vlan(5).tpid(0x88a8).vlan(6), o.upstream, o.us);
    for (text, start) in [
        ("behind an outer header with options", with_options),
        ("behind tags", behind_tags),
        ("with another class and TTL", tunnel(o).tos(0xb8).ttl(1)),
    ] {
        table.push(name(text).send(wrap(start, f, &plain), R::FwdNew).inner(plain.clone()));
    }
    let mut padded = wrap(tunnel(o), f, &plain);
    padded.extend([0; 6]);
    table.push(name("in a padded frame").send(padded, R::FwdNew).inner([&plain[..], &[0; 6]].concat()));
    table
}

fn congestion(o: &Outer, f: &Family) -> Vec<Case> {
    let mut table = Vec::new();
    // RFC 6040 4.2, all but the cells that are the tests below: outer mark, mark inside, mark of what is left.
    for (outer, before, after) in [
        (0, 0, Some(0)),
        (0, 1, Some(1)),
        (0, 2, Some(2)),
        (0, 3, Some(3)),
        (1, 0, Some(0)),
        (1, 1, Some(1)),
        (1, 3, Some(3)),
        (2, 0, Some(0)),
        (2, 1, Some(1)),
        (2, 2, Some(2)),
        (2, 3, Some(3)),
        (3, 0, None),
        (3, 1, Some(3)),
        (3, 2, Some(3)),
        (3, 3, Some(3)),
    ] {
        for class in [0x00, 0xb8] {
            let datagram = |mark: u8| inside(f, f.any).tos(class | mark).tcp(1, 80).flags(SYN).payload_len(5).build();
            let frame = wrap(tunnel(o).tos(0x20 | outer), f, &datagram(before));
            let name = format!("{} in {}: mark {outer} around {before}, class {class:#x}", f.name, o.name);
            table.push(match after {
                Some(after) => case(name).send(frame, R::FwdNew).inner(datagram(after)),
                None => case(name).send(frame, R::DropEcn),
            });
        }
    }
    table
}

fn strangers(o: &Outer) -> Vec<Case> {
    let f = &IPV4;
    let name = |text: &str| case(format!("a tunnel in {}: {text}", o.name));
    let plain = datagram(&syn(f.client, 40000, f.any, 80));
    let elsewhere = if o.v6 { "fd00:1:fe::2" } else { "10.1.254.2" };
    let fragment = |offset: u16, more: bool| match o.v6 {
        true => tunnel(o).fragment_header(offset, more, 1),
        false => tunnel(o).id(1).fragment(offset, more),
    };
    vec![
        name("from an address that is no upstream")
            .send(wrap(from(o.stranger, o.us), f, &plain), R::DropTunnelStranger)
            .send(wrap(from(o.us, o.us), f, &plain), R::DropTunnelStranger)
            .send(wrap(from(if o.v6 { C6_AS_V4 } else { "10.9.1.5" }, o.us), f, &plain), R::DropTunnelStranger),
        name("to an address that is not ours").send(wrap(from(o.upstream, elsewhere), f, &plain), R::PassNotOurs),
        name("in fragments")
            .send(wrap(fragment(0, true), f, &plain), R::DropTunnelFragment)
            .send(wrap(fragment(512, true), f, &plain), R::DropTunnelFragment)
            .send(wrap(fragment(512, false), f, &plain), R::DropTunnelFragment),
        name("what else is sent to our tunnel address passes")
            .send(from(o.upstream, o.us).udp(6101, 6101).payload_len(24).build(), R::PassNotOurs)
            .send(from(o.upstream, o.us).echo_request(1, 1).build(), R::PassNotOurs)
            .send(from(o.upstream, o.us).next(47).payload_len(24).build(), R::PassNotOurs),
    ]
}

/// Just outside the upstreams' prefix.
const C6_AS_V4: &str = "fd00:9:0:1::5";

/// Contents that a tunnel for us must not have.
fn contents(o: &Outer) -> Vec<Case> {
    let name = |text: &str| case(format!("a tunnel in {}: {text}", o.name));
    let f = &IPV4;
    let plain = datagram(&syn(f.client, 40000, f.any, 80));
    let mut table = Vec::new();
    for second in &OUTERS {
        let nested = ip(pkt(), second.upstream, second.us).next(4).payload(&plain).build();
        let nested_to_virtual = inside(f, f.any).next(41).payload(&plain).build();
        let around = if second.v6 { &IPV6 } else { &IPV4 };
        table.push(
            name(&format!("with a second one in {} inside", second.name))
                .send(wrap(tunnel(o), around, &nested), R::DropTunnelNested)
                .send(wrap(tunnel(o), f, &nested_to_virtual), R::DropTunnelNested),
        );
    }
    let short = |len: usize| wrap(tunnel(o), f, &plain[..len]);
    table.push(
        name("with less than a header inside")
            .send(short(0), R::DropTunnelInner)
            .send(short(4), R::DropTunnelInner)
            .send(short(19), R::DropTunnelInner)
            .send(short(20), R::DropMalformedIp),
    );
    let six = datagram(&syn(IPV6.client, 40000, IPV6.any, 80));
    table.push(
        name("whose protocol number and content disagree")
            .send(wrap(tunnel(o), &IPV4, &six), R::DropTunnelInner)
            .send(wrap(tunnel(o), &IPV6, &[&plain[..], &[0; 20]].concat()), R::DropTunnelInner),
    );
    table
}

fn inner(o: &Outer, f: &Family) -> Vec<Case> {
    let name = |text: &str| case(format!("{} in {}: {text}", f.name, o.name));
    let drops = |to: &str, packet: Packet, reason: R| {
        let _ = to;
        (wrap(tunnel(o), f, &packet.build()), reason)
    };
    let mut refused = name("what is wrong with the datagram inside, it drops by");
    for (frame, reason) in [
        drops(f.foreign, inside(f, f.foreign).tcp(1, 80).flags(SYN), R::DropTunnelInner),
        drops(f.foreign, inside(f, f.foreign).tcp(1, 80).header_words(2), R::DropTunnelInner),
        drops(f.any, inside(f, f.any).version(7).tcp(1, 80), R::DropMalformedIp),
        drops(f.any, inside(f, f.any).tcp(0, 80), R::DropPortZero),
        drops(f.any, inside(f, f.any).tcp(1, 80).header_words(4), R::DropTruncatedL4),
        drops(f.any, inside(f, f.any).next(17).payload_len(7), R::DropTruncatedL4),
        drops(f.any, inside(f, f.any).next(132).payload_len(20), R::DropProtocol),
        drops(f.empty, inside(f, f.empty).tcp(1, 80).flags(SYN), R::DropNoActiveHost),
        drops(f.strict, inside(f, f.strict).tcp(1, 80), R::DropOrphan),
    ] {
        refused = refused.send(frame, reason);
    }
    let request = inside(f, f.any).echo_request(3, 4).payload_len(33).build();
    let answer = ip(pkt().eth(GATEWAY_MAC, OUR_MAC), f.any, f.client).echo_reply(3, 4).payload_len(33).build();
    let start = ip(link().vlan(5).tpid(0x88a8).vlan(6), o.upstream, o.us);
    let tagged = ip(pkt().eth(GATEWAY_MAC, OUR_MAC).vlan(5).tpid(0x88a8).vlan(6), f.any, f.client);
    let start_one = ip(link().vlan(5), o.upstream, o.us);
    let tagged_one = ip(pkt().eth(GATEWAY_MAC, OUR_MAC).vlan(5), f.any, f.client);
    let fragment = |offset: u16, more: bool| {
        let packet = inside(f, f.any);
        let packet = if f.v6 { packet.fragment_header(offset, more, 5) } else { packet.id(5).fragment(offset, more) };
        if offset == 0 {
            packet.udp(40000, 53).length(2000).payload_len(504).build()
        } else {
            packet.next(17).payload_len(100).build()
        }
    };
    vec![
        refused,
        name("an echo request is answered straight to the client, through the router that sent it here")
            .send(wrap(tunnel(o), f, &request), R::ReplyEcho)
            .reply(answer)
            .send(wrap(start, f, &request), R::ReplyEcho)
            .reply(tagged.echo_reply(3, 4).payload_len(33).build())
            .send(wrap(start_one, f, &request), R::ReplyEcho)
            .reply(tagged_one.echo_reply(3, 4).payload_len(33).build()),
        name("fragments of the client's, each whole in a tunnel")
            .send(wrap(tunnel(o), f, &fragment(0, true)), R::FwdNew)
            .inner(fragment(0, true))
            .send(wrap(tunnel(o), f, &fragment(512, false)), R::FwdFragment)
            .inner(fragment(512, false))
            .same_host(),
        name("a tunnel packet to a virtual address is no tunnel of ours")
            .send(from(f.client, f.any).next(4).payload_len(40).build(), R::DropProtocol)
            .send(from(f.client, f.any).next(41).payload_len(60).build(), R::DropProtocol),
    ]
}

/// Where a router above listens for answers: an address of its own, not of its tunnels' prefix.
fn prober(f: &Family) -> &'static str {
    if f.v6 { "fd00:9:1::2" } else { "10.9.1.2" }
}

/// Our tunnel address of the family.
fn us(f: &Family) -> &'static str {
    OUTERS[usize::from(f.v6)].us
}

fn question(kind: u8) -> Vec<u8> {
    [&b"SLRK"[..], &[1, kind, 0, 0], &[0x11; 8], &[0x99; 8]].concat()
}

/// The answer to a request from port 9000, behind this link header.
fn reply(back: Packet, f: &Family) -> Vec<u8> {
    let back = ip(back, us(f), prober(f));
    let back = if f.v6 { back } else { back.df() };
    back.udp(6101, 9000).payload(question(2)).build()
}

/// What a router above asks, and what only looks like it.
fn keepalives(o: &Outer, f: &Family) -> Vec<Case> {
    let name = |text: &str| case(format!("a keepalive, {} in {}: {text}", f.name, o.name));
    let start = || ip(pkt(), prober(f), us(f));
    let asked = |port: u16, body: Vec<u8>| start().udp(9000, port).payload(body).build();
    let whole = asked(6101, question(1));
    let mut table = Vec::new();
    for tags in [&[][..], &[5], &[5, 6]] {
        let tagged = |from: Packet| tags.iter().fold(from, |link, tag| link.vlan(*tag));
        let back = tagged(pkt().eth(GATEWAY_MAC, OUR_MAC));
        let outer = ip(tagged(link()), o.upstream, o.us).tos(0xb8).ttl(3);
        let mut padded = wrap(outer.clone(), f, &whole);
        padded.extend([0xee; 6]);
        let long = asked(6101, [question(1), vec![0xee; 1_300]].concat());
        table.push(
            name(&format!("behind {} tags, answered without the tunnel", tags.len()))
                .send(wrap(outer.clone(), f, &whole), R::ReplyKeepalive)
                .reply(reply(back.clone(), f))
                .send(padded, R::ReplyKeepalive)
                .reply(reply(back.clone(), f))
                .send(wrap(outer, f, &long), R::ReplyKeepalive)
                .reply(reply(back, f)),
        );
    }
    let with = |at: usize, value: u8| {
        let mut body = question(1);
        body[at] = value;
        asked(6101, body)
    };
    let length = |len: u16| start().udp(9000, 6101).length(len).payload(question(1)).build();
    let fragment = if f.v6 { start().fragment_header(0, true, 5) } else { start().id(5).fragment(0, true) };
    let behind = if f.v6 { start().destination_options(&[5, 2, 0, 0]) } else { start().options(&[1; 4]) };
    let to = |to: &str| ip(pkt(), prober(f), to).udp(9000, 6101).payload(question(1)).build();
    let mut refused = name("what is none");
    for (datagram, reason) in [
        (with(0, b'X'), R::DropKeepalive),
        (with(4, 2), R::DropKeepalive),
        (with(5, 2), R::DropKeepalive),
        (asked(6101, question(1)[..23].to_vec()), R::DropKeepalive),
        (asked(6101, Vec::new()), R::DropKeepalive),
        (length(31), R::DropKeepalive),
        (length(33), R::DropTunnelInner),
        (asked(6100, question(1)), R::DropTunnelInner),
        (start().tcp(9000, 6101).payload(question(1)).build(), R::DropTunnelInner),
        (fragment.udp(9000, 6101).payload(question(1)).build(), R::DropTunnelInner),
        (behind.udp(9000, 6101).payload(question(1)).build(), R::DropTunnelInner),
        (to(f.foreign), R::DropTunnelInner),
        (to(prober(f)), R::DropTunnelInner),
    ] {
        refused = refused.send(wrap(tunnel(o), f, &datagram), reason);
    }
    let congested = wrap(tunnel(o).tos(3), f, &whole);
    table.extend([
        refused.send(congested, R::DropEcn),
        name("of a stranger").send(wrap(from(o.stranger, o.us), f, &whole), R::DropTunnelStranger),
        name("without a tunnel").send([&link().build()[..12], &type_of(f), &whole].concat(), R::PassNotOurs),
    ]);
    table
}

fn type_of(f: &Family) -> [u8; 2] {
    if f.v6 { [0x86, 0xdd] } else { [0x08, 0x00] }
}

#[test]
fn a_keepalive_cut_at_any_byte_is_not_answered() {
    let bed = Bed::new(site::site());
    for o in &OUTERS {
        for f in &FAMILIES {
            let whole = ip(pkt(), prober(f), us(f)).udp(9000, 6101).payload(question(1)).build();
            for len in 0..whole.len() {
                let mut cut = whole[..len].to_vec();
                // As it was cut, and with its own lengths made right.
                for repaired in [false, true] {
                    if repaired && len >= if f.v6 { 48 } else { 28 } {
                        let (at, ip_len) = if f.v6 { (4, len - 40) } else { (2, len) };
                        let udp = if f.v6 { 40 } else { 20 };
                        cut[at..at + 2].copy_from_slice(&u16::try_from(ip_len).expect("short").to_be_bytes());
                        cut[udp + 4..udp + 6].copy_from_slice(&u16::try_from(len - udp).expect("short").to_be_bytes());
                    }
                    let reason = bed.send(&wrap(tunnel(o), f, &cut)).reason;
                    let dropped = matches!(reason, R::DropTunnelInner | R::DropKeepalive);
                    assert!(dropped, "{} in {}, {len} bytes: {reason:?}", f.name, o.name);
                }
            }
            assert_eq!(bed.send(&wrap(tunnel(o), f, &whole)).reason, R::ReplyKeepalive, "{} in {}", f.name, o.name);
        }
    }
}

#[test]
fn tunnels_end_as_the_table_says() {
    run_all(&cases());
}

#[test]
fn a_mark_of_ect1_on_the_tunnel_reaches_a_datagram_marked_ect0() {
    // The one cell of RFC 6040 4.2, figure 4, where the outer mark wins besides CE; RFC 9331 relies on it.
    for o in &OUTERS {
        for f in &FAMILIES {
            let datagram = |mark: u8| inside(f, f.any).tos(mark).tcp(1, 80).flags(SYN).build();
            let frame = wrap(tunnel(o).tos(1), f, &datagram(2));
            run_one(case(format!("{} in {}", f.name, o.name)).send(frame, R::FwdNew).inner(datagram(1)));
        }
    }
}

#[test]
fn the_datagram_inside_ends_where_the_tunnel_packet_ends() {
    // The outer header ends before the datagram inside says it does: the rest is padding of the frame, not content.
    for o in &OUTERS {
        for f in &FAMILIES {
            let whole = inside(f, f.any).udp(40000, 53).payload_len(40).build();
            let header = if o.v6 { 0 } else { 20 };
            let outer_len = u16::try_from(header + whole.len() - 10).expect("short");
            let frame = wrap(tunnel(o).length(outer_len), f, &whole);
            let bed = Bed::new(site::site());
            let reason = bed.send(&frame).reason;
            let refused = matches!(reason, R::DropMalformedIp | R::DropTunnelInner);
            assert!(refused, "{} in {}: {reason:?}", f.name, o.name);
        }
    }
}
