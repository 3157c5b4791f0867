//! Orphans where `orphan = "chain"`: a header for each host that the slot remembers, the newest one's outermost.

use std::time::{Duration, Instant};

use slr_dataplane::reason::RouterReason as R;
use slr_model::OrphanPolicy;
use slr_testkit::packet::{PSH, RST, SYN};

pub use crate::common::outer::{END_NAME, Leg, legs};
use crate::common::{Bed, Outcome, site};
use crate::flows::only;
use crate::frames::*;

pub const REASONS: [R; 2] = [R::FwdOrphanChain, R::FwdNewChain];

/// What the tunnel headers of a search, and of a new connection with a second chance, are marked with: docs/wire.md.
pub const SEARCH: u32 = 1;
const SECOND: u32 = 2;

/// A site whose orphans are searched for and whose slots have known nobody but `a`, on a router of its own.
pub fn searching() -> Bed {
    let mut desired = site::site();
    for subnet in &mut desired.subnets {
        subnet.orphan = OrphanPolicy::ChainUdp;
    }
    only(&mut desired, "a");
    Bed::new(desired)
}

/// The orphan goes to these hosts, in this order, and is as it was inside.
fn assert_chain(bed: &Bed, frame: &[u8], hosts: &[&str]) -> Outcome {
    let outcome = bed.send(frame);
    assert_eq!(outcome.reason, R::FwdOrphanChain);
    let (legs, inner) = legs(&outcome.packet, &bed.desired);
    let expected: Vec<Leg> = hosts.iter().map(|host| Leg((*host).to_owned(), SEARCH)).collect();
    assert_eq!((legs, inner), (expected, datagram(frame)));
    assert_eq!(outcome.bytes, datagram(frame).len() as u64, "bytes counted are the client's");
    outcome
}

#[test]
fn an_orphan_goes_through_the_hosts_of_its_slot_newest_first() {
    for f in FAMILIES {
        let mut bed = searching();
        assert_chain(&bed, &ack(f.client, 40000, f.any, 80, 9), &["a"]);
        bed.change(|desired| only(desired, "b"));
        assert_chain(&bed, &ack(f.client, 40000, f.any, 80, 9), &["b", "a"]);
        for flags in [PSH, RST, SYN | RST] {
            assert_chain(&bed, &tcp(f.client, 40000, f.any, 80, flags), &["b", "a"]);
        }
        // Nothing is remembered of it: the next one is searched for again.
        assert_chain(&bed, &ack(f.client, 40000, f.any, 80, 9), &["b", "a"]);
        bed.change(|desired| only(desired, "a"));
        assert_chain(&bed, &ack(f.client, 40000, f.any, 80, 9), &["a", "b"]);
        // No host needs an address of the other family to pass it on.
        bed.change(|desired| only(desired, "v"));
        assert_chain(&bed, &ack(f.client, 40000, f.any, 80, 9), &["v"]);
        bed.change(|desired| only(desired, "a"));
        assert_chain(&bed, &ack(f.client, 40000, f.any, 80, 9), &["a", "b"]);
    }
}

#[test]
fn a_chain_is_as_long_as_fits_and_leaves_out_who_is_down() {
    for f in FAMILIES {
        let mut bed = searching();
        bed.change(|desired| only(desired, "b"));
        let header = if f.v6 { 40 } else { 20 };
        let of_len = |len: usize| from(f.client, f.any).tcp(40000, 80).payload_len(len - header - 20).build();
        assert_chain(&bed, &of_len(1460), &["b", "a"]);
        assert_chain(&bed, &of_len(1461), &["b"]);
        assert_chain(&bed, &of_len(1480), &["b"]);
        bed.change(|desired| site::host_mut(desired, "a").state = slr_model::HostState::Down);
        assert_chain(&bed, &ack(f.client, 40000, f.any, 80, 9), &["b"]);
    }
}

#[test]
fn first_segments_and_known_flows_have_no_chain() {
    for f in FAMILIES {
        let mut bed = searching();
        bed.change(|desired| only(desired, "b"));
        assert_eq!(bed.send(&syn(f.client, 40000, f.any, 80)).reason, R::FwdNew);
        assert_eq!(bed.send(&ack(f.client, 40000, f.any, 80, 0)).reason, R::FwdPromoted);
        assert_eq!(bed.send(&ack(f.client, 40000, f.any, 80, 1)).reason, R::FwdEstablished);
        let fragment = from(f.client, f.any);
        let fragment = if f.v6 { fragment.fragment_header(0, true, 7) } else { fragment.fragment(0, true) };
        let fragment = fragment.tcp(40001, 80).payload_len(64).build();
        assert_eq!(bed.send(&fragment).reason, R::FwdOrphanRing, "a fragment: the others have to follow it");
    }
}

/// Hosts and marks of what was sent.
pub fn legs_of(bed: &Bed, frame: &[u8], reason: R) -> Vec<Leg> {
    let outcome = bed.send(frame);
    assert_eq!(outcome.reason, reason);
    let (legs, inner) = legs(&outcome.packet, &bed.desired);
    assert_eq!(inner, datagram(frame));
    assert_eq!(outcome.bytes, datagram(frame).len() as u64, "bytes counted are the client's");
    legs
}

/// Two hosts behind IPv4 tunnels, and orphans are searched for: each slot has the other host as its second choice.
fn paired() -> Bed {
    let mut bed = searching();
    bed.change(|desired| {
        for (member, weight) in site::members_mut(desired) {
            *weight = slr_model::Weight::new(if &**member == "v" { 0 } else { 100 }).unwrap();
        }
    });
    bed
}

fn pair_of(legs: &[Leg]) -> bool {
    let mut hosts: Vec<&str> = legs.iter().map(|leg| leg.0.as_str()).collect();
    hosts.sort_unstable();
    hosts == ["a", "b"] && legs.iter().all(|leg| leg.1 == SECOND)
}

/// The time for which a new connection has a second chance is over.
pub fn wait_for_promotion(bed: &Bed, frame: &[u8]) -> Outcome {
    let give_up = Instant::now() + Duration::from_secs(5);
    loop {
        let outcome = bed.send(frame);
        if outcome.reason != R::FwdPending {
            return outcome;
        }
        assert!(Instant::now() < give_up, "still pending");
    }
}

#[test]
fn a_new_connection_has_a_second_chance_for_a_while() {
    for f in FAMILIES {
        let bed = paired();
        let begun = Instant::now();
        let first = legs_of(&bed, &syn(f.client, 40000, f.any, 80), R::FwdNew);
        assert!(pair_of(&first), "{first:?}");
        let again = legs_of(&bed, &syn(f.client, 40000, f.any, 80), R::FwdPending);
        assert_eq!(again, first, "a SYN that is sent again goes the same way");
        // It does not pin: the first host may have refused. What follows the SYN closely goes its way.
        let answered = bed.send(&ack(f.client, 40000, f.any, 80, 0));
        if begun.elapsed() < Duration::from_millis(20) {
            assert_eq!(answered.reason, R::FwdPending);
            assert_eq!(legs(&answered.packet, &bed.desired).0, first);
        }
        let pinned = wait_for_promotion(&bed, &ack(f.client, 40000, f.any, 80, 1));
        assert_eq!(pinned.reason, R::FwdPromoted);
        assert_eq!(
            legs(&pinned.packet, &bed.desired).0,
            [Leg(first[0].0.clone(), 0)],
            "without a claim the first host has it"
        );
        let later = legs_of(&bed, &ack(f.client, 40000, f.any, 80, 2), R::FwdEstablished);
        assert_eq!(later, [Leg(first[0].0.clone(), 0)]);
    }
}

#[test]
fn a_new_connection_passes_by_a_host_in_doubt() {
    for f in FAMILIES {
        let mut bed = paired();
        let begun = Instant::now();
        let lost = syn(f.client, 40000, f.any, 80);
        let pair = legs_of(&bed, &lost, R::FwdNew);
        let (first, second) = (pair[0].0.clone(), pair[1].0.clone());
        bed.send(&syn(f.client, 40001, f.any, 80));
        let known = legs(&wait_for_promotion(&bed, &ack(f.client, 40001, f.any, 80, 0)).packet, &bed.desired).0;
        let address =
            |bed: &Bed, host: &str| bed.desired.hosts.iter().find(|h| h.name.as_str() == host).unwrap().address;

        let doubled = syn(f.client, 40002, f.any, 80);
        let placed_at = Instant::now();
        let placed = legs_of(&bed, &doubled, R::FwdNew);
        for host in ["a", "b"] {
            let address = address(&bed, host);
            bed.router.doubt(address, host == first).unwrap();
        }
        let again = bed.send(&doubled);
        if placed_at.elapsed() < Duration::from_millis(20) {
            assert_eq!(legs(&again.packet, &bed.desired).0, placed, "the network doubled it");
        }
        // What is applied meanwhile keeps the doubt.
        bed.change(|desired| desired.config.icmp_burst += 1);
        for port in 41000..41020 {
            let legs = legs_of(&bed, &syn(f.client, port, f.any, 80), R::FwdNew);
            assert!(legs[0].0 == second && legs.iter().all(|leg| leg.0 != first || leg.1 == SECOND), "{legs:?}");
        }
        std::thread::sleep(Duration::from_millis(20).saturating_sub(begun.elapsed()));
        let elsewhere = legs_of(&bed, &lost, R::FwdNew);
        assert_eq!(elsewhere, [Leg(second.clone(), 0)], "a SYN that is sent again goes to its slot's second choice");
        assert_eq!(legs_of(&bed, &ack(f.client, 40000, f.any, 80, 0), R::FwdPromoted), elsewhere, "and stays there");
        assert_eq!(legs_of(&bed, &ack(f.client, 40001, f.any, 80, 1), R::FwdEstablished), known, "no flow moves");

        // All are in doubt: placed as if none was.
        let address = address(&bed, &second);
        bed.router.doubt(address, true).unwrap();
        let placed = legs_of(&bed, &syn(f.client, 40003, f.any, 80), R::FwdNew);
        assert!(pair_of(&placed), "{placed:?}");
    }
}

#[test]
fn who_has_no_second_choice_or_needs_none_gets_one_header() {
    for f in FAMILIES {
        let mut bed = paired();
        let first = legs_of(&bed, &syn(f.client, 40000, f.any, 80), R::FwdNew);
        let (current, second) = (first[0].0.clone(), first[1].0.clone());
        bed.change(|desired| site::host_mut(desired, &second).state = slr_model::HostState::Down);
        let alone = legs_of(&bed, &syn(f.client, 40001, f.any, 80), R::FwdNew);
        assert_eq!(alone.iter().map(|leg| leg.0.clone()).collect::<Vec<_>>(), [current]);
    }
    let mut ring = site::site();
    only(&mut ring, "a");
    let bed = Bed::new(ring);
    for f in FAMILIES {
        let plain = legs_of(&bed, &syn(f.client, 40000, f.any, 80), R::FwdNew);
        assert_eq!(plain, [Leg("a".into(), 0)], "by configuration orphans are not searched for");
    }
}

#[test]
fn a_port_that_is_used_again_is_placed_by_the_ring_of_its_time() {
    for f in FAMILIES {
        let mut bed = paired();
        let first = legs_of(&bed, &syn(f.client, 40000, f.any, 80), R::FwdNew);
        let (old, new) = (first[0].0.clone(), first[1].0.clone());
        // It was so short that it was never pinned. Its host drains.
        bed.change(|desired| only(desired, &new));
        let again = from(f.client, f.any).tcp(40000, 80).flags(SYN).seq(7_000_000).build();
        assert_eq!(legs_of(&bed, &again, R::FwdNew)[0].0, new, "not {old}");
        // A connection on these ports that began at another router.
        let middle = from(f.client, f.any).tcp(40000, 80).seq(90_000_000).build();
        assert_chain(&bed, &middle, &[&new, &old]);
    }
}
