//! What does not fit: the sender is told the right size, by a message with a right checksum; and what routers on the way to
//! the hosts tell us about our own headers.

use slr_dataplane::reason::RouterReason as R;
use slr_testkit::packet::{Packet, pkt};

use crate::case::{Case, case, run_all, run_one};
use crate::common::Bed;
use crate::common::site::{self, GATEWAY_MAC, OUR_MAC, link_mut};
use crate::frames::*;

/// A router between us and the hosts.
const INSIDE4: &str = "10.1.0.254";
const INSIDE6: &str = "fd00:1::fffe";

pub fn cases() -> Vec<Case> {
    let of_clients = FAMILIES.iter().flat_map(|f| [fitting(f), told(f)].into_iter().flatten());
    of_clients.chain(HOPS.iter().flat_map(|hop| [learned(hop), refused(hop)].into_iter().flatten())).collect()
}

/// A UDP datagram of this length, IP header included; with DF in IPv4.
fn sized(f: &Family, to: &str, len: usize) -> Vec<u8> {
    let start = from(f.client, to);
    let header = if f.v6 { 40 } else { 20 };
    let start = if f.v6 { start } else { start.df() };
    start.udp(40000, 53).payload_len(len - header - 8).build()
}

/// The message that tells the sender of `frame`.
fn told_by(link: Packet, f: &Family, vaddr: &str, mtu: u16, frame: &[u8], quote_at: usize) -> Vec<u8> {
    let quote = &frame[quote_at..];
    if f.v6 {
        ip(link, vaddr, f.client).too_big(mtu, &quote[..1016]).build()
    } else {
        ip(link, vaddr, f.client).tos(0xc0).df().too_big(mtu, &quote[..504]).build()
    }
}

fn back() -> Packet {
    pkt().eth(GATEWAY_MAC, OUR_MAC)
}

fn fitting(f: &Family) -> Vec<Case> {
    let mut table = Vec::new();
    for (vaddr, host, overhead) in [(f.on_a, "a", 20), (f.on_v, "v", 40)] {
        for link_mtu in [1500u16, 1400, 2000] {
            let fits = link_mtu - overhead;
            let big = sized(f, vaddr, usize::from(fits) + 1);
            let told = told_by(back(), f, vaddr, fits, &big, 14);
            table.push(
                case(format!("{}: a link of {link_mtu} bytes to {host} takes {fits} and not one more", f.name))
                    .change(move |desired| link_mut(desired, host).mtu = link_mtu)
                    .send(sized(f, vaddr, fits.into()), R::FwdNew)
                    .to(host)
                    .send(big, R::ReplyTooBig)
                    .reply(told),
            );
        }
    }
    table
}

fn told(f: &Family) -> Vec<Case> {
    let name = |text: &str| case(format!("{}: {text}", f.name));
    let tagged_link = |to: &str, from: &str| pkt().eth(to, from).vlan(7).tpid(0x88a8).vlan(9);
    let header = if f.v6 { 40 } else { 20 };
    let start = ip(tagged_link(OUR_MAC, GATEWAY_MAC), f.client, f.on_a);
    let start = if f.v6 { start } else { start.df() };
    let tagged = start.tcp(40000, 80).payload_len(1481 - header - 20).build();
    let tagged_told = told_by(tagged_link(GATEWAY_MAC, OUR_MAC), f, f.on_a, 1480, &tagged, 22);
    let mut table = vec![
        name("the message keeps the tags, and an established flow is told like a new one")
            .send(syn(f.client, 40000, f.on_a, 80), R::FwdNew)
            .send(ack(f.client, 40000, f.on_a, 80, 0), R::FwdPromoted)
            .send(tagged, R::ReplyTooBig)
            .reply(tagged_told),
    ];
    if f.v6 {
        let big = sized(f, f.on_a, 1290);
        let message = told_by(back(), f, f.on_a, 1280, &big, 14);
        table.push(
            name("nobody is told less than 1,280, which would not be IPv6")
                .change(|desired| link_mut(desired, "a").mtu = 1290)
                .send(big, R::ReplyTooBig)
                .reply(message),
        );
    } else {
        let without_df = from(f.client, f.on_a).udp(40000, 53).payload_len(1481 - 28).build();
        let fragment =
            from(f.client, f.on_a).id(1).fragment(0, true).udp(40000, 53).length(3000).payload_len(1481 - 28);
        table.push(name("without DF nobody can be told").send(without_df, R::DropTooBig));
        table.push(name("a fragment without DF").send(fragment.build(), R::DropTooBig));
        let options = from(f.client, f.on_a).df().options(&[1; 40]).udp(40000, 53).payload_len(1481 - 68).build();
        let message = told_by(back(), f, f.on_a, 1480, &options, 14);
        table.push(name("a header with options is quoted like any other").send(options, R::ReplyTooBig).reply(message));
    }
    table
}

/// A tunnel of ours, as a router inside sees it.
struct Hop {
    name: &'static str,
    v6: bool,
    host: &'static str,
    address: &'static str,
    ours: &'static str,
    router: &'static str,
    overhead: u16,
}

const HOPS: [Hop; 2] = [
    Hop { name: "IPv4", v6: false, host: "a", address: "10.1.0.1", ours: "10.1.255.77", router: INSIDE4, overhead: 20 },
    Hop {
        name: "IPv6",
        v6: true,
        host: "v",
        address: "fd00:1::3",
        ours: "fd00:1:ff::4d",
        router: INSIDE6,
        overhead: 40,
    },
];

/// Our outer header with this source and this length, and eight bytes of what it carried.
fn our_header(hop: &Hop, source: &str, len: u16, carried: u16) -> Vec<u8> {
    let start = ip(pkt(), source, hop.address);
    let start = if hop.v6 { start.length(len - 40) } else { start.df().length(len) };
    start.next(carried).payload_len(8).build()
}

fn size_error(hop: &Hop, mtu: u16, quote: &[u8]) -> Vec<u8> {
    from(hop.router, hop.ours).too_big(mtu, quote).build()
}

fn virtual_address(f: &Family, hop: &Hop) -> &'static str {
    if hop.v6 { f.on_v } else { f.on_a }
}

fn learned(hop: &Hop) -> Vec<Case> {
    let mut table = Vec::new();
    for (f, carried) in [(IPV4, 4), (IPV6, 41)] {
        let vaddr = virtual_address(&f, hop);
        let fits = 1400 - hop.overhead;
        let big = sized(&f, vaddr, usize::from(fits) + 1);
        let told = told_by(back(), &f, vaddr, fits, &big, 14);
        let host = hop.host;
        table.push(
            case(format!("{} in {}: a smaller path MTU is learned, and forgotten with its link", f.name, hop.name))
                .send(big.clone(), R::FwdNew)
                .send(size_error(hop, 1400, &our_header(hop, hop.ours, 1500, carried)), R::DropPmtuLearned)
                .send(big.clone(), R::ReplyTooBig)
                .reply(told.clone())
                .send(sized(&f, vaddr, fits.into()), R::FwdEstablished)
                .to(host)
                .change(|desired| desired.config.seed += 1)
                .send(big.clone(), R::ReplyTooBig)
                .reply(told)
                .change(move |desired| link_mut(desired, host).mtu = 1499)
                .send(big, R::FwdEstablished)
                .to(host),
        );
    }
    table
}

fn refused(hop: &Hop) -> Vec<Case> {
    let name = |text: &str| case(format!("{}: {text}", hop.name));
    let whole = || our_header(hop, hop.ours, 1500, 4);
    let elsewhere = if hop.v6 { "fd00:1::999" } else { "10.1.0.99" };
    let stranger = Hop { address: elsewhere, ..*hop };
    let mut table = vec![
        name("a message about size that cannot be true is not believed")
            .send(size_error(hop, 1500, &whole()), R::DropPmtuRefused)
            .send(size_error(hop, 1501, &whole()), R::DropPmtuRefused)
            .send(size_error(hop, 0, &whole()), R::DropPmtuRefused)
            .send(size_error(hop, 595, &whole()), R::DropPmtuRefused)
            .send(size_error(hop, 1400, &our_header(hop, hop.ours, 1400, 4)), R::DropPmtuRefused)
            .send(size_error(hop, 1400, &our_header(hop, hop.ours, 1501, 4)), R::DropPmtuRefused)
            .send(sized(&IPV4, virtual_address(&IPV4, hop), usize::from(1500 - hop.overhead)), R::FwdNew),
        name("a message about size is believed only if it is lower than what was learned before")
            .send(size_error(hop, 1400, &whole()), R::DropPmtuLearned)
            .send(size_error(hop, 1390, &whole()), R::DropPmtuRefused)
            .send(size_error(hop, 1390, &our_header(hop, hop.ours, 1400, 4)), R::DropPmtuLearned)
            .send(size_error(hop, 1395, &our_header(hop, hop.ours, 1390, 4)), R::DropPmtuRefused),
        name("packets under way when a path MTU is learned bring the same message, which is no forgery")
            .send(size_error(hop, 1400, &whole()), R::DropPmtuLearned)
            .send(size_error(hop, 1400, &whole()), R::DropPmtuKnown)
            .send(size_error(hop, 1400, &our_header(hop, hop.ours, 1401, 4)), R::DropPmtuKnown)
            .send(size_error(hop, 1400, &our_header(hop, hop.ours, 1400, 4)), R::DropPmtuRefused)
            .send(size_error(hop, 1400, &our_header(hop, hop.ours, 1501, 4)), R::DropPmtuRefused),
        name("a message about a tunnel to somewhere else is not ours")
            .send(size_error(hop, 1400, &our_header(&stranger, hop.ours, 1500, 4)), R::PassNotOurs),
        name("a message about our tunnel that is not about size")
            .send(from(hop.router, hop.ours).port_unreachable(&whole()).build(), R::PassTunnelError)
            .send(
                from(hop.router, hop.ours).icmp(if hop.v6 { 3 } else { 11 }, 0, [0; 4]).payload(whole()).build(),
                R::PassTunnelError,
            ),
        name("a message about something else that we sent to a host")
            .send(size_error(hop, 1400, &our_header(hop, hop.ours, 1500, 17)), R::PassNotOurs),
    ];
    for source in if hop.v6 { ["fd00:2:ff::4d", "fd00:1:fe::4d"] } else { ["10.2.255.77", "10.1.254.77"] } {
        let error = from(hop.router, source).too_big(1400, &our_header(hop, source, 1500, 4)).build();
        let elsewhere = size_error(hop, 1400, &our_header(hop, source, 1500, 4));
        table.push(
            name(&format!("a tunnel header from {source} is none of ours"))
                .send(error, R::PassNotOurs)
                .send(elsewhere, R::PassNotOurs),
        );
    }
    table
}

#[test]
fn sizes_end_as_the_table_says() {
    run_all(&cases());
}

#[test]
fn a_learned_path_mtu_expires() {
    for hop in &HOPS {
        let mut bed = Bed::new(site::site());
        bed.change(|desired| desired.config.pmtu_expiry_s = 60);
        let vaddr = virtual_address(&IPV4, hop);
        let big = sized(&IPV4, vaddr, usize::from(1500 - hop.overhead));
        let mtu_of_hop = |bed: &Bed| {
            let hops = bed.router.hops().expect("hops can be read");
            let found = hops.into_iter().find(|status| status.name.as_deref() == Some(hop.host)).expect("the host");
            (found.mtu, found.mtu_expires_in_s.is_some())
        };
        assert_eq!(mtu_of_hop(&bed), (1500, false));
        assert_eq!(bed.send(&size_error(hop, 1400, &our_header(hop, hop.ours, 1500, 4))).reason, R::DropPmtuLearned);
        assert_eq!(mtu_of_hop(&bed), (1400, true));
        bed.router.advance_clock(59).expect("the clock can be set");
        assert_eq!(bed.send(&big).reason, R::ReplyTooBig);
        bed.router.advance_clock(1).expect("the clock can be set");
        assert_eq!(bed.send(&big).reason, R::FwdPromoted);
        assert_eq!(mtu_of_hop(&bed), (1500, false));
    }
}

#[test]
fn no_message_makes_an_ipv6_tunnel_smaller_than_ipv6_allows() {
    // RFC 8201 4: "must not reduce its estimate of the Path MTU below the IPv6 minimum link MTU".
    let hop = &HOPS[1];
    let quote = our_header(hop, hop.ours, 1500, 4);
    run_one(
        case(hop.name)
            .send(size_error(hop, 1279, &quote), R::DropPmtuRefused)
            .send(size_error(hop, 1280, &quote), R::DropPmtuLearned),
    );
}

#[test]
fn an_icmp_error_that_does_not_fit_draws_no_other_icmp_error() {
    // RFC 1122 3.2.2, RFC 4443 2.4 (e.1); and it would go to the client that the error quotes, not to who sent it.
    for f in FAMILIES {
        let header = if f.v6 { 40 } else { 20 };
        let quote = ip(pkt(), f.on_a, f.other_client).tcp(80, 40000).payload_len(1481 - 2 * header - 28).build();
        let start = from(f.client, f.on_a);
        let start = if f.v6 { start } else { start.df() };
        let error = start.too_big(1400, &quote).build();
        assert_eq!(error.len(), 14 + 1481);
        run_one(case(f.name).send(error, R::DropTooBig));
    }
}

#[test]
fn a_later_fragment_that_does_not_fit_draws_no_icmp_error() {
    // RFC 1122 3.2.2: only the first fragment may. (IPv6 has no such rule for packet-too-big.)
    let f = IPV4;
    let first =
        from(f.client, f.on_a).df().id(3).fragment(0, true).udp(40000, 53).length(3000).payload_len(504).build();
    let later = from(f.client, f.on_a).df().id(3).fragment(512, false).next(17).payload_len(1461).build();
    run_one(case(f.name).send(first, R::FwdNew).send(later, R::DropTooBig));
}

#[test]
fn a_quoted_tunnel_header_ends_where_the_datagram_ends() {
    // The header that is quoted stands only in what pads the frame.
    for hop in &HOPS {
        let quote = our_header(hop, hop.ours, 1500, 4);
        let start = from(hop.router, hop.ours).length(if hop.v6 { 8 } else { 28 });
        run_one(case(hop.name).send(start.too_big(1400, &quote).build(), R::PassNotOurs));
    }
}
