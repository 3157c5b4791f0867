//! Hosts claim flows that nobody remembers: they are pinned, and no host takes another's.

use slr_dataplane::reason::RouterReason as R;
use slr_dataplane::router::{Claimed, Router, RouterOptions};
use slr_model::{FlowKey, HostState};
use slr_testkit::packet::{ACK, FIN};

use crate::common::{Bed, outer, site};
use crate::scene::{self, FAMILIES, To, begin, name, packets, pin};

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

const PINNED: Claimed = Claimed { pinned: 1, known: 0, owned: 0, not_served: 0, no_hop: 0, table_full: 0 };

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
    assert_eq!(refused("a", key(site::LISTED4, 80)), PINNED);
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
