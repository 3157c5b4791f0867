//! The host's program that captures: what it does with packets is what the plain one does, and it tells the client and the virtual
//! address behind all tunnel headers.

use std::time::Duration;

use slr_dataplane::capture::{Action, Filter, SNAP_MAX};
use slr_dataplane::host::{Host, HostDesired, HostOptions, XdpVerdict};
use slr_dataplane::reason::{HostReason, Verdict};
use slr_testkit::packet::{Packet, SYN, pkt};

const US4: &str = "10.1.11.2";
const US6: &str = "fd00:1:11::2";
const ROUTER4: &str = "10.1.255.7";
const ROUTER6: &str = "fd00:1:ff::7";
const OTHER4: &str = "10.1.12.2";
const C4: &str = "203.0.113.7";
const C6: &str = "2001:db8:c::7";
const V4: &str = "192.0.2.10";
const V6: &str = "2001:db8:100::10";

fn ip(packet: Packet, source: &str, destination: &str) -> Packet {
    packet.ip(source.parse().unwrap(), destination.parse().unwrap())
}

fn tunnel(source: &str, us: &str) -> Packet {
    ip(pkt().eth("02:00:00:00:00:aa", "02:00:00:00:00:01"), source, us)
}

/// Frames and the reasons that they end by.
fn frames() -> Vec<(Vec<u8>, HostReason)> {
    let syn = |packet: Packet| packet.tcp(40_000, 80).flags(SYN).payload_len(100).build();
    let mut cut = syn(ip(tunnel(ROUTER4, US4), C4, V4));
    cut.truncate(60);
    vec![
        (syn(ip(tunnel(ROUTER4, US4), C4, V4)), HostReason::Deliver),
        (syn(ip(tunnel(ROUTER4, US4), C6, V6)), HostReason::Deliver),
        (syn(ip(tunnel(ROUTER6, US6), C4, V4)), HostReason::Deliver),
        (syn(ip(tunnel(ROUTER6, US6), C6, V6)), HostReason::Deliver),
        (syn(ip(ip(tunnel(ROUTER4, US4), ROUTER4, OTHER4), C4, V4)), HostReason::RelayChain),
        (syn(ip(tunnel("10.8.0.5", US4), C4, V4)), HostReason::DropStranger),
        (syn(ip(tunnel(ROUTER4, US4), C4, "198.51.100.1")), HostReason::DropNotServed),
        (syn(ip(tunnel(ROUTER4, US4), V4, V4)), HostReason::DropSpoofedSource),
        (cut, HostReason::DropMalformedOuter),
        (syn(tunnel(C4, US4)), HostReason::PassNotTunnel),
    ]
}

fn desired() -> HostDesired {
    HostDesired {
        tunnel_v4: Some(US4.parse().unwrap()),
        tunnel_v6: Some(US6.parse().unwrap()),
        routers: ["10.1.255.0/24", "fd00:1:ff::/64"].map(|net| net.parse().unwrap()).into(),
        site_hosts: vec![OTHER4.parse().unwrap()],
        subnets: ["192.0.2.0/24", "2001:db8:100::/48"].map(|net| net.parse().unwrap()).into(),
        ..HostDesired::default()
    }
}

#[test]
fn packets_go_the_plain_programs_way_and_are_told_with_their_tunnel_headers() {
    slr_testkit::require_root();
    let (mut host, _) = Host::load(&HostOptions::default()).unwrap();
    host.apply(&desired()).unwrap();
    let mut capture = host.capture().unwrap();
    let filter = Filter { snap: SNAP_MAX, ..Filter::default() };
    capture.set(&filter, Duration::from_secs(600)).unwrap();
    for (frame, reason) in frames() {
        let plain = host.test_run(&frame).unwrap();
        let run = capture.test_run(&frame).unwrap();
        assert_eq!((run.verdict, &run.packet), (plain.verdict, &plain.packet), "{reason:?}");
        let found = capture.take().unwrap();
        let [packet] = &found[..] else { panic!("{reason:?}: {} captured", found.len()) };
        assert_eq!(packet.reason, reason as u32, "{reason:?}");
        assert_eq!((packet.before.len as usize, &packet.before.bytes), (frame.len(), &frame), "{reason:?}");
        let action = match run.verdict {
            XdpVerdict::Pass => Action::Pass,
            XdpVerdict::Tx => Action::Tx,
            _ => Action::Drop,
        };
        assert_eq!(packet.action, action, "{reason:?}");
        let changed = reason.verdict() != Verdict::Drop && run.packet != frame;
        assert_eq!(packet.after.as_ref().map(|after| &after.bytes), changed.then_some(&run.packet), "{reason:?}");
    }
    let counted = host.counters().unwrap().into_iter().map(|(_, counter)| counter.packets).sum::<u64>();
    assert_eq!(counted, 2 * frames().len() as u64, "each packet has one reason");

    let mut reasons = |filter: Filter| {
        capture.set(&filter, Duration::from_secs(600)).unwrap();
        frames().iter().for_each(|(frame, _)| drop(capture.test_run(frame).unwrap()));
        capture.take().unwrap().iter().map(|packet| HostReason::ALL[packet.reason as usize]).collect::<Vec<_>>()
    };
    let client = |prefix: &str| Filter { client: Some(prefix.parse().unwrap()), ..Filter::default() };
    assert_eq!(reasons(client("2001:db8:c::/64")), [HostReason::Deliver; 2]);
    // Also what is dropped before a header is taken off, or is no tunnel's.
    assert_eq!(
        reasons(client("203.0.113.0/24")),
        [
            HostReason::Deliver,
            HostReason::Deliver,
            HostReason::RelayChain,
            HostReason::DropStranger,
            HostReason::DropNotServed,
            HostReason::DropMalformedOuter,
            HostReason::PassNotTunnel
        ]
    );
    // Of a sender of tunnel packets, what is dropped.
    assert_eq!(reasons(client("10.8.0.5/32")), [HostReason::DropStranger]);
    assert_eq!(
        reasons(client("10.1.255.7/32")),
        [HostReason::DropNotServed, HostReason::DropSpoofedSource, HostReason::DropMalformedOuter]
    );
    let virtual_host = |port| Filter { virtual_host: Some((V4.parse().unwrap(), port)), ..client("203.0.113.7/32") };
    assert_eq!(
        reasons(virtual_host(Some(80))),
        [
            HostReason::Deliver,
            HostReason::Deliver,
            HostReason::RelayChain,
            HostReason::DropStranger,
            HostReason::DropMalformedOuter
        ]
    );
    assert!(reasons(virtual_host(Some(81))).is_empty());
}
