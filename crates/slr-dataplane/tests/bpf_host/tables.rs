//! What the tables hold after one desired state and the next.

use ipnet::IpNet;
use slr_dataplane::host::{HostApplyError, HostDesired};
use slr_dataplane::reason::HostReason::*;

use crate::bed::*;

#[test]
fn a_new_state_is_reached_from_the_old_one_and_counters_of_what_stays_stay() {
    let mut bed = Bed::new();
    let packet = |virtual_address: &str| frame().ipv4(ROUTER4, US4).ipv4(C4, virtual_address).udp(1, 2).build();
    assert_eq!(bed.send(&packet(V4)).0, Deliver);
    assert_eq!(bed.send(&packet(ELSEWHERE4)).0, DropNotServed);

    let mut next = desired();
    next.subnets = ["192.0.2.0/24", "198.51.100.0/24"].map(|net| net.parse().unwrap()).into();
    next.routers = vec!["10.1.255.0/25".parse().unwrap()];
    let applied = bed.host.apply(&next).unwrap();
    let text = |nets: &[slr_model::VirtualSubnet]| nets.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(text(&applied.subnets_added), ["198.51.100.0/24"]);
    assert_eq!(text(&applied.subnets_removed), ["2001:db8:100::/48"]);
    assert_eq!(applied.peers_removed.len(), 2);
    assert_eq!(bed.send(&packet(ELSEWHERE4)).0, Deliver);
    let usage = bed.host.usage().unwrap();
    let received: Vec<_> = usage.iter().map(|u| (u.subnet.to_string(), u.received.packets)).collect();
    assert_eq!(
        received,
        [("192.0.2.0/24".to_owned(), 1), ("198.51.100.0/24".to_owned(), 1)],
        "no counter is inherited"
    );
    let from_the_other_half = frame().ipv4("10.1.255.200", US4).ipv4(C4, V4).udp(1, 2).build();
    assert_eq!(bed.send(&from_the_other_half).0, DropStranger);

    let again = bed.host.apply(&next).unwrap();
    assert_eq!(again, Default::default(), "nothing to do the second time");
}

#[test]
fn peers_and_their_rights_can_be_read_back() {
    let mut both = desired();
    both.site_hosts.push("10.1.255.9".parse().unwrap());
    let bed = Bed::with(&both);
    let peers = bed.host.peers().unwrap();
    let rights = |prefix: &str| {
        let peer = peers.iter().find(|peer| peer.prefix.to_string() == prefix).unwrap();
        (peer.router, peer.site_host)
    };
    assert_eq!(rights("10.1.255.0/24"), (true, false));
    assert_eq!(rights("10.1.255.9/32"), (true, true), "a host within a router's prefix loses none of its rights");
    assert_eq!(rights("fd00:1:12::2/128"), (false, true));
}

#[test]
fn more_than_the_tables_hold_is_refused_whole() {
    let mut bed = Bed::new();
    let subnets = (0..1025u32).map(|n| format!("10.{}.{}.0/24", n / 256, n % 256).parse().unwrap()).collect();
    let many = HostDesired { subnets, ..desired() };
    assert!(matches!(bed.host.apply(&many), Err(HostApplyError::TooMany { given: 1025, .. })));
    assert_eq!(bed.send(&frame().ipv4(ROUTER4, US4).ipv4(C4, V4).udp(1, 2).build()).0, Deliver);
}

#[test]
fn more_prefixes_than_are_scanned_are_found_all_the_same_the_longest_first() {
    let mut many = desired();
    many.subnets = (0..20)
        .flat_map(|n| [format!("10.50.{n}.0/24"), format!("2001:db8:5{n:02x}::/48")])
        .map(|s| s.parse().unwrap())
        .collect();
    many.subnets.push("10.50.0.0/16".parse().unwrap());
    for n in 0..20 {
        many.routers
            .extend([format!("10.7.{n}.0/24"), format!("fd07:{n:x}::/32")].map(|s| s.parse::<IpNet>().unwrap()));
    }
    let mut few = desired();
    few.subnets = ["10.50.3.0/24", "10.50.0.0/16", "2001:db8:503::/48"].map(|s| s.parse().unwrap()).into();
    few.routers = ["10.7.5.0/24", "fd07:5::/32"].map(|s| s.parse().unwrap()).into();
    for desired in [many, few] {
        let bed = Bed::with(&desired);
        let outcome = |source, us, client, to| bed.send(&ip(ip(frame(), source, us), client, to).udp(1, 2).build()).0;
        assert_eq!(outcome("10.7.5.1", US4, C4, "10.50.3.9"), Deliver);
        assert_eq!(outcome("10.7.5.1", US4, C4, "10.50.200.9"), Deliver, "in the wider subnet");
        assert_eq!(outcome("fd07:5::1", US6, C6, "2001:db8:503::9"), Deliver);
        assert_eq!(outcome("10.7.99.1", US4, C4, "10.50.3.9"), DropStranger);
        assert_eq!(outcome("10.7.5.1", US4, C4, "10.51.0.1"), DropNotServed);
        assert_eq!(outcome("10.7.5.1", US4, "10.50.9.9", "10.50.3.9"), DropSpoofedSource);
        let of = |text: &str| {
            bed.host.usage().unwrap().iter().find(|u| u.subnet.to_string() == text).unwrap().received.packets
        };
        assert_eq!((of("10.50.3.0/24"), of("10.50.0.0/16"), of("2001:db8:503::/48")), (1, 1, 1));
    }
}
