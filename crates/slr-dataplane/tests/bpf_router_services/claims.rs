//! Hosts claim flows that nobody remembers: they are pinned, and no host takes another's.

use slr_dataplane::reason::RouterReason as R;
use slr_dataplane::router::{Claimed, Router, RouterOptions};
use slr_model::{FlowKey, HostState};
use slr_testkit::packet::{ACK, FIN};

use crate::common::{Bed, outer, site};
use crate::scene::{self, FAMILIES, To, begin, name, packets, pin};

/// Clients of each class of [`site::mixed`] and of none, by family.
const CLIENTS: [[&str; 3]; 2] =
    [[site::C4, "198.51.100.8", "198.18.0.1"], [site::C6, "2001:db8:c::8", "2001:db8:d::1"]];
/// Virtual addresses of subnets with one route, with a list of ports, with routes by service and class.
const SERVED: [[&str; 3]; 2] = [[site::ANY4, site::LISTED4, site::MIXED4], [site::ANY6, site::LISTED6, site::MIXED6]];

fn flow((client, address, _): (&str, &str, &str), port: u16, to: To) -> FlowKey {
    let end = |address: &str, port| std::net::SocketAddr::new(address.parse().unwrap(), port);
    let (protocol, vport) = match to {
        To::Tcp(vport) => (slr_model::Protocol::Tcp, vport),
        To::Udp(vport) => (slr_model::Protocol::Udp, vport),
    };
    FlowKey::new(end(client, port), end(address, vport), protocol).unwrap()
}

fn claim(bed: &Bed, host: &str, flow: FlowKey) -> Claimed {
    bed.router.claim(&name(host), &[flow]).unwrap()
}

/// By a host that its slot does not have now.
const PINNED: Claimed =
    Claimed { pinned: 1, same_answer: 0, known: 0, owned: 0, not_served: 0, no_hop: 0, table_full: 0 };

fn host_of(bed: &Bed, frame: &[u8]) -> String {
    let sent = bed.send(frame);
    assert_eq!(sent.reason, R::FwdEstablished);
    outer::read(&sent.packet, &bed.desired).host
}

#[test]
fn a_claimed_flow_goes_to_who_claimed_it() {
    for ends in FAMILIES {
        let bed = Bed::new(scene::desired());
        // The ring points to a; the socket is at b. Never seen, and begun a moment ago.
        for (port, begun) in [(1000, false), (1001, true)] {
            let [_, second] = packets(ends, port, To::Tcp(80));
            if begun {
                begin(&bed, ends, port, To::Tcp(80));
            }
            assert_eq!(claim(&bed, "b", flow(ends, port, To::Tcp(80))), PINNED);
            assert_eq!(host_of(&bed, &second), "b");
            let again = claim(&bed, "b", flow(ends, port, To::Tcp(80)));
            assert_eq!(again, Claimed { pinned: 0, known: 1, ..PINNED });
        }
        assert_eq!(claim(&bed, "v", flow(ends, 1002, To::Udp(53))), PINNED);
        assert_eq!(host_of(&bed, &packets(ends, 1002, To::Udp(53))[1]), "v");
    }
}

#[test]
fn no_host_takes_what_another_has() {
    for ends in FAMILIES {
        let mut bed = Bed::new(scene::desired());
        let (key, [_, second]) = (flow(ends, 1000, To::Tcp(80)), packets(ends, 1000, To::Tcp(80)));
        pin(&bed, ends, 1000, To::Tcp(80));
        assert_eq!(claim(&bed, "b", key), Claimed { pinned: 0, owned: 1, ..PINNED });
        assert_eq!(host_of(&bed, &second), "a");
        // Of a batch with both, only what was pinned is news: what was refused here must not reach the cluster by a mirror.
        let (free, mut told) = (flow(ends, 1009, To::Tcp(80)), Vec::new());
        let both = bed.router.claim_each(&name("b"), &[key, free], |flow| told.push(*flow)).unwrap();
        assert_eq!((both, told), (Claimed { owned: 1, ..PINNED }, vec![free]));
        assert_eq!(claim(&bed, "a", key), Claimed { pinned: 0, known: 1, ..PINNED });

        // Its owner goes down: whoever has it now may say so.
        bed.change(|desired| site::host_mut(desired, "a").state = HostState::Down);
        assert_eq!(claim(&bed, "a", key), Claimed { pinned: 0, no_hop: 1, ..PINNED });
        assert_eq!(claim(&bed, "b", key), PINNED);
        bed.change(|desired| site::host_mut(desired, "a").state = HostState::Active);
        assert_eq!(host_of(&bed, &second), "b");
    }
}

/// What decides which host a new flow gets is asked of the program: it places each flow first.
#[test]
fn the_host_that_the_ring_gives_the_flow_now_is_the_same_answer_and_no_other() {
    let mut bed = Bed::new(site::site());
    let (mut asked, mut hosts) = (0, std::collections::BTreeSet::new());
    let tos = [To::Tcp(80), To::Tcp(443), To::Udp(53), To::Udp(54)];
    let all = CLIENTS.iter().zip(SERVED).flat_map(|(clients, served)| {
        clients.iter().flat_map(move |client| served.map(|address| (*client, address, "")))
    });
    for (ends, to) in all.flat_map(|ends| tos.map(|to| (ends, to))) {
        for port in 1000..1008 {
            let sent = bed.send(&packets(ends, port, to)[0]);
            if sent.reason == R::PassNotServed {
                continue;
            }
            let placed = outer::read(&sent.packet, &bed.desired).host;
            let other = ["a", "b", "v"].into_iter().find(|host| *host != placed).expect("three hosts");
            assert_eq!(claim(&bed, other, flow(ends, port, to)), PINNED, "{ends:?} {port} {to:?}");
            let key = flow(ends, port + 100, to);
            let placed = outer::read(&bed.send(&packets(ends, port + 100, to)[0]).packet, &bed.desired).host;
            assert_eq!(claim(&bed, &placed, key), Claimed { same_answer: 1, ..PINNED }, "{key}");
            asked += 1;
            hosts.insert(placed);
        }
    }
    assert!(asked > 400 && hosts.len() == 3, "{asked} flows of {hosts:?}");

    // The ring has changed since the flow began: its host is no longer the answer, whoever had the slot before.
    for ends in FAMILIES.map(|(client, ..)| (client, if client.contains(':') { site::A6 } else { site::A4 }, "")) {
        let sent = bed.send(&packets(ends, 1000, To::Tcp(80))[0]);
        assert_eq!(outer::read(&sent.packet, &bed.desired).host, "a");
    }
    bed.change(|desired| {
        for route in site::routes_mut(desired) {
            route.members = vec![(name("a"), slr_model::Weight::ZERO), (name("b"), slr_model::Weight::default())];
        }
    });
    for ends in FAMILIES.map(|(client, ..)| (client, if client.contains(':') { site::A6 } else { site::A4 }, "")) {
        assert_eq!(claim(&bed, "a", flow(ends, 1000, To::Tcp(80))), PINNED);
        assert_eq!(claim(&bed, "b", flow(ends, 1001, To::Tcp(80))), Claimed { same_answer: 1, ..PINNED });
    }
}

#[test]
fn a_flow_that_its_client_has_ended_may_be_claimed_anew() {
    let ends = FAMILIES[0];
    let bed = Bed::new(scene::desired());
    let key = flow(ends, 1000, To::Tcp(80));
    pin(&bed, ends, 1000, To::Tcp(80));
    let parse = |text: &str| text.parse().expect("an address");
    let start = slr_testkit::packet::pkt().eth(site::OUR_MAC, site::GATEWAY_MAC).ip(parse(ends.0), parse(ends.1));
    bed.send(&start.tcp(1000, 80).flags(FIN | ACK).seq(8).build());
    assert_eq!(claim(&bed, "b", key), PINNED);
}

#[test]
fn what_is_not_served_here_or_by_nobody_known_is_refused() {
    let bed = Bed::new(site::site());
    let key = |address: &str, port| flow((site::C4, address, ""), 1000, To::Tcp(port));
    let refused = |host: &str, key| claim(&bed, host, key);
    assert_eq!(refused("a", key(site::FOREIGN4, 80)), Claimed { pinned: 0, not_served: 1, ..PINNED });
    assert_eq!(refused("a", key(site::LISTED4, 81)), Claimed { pinned: 0, not_served: 1, ..PINNED });
    assert_eq!(refused("a", key(site::LISTED4, 80)), Claimed { same_answer: 1, ..PINNED });
    assert_eq!(refused("nobody", key(site::ANY4, 80)), Claimed { pinned: 0, no_hop: 1, ..PINNED });
}

#[test]
fn a_full_table_refuses_and_keeps_what_it_has() {
    slr_testkit::require_root();
    let options = RouterOptions { flows_per_family: 4, ..RouterOptions::default() };
    let (mut router, _) = Router::load(&options).unwrap();
    router.apply(&scene::desired()).unwrap();
    let flows: Vec<FlowKey> = (1000..1100).map(|port| flow(FAMILIES[0], port, To::Tcp(80))).collect();
    let first = router.claim(&name("b"), &flows).unwrap();
    assert_eq!(first.pinned + first.table_full, 100);
    assert!(first.table_full > 0, "{first:?}");
    let again = router.claim(&name("b"), &flows).unwrap();
    assert_eq!((again.known, again.pinned), (first.pinned, 0), "{again:?}");
}
