//! Chains that found no host: they end at a router, which knows the flow or holds the packet. It never searches further itself.

use std::net::IpAddr;

use slr_dataplane::reason::RouterReason as R;
use slr_dataplane::router::{Desired, Orphan};
use slr_model::HostState;
use slr_testkit::packet::{ACK, Packet, pkt};

use crate::chains::{END_NAME, Leg, SEARCH, legs, searching};
use crate::common::site::{ANY4, C4};
use crate::common::{Bed, site};
use crate::flows::only;
use crate::frames::*;

pub const REASONS: [R; 3] = [R::FwdChainEnd, R::DropOrphanHeld, R::DropOrphanLimit];

pub const END: u32 = 3;
pub const FINAL: u32 = 4;
/// Where this site's chains end: another member of the cluster.
const PEER: [&str; 2] = ["10.1.253.1", "fd00:1:fd::1"];
/// An SLR of another cluster, as a hop and as a sender.
pub const NEIGHBOUR: (&str, &str) = ("n", "10.7.0.1");

fn ending() -> Bed {
    let mut bed = searching();
    bed.change(|desired| desired.chain_ends = PEER.map(|address| address.parse().unwrap()).into());
    bed
}

/// A tunnel packet to us with a mark.
pub fn marked(source: &str, mark: u32, datagram: &[u8]) -> Vec<u8> {
    let us = OUTERS.iter().find(|outer| outer.v6 == source.contains(':')).unwrap().us;
    let outer = from(source, us);
    let outer = if source.contains(':') { outer.flow_label(mark << 16 | 0x12) } else { outer.id(mark as u16) };
    outer.next(if datagram[0] >> 4 == 4 { 4 } else { 41 }).payload(datagram).build()
}

/// A host's tunnel addresses: `a`'s, and `v`'s.
pub const HOSTS: [&str; 2] = ["10.1.0.1", "fd00:1::3"];

pub fn leg(name: &str, mark: u32) -> Leg {
    Leg(name.to_owned(), mark)
}

#[test]
fn an_orphans_chain_ends_at_a_router_and_no_other_chain_does() {
    for f in FAMILIES {
        let mut bed = ending();
        let orphan = ack(f.client, 40000, f.any, 80, 9);
        let expect = |bed: &Bed, frame: &[u8], expected: &[Leg]| {
            let (found, inner) = legs(&bed.send(frame).packet, &bed.desired);
            assert_eq!((&found[..], inner), (expected, datagram(frame)));
        };
        expect(&bed, &orphan, &[leg("a", SEARCH), leg(END_NAME, END)]);
        bed.change(|desired| only(desired, "b"));
        expect(&bed, &orphan, &[leg("b", SEARCH), leg("a", SEARCH), leg(END_NAME, END)]);
        // Of the first host's family, so that any host can pass it on.
        bed.change(|desired| only(desired, "v"));
        expect(&bed, &orphan, &[leg("v", SEARCH), leg(END_NAME, END)]);
        bed.change(|desired| only(desired, "a"));
        for frame in [syn(f.client, 41000, f.any, 80), udp(f.client, 41000, f.any, 53)] {
            let (found, _) = legs(&bed.send(&frame).packet, &bed.desired);
            assert!(found.iter().all(|leg| leg.0 != END_NAME), "{found:?}");
        }
        bed.change(|desired| desired.chain_ends.clear());
        expect(&bed, &orphan, &[leg("a", SEARCH), leg("b", SEARCH)]);
    }
}

#[test]
fn the_end_has_room_before_the_older_hosts_have() {
    let f = FAMILIES[0];
    let mut bed = ending();
    bed.change(|desired| only(desired, "b"));
    let of_len = |len: usize| from(f.client, f.any).tcp(40000, 80).payload_len(len - 40).build();
    let found = |len| legs(&bed.send(&of_len(len)).packet, &bed.desired).0;
    assert_eq!(found(1440), [leg("b", SEARCH), leg("a", SEARCH), leg(END_NAME, END)]);
    assert_eq!(found(1460), [leg("b", SEARCH), leg(END_NAME, END)]);
    assert_eq!(found(1480), [leg("b", SEARCH)]);
}

#[test]
fn a_known_flow_goes_from_the_end_to_its_host_which_claims_it() {
    for f in FAMILIES {
        for host in HOSTS {
            let mut bed = ending();
            let (next, later) = (ack(f.client, 40000, f.any, 80, 0), ack(f.client, 40000, f.any, 80, 99));
            bed.send(&syn(f.client, 40000, f.any, 80));
            bed.change(|desired| only(desired, "b"));
            // Still pending, then pinned.
            for frame in [&next, &later] {
                let outcome = bed.send(&marked(host, END, &datagram(frame)));
                assert_eq!(outcome.reason, R::FwdChainEnd, "{host}");
                assert_eq!(legs(&outcome.packet, &bed.desired), (vec![leg("a", FINAL)], datagram(frame)));
            }
            assert_eq!(bed.send(&later).reason, R::FwdEstablished);
        }
    }
}

#[test]
fn what_nobody_knows_is_held_with_its_bytes_and_its_place() {
    for f in FAMILIES {
        for host in HOSTS {
            let mut bed = ending();
            let mut reader = bed.router.held_reader().unwrap();
            bed.change(|desired| only(desired, "b"));
            let frame = ack(f.client, 40000, f.any, 80, 9);
            assert_eq!(bed.send(&marked(host, END, &datagram(&frame))).reason, R::DropOrphanHeld);
            let held: Vec<Orphan> = reader.take().unwrap();
            let [orphan] = &held[..] else { panic!("{held:?}") };
            assert_eq!(orphan.datagram, datagram(&frame));
            let end = |address: &str| address.parse::<IpAddr>().unwrap();
            assert_eq!(orphan.flow.client(), (end(f.client), 40000).into());
            assert_eq!(orphan.flow.virtual_host(), (end(f.any), 80).into());
            assert_eq!(bed.router.place_of(orphan).map(|host| host.name.to_string()), Some("b".to_owned()));
            // Whoever has its index by then is not meant.
            bed.change(|desired| site::host_mut(desired, "b").state = HostState::Down);
            assert_eq!(bed.router.place_of(orphan), None);
        }
    }
}

#[test]
fn only_hosts_end_chains_and_only_with_mid_flow_segments() {
    for (outer, f) in OUTERS.iter().zip(FAMILIES) {
        let bed = ending();
        let host = HOSTS[usize::from(outer.v6)];
        let inside = |to: &str| ip(pkt(), f.client, to);
        let orphan = datagram(&ack(f.client, 40000, f.any, 80, 9));
        let fragment = |p: Packet| if f.v6 { p.fragment_header(0, true, 5) } else { p.id(5).fragment(0, true) };
        for (what, frame, reason) in [
            ("from a stranger", marked(outer.stranger, END, &orphan), R::DropTunnelStranger),
            ("a host's, without the mark", marked(host, 0, &orphan), R::DropTunnelStranger),
            ("a host's, marked as searched for", marked(host, SEARCH, &orphan), R::DropTunnelStranger),
            ("a host's, marked final", marked(host, FINAL, &orphan), R::DropTunnelStranger),
            ("with a SYN", marked(host, END, &datagram(&syn(f.client, 1, f.any, 80))), R::DropTunnelInner),
            ("with UDP", marked(host, END, &datagram(&udp(f.client, 1, f.any, 53))), R::DropTunnelInner),
            ("with ICMP", marked(host, END, &inside(f.any).echo_request(1, 1).build()), R::DropTunnelInner),
            (
                "with a fragment",
                marked(host, END, &fragment(inside(f.any)).tcp(1, 80).flags(ACK).payload_len(64).build()),
                R::DropTunnelInner,
            ),
            (
                "for nobody here",
                marked(host, END, &inside(f.foreign).tcp(1, 80).flags(ACK).build()),
                R::DropTunnelInner,
            ),
            (
                "with another tunnel",
                marked(host, END, &inside(f.any).next(4).payload(datagram(&ack(C4, 1, ANY4, 80, 0))).build()),
                R::DropTunnelNested,
            ),
            // An upstream's orphan is searched for as any other, whatever it is marked with.
            ("an upstream's", marked(outer.upstream, END, &orphan), R::FwdOrphanChain),
        ] {
            assert_eq!(bed.send(&frame).reason, reason, "{what}, {}", f.name);
        }
        assert_eq!(bed.router.held_reader().unwrap().take().unwrap(), []);
    }
}

/// How many of 3,000 orphans are held, of as many prefixes in turn, and how long that took.
fn held_of_3000(bed: &Bed, prefixes: u16) -> (usize, f64) {
    let f = FAMILIES[0];
    let mut reader = bed.router.held_reader().unwrap();
    let mut read = 0;
    let begin = std::time::Instant::now();
    let held = (0..3_000_u16)
        .filter(|n| {
            let client = format!("203.0.{}.7", n % prefixes);
            let frame = marked(HOSTS[0], END, &datagram(&ack(&client, 10_000 + n, f.any, 80, 9)));
            let reason = bed.send(&frame).reason;
            assert!(matches!(reason, R::DropOrphanHeld | R::DropOrphanLimit), "{reason:?}");
            read += reader.take().unwrap().len();
            reason == R::DropOrphanHeld
        })
        .count();
    assert_eq!(read, held);
    (held, begin.elapsed().as_secs_f64())
}

#[test]
fn only_so_many_are_held_a_second() {
    let (held, took_s) = held_of_3000(&ending(), 100);
    let cpus = std::thread::available_parallelism().unwrap().get();
    let most = cpus * (1_000 + (took_s * 1_000.0) as usize + 1);
    assert!((1_000..=most).contains(&held), "{held} of 3,000 in {took_s} s");
}

#[test]
fn a_prefix_that_floods_leaves_room_for_the_others() {
    let bed = ending();
    let (held, _) = held_of_3000(&bed, 1);
    assert!(held >= 750, "half of a CPU's, and what is the prefix's own: {held}");
    for f in FAMILIES {
        for port in 0..40 {
            let other = marked(HOSTS[0], END, &datagram(&ack(f.client, 40_000 + port, f.any, 80, 9)));
            assert_eq!(bed.send(&other).reason, R::DropOrphanHeld, "{} {port}", f.name);
        }
    }
}

/// The site with a neighbour that has a flow, and sends.
pub fn with_neighbour(desired: &mut Desired) {
    desired.hosts.push(site::host(NEIGHBOUR.0, NEIGHBOUR.1, 0x77));
    desired.neighbours = vec![NEIGHBOUR.0.parse().unwrap()];
    desired.neighbour_sources = vec!["10.7.0.0/24".parse().unwrap()];
}

#[test]
fn what_a_neighbour_sends_never_goes_on_to_a_neighbour() {
    for f in FAMILIES {
        let mut bed = ending();
        bed.change(with_neighbour);
        let frame = ack(f.client, 40000, f.any, 80, 9);
        let end = |address: &str, port| std::net::SocketAddr::new(address.parse().unwrap(), port);
        let key = slr_model::FlowKey::new(end(f.client, 40000), end(f.any, 80), slr_model::Protocol::Tcp).unwrap();
        assert_eq!(bed.router.pin_found(&NEIGHBOUR.0.parse().unwrap(), key).unwrap().pinned, 1);
        assert_eq!(bed.router.owner_of(&key).unwrap(), None, "what is hearsay is not told on");
        let outcome = bed.send(&frame);
        assert_eq!(outcome.reason, R::FwdEstablished);
        assert_eq!(legs(&outcome.packet, &bed.desired).0, [leg(NEIGHBOUR.0, 0)]);
        // The other one believes the same of us: searched for here, not sent back.
        let back = bed.send(&marked("10.7.0.9", 0, &datagram(&frame)));
        assert_eq!(back.reason, R::FwdOrphanChain);
        assert_eq!(legs(&back.packet, &bed.desired).0, [leg("a", SEARCH), leg(END_NAME, END)]);
        // And what it has searched for to the end, only among our hosts.
        let back = bed.send(&marked("10.7.0.9", FINAL, &datagram(&frame)));
        assert_eq!(legs(&back.packet, &bed.desired).0, [leg("a", SEARCH)]);
        // A host's claim outranks hearsay, and then it is known.
        assert_eq!(bed.router.claim(&"a".parse().unwrap(), &[key]).unwrap().pinned, 1);
        assert_eq!(bed.router.owner_of(&key).unwrap(), Some("a".parse().unwrap()));
        assert_eq!(bed.router.pin_found(&NEIGHBOUR.0.parse().unwrap(), key).unwrap().owned, 1);
        let back = bed.send(&marked("10.7.0.9", 0, &datagram(&frame)));
        assert_eq!((back.reason, legs(&back.packet, &bed.desired).0), (R::FwdEstablished, vec![leg("a", 0)]));
    }
}

#[test]
fn a_guess_that_its_host_claims_is_known() {
    let f = FAMILIES[0];
    let bed = ending();
    let key = format!("tcp {}:40000 > {}:80", f.client, f.any).parse().unwrap();
    assert_eq!(bed.router.pin_found(&"b".parse().unwrap(), key).unwrap().pinned, 1);
    assert_eq!(bed.router.owner_of(&key).unwrap(), None);
    assert_eq!(bed.router.claim(&"b".parse().unwrap(), &[key]).unwrap().known, 1);
    assert_eq!(bed.router.owner_of(&key).unwrap(), Some("b".parse().unwrap()));
    assert_eq!(bed.router.claim(&"a".parse().unwrap(), &[key]).unwrap().owned, 1);
}

/// Its SYN went through here, its client has the answer, and what follows comes to another router: that one asks.
#[test]
fn a_connection_is_known_from_its_syn_on() {
    for f in FAMILIES {
        let bed = ending();
        let end = |address: &str, port| std::net::SocketAddr::new(address.parse().unwrap(), port);
        let key =
            |port| slr_model::FlowKey::new(end(f.client, port), end(f.any, 80), slr_model::Protocol::Tcp).unwrap();
        assert_eq!(bed.router.owner_of(&key(40000)).unwrap(), None);
        let outcome = bed.send(&syn(f.client, 40000, f.any, 80));
        let host = legs(&outcome.packet, &bed.desired).0[0].0.clone();
        assert_eq!(bed.router.owner_of(&key(40000)).unwrap().map(|owner| owner.to_string()), Some(host));
        assert_eq!(bed.router.owner_of(&key(40001)).unwrap(), None, "another one");
    }
}
