//! What a change moves is told the same beforehand and afterwards, and telling it beforehand changes nothing.

use slr_dataplane::reason::RouterReason as R;
use slr_dataplane::router::{Desired, Moved};
use slr_model::{HostState, Weight};

use crate::common::site::{self, host, host_mut, remove_host, routes_mut};
use crate::common::{Bed, outer};
use crate::scene::{FAMILIES, To, cpu_ns, packets};

type Change = fn(&mut Desired);

fn weigh(desired: &mut Desired, weights: [u16; 3]) {
    for route in routes_mut(desired) {
        for ((_, weight), new) in route.members.iter_mut().zip(weights) {
            *weight = Weight::new(new).expect("a weight");
        }
    }
}

const CHANGES: [(&str, Change); 13] = [
    ("nothing", |_| {}),
    ("weights", |desired| weigh(desired, [1, 2, 3])),
    ("a host down", |desired| host_mut(desired, "a").state = HostState::Down),
    ("a host draining", |desired| host_mut(desired, "b").state = HostState::Draining),
    ("a host gone", |desired| remove_host(desired, "v")),
    ("a host more, everywhere", |desired| {
        desired.hosts.push(host("new", "10.1.0.99", 0x99));
        routes_mut(desired).for_each(|r| r.members.push(("new".parse().unwrap(), Weight::default())));
    }),
    ("a host in the place of another", |desired| {
        remove_host(desired, "b");
        desired.hosts.push(host("new", "10.1.0.99", 0x99));
        routes_mut(desired).for_each(|r| r.members.push(("new".parse().unwrap(), Weight::default())));
    }),
    ("many hosts: another size of ring", |desired| {
        for n in 1..=40 {
            let name = format!("m{n}");
            desired.hosts.push(host(&name, &format!("10.1.2.{n}"), n));
            routes_mut(desired).for_each(|r| r.members.push((name.parse().unwrap(), Weight::default())));
        }
    }),
    ("a service's own route", |desired| {
        desired.subnets[0].routes.push(site::route(None, Some("tcp/443"), &["a"]));
    }),
    ("no routes of a class", |desired| {
        desired.subnets.iter_mut().for_each(|s| s.routes.retain(|route| route.class.is_none()));
    }),
    ("only what is listed", |desired| desired.subnets.iter_mut().for_each(|s| s.listed_only = true)),
    ("another seed", |desired| desired.config.seed += 1),
    ("a subnet more and two less", |desired| {
        desired.subnets.drain(..2);
        desired.subnets.push(site::subnet("192.0.77.0/24", &["a", "b"]));
    }),
];

#[test]
fn a_preview_tells_what_the_change_then_moves() {
    for (what, change) in CHANGES {
        let mut bed = Bed::new(site::site());
        let mut next = bed.desired.clone();
        change(&mut next);
        let before = bed.router.subnets().expect("subnets can be read");
        let foreseen = bed.router.preview(&next).expect("the change is consistent");
        assert_eq!(bed.router.subnets().expect("subnets can be read"), before, "{what}: nothing has changed");
        assert_eq!(bed.router.apply(&bed.desired).expect("consistent"), Default::default(), "{what}: nothing to undo");
        let applied = bed.router.apply(&next).expect("the change is consistent");
        assert_eq!(applied.moved, foreseen, "{what}");
        assert!(foreseen.iter().all(|row| 0 < row.moved && row.moved <= row.slots), "{what}: {foreseen:?}");
        let quiet = ["nothing", "only what is listed", "a subnet more and two less"].contains(&what);
        assert_eq!(foreseen.is_empty(), quiet, "{what}: {foreseen:?}");
        assert_eq!(bed.router.preview(&next).expect("consistent"), [], "{what}: done");
    }
}

/// (subnet and service, class) and what of it moved.
fn rows(moved: &[Moved]) -> Vec<(String, Option<String>, bool)> {
    let row = |m: &Moved| (m.service.to_string(), m.class.as_ref().map(ToString::to_string), m.moved == m.slots);
    moved.iter().map(row).collect()
}

#[test]
fn what_moved_is_told_by_route() {
    let mut bed = Bed::new(site::site());
    let mut next = bed.desired.clone();
    let is_mixed = |prefix: &str| ["192.0.9.0/24", "2001:db8:9::/64"].contains(&prefix);
    for subnet in next.subnets.iter_mut().filter(|subnet| is_mixed(&subnet.prefix.to_string())) {
        // From v, which only this route had, to a: all of it. And the service's own route, to what it was before: nothing.
        let near = subnet.routes.iter_mut().find(|r| r.class.is_some() && r.service.is_some()).expect("a route");
        *near = site::route(Some("near"), Some("tcp/80"), &["a"]);
        subnet.routes.push(site::route(None, Some("tcp/443"), &["a", "b", "v"]));
        // Gone: its packets are near's, as all others of that class.
        subnet.routes.retain(|r| r.class.as_ref().is_none_or(|c| c.as_str() != "wide") || r.service.is_none());
    }
    let moved = bed.router.apply(&next).expect("consistent").moved;
    let near = Some("near".to_owned());
    let expected_of = |prefix: &str| (format!("tcp/80@{prefix}"), near.clone(), true);
    let rows = rows(&moved);
    for prefix in ["192.0.9.0/24", "2001:db8:9::/64"] {
        assert!(rows.contains(&expected_of(prefix)), "{rows:?}");
        let gone = rows.iter().find(|row| row.0 == format!("udp/53@{prefix}")).expect("told under its class's name");
        assert_eq!((gone.1.as_deref(), gone.2), (Some("wide"), false), "a third stays on v");
    }
    assert_eq!(rows.len(), 4, "{rows:?}");
}

#[test]
fn what_is_refused_is_refused_beforehand_too() {
    let bed = Bed::new(site::site());
    let mut next = bed.desired.clone();
    next.hosts.remove(0);
    let refusal = bed.router.preview(&next).expect_err("routes name a host that is not there").to_string();
    assert!(refusal.contains("names host a, which is not in the list of hosts"), "{refusal}");
}

/// The figure is about packets: as many new flows go elsewhere as slots moved.
#[test]
fn moved_slots_are_moved_flows() {
    const FLOWS: u16 = 3000;
    let ends = (FAMILIES[0].0, site::ANY4, "");
    let place = |bed: &Bed| -> Vec<String> {
        let host = |port| {
            let outcome = bed.send(&packets(ends, port, To::Tcp(80))[1]); // an orphan: where the ring points
            assert_eq!(outcome.reason, R::FwdOrphanRing);
            outer::read(&outcome.packet, &bed.desired).host
        };
        (1..=FLOWS).map(host).collect()
    };
    let mut bed = Bed::new(site::site());
    let before = place(&bed);
    let mut next = bed.desired.clone();
    weigh(&mut next, [4, 1, 1]);
    let moved = bed.router.preview(&next).expect("consistent");
    let row = moved.iter().find(|m| &*m.service.to_string() == "any@192.0.2.0/24").expect("the subnet's route");
    bed.change(|desired| *desired = next.clone());
    let changed = place(&bed).iter().zip(&before).filter(|(new, old)| new != old).count() as f64;
    let share = f64::from(row.moved) / f64::from(row.slots);
    assert!((changed / f64::from(FLOWS) - share).abs() < 0.04, "{changed} of {FLOWS} flows, {share} of the slots");
    assert!(share > 0.2, "{share}: a third of each of two hosts' shares");
}

/// Prints what a change of weights costs a router with as many hosts as a site may have.
#[test]
fn a_thousand_hosts_change_their_weights() {
    const HOSTS: u16 = 1000;
    let mut bed = Bed::new(site::site());
    let name = |n: u16| format!("m{n}");
    let weigh = |desired: &mut Desired, round: u16| {
        for (n, (_, weight)) in (0..).zip(site::members_mut(desired)) {
            *weight = Weight::new(100 + (n * 7 + round * 13) % 50).expect("a weight");
        }
    };
    bed.change(|desired| {
        desired.subnets.truncate(2);
        let names: Vec<String> = (0..HOSTS).map(name).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for (n, name) in (0u16..).zip(&names) {
            desired.hosts.push(host(name, &format!("10.4.{}.{}", n / 250, n % 250), 1));
        }
        for subnet in &mut desired.subnets {
            let services = [None, Some("tcp/80"), Some("tcp/443"), Some("udp/53")];
            subnet.routes = services.map(|service| site::route(None, service, &names)).into();
        }
        weigh(desired, 0);
    });
    let timed = |what: &str, work: &mut dyn FnMut()| {
        let start = cpu_ns();
        work();
        println!("{HOSTS} hosts, 8 routes, {what}: {} us of CPU", (cpu_ns() - start) / 1000);
    };
    for round in 1..=3 {
        let mut next = bed.desired.clone();
        weigh(&mut next, round);
        let mut foreseen = Vec::new();
        timed("preview", &mut || foreseen = bed.router.preview(&next).expect("consistent"));
        let mut moved = Vec::new();
        timed("apply, all weights changed", &mut || moved = bed.router.apply(&next).expect("consistent").moved);
        timed("apply, nothing changed", &mut || drop(bed.router.apply(&next).expect("consistent")));
        assert_eq!((moved.len(), &moved), (8, &foreseen), "round {round}");
        bed.desired = next;
    }
}
