//! A service of a host goes down and the host does not: its flows are forgotten, and no others.

use slr_dataplane::reason::RouterReason as R;
use slr_dataplane::router::{Part, Router, RouterOptions};
use slr_model::{FlowKey, HostState};

use crate::common::site;
use crate::common::{Bed, site::remove_host};
use crate::scene::{self, FAMILIES, OTHER, To, begin, cpu_ns, key, name, packets, pin};

const TARGETS: [To; 6] = [To::Tcp(80), To::Tcp(81), To::Tcp(8080), To::Udp(53), To::Udp(80), To::Udp(8080)];
const PINNED: u16 = 1000;
const PENDING: u16 = 2000;

/// One pinned and one pending flow to everything in both subnets.
fn full(ends: (&'static str, &'static str, &'static str), other: (&'static str, &'static str, &'static str)) -> Bed {
    let bed = Bed::new(scene::desired());
    for to in TARGETS {
        for ends in [ends, other] {
            pin(&bed, ends, PINNED, to);
            begin(&bed, ends, PENDING, to);
        }
    }
    bed
}

/// A flow that is known goes on; one that was forgotten begins anew, or is an orphan.
fn is_known(bed: &Bed, ends: (&str, &str, &str), port: u16, to: To) -> bool {
    let [first, second] = packets(ends, port, to);
    match bed.send(if port == PINNED { &second } else { &first }).reason {
        R::FwdEstablished if port == PINNED => true,
        R::FwdPending | R::FwdPromoted if port == PENDING => true,
        R::FwdNew | R::FwdOrphanRing => false,
        other => panic!("{ends:?} {port} {to:?}: {other:?}"),
    }
}

#[test]
fn only_the_flows_of_that_service_on_that_host_are_forgotten() {
    // What is un-pinned on host a, and which flows that covers. 8080 of TCP is at b.
    let table: [(&str, &[To]); 5] = [
        ("tcp/80", &[To::Tcp(80)]),
        ("udp/53", &[To::Udp(53)]),
        ("tcp/81", &[To::Tcp(81)]),
        ("tcp/8080", &[]),
        ("any", &[To::Tcp(81), To::Udp(80), To::Udp(8080)]),
    ];
    for (ends, other) in FAMILIES.into_iter().zip(OTHER) {
        for (service, covered) in table {
            let bed = full(ends, other);
            let forgotten = bed.router.unpin(&name("a"), &key(service, ends.2)).expect("flows can be forgotten");
            assert_eq!(forgotten, 2 * covered.len() as u64, "{service}@{}", ends.2);
            for to in TARGETS {
                for port in [PINNED, PENDING] {
                    let expected = !covered.contains(&to);
                    assert_eq!(is_known(&bed, ends, port, to), expected, "{service}: {to:?} {port}");
                    assert!(is_known(&bed, other, port, to), "{service}: {to:?} {port} of another subnet");
                }
            }
        }
    }
}

#[test]
fn many_services_and_hosts_are_forgotten_in_one_walk() {
    let (ends, other) = (FAMILIES[0], OTHER[1]);
    let bed = full(ends, other);
    let (a, b) = (name("a"), name("b"));
    let (http, rest, proxy) = (key("tcp/80", ends.2), key("any", other.2), key("tcp/8080", other.2));
    let nobody = (name("nobody"), key("any", "192.0.99.0/24"));
    let which = [(&a, &http), (&a, &rest), (&b, &proxy), (&nobody.0, &http), (&a, &nobody.1)];
    assert_eq!(bed.router.unpin_all(which).expect("flows can be forgotten"), 2 * (1 + 3 + 1));
    assert_eq!(bed.router.unpin_all(which).expect("flows can be forgotten"), 0, "nothing is left of them");
    assert_eq!(bed.router.unpin_all([]).expect("nothing to do"), 0);
}

#[test]
fn flows_are_forgotten_by_their_keys() {
    for (ends, other) in FAMILIES.into_iter().zip(OTHER) {
        let bed = full(ends, other);
        let forgotten =
            bed.router.forget_flows(|flow| flow.client().port() == PINNED && flow.virtual_host().port() == 80);
        assert_eq!(forgotten.expect("flows can be forgotten"), 2 * 2, "TCP and UDP in two subnets");
        for to in TARGETS {
            assert_eq!(is_known(&bed, ends, PINNED, to), !matches!(to, To::Tcp(80) | To::Udp(80)), "{to:?}");
            assert!(is_known(&bed, ends, PENDING, to), "{to:?} has not shown two ends, and is another flow");
        }
        assert!(bed.router.forget_flows(|_| true).expect("all can be forgotten") > 0);
        assert_eq!(bed.router.forget_flows(|_| true).expect("nothing to do"), 0);
    }
}

#[test]
fn what_is_unpinned_is_placed_by_the_routes_that_are() {
    for ends in FAMILIES {
        let mut bed = Bed::new(scene::desired());
        pin(&bed, ends, PINNED, To::Udp(53));
        pin(&bed, ends, PINNED, To::Tcp(80));
        bed.change(|desired| {
            for route in site::routes_mut(desired).filter(|r| r.service.is_some_and(|s| s.to_string() == "udp/53")) {
                *route = site::route(Some("near"), Some("udp/53"), &["b"]);
            }
        });
        bed.router.unpin(&name("a"), &key("udp/53", ends.2)).expect("flows can be forgotten");
        let host = |frame: &[u8]| crate::common::outer::read(&bed.send(frame).packet, &bed.desired).host;
        assert_eq!(host(&packets(ends, PINNED, To::Udp(53))[0]), "b");
        assert_eq!(host(&packets(ends, PINNED, To::Tcp(80))[1]), "a", "the service beside it stays");
    }
}

#[test]
fn flows_of_an_earlier_owner_of_the_index_are_not_counted_as_the_new_ones() {
    let ends = FAMILIES[0];
    let mut bed = Bed::new(scene::desired());
    pin(&bed, ends, PINNED, To::Tcp(80));
    bed.change(|desired| remove_host(desired, "a"));
    bed.change(|desired| *desired = scene::desired());
    pin(&bed, ends, PINNED + 1, To::Tcp(80));
    assert_eq!(bed.router.unpin(&name("a"), &key("tcp/80", ends.2)).expect("flows can be forgotten"), 1);
}

/// What a walk finds of hosts that went down.
fn lost(bed: &Bed, hosts: &[&str]) -> Vec<String> {
    let hosts: Vec<_> = hosts.iter().map(|host| name(host)).collect();
    let mut walk = bed.router.walk_lost_flows(&hosts).expect("a walk begins");
    let mut found = Vec::new();
    loop {
        match bed.router.next_lost_flows(&mut walk).expect("it goes on") {
            Part::Read(flows) => found.extend(flows.iter().map(ToString::to_string)),
            Part::NotYet => std::thread::yield_now(),
            Part::Over => break,
        }
    }
    found.sort();
    found
}

#[test]
fn connections_of_a_host_that_went_down_are_found_until_they_are_another_hosts() {
    for (ends, other) in FAMILIES.into_iter().zip(OTHER) {
        let mut bed = full(ends, other);
        assert_eq!(lost(&bed, &["a", "b"]), [""; 0], "nobody is down");
        bed.change(|desired| site::host_mut(desired, "a").state = HostState::Down);
        assert_eq!(lost(&bed, &["b"]), [""; 0]);
        // Of TCP alone: a client of UDP answers nothing that is not its server's.
        let of_a = lost(&bed, &["a", "b"]);
        assert_eq!(of_a.len(), 2 * 2, "{of_a:?}");
        assert!(of_a.iter().all(|flow| flow.starts_with("tcp") && !flow.ends_with(":8080")), "{of_a:?}");
        let one: FlowKey = of_a[0].parse().expect("a flow");
        assert_eq!(bed.router.way_of(&one).expect("it is looked up"), None);
        let claimed = bed.router.pin_found(&name("b"), one).expect("it is pinned");
        assert_eq!(claimed.pinned, 1);
        assert!(bed.router.way_of(&one).expect("it is looked up").is_some());
        assert_eq!(lost(&bed, &["a"]), of_a[1..], "that one has a host again");
    }
}

/// Prints what it costs; see docs/measuring.md for what such figures are worth.
#[test]
fn a_walk_over_many_flows_finds_the_few() {
    const FLOWS: u32 = 150_000; // less than what is pressure for a sweep
    slr_testkit::require_root();
    let options = RouterOptions { pin_dir: None, flows_per_family: 1 << 18, new_flows_per_family: 1 << 14 };
    let (router, _) = Router::load(&options).expect("the program loads");
    let mut desired = scene::desired();
    desired.config.promote_per_s = 1_000_000_000;
    let mut bed = Bed::around(router, desired);
    let ends = FAMILIES[0];
    for flow in 0..FLOWS {
        let to = if flow % 100 == 0 { To::Tcp(80) } else { To::Tcp(1000 + (flow / 60_000) as u16) };
        for mut packet in packets(ends, 1024 + (flow % 60_000) as u16, to) {
            let client = 0x0a00_0000 + flow;
            packet[26..30].copy_from_slice(&client.to_be_bytes());
            bed.router.test_run(&packet).expect("the program runs");
        }
    }
    let count = bed.router.flow_count().expect("flows can be counted");
    assert_eq!(count.pinned_v4, u64::from(FLOWS));
    let timed = |what: &str, walk: &mut dyn FnMut() -> u64| {
        let start = cpu_ns();
        let result = walk();
        let ns = (cpu_ns() - start) / u64::from(FLOWS);
        println!("{what}: {result} of {FLOWS} flows, {ns} ns of CPU a flow: {ns} ms a million");
        result
    };
    let unpinned = timed("unpin", &mut || bed.router.unpin(&name("a"), &key("tcp/80", ends.2)).expect("a walk"));
    assert_eq!(unpinned, u64::from(FLOWS / 100));
    let policy = Default::default();
    let swept = timed("sweep", &mut || bed.router.sweep(&policy).expect("a walk").pinned);
    assert_eq!(swept, u64::from(FLOWS - FLOWS / 100));
    let shares = bed.router.flow_shares();
    assert_eq!(shares.iter().map(|share| share.pinned).sum::<u64>(), swept, "{shares:?}");
}
