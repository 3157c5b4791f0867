//! UDP flows that are not known, where orphans are searched for: through the hosts of their slot, the oldest one outermost.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use slr_dataplane::reason::RouterReason as R;
use slr_dataplane::router::Claimed;
use slr_model::{FlowKey, HostState, NodeName, OrphanPolicy, Protocol, Weight};

use crate::chains::{Leg, SEARCH, legs_of, searching, wait_for_promotion};
use crate::common::{Bed, site};
use crate::flows::only;
use crate::frames::*;

/// By a host that its slot does not have now.
const PINNED: Claimed =
    Claimed { pinned: 1, same_answer: 0, known: 0, owned: 0, not_served: 0, no_hop: 0, table_full: 0 };

/// Hosts that are searched, in this order.
fn through(hosts: &[&str]) -> Vec<Leg> {
    hosts.iter().map(|host| Leg((*host).to_owned(), SEARCH)).collect()
}

fn to_one(host: &str) -> [Leg; 1] {
    [Leg(host.to_owned(), 0)]
}

fn question(f: &Family, port: u16) -> Vec<u8> {
    udp(f.client, port, f.any, 53)
}

fn claim(bed: &Bed, host: &str, f: &Family, port: u16) -> Claimed {
    let end = |address: &str, port| SocketAddr::new(address.parse().unwrap(), port);
    let flow = FlowKey::new(end(f.client, port), end(f.any, 53), Protocol::Udp).unwrap();
    bed.router.claim(&host.parse::<NodeName>().unwrap(), &[flow]).unwrap()
}

/// A site of which `a` had every slot, and now `b` has.
fn moved() -> Bed {
    let mut bed = searching();
    bed.change(|desired| only(desired, "b"));
    bed
}

#[test]
fn where_only_tcp_is_searched_for_udp_goes_to_the_current_host_and_is_pinned_there() {
    for f in FAMILIES {
        let mut bed = moved();
        bed.change(|desired| desired.subnets.iter_mut().for_each(|subnet| subnet.orphan = OrphanPolicy::Chain));
        assert_eq!(legs_of(&bed, &question(&f, 1), R::FwdNew), to_one("b"));
        assert_eq!(legs_of(&bed, &question(&f, 1), R::FwdPromoted), to_one("b"));
        assert_eq!(claim(&bed, "a", &f, 1), Claimed { pinned: 0, owned: 1, ..PINNED }, "that is no guess");
    }
}

#[test]
fn a_flow_that_is_not_known_goes_through_the_hosts_of_its_slot_oldest_first() {
    for f in FAMILIES {
        let mut bed = searching();
        bed.change(|desired| {
            desired.hosts.push(site::host("c", "10.1.0.4", 0xc4));
            for route in site::routes_mut(desired) {
                route.members.push(("c".parse().unwrap(), Weight::ZERO));
            }
        });
        assert_eq!(legs_of(&bed, &question(&f, 1), R::FwdNew), to_one("a"), "its slot has known nobody else");
        assert_eq!(legs_of(&bed, &question(&f, 1), R::FwdPromoted), to_one("a"));
        bed.change(|desired| only(desired, "b"));
        assert_eq!(legs_of(&bed, &question(&f, 2), R::FwdNewChain), through(&["a", "b"]));
        bed.change(|desired| only(desired, "c"));
        assert_eq!(legs_of(&bed, &question(&f, 3), R::FwdNewChain), through(&["a", "b", "c"]));
        assert_eq!(
            legs_of(&bed, &question(&f, 1), R::FwdEstablished),
            to_one("a"),
            "who is pinned is not searched for"
        );
        // No host needs an address of the other family to pass it on; whoever takes it may claim it.
        bed.change(|desired| only(desired, "v"));
        assert_eq!(legs_of(&bed, &question(&f, 4), R::FwdNewChain), through(&["v"]));
    }
}

#[test]
fn a_search_is_as_long_as_fits_and_leaves_out_who_is_down_but_never_the_current_host() {
    for f in FAMILIES {
        let mut bed = moved();
        let of_len = |port: u16, len: usize| {
            let header = if f.v6 { 40 } else { 20 };
            from(f.client, f.any).udp(port, 53).payload_len(len - header - 8).build()
        };
        for (port, len, hosts) in [(1, 1460, &["a", "b"][..]), (2, 1461, &["b"]), (3, 1480, &["b"])] {
            assert_eq!(legs_of(&bed, &of_len(port, len), R::FwdNewChain), through(hosts), "{} {len}", f.name);
        }
        let fragment = from(f.client, f.any);
        let fragment = if f.v6 { fragment.fragment_header(0, true, 7) } else { fragment.fragment(0, true) };
        let fragment = fragment.udp(4, 53).payload_len(64).build();
        assert_eq!(bed.send(&fragment).reason, R::FwdNew, "a fragment: the others have to follow it");
        bed.change(|desired| site::host_mut(desired, "a").state = HostState::Down);
        assert_eq!(legs_of(&bed, &question(&f, 5), R::FwdNewChain), through(&["b"]));
    }
}

#[test]
fn packets_of_a_searched_flow_take_one_way_until_the_search_is_over() {
    for f in FAMILIES {
        let bed = moved();
        let begun = Instant::now();
        assert_eq!(legs_of(&bed, &question(&f, 1), R::FwdNewChain), through(&["a", "b"]));
        assert_eq!(legs_of(&bed, &question(&f, 2), R::FwdNewChain), through(&["a", "b"]));
        for _ in 0..2 {
            assert_eq!(legs_of(&bed, &question(&f, 1), R::FwdPending), through(&["a", "b"]));
        }
        // Nobody claims it: then the current host has it.
        assert_eq!(wait_for_promotion(&bed, &question(&f, 1)).reason, R::FwdPromoted);
        assert!(begun.elapsed() > Duration::from_millis(999), "{:?}", begun.elapsed());
        assert_eq!(legs_of(&bed, &question(&f, 1), R::FwdEstablished), to_one("b"));
        // A flow that speaks seldom is searched for with as many packets.
        for _ in 0..2 {
            assert_eq!(legs_of(&bed, &question(&f, 2), R::FwdPending), through(&["a", "b"]));
        }
        assert_eq!(legs_of(&bed, &question(&f, 2), R::FwdPromoted), to_one("b"));
    }
}

#[test]
fn who_claims_a_searched_flow_has_it_be_it_after_the_search() {
    for f in FAMILIES {
        let bed = moved();
        legs_of(&bed, &question(&f, 1), R::FwdNewChain);
        assert_eq!(claim(&bed, "a", &f, 1), PINNED);
        assert_eq!(legs_of(&bed, &question(&f, 1), R::FwdEstablished), to_one("a"));
        assert_eq!(claim(&bed, "b", &f, 1), Claimed { pinned: 0, owned: 1, ..PINNED });

        legs_of(&bed, &question(&f, 2), R::FwdNewChain);
        assert_eq!(wait_for_promotion(&bed, &question(&f, 2)).reason, R::FwdPromoted);
        assert_eq!(claim(&bed, "b", &f, 2), Claimed { pinned: 0, known: 1, ..PINNED });
        assert_eq!(claim(&bed, "a", &f, 2), PINNED, "that it is b's was a guess");
        assert_eq!(legs_of(&bed, &question(&f, 2), R::FwdEstablished), to_one("a"));
        assert_eq!(claim(&bed, "b", &f, 2), Claimed { pinned: 0, owned: 1, ..PINNED }, "this is none");
    }
}
