//! The programs that capture: which packets, how many, and what is told of those that are missing. That they do with packets what the
//! plain ones do is tested with the router's fixtures, each of which runs through both, and in `host`.

#[path = "../common/mod.rs"]
mod common;
mod host;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use slr_dataplane::capture::{Capture, Captured, Counts, Filter};
use slr_dataplane::reason::RouterReason;
use slr_dataplane::router::{Desired, XdpVerdict};
use slr_model::{OrphanPolicy, Weight};
use slr_testkit::packet::{ACK, Packet, SYN, pkt};

use common::Bed;
use common::site::{
    self, A4, A6, ANY4, ANY6, C4, C6, FOREIGN4, GATEWAY_MAC, OUR_MAC, STRANGER4, STRANGER6, TUNNEL4, TUNNEL6,
    UPSTREAM4, V4,
};

const LONG: Duration = Duration::from_secs(600);

fn ip(client: &str, to: &str) -> Packet {
    pkt().eth(OUR_MAC, GATEWAY_MAC).ip(client.parse().unwrap(), to.parse().unwrap())
}

fn syn(client: &str, port: u16, to: &str, vport: u16) -> Vec<u8> {
    ip(client, to).tcp(port, vport).flags(SYN).build()
}

fn setting() -> (Bed, Capture) {
    let bed = Bed::new(site::site());
    let capture = bed.router.capture().unwrap();
    (bed, capture)
}

/// What is captured of these frames under a filter.
fn captured(capture: &mut Capture, filter: &Filter, frames: &[Vec<u8>]) -> Vec<Captured> {
    capture.set(filter, LONG).unwrap();
    for frame in frames {
        capture.test_run(frame).unwrap();
    }
    capture.take().unwrap()
}

#[test]
fn each_filter_lets_its_packets_through_and_no_others() {
    let (bed, mut capture) = setting();
    let hop = bed.router.hops().unwrap().iter().find(|hop| hop.name.as_deref() == Some("v")).unwrap().hop;
    let frames = [
        syn(C4, 1, A4, 80),
        syn("198.51.101.1", 2, V4, 80),
        syn(C6, 3, A6, 443),
        syn(C4, 0, A4, 80),
        syn(C4, 4, FOREIGN4, 80),
    ];
    let mut ports = |filter: Filter| {
        let found = captured(&mut capture, &filter, &frames);
        // The client's port tells the frame.
        let port = |c: &Captured| c.before.bytes[if c.before.bytes[12] == 8 { 35 } else { 55 }];
        found.iter().map(port).collect::<Vec<_>>()
    };
    let all = Filter::default;
    assert_eq!(ports(all()), [1, 2, 3, 0, 4]);
    let reason = |reason| Filter { reasons: vec![reason as u32], ..all() };
    assert_eq!(ports(reason(RouterReason::DropPortZero)), [0]);
    assert_eq!(ports(reason(RouterReason::PassNotOurs)), [4]);
    assert_eq!(ports(Filter { hop: Some(hop), ..all() }), [2]);
    let client = |prefix: &str| Filter { client: Some(prefix.parse().unwrap()), ..all() };
    assert_eq!(ports(client("198.51.100.0/24")), [1, 0, 4]);
    assert_eq!(ports(client("198.51.100.0/23")), [1, 2, 0, 4]);
    assert_eq!(ports(client("2001:db8:c::7/128")), [3]);
    assert_eq!(ports(client("::/0")).len(), 5, "IPv4 addresses are mapped");
    let virtual_host = |to: &str, port| Filter { virtual_host: Some((to.parse().unwrap(), port)), ..all() };
    assert_eq!(ports(virtual_host(A4, None)), [1, 0]);
    assert_eq!(ports(virtual_host(A6, Some(443))), [3]);
    assert!(ports(virtual_host(A6, Some(80))).is_empty());
    assert!(ports(Filter { hop: Some(hop), ..client("198.51.100.0/24") }).is_empty());
}

/// Tunnel packets that are dropped, each for the client's datagram inside it; and some in which there is none.
#[test]
fn what_is_dropped_in_a_tunnel_is_found_by_its_client_and_by_who_sent_it() {
    let (_bed, mut capture) = setting();
    let to_us = |from: &str| ip(from, TUNNEL4);
    let inner = |outer: Packet| outer.ipv4(C4, A4).tcp(1, 80).flags(SYN).build();
    let nested = |packet: Packet, times| (0..times).fold(packet, |packet, _| packet.ipv4(UPSTREAM4, TUNNEL4));
    let vlan = pkt().eth(OUR_MAC, GATEWAY_MAC).vlan(7).ipv4(STRANGER4, TUNNEL4);
    let over_v6 = ip(STRANGER6, TUNNEL6).destination_options(&[4, 1, 4]).ipv4(C4, A4).tcp(1, 80).flags(SYN).build();
    let mut cut = inner(to_us(UPSTREAM4));
    cut.truncate(14 + 20 + 19);
    cut[16..18].copy_from_slice(&39u16.to_be_bytes());
    use RouterReason as R;
    // A frame, its reason; whether it is found by its client, and by whose tunnel it came in.
    let table = [
        (inner(to_us(STRANGER4)), R::DropTunnelStranger, true, STRANGER4),
        (inner(vlan), R::DropTunnelStranger, true, STRANGER4),
        (over_v6, R::DropTunnelStranger, true, STRANGER6),
        (inner(to_us(UPSTREAM4).fragment(0, true)), R::DropTunnelFragment, true, UPSTREAM4),
        (inner(to_us(UPSTREAM4).fragment(1_480, false)), R::DropTunnelFragment, false, UPSTREAM4),
        (inner(to_us(UPSTREAM4).tos(3)), R::DropEcn, true, UPSTREAM4),
        (inner(nested(to_us(UPSTREAM4), 1)), R::DropTunnelNested, true, UPSTREAM4),
        (inner(nested(to_us(UPSTREAM4), 5)), R::DropTunnelNested, true, UPSTREAM4),
        (to_us(UPSTREAM4).ipv4(C4, A4).version(6).tcp(1, 80).build(), R::DropMalformedIp, false, UPSTREAM4),
        (cut, R::DropTunnelInner, false, UPSTREAM4),
    ];
    for (frame, reason, has_client, sender) in table {
        let client = |of: &str| Filter { client: Some(of.parse::<IpAddr>().unwrap().into()), ..Filter::default() };
        let mut found = |of: &str| {
            let found = captured(&mut capture, &client(of), std::slice::from_ref(&frame));
            found.iter().map(|packet| RouterReason::ALL[packet.reason as usize]).collect::<Vec<_>>()
        };
        assert_eq!(found(sender), [reason], "{reason:?} by its sender");
        assert_eq!(found(C4).len(), usize::from(has_client), "{reason:?} by its client");
        assert!(found("198.51.100.8").is_empty(), "{reason:?} is nobody else's");
    }
    // Of what goes on, who sent the tunnel is not whose packet it is.
    let goes_on = [inner(to_us(UPSTREAM4))];
    let client = |of: &str| Filter { client: Some(of.parse().unwrap()), ..Filter::default() };
    assert_eq!(captured(&mut capture, &client("198.51.100.7/32"), &goes_on).len(), 1);
    assert!(captured(&mut capture, &client("10.9.0.5/32"), &goes_on).is_empty());
}

/// The headers of a chain are those of its hosts' family, whatever the client's is.
#[test]
fn an_orphan_is_its_clients_in_whatever_tunnels_it_goes() {
    let only = |desired: &mut Desired, name: &str| {
        for (member, weight) in site::members_mut(desired) {
            *weight = if &**member == name { Weight::default() } else { Weight::ZERO };
        }
    };
    let mut desired = site::site();
    desired.subnets.iter_mut().for_each(|subnet| subnet.orphan = OrphanPolicy::Chain);
    only(&mut desired, "a");
    let mut bed = Bed::new(desired);
    bed.change(|desired| only(desired, "b"));
    let mut capture = bed.router.capture().unwrap();
    for (client, to) in [(C4, ANY4), (C6, ANY6)] {
        let filter = Filter { client: Some(client.parse::<IpAddr>().unwrap().into()), ..Filter::default() };
        let found = captured(&mut capture, &filter, &[ip(client, to).tcp(1, 80).flags(ACK).build()]);
        let reasons: Vec<_> = found.iter().map(|packet| packet.reason).collect();
        assert_eq!(reasons, [RouterReason::FwdOrphanChain as u32], "{client}");
    }
}

#[test]
fn frames_are_cut_and_their_lengths_are_not() {
    let (_bed, mut capture) = setting();
    let frame = ip(C4, A4).tcp(1, 80).flags(SYN).payload_len(900).build();
    for snap in [14, 60, 255, 256, 1_600] {
        let found = captured(&mut capture, &Filter { snap, ..Filter::default() }, std::slice::from_ref(&frame));
        let (before, after) = (&found[0].before, found[0].after.as_ref().unwrap());
        let kept = frame.len().min(snap as usize);
        assert_eq!((before.len as usize, &before.bytes[..]), (frame.len(), &frame[..kept]));
        assert_eq!((after.len as usize, after.bytes.len()), (frame.len() + 20, (frame.len() + 20).min(snap as usize)));
    }
}

#[test]
fn a_sample_is_near_its_share_and_the_others_go_the_same_way() {
    let (_bed, mut capture) = setting();
    let frame = syn(C4, 0, A4, 80);
    const PACKETS: usize = 20_000;
    for (share, low, high) in [("1/10", 1_800, 2_200), ("50%", 9_600, 10_400), ("1%", 130, 280)] {
        let filter = Filter { share: share.parse().unwrap(), per_s: 1_000_000, ..Filter::default() };
        capture.set(&filter, LONG).unwrap();
        let mut found = 0;
        for n in 0..PACKETS {
            assert_eq!(capture.test_run(&frame).unwrap().verdict, XdpVerdict::Drop);
            if n % 500 == 499 {
                found += capture.take().unwrap().len();
            }
        }
        assert!((low..high).contains(&found), "{found} of {PACKETS} at {share}");
    }
}

#[test]
fn beyond_the_rate_packets_are_counted_and_not_captured() {
    let (_bed, mut capture) = setting();
    let frame = syn(C4, 0, A4, 80);
    const PACKETS: u64 = 5_000;
    let begun = Instant::now();
    let found = captured(
        &mut capture,
        &Filter { per_s: 100, ..Filter::default() },
        &vec![frame; usize::try_from(PACKETS).unwrap()],
    );
    // A burst of a second's worth, and what the time that it took allows.
    let most = 100.0 + begun.elapsed().as_secs_f64() * 100.0 + 1.0;
    let counts = capture.counts().unwrap();
    assert!(found.len() >= 100 && found.len() as f64 <= most, "{} captured, {most} allowed", found.len());
    assert_eq!(counts, Counts { written: found.len() as u64, limited: PACKETS - found.len() as u64, lost: 0 });
}

#[test]
fn nothing_waits_for_a_reader_that_is_slow_and_what_is_lost_is_counted() {
    let (bed, mut capture) = setting();
    let filter = Filter { snap: 1_600, per_s: 1_000_000, ..Filter::default() };
    let frame = ip(C4, A4).tcp(1, 80).flags(SYN).payload_len(1_300).build();
    let packets: Vec<_> = std::iter::repeat_n(frame, 2_000).collect();
    capture.set(&filter, LONG).unwrap();
    let before = bed.router.reasons().unwrap();
    for packet in &packets {
        assert_eq!(capture.test_run(packet).unwrap().verdict, XdpVerdict::Tx);
    }
    let after = bed.router.reasons().unwrap();
    let forwarded: u64 = after.iter().zip(&before).map(|((_, a), (_, b))| a.packets - b.packets).sum();
    assert_eq!(forwarded, 2_000, "each has its reason");
    let counts = capture.counts().unwrap();
    assert!(counts.lost > 1_000 && counts.written > 500, "{counts:?}");
    assert_eq!(counts.written + counts.lost, 2_000);
    assert_eq!(capture.take().unwrap().len() as u64, counts.written);
    // There is room again.
    assert_eq!(captured(&mut capture, &filter, &packets[..1]).len(), 1);
}

#[test]
fn nothing_is_captured_once_nobody_has_said_that_he_is_there() {
    let (_bed, mut capture) = setting();
    let frame = syn(C4, 0, A4, 80);
    capture.test_run(&frame).unwrap();
    capture.set(&Filter::default(), Duration::ZERO).unwrap();
    capture.test_run(&frame).unwrap();
    assert_eq!(capture.take().unwrap(), []);
    assert_eq!(captured(&mut capture, &Filter::default(), &[frame]).len(), 1);
}
