//! UDP flows where `orphan = "search-udp"`: what no host of their slot has comes back to this router, which asks others before it
//! places the flow.

use std::time::Duration;

use slr_dataplane::reason::RouterReason as R;
use slr_dataplane::router::HeldReader;
use slr_model::{FlowKey, OrphanPolicy};

use crate::chains::{END_NAME, Leg, SEARCH, legs, legs_of, searching};
use crate::common::{Bed, site};
use crate::ends::{END, FINAL, HOSTS, NEIGHBOUR, leg, marked, with_neighbour};
use crate::flows::only;
use crate::frames::*;

pub const REASONS: [R; 1] = [R::FwdSearchLimit];

/// `a` has every slot, `b` had it before.
fn asking() -> Bed {
    let mut bed = searching();
    bed.change(|desired| {
        desired.search_ends = [site::TUNNEL4, site::TUNNEL6].map(|address| address.parse().unwrap()).into();
        desired.subnets.iter_mut().for_each(|subnet| subnet.orphan = OrphanPolicy::SearchUdp);
        only(desired, "b");
    });
    bed.change(|desired| only(desired, "a"));
    bed
}

fn question(f: &Family, port: u16) -> Vec<u8> {
    udp(f.client, port, f.any, 53)
}

fn key(f: &Family, port: u16) -> FlowKey {
    let end = |address: &str, port| std::net::SocketAddr::new(address.parse().unwrap(), port);
    FlowKey::new(end(f.client, port), end(f.any, 53), slr_model::Protocol::Udp).unwrap()
}

/// Through these hosts, and back to this router.
fn to_the_end(hosts: &[&str]) -> Vec<Leg> {
    hosts.iter().map(|host| leg(host, SEARCH)).chain([leg(END_NAME, END)]).collect()
}

/// A host sends a datagram back.
fn back(f: &Family, port: u16) -> Vec<u8> {
    marked(HOSTS[0], END, &datagram(&question(f, port)))
}

fn reader(bed: &Bed) -> HeldReader {
    bed.router.held_reader().unwrap()
}

#[test]
fn a_flow_that_is_not_known_goes_through_all_hosts_of_its_slot_and_ends_here() {
    for f in FAMILIES {
        let mut bed = asking();
        assert_eq!(legs_of(&bed, &question(&f, 1), R::FwdNewChain), to_the_end(&["b", "a"]));
        assert_eq!(legs_of(&bed, &question(&f, 1), R::FwdPending), to_the_end(&["b", "a"]), "and what follows too");
        // Of the family of the chain's hosts, also where the slot has known nobody else.
        bed.change(|desired| only(desired, "v"));
        assert_eq!(legs_of(&bed, &question(&f, 2), R::FwdNewChain), to_the_end(&["v"]));
        // A fragment has one header, which the others can follow.
        let fragment = from(f.client, f.any);
        let fragment = if f.v6 { fragment.fragment_header(0, true, 7) } else { fragment.fragment(0, true) };
        assert_eq!(bed.send(&fragment.udp(3, 53).payload_len(64).build()).reason, R::FwdNew);
        // With nobody to ask the last host delivers.
        bed.change(|desired| {
            desired.search_ends.clear();
            only(desired, "b");
        });
        assert_eq!(legs_of(&bed, &question(&f, 4), R::FwdNewChain), [leg("a", SEARCH), leg("b", SEARCH)]);
    }
}

#[test]
fn the_end_has_room_before_the_current_host_has() {
    for f in FAMILIES {
        let bed = asking();
        let of_len = |port: u16, len: usize| {
            let header = if f.v6 { 40 } else { 20 };
            from(f.client, f.any).udp(port, 53).payload_len(len - header - 8).build()
        };
        for (port, len, expected) in [
            (1, 1440, to_the_end(&["b", "a"])),
            (2, 1441, to_the_end(&["b"])),
            (3, 1460, to_the_end(&["b"])),
            (4, 1461, vec![leg("a", SEARCH)]),
        ] {
            assert_eq!(legs_of(&bed, &of_len(port, len), R::FwdNewChain), expected, "{} {len}", f.name);
        }
    }
}

#[test]
fn what_is_only_searched_for_is_held_each_datagram_in_its_order() {
    for f in FAMILIES {
        let bed = asking();
        let mut reader = reader(&bed);
        bed.send(&question(&f, 1));
        let flight: Vec<_> = (0..5).map(|n| from(f.client, f.any).udp(1, 53).payload([n; 90]).build()).collect();
        for frame in &flight {
            assert_eq!(bed.send(&marked(HOSTS[0], END, &datagram(frame))).reason, R::DropOrphanHeld);
        }
        // One that nobody here remembers: it was evicted, or its place is gone.
        assert_eq!(bed.send(&back(&f, 2)).reason, R::DropOrphanHeld);
        let held = reader.take().unwrap();
        let expected = flight.iter().map(|frame| datagram(frame)).chain([datagram(&question(&f, 2))]);
        assert!(held.iter().map(|orphan| orphan.datagram.clone()).eq(expected));
        assert!(held.iter().all(|orphan| bed.router.place_of(orphan).unwrap().name.to_string() == "a"));
        assert_eq!((held[0].flow, held[5].flow), (key(&f, 1), key(&f, 2)));
    }
}

#[test]
fn what_is_decided_goes_on_from_the_end_and_is_searched_for_no_more() {
    for f in FAMILIES {
        let bed = asking();
        bed.send(&question(&f, 1));
        assert_eq!(bed.router.way_of(&key(&f, 1)).unwrap(), None);
        assert_eq!(bed.router.pin_found(&"b".parse().unwrap(), key(&f, 1)).unwrap().pinned, 1);
        let late = bed.send(&back(&f, 1));
        assert_eq!((late.reason, legs(&late.packet, &bed.desired).0), (R::FwdChainEnd, vec![leg("b", FINAL)]));
        assert_eq!(legs_of(&bed, &question(&f, 1), R::FwdEstablished), [leg("b", 0)]);
        assert_eq!(bed.router.way_of(&key(&f, 1)).unwrap(), Some("10.1.0.2".parse().unwrap()));
        // Nothing ever proves a UDP flow: others hear of the guess. Its host's claim outranks it all the same.
        assert_eq!(bed.router.owner_of(&key(&f, 1)).unwrap(), Some("b".parse().unwrap()));
        assert_eq!(bed.router.claim(&"a".parse().unwrap(), &[key(&f, 1)]).unwrap().pinned, 1);
    }
}

#[test]
fn only_datagrams_of_subnets_that_ask_come_back() {
    for f in FAMILIES {
        let mut bed = asking();
        let fragment = ip(slr_testkit::packet::pkt(), f.client, f.any);
        let fragment = if f.v6 { fragment.fragment_header(0, true, 5) } else { fragment.id(5).fragment(0, true) };
        let fragment = marked(HOSTS[0], END, &fragment.udp(1, 53).payload_len(64).build());
        assert_eq!(bed.send(&fragment).reason, R::DropTunnelInner);
        bed.change(|desired| desired.subnets.iter_mut().for_each(|subnet| subnet.orphan = OrphanPolicy::ChainUdp));
        assert_eq!(bed.send(&back(&f, 1)).reason, R::DropTunnelInner);
        assert_eq!(reader(&bed).take().unwrap(), []);
    }
}

#[test]
fn what_a_neighbour_has_searched_for_is_not_asked_about_again() {
    for f in FAMILIES {
        let mut bed = asking();
        bed.change(with_neighbour);
        let from_neighbour = |port, mark| marked("10.7.0.9", mark, &datagram(&question(&f, port)));
        let out = |frame: &[u8]| legs(&bed.send(frame).packet, &bed.desired).0;
        assert_eq!(out(&from_neighbour(1, FINAL)), [leg("b", SEARCH), leg("a", SEARCH)]);
        assert_eq!(out(&from_neighbour(2, 0)), to_the_end(&["b", "a"]));
        let neighbour = NEIGHBOUR.0.parse().unwrap();
        assert_eq!(bed.router.pin_found(&neighbour, key(&f, 3)).unwrap().pinned, 1);
        assert_eq!(bed.router.owner_of(&key(&f, 3)).unwrap(), None, "what a neighbour has is not told on");
    }
}

#[test]
fn a_prefix_that_begins_too_many_flows_has_the_rest_placed_unasked() {
    for f in FAMILIES {
        let mut bed = asking();
        bed.change(|desired| (desired.config.promote_per_s, desired.config.promote_burst) = (1, 3));
        let asked = (1..=20).filter(|port| {
            let (found, _) = legs(&bed.send(&question(&f, *port)).packet, &bed.desired);
            found.last() == Some(&leg(END_NAME, END)) || {
                assert_eq!(found, [leg("b", SEARCH), leg("a", SEARCH)]);
                false
            }
        });
        assert!((3..=5).contains(&asked.count()));
    }
}

#[test]
fn what_cannot_be_held_is_not_dropped() {
    let f = FAMILIES[0];
    let bed = asking();
    let mut reader = reader(&bed);
    let begin = std::time::Instant::now();
    let mut held = 0;
    for n in 0..3_000_u16 {
        let client = format!("203.0.{}.7", n % 100);
        let frame = marked(HOSTS[0], END, &datagram(&udp(&client, 10_000 + n, f.any, 53)));
        let outcome = bed.send(&frame);
        if outcome.reason == R::DropOrphanHeld {
            held += reader.take().unwrap().len();
        } else {
            assert_eq!(outcome.reason, R::FwdSearchLimit);
            assert_eq!(legs(&outcome.packet, &bed.desired).0, [leg("a", FINAL)], "where the ring points");
        }
    }
    let cpus = std::thread::available_parallelism().unwrap().get();
    let most = cpus * (1_000 + (begin.elapsed().as_secs_f64() * 1_000.0) as usize + 1);
    assert!((1_000..=most).contains(&held), "{held} of 3,000");
    // Segments have their own.
    let orphan = marked(HOSTS[0], END, &datagram(&ack(f.client, 40_000, f.any, 80, 9)));
    assert_eq!(bed.send(&orphan).reason, R::DropOrphanHeld);
}

#[test]
fn a_daemon_that_does_not_read_is_given_nothing_for_long() {
    let f = FAMILIES[0];
    let bed = asking();
    let mut reader = reader(&bed);
    assert_eq!(bed.send(&back(&f, 1)).reason, R::DropOrphanHeld);
    std::thread::sleep(Duration::from_millis(260));
    let placed = bed.send(&back(&f, 2));
    assert_eq!((placed.reason, legs(&placed.packet, &bed.desired).0), (R::FwdSearchLimit, vec![leg("a", FINAL)]));
    assert_eq!(reader.take().unwrap().len(), 1);
    assert_eq!(bed.send(&back(&f, 3)).reason, R::DropOrphanHeld, "it reads again");
}

/// The first thing that is ever given is not read for a moment, which tells of no daemon that is gone.
#[test]
fn a_segment_that_was_given_just_now_does_not_tell_of_a_daemon_that_does_not_read() {
    let f = FAMILIES[0];
    let bed = asking();
    let segment = marked(HOSTS[0], END, &datagram(&ack(f.client, 40_000, f.any, 80, 9)));
    assert_eq!(bed.send(&segment).reason, R::DropOrphanHeld);
    assert_eq!(bed.send(&back(&f, 1)).reason, R::DropOrphanHeld);
}
