//! What happens to flows when hosts and weights change, and over which link they leave.

use std::collections::BTreeMap;

use slr_dataplane::reason::RouterReason as R;
use slr_dataplane::router::Desired;
use slr_model::{HostState, Weight};
use slr_testkit::packet::ACK;

use crate::case::{Case, case, run_all};
use crate::common::site::{self, host, host_mut, link_mut, remove_host};
use crate::common::{Bed, outer};
use crate::frames::*;

/// The interface that test runs come in on: the loopback device of the network namespace.
const INGRESS: u32 = 1;

pub fn cases() -> Vec<Case> {
    FAMILIES.iter().flat_map(|family| [states(family), again(family), links(family)].into_iter().flatten()).collect()
}

fn states(f: &Family) -> Vec<Case> {
    let name = |text: &str| {
        case(format!("{}: {text}", f.name))
            .send(syn(f.client, 40000, f.on_a, 80), R::FwdNew)
            .to("a")
            .send(ack(f.client, 40000, f.on_a, 80, 0), R::FwdPromoted)
            .to("a")
            .send(syn(f.client, 40001, f.on_a, 80), R::FwdNew)
            .to("a")
    };
    vec![
        name("draining keeps what is pinned and what is pending, and gets nothing new")
            .change(|desired| host_mut(desired, "a").state = HostState::Draining)
            .send(ack(f.client, 40000, f.on_a, 80, 9), R::FwdEstablished)
            .to("a")
            .send(ack(f.client, 40001, f.on_a, 80, 0), R::FwdPromoted)
            .to("a")
            .send(syn(f.client, 40002, f.on_a, 80), R::DropNoActiveHost)
            .change(|desired| host_mut(desired, "a").state = HostState::Active)
            .send(ack(f.client, 40000, f.on_a, 80, 9), R::FwdEstablished)
            .to("a"),
        name("down un-pins for good, also after the host is back")
            .change(|desired| host_mut(desired, "a").state = HostState::Down)
            .send(ack(f.client, 40000, f.on_a, 80, 9), R::DropNoActiveHost)
            .send(ack(f.client, 40001, f.on_a, 80, 0), R::DropNoActiveHost)
            .change(|desired| host_mut(desired, "a").state = HostState::Active)
            .send(ack(f.client, 40000, f.on_a, 80, 9), R::FwdOrphanRing)
            .to("a")
            .send(syn(f.client, 40001, f.on_a, 80), R::FwdNew)
            .to("a"),
        name("draining, then down")
            .change(|desired| host_mut(desired, "a").state = HostState::Draining)
            .change(|desired| host_mut(desired, "a").state = HostState::Down)
            .send(ack(f.client, 40000, f.on_a, 80, 9), R::DropNoActiveHost),
        name("a removed host un-pins, also if it returns")
            .change(|desired| remove_host(desired, "a"))
            .send(ack(f.client, 40000, f.on_a, 80, 9), R::DropNoActiveHost)
            .change(|desired| *desired = site::site())
            .send(ack(f.client, 40000, f.on_a, 80, 9), R::FwdOrphanRing)
            .to("a")
            .send(ack(f.client, 40001, f.on_a, 80, 9), R::FwdOrphanRing),
        name("another host on the index of one that left inherits no flow")
            .change(|desired| {
                remove_host(desired, "a");
                desired.hosts.push(host("new", "10.1.0.77", 0x77));
                let new = ("new".parse().expect("a name"), Weight::default());
                for route in site::routes_mut(desired).filter(|route| route.members.is_empty()) {
                    route.members.push(new.clone());
                }
            })
            .send(ack(f.client, 40000, f.on_a, 80, 9), R::FwdOrphanRing)
            .to("new"),
        name("another host on the address of one that left inherits no flow")
            .change(|desired| {
                host_mut(desired, "a").name = "new".parse().expect("a name");
                for (member, _) in site::members_mut(desired) {
                    if &**member == "a" {
                        *member = "new".parse().expect("a name");
                    }
                }
            })
            .send(ack(f.client, 40000, f.on_a, 80, 9), R::FwdOrphanRing)
            .to("new"),
        name("a host that is out of the subnet's members keeps its flows")
            .change(|desired| site::routes_mut(desired).for_each(|route| route.members.retain(|(m, _)| &**m != "a")))
            .send(ack(f.client, 40000, f.on_a, 80, 9), R::FwdEstablished)
            .to("a")
            .send(syn(f.client, 40002, f.on_a, 80), R::DropNoActiveHost),
        name("flows of a host that cannot be reached for the moment wait for it")
            .change(|desired| host_mut(desired, "a").link = None)
            .send(ack(f.client, 40000, f.on_a, 80, 9), R::DropHopUnusable)
            .send(ack(f.client, 40001, f.on_a, 80, 0x2_0000), R::DropHopUnusable)
            .send(syn(f.client, 40002, f.on_a, 80), R::DropNoActiveHost)
            .change(|desired| *desired = site::site())
            .send(ack(f.client, 40000, f.on_a, 80, 9), R::FwdEstablished)
            .to("a"),
    ]
}

/// New flows go to this host alone; the others are in `state`.
fn alone(desired: &mut Desired, name: &str, state: HostState) {
    for (member, weight) in site::members_mut(desired) {
        *weight = if &**member == name { Weight::default() } else { Weight::ZERO };
    }
    for host in &mut desired.hosts {
        host.state = if &*host.name == name { HostState::Active } else { state };
    }
}

/// A flow whose host went down begins anew with the next one, and is proved there like any other.
fn again(f: &Family) -> Vec<Case> {
    let mut table = Vec::new();
    for port in 40000..40008 {
        let mut each = case(format!("{}: from host to host while it is pending, port {port}", f.name));
        for name in ["a", "b", "v", "b", "a"] {
            each = each
                .change(move |desired| alone(desired, name, HostState::Down))
                .send(syn(f.client, port, f.any, 80), R::FwdNew)
                .to(name)
                .send(syn(f.client, port, f.any, 80), R::FwdPending)
                .to(name);
        }
        table.push(each.send(ack(f.client, port, f.any, 80, 0), R::FwdPromoted).to("a"));
        let mut each = case(format!("{}: from host to host while it is pinned, port {port}", f.name));
        for name in ["a", "b", "v", "b", "a"] {
            each = each
                .change(move |desired| alone(desired, name, HostState::Down))
                .send(udp(f.client, port, f.any, 53), R::FwdNew)
                .to(name)
                .send(udp(f.client, port, f.any, 53), R::FwdPromoted)
                .to(name)
                .send(udp(f.client, port, f.any, 53), R::FwdEstablished)
                .to(name);
        }
        table.push(each);
    }
    table
}

fn links(f: &Family) -> Vec<Case> {
    let mut table = Vec::new();
    for (vaddr, host) in [(f.on_a, "a"), (f.on_v, "v")] {
        let name = |text: &str| case(format!("{}, for {vaddr}: {text}", f.name));
        table.push(
            name("out of another interface than it came in on")
                .change(move |desired| link_mut(desired, host).ifindex = INGRESS + 1)
                .send(syn(f.client, 40000, vaddr, 80), R::FwdNew)
                .to(host)
                .redirected()
                .send(ack(f.client, 40000, vaddr, 80, 0), R::FwdPromoted)
                .redirected(),
        );
        table.push(
            name("out of the same interface, named")
                .change(move |desired| link_mut(desired, host).ifindex = INGRESS)
                .send(syn(f.client, 40000, vaddr, 80), R::FwdNew)
                .to(host),
        );
        // The reader of the outer header compares the addresses with the desired state.
        table.push(
            name("a new gateway is used at once, for pinned flows too")
                .send(syn(f.client, 40000, vaddr, 80), R::FwdNew)
                .send(ack(f.client, 40000, vaddr, 80, 0), R::FwdPromoted)
                .change(move |desired| {
                    link_mut(desired, host).destination = "02:00:00:00:09:09".parse().expect("a MAC");
                    link_mut(desired, host).source = "02:00:00:00:09:0a".parse().expect("a MAC");
                })
                .send(ack(f.client, 40000, vaddr, 80, 3), R::FwdEstablished)
                .to(host),
        );
    }
    table
}

#[test]
fn changes_of_hosts_end_as_the_table_says() {
    run_all(&cases());
}

/// Where this many flows are, in order of their client ports: pinned ones to 80, pending ones to 81.
fn placements(bed: &Bed, f: &Family, flows: u16) -> Vec<String> {
    let host = |frame: &[u8]| outer::read(&bed.send(frame).packet, &bed.desired).host;
    let pinned = (1..=flows).map(|port| host(&ack(f.client, port, f.any, 80, 7)));
    let pending = (1..=flows).map(|port| host(&syn(f.client, port, f.any, 81)));
    pinned.chain(pending).collect()
}

#[test]
fn weights_move_no_flow_that_is_there_and_every_new_one_by_their_measure() {
    const FLOWS: u16 = 400;
    for f in FAMILIES {
        let mut bed = Bed::new(site::site());
        for port in 1..=FLOWS {
            bed.send(&syn(f.client, port, f.any, 80));
            assert_eq!(bed.send(&ack(f.client, port, f.any, 80, 0)).reason, R::FwdPromoted);
            assert_eq!(bed.send(&syn(f.client, port, f.any, 81)).reason, R::FwdNew);
        }
        let before = placements(&bed, &f, FLOWS);
        for weights in [[1, 0, 0], [0, 1, 0], [0, 0, 1], [3, 2, 5], [0, 0, 0]] {
            bed.change(|desired| {
                for route in site::routes_mut(desired) {
                    for ((_, weight), new) in route.members.iter_mut().zip(weights) {
                        *weight = Weight::new(new).expect("a weight");
                    }
                }
            });
            assert_eq!(placements(&bed, &f, FLOWS), before, "{}: weights {weights:?}", f.name);
        }
        let shares = before.iter().fold(BTreeMap::<&str, usize>::new(), |mut shares, host| {
            *shares.entry(host).or_default() += 1;
            shares
        });
        assert_eq!(shares.len(), 3, "{shares:?}");
        assert!(shares.values().all(|share| (200..340).contains(share)), "{}: {shares:?} of 800", f.name);
    }
}

#[test]
fn new_flows_follow_the_weights() {
    for f in FAMILIES {
        let mut bed = Bed::new(site::site());
        bed.change(|desired| {
            for ((_, weight), new) in site::routes_mut(desired).flat_map(|r| r.members.iter_mut().zip([6, 3, 0])) {
                *weight = Weight::new(new).expect("a weight");
            }
        });
        let hosts: Vec<_> = (1..=900)
            .map(|port| outer::read(&bed.send(&syn(f.client, port, f.any, 80)).packet, &bed.desired).host)
            .collect();
        let share = |name: &str| hosts.iter().filter(|host| *host == name).count();
        assert_eq!(share("v"), 0);
        assert!((555..=645).contains(&share("a")), "{}: {} of 900 at weight 6 of 9", f.name, share("a"));
    }
}

#[test]
fn a_host_whose_family_has_no_outer_source_gets_no_flows() {
    // Such a hop cannot be used; a ring with it in would drop its share of all new flows.
    let mut bed = Bed::new(site::site());
    bed.change(|desired| desired.sources.retain(|net| net.addr().is_ipv4()));
    for f in FAMILIES {
        for port in 1..=60 {
            let outcome = bed.send(&tcp(f.client, port, f.any, 80, ACK));
            assert_eq!(outcome.reason, R::FwdOrphanRing, "{}: port {port}", f.name);
        }
    }
}

#[test]
fn flows_of_a_removed_subnet_are_no_longer_ours() {
    for f in FAMILIES {
        let mut bed = Bed::new(site::site());
        bed.send(&syn(f.client, 40000, f.on_a, 80));
        assert_eq!(bed.send(&ack(f.client, 40000, f.on_a, 80, 0)).reason, R::FwdPromoted);
        let vaddr: std::net::IpAddr = f.on_a.parse().expect("an address");
        bed.change(|desired| desired.subnets.retain(|subnet| !subnet.prefix.contains(vaddr)));
        assert_eq!(bed.send(&ack(f.client, 40000, f.on_a, 80, 1)).reason, R::PassNotOurs, "{}", f.name);
    }
}

#[test]
fn an_id_that_another_subnet_gets_is_not_charged_for_the_flows_of_the_first() {
    let f = IPV4;
    let mut bed = Bed::new(site::site());
    bed.send(&syn(f.client, 40000, f.on_a, 80));
    assert_eq!(bed.send(&ack(f.client, 40000, f.on_a, 80, 0)).reason, R::FwdPromoted);
    bed.change(|desired| {
        desired.subnets.retain(|subnet| &*subnet.prefix.to_string() != "192.0.3.0/24");
        desired.subnets.push(site::subnet("192.0.99.0/24", &["a"]));
    });
    bed.send(&ack(f.client, 40000, f.on_a, 80, 1));
    let subnets = bed.router.subnets().expect("subnets can be read");
    let new = subnets.iter().find(|subnet| &*subnet.prefix.to_string() == "192.0.99.0/24").expect("the new subnet");
    assert_eq!(new.usage.packets, 0, "{new:?}");
}

#[test]
fn a_subnet_in_the_place_of_one_with_the_same_hosts_has_its_ring() {
    for (f, prefix, address) in [(IPV4, "192.0.99.0/24", "192.0.99.9"), (IPV6, "2001:db8:99::/64", "2001:db8:99::9")] {
        let mut bed = Bed::new(site::site());
        let replaced: std::net::IpAddr = f.on_a.parse().expect("an address");
        bed.change(|desired| {
            desired.subnets.retain(|subnet| !subnet.prefix.contains(replaced));
            desired.subnets.push(site::subnet(prefix, &["a"]));
        });
        assert_eq!(bed.send(&syn(f.client, 40000, address, 80)).reason, R::FwdNew, "{}", f.name);
    }
}

#[test]
fn traffic_is_counted_for_its_hop_and_its_subnet() {
    let f = IPV4;
    let bed = Bed::new(site::site());
    let frames =
        [syn(f.client, 40000, f.on_a, 80), ack(f.client, 40000, f.on_a, 80, 0), ack(f.client, 40000, f.on_a, 80, 1)];
    let bytes: usize = frames.iter().map(|frame| frame.len() - 14).sum();
    for frame in &frames {
        bed.send(frame);
    }
    let hops = bed.router.hops().expect("hops can be read");
    let hop = hops.iter().find(|hop| hop.name.as_deref() == Some("a")).expect("the host").usage;
    let subnets = bed.router.subnets().expect("subnets can be read");
    let subnet = subnets.iter().find(|s| &*s.prefix.to_string() == "192.0.3.0/24").expect("the subnet").usage;
    for usage in [hop, subnet] {
        assert_eq!((usage.packets, usage.bytes, usage.flows), (3, bytes as u64, 1));
    }
}
