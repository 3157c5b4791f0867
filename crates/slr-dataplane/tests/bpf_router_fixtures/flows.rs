//! The memory of flows: new, pending, promoted, established; orphans; what a SYN, FIN or RST changes.

use slr_dataplane::reason::RouterReason as R;
use slr_dataplane::router::Desired;
use slr_model::Weight;
use slr_testkit::packet::{ACK, FIN, PSH, RST, SYN};

use crate::case::{Case, case, run_all, run_one};
use crate::common::{Bed, site};
use crate::frames::*;

pub fn cases() -> Vec<Case> {
    FAMILIES
        .iter()
        .flat_map(|family| [life(family), orphans(family), martians(family), services(family)].into_iter().flatten())
        .collect()
}

fn life(f: &Family) -> Vec<Case> {
    let name = |text: &str| case(format!("{}: {text}", f.name));
    vec![
        name("a TCP flow is new, proves two ends, is established")
            .send(syn(f.client, 40000, f.any, 80), R::FwdNew)
            .send(ack(f.client, 40000, f.any, 80, 0), R::FwdPromoted)
            .same_host()
            .send(ack(f.client, 40000, f.any, 80, 64), R::FwdEstablished)
            .same_host(),
        name("a SYN sent again proves nothing")
            .send(syn(f.client, 40001, f.any, 80), R::FwdNew)
            .send(syn(f.client, 40001, f.any, 80), R::FwdPending)
            .same_host()
            .send(tcp(f.client, 40001, f.any, 80, SYN | ACK), R::FwdPending)
            .same_host()
            .send(tcp(f.client, 40001, f.any, 80, RST | ACK), R::FwdPending)
            .same_host()
            .send(tcp(f.client, 40001, f.any, 80, FIN), R::FwdPending)
            .same_host(),
        name("an ACK proves two ends only within the first window after the SYN")
            .send(syn(f.client, 40002, f.any, 80), R::FwdNew)
            .send(ack(f.client, 40002, f.any, 80, 0x1_0000), R::FwdPending)
            .same_host()
            .send(ack(f.client, 40002, f.any, 80, u32::MAX), R::FwdPending)
            .same_host()
            .send(ack(f.client, 40002, f.any, 80, 0xffff), R::FwdPromoted)
            .same_host(),
        name("a first ACK may carry FIN")
            .send(syn(f.client, 40003, f.any, 80), R::FwdNew)
            .send(tcp(f.client, 40003, f.any, 80, FIN | ACK), R::FwdPromoted)
            .same_host(),
        name("a UDP flow is pinned by its second packet")
            .send(udp(f.client, 40000, f.any, 53), R::FwdNew)
            .send(udp(f.client, 40000, f.any, 53), R::FwdPromoted)
            .same_host()
            .send(udp(f.client, 40000, f.any, 53), R::FwdEstablished)
            .same_host(),
        name("TCP and UDP of the same ports are two flows")
            .send(syn(f.client, 40004, f.any, 53), R::FwdNew)
            .send(udp(f.client, 40004, f.any, 53), R::FwdNew),
        name("an empty UDP datagram is a packet like others")
            .send(from(f.client, f.any).udp(40005, 53).build(), R::FwdNew),
        name("a SYN follows the entry that there is, whatever the ring says now")
            .send(syn(f.client, 40006, f.any, 80), R::FwdNew)
            .send(ack(f.client, 40006, f.any, 80, 0), R::FwdPromoted)
            .same_host()
            .change(|desired| desired.config.seed += 1)
            .send(syn(f.client, 40006, f.any, 80), R::FwdEstablished)
            .same_host()
            .send(syn(f.client, 40007, f.any, 80), R::FwdNew)
            .change(|desired| only(desired, "a"))
            .send(syn(f.client, 40007, f.any, 80), R::FwdPending)
            .same_host()
            .change(|desired| only(desired, "b"))
            .send(syn(f.client, 40007, f.any, 80), R::FwdPending)
            .same_host(),
        name("FIN and RST of an established flow follow it")
            .send(syn(f.client, 40008, f.any, 80), R::FwdNew)
            .send(ack(f.client, 40008, f.any, 80, 0), R::FwdPromoted)
            .send(tcp(f.client, 40008, f.any, 80, FIN | ACK), R::FwdEstablished)
            .same_host()
            .send(tcp(f.client, 40008, f.any, 80, RST), R::FwdEstablished)
            .same_host(),
    ]
}

/// New flows go to this host alone, whichever the flow at hand has.
pub fn only(desired: &mut Desired, host: &str) {
    for (member, weight) in site::members_mut(desired) {
        *weight = if &**member == host { Weight::default() } else { Weight::ZERO };
    }
}

fn orphans(f: &Family) -> Vec<Case> {
    let mut table = Vec::new();
    for (text, flags) in [
        ("ACK", ACK),
        ("data", PSH | ACK),
        ("FIN", FIN | ACK),
        ("RST", RST),
        ("SYN and ACK", SYN | ACK),
        ("SYN and FIN", SYN | FIN),
        ("SYN and RST", SYN | RST),
        ("no flag at all", 0),
    ] {
        let name = format!("{}: a TCP packet of no known flow with {text} is an orphan", f.name);
        table.push(
            case(name)
                .send(tcp(f.client, 41000, f.any, 80, flags), R::FwdOrphanRing)
                .send(tcp(f.client, 41000, f.any, 80, flags), R::FwdOrphanRing)
                .same_host()
                .send(tcp(f.client, 41000, f.strict, 80, flags), R::DropOrphan),
        );
    }
    table
}

/// Sources that no client has.
fn martians(f: &Family) -> Vec<Case> {
    let sources: &[&str] = match f.v6 {
        false => &["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"],
        true => &["::", "::1", "ff02::1", "ff0e::1"],
    };
    let of = |source: &&str| {
        case(format!("{}: a packet from {source}", f.name))
            .send(syn(source, 40000, f.any, 80), R::DropMartian)
            .send(ack(source, 40000, f.any, 80, 0), R::DropMartian)
            .send(udp(source, 40000, f.any, 53), R::DropMartian)
            .send(from(source, f.any).echo_request(1, 1).build(), R::DropMartian)
            .send(from(source, f.echo).echo_request(1, 1).build(), R::DropMartian)
            .send(syn(source, 40000, f.foreign, 80), R::PassNotOurs)
    };
    sources.iter().map(of).collect()
}

fn services(f: &Family) -> Vec<Case> {
    let name = |text: &str| case(format!("{}: {text}", f.name));
    vec![
        name("a subnet that lists its services passes the others to the kernel")
            .send(syn(f.client, 42000, f.listed, 80), R::FwdNew)
            .to("a")
            .send(udp(f.client, 42000, f.listed, 53), R::FwdNew)
            .to("a")
            .send(syn(f.client, 42000, f.listed, 81), R::PassNotServed)
            .send(ack(f.client, 42000, f.listed, 22, 0), R::PassNotServed)
            .send(udp(f.client, 42000, f.listed, 80), R::PassNotServed)
            .send(from(f.client, f.listed).next(47).payload_len(40).build(), R::PassNotServed),
        name("a transport protocol that nobody serves")
            .send(from(f.client, f.any).next(132).payload_len(40).build(), R::DropProtocol),
        name("a subnet without hosts")
            .send(syn(f.client, 42000, f.empty, 80), R::DropNoActiveHost)
            .send(ack(f.client, 42000, f.empty, 80, 0), R::DropNoActiveHost)
            .send(udp(f.client, 42000, f.empty, 80), R::DropNoActiveHost),
        name("what is in no virtual subnet passes")
            .send(syn(f.client, 42000, f.foreign, 80), R::PassNotOurs)
            .send(udp(f.client, 42000, f.foreign, 80), R::PassNotOurs)
            .send(from(f.client, f.foreign).next(47).payload_len(8).build(), R::PassNotOurs),
    ]
}

#[test]
fn every_packet_of_a_flow_ends_as_the_table_says() {
    run_all(&cases());
}

#[test]
fn fin_and_rst_mark_a_flow_as_closing_and_a_connection_on_its_port_takes_the_mark_back() {
    for f in FAMILIES {
        let bed = Bed::new(site::site());
        let closing = || {
            let flows = bed.router.flows(10, |flow| flow.pinned).expect("flows can be read");
            assert_eq!(flows.len(), 1, "{flows:?}");
            flows[0].closing
        };
        bed.send(&syn(f.client, 40000, f.any, 80));
        bed.send(&ack(f.client, 40000, f.any, 80, 0));
        assert!(!closing(), "{}: established", f.name);
        for flags in [FIN | ACK, RST, RST | ACK] {
            bed.send(&tcp(f.client, 40000, f.any, 80, flags));
            assert!(closing(), "{}: flags {flags:#x}", f.name);
            bed.send(&ack(f.client, 40000, f.any, 80, 8));
            assert!(closing(), "{}: an ACK changes nothing", f.name);
            bed.send(&syn(f.client, 40000, f.any, 80));
            assert!(closing(), "{}: anybody can send a SYN", f.name);
            bed.send(&ack(f.client, 40000, f.any, 80, 0));
            assert!(!closing(), "{}: the port is used again", f.name);
        }
    }
}

#[test]
fn a_port_that_is_used_again_gets_a_new_place_and_a_forged_syn_moves_nothing() {
    for f in FAMILIES {
        let again = ISN.wrapping_add(0x4000_0000);
        let segment = |flags, seq| from(f.client, f.any).tcp(40000, 80).flags(flags).seq(seq).build();
        let only = |name: &'static str| {
            move |desired: &mut Desired| {
                for (host, weight) in site::members_mut(desired) {
                    *weight = if host.as_str() == name { Weight::default() } else { Weight::ZERO };
                }
            }
        };
        run_one(
            case(format!("{}: port used again while its host drains", f.name))
                .change(only("a"))
                .send(syn(f.client, 40000, f.any, 80), R::FwdNew)
                .to("a")
                .send(ack(f.client, 40000, f.any, 80, 0), R::FwdPromoted)
                .change(only("b"))
                .send(ack(f.client, 40000, f.any, 80, 9), R::FwdEstablished)
                .to("a")
                .send(segment(SYN, again), R::FwdEstablished)
                .to("a")
                .send(segment(FIN | ACK, ISN.wrapping_add(10)), R::FwdEstablished)
                .to("a")
                .send(segment(SYN, again), R::FwdNew)
                .to("b")
                .send(segment(SYN, again), R::FwdPending)
                .to("b")
                .send(ack(f.client, 40000, f.any, 80, 10), R::FwdEstablished)
                .to("a")
                .send(segment(ACK, again.wrapping_add(1)), R::FwdPromoted)
                .to("b")
                .send(segment(ACK, again.wrapping_add(9)), R::FwdEstablished)
                .to("b"),
        );
    }
}

#[test]
fn a_new_syn_on_a_pending_flow_is_what_the_next_ack_must_continue() {
    // The client's first connection was refused; it uses the port again, with another sequence number.
    for f in FAMILIES {
        let again = ISN.wrapping_add(0x4000_0000);
        let second_syn = from(f.client, f.any).tcp(40000, 80).flags(SYN).seq(again).build();
        let second_ack = from(f.client, f.any).tcp(40000, 80).seq(again.wrapping_add(1)).build();
        run_one(
            case(format!("{}: port used again while pending", f.name))
                .send(syn(f.client, 40000, f.any, 80), R::FwdNew)
                .send(second_syn, R::FwdPending)
                .same_host()
                .send(second_ack, R::FwdPromoted)
                .same_host(),
        );
    }
}
