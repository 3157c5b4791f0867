//! The same version again: nothing is lost, nothing moves, nothing is written that is there already.

use std::path::Path;

use slr_dataplane::abi;
use slr_dataplane::reason::RouterReason as R;
use slr_dataplane::router::{Adoption, Applied, Desired, Router, RouterOptions};
use slr_model::{HostState, Weight};
use slr_testkit::packet::{FIN, Packet, RST, SYN, pkt};

use crate::bpffs::with_pins;
use crate::common::site::{self, host, host_mut, remove_host};
use crate::common::{Bed, outer};
use crate::snapshot;

pub const FLOWS: u16 = 40;
pub const FAMILIES: [(&str, &str); 2] = [(site::C4, site::ANY4), (site::C6, site::ANY6)];
const ON_A: [(&str, &str); 2] = [(site::C4, site::A4), (site::C6, site::A6)];

fn options(pin_dir: &Path) -> RouterOptions {
    RouterOptions { pin_dir: Some(pin_dir.to_owned()), flows_per_family: 1 << 12, new_flows_per_family: 1 << 10 }
}

/// Load on these pins and apply.
pub fn start(pin_dir: &Path, desired: Desired) -> (Bed, Adoption) {
    let (router, adoption) = Router::load(&options(pin_dir)).expect("the program loads");
    (Bed::around(router, desired), adoption)
}

fn version(pin_dir: &Path) -> std::path::PathBuf {
    pin_dir.join(format!("v{}", abi::VERSION))
}

fn tcp(client: &str, to: &str, port: u16) -> Packet {
    let parse = |text: &str| text.parse().expect("an address");
    pkt().eth(site::OUR_MAC, site::GATEWAY_MAC).ip(parse(client), parse(to)).tcp(port, 80)
}

pub fn syn((client, to): (&str, &str), port: u16) -> Vec<u8> {
    tcp(client, to, port).flags(SYN).seq(7).build()
}

pub fn ack((client, to): (&str, &str), port: u16) -> Vec<u8> {
    tcp(client, to, port).seq(8).payload_len(20).build()
}

/// Pin flows of both families, on ports from `first` on.
pub fn place(bed: &Bed, first: u16, count: u16) {
    for ends in FAMILIES {
        for port in first..first + count {
            assert_eq!(bed.send(&syn(ends, port)).reason, R::FwdNew);
            assert_eq!(bed.send(&ack(ends, port)).reason, R::FwdPromoted);
        }
    }
}

fn host_of(bed: &Bed, frame: &[u8]) -> (R, String) {
    let outcome = bed.send(frame);
    (outcome.reason, outer::read(&outcome.packet, &bed.desired).host)
}

/// A site with a past: indexes and ids given twice, a second generation of rings, pending, closing and old flows, a smaller
/// path MTU.
fn lived_in(pin_dir: &Path) -> Bed {
    let (mut bed, adoption) = start(pin_dir, site::site());
    assert_eq!(adoption, Adoption::Fresh);
    bed.change(|desired| remove_host(desired, "a"));
    bed.change(|desired| desired.subnets.drain(..3).for_each(drop));
    bed.change(|desired| *desired = site::site());
    place(&bed, 1, FLOWS);
    bed.router.advance_clock(100).expect("the clock can be set");
    bed.change(|desired| {
        for (_, weight) in site::members_mut(desired).step_by(2) {
            *weight = Weight::new(7).expect("a weight");
        }
    });
    place(&bed, 1 + FLOWS, FLOWS);
    for ends in FAMILIES {
        assert_eq!(bed.send(&syn(ends, 9000)).reason, R::FwdNew);
        assert_eq!(bed.send(&tcp(ends.0, ends.1, 1).flags(FIN | 16).build()).reason, R::FwdEstablished);
        assert_eq!(bed.send(&tcp(ends.0, ends.1, 2).flags(RST).build()).reason, R::FwdEstablished);
    }
    let quote = pkt().ipv4("10.1.255.9", "10.1.0.1").df().length(1500).next(4).payload_len(8).build();
    let error = pkt().eth(site::OUR_MAC, site::GATEWAY_MAC).ipv4("10.1.0.254", "10.1.255.9").too_big(1400, &quote);
    assert_eq!(bed.send(&error.build()).reason, R::DropPmtuLearned);
    bed
}

#[test]
fn a_restart_changes_nothing() {
    with_pins(|pin_dir| {
        let bed = lived_in(pin_dir);
        let desired = bed.desired.clone();
        let before = snapshot::take(&bed.router, &version(pin_dir));
        let frames: Vec<_> = FAMILIES.iter().flat_map(|ends| (1..=2 * FLOWS).map(|port| ack(*ends, port))).collect();
        drop(bed);

        let (mut router, adoption) = Router::load(&options(pin_dir)).expect("the program loads");
        let pinned = u64::from(2 * 2 * FLOWS);
        assert_eq!(adoption, Adoption::SameVersion { flows: pinned });
        let found = snapshot::take(&router, &version(pin_dir));
        assert_eq!(found, before, "as found");
        let applied = router.apply(&desired).expect("the desired state is consistent");
        assert_eq!(applied, Applied::default(), "nothing to change");
        assert_eq!(snapshot::take(&router, &version(pin_dir)), before, "after the first apply");
        let bed = Bed::around(router, desired);
        for frame in &frames {
            assert_eq!(bed.send(frame).reason, R::FwdEstablished);
        }
    });
}

#[test]
fn packets_follow_their_flows_before_the_daemon_has_applied_anything() {
    with_pins(|pin_dir| {
        let bed = lived_in(pin_dir);
        let frames: Vec<_> = FAMILIES.iter().flat_map(|ends| [ack(*ends, 3), syn(*ends, 9001)]).collect();
        let expected: Vec<_> = frames.iter().map(|frame| bed.send(frame).packet).collect();
        drop(bed);
        let (router, _) = Router::load(&options(pin_dir)).expect("the program loads");
        for (frame, packet) in frames.iter().zip(expected) {
            assert_eq!(router.test_run(frame).expect("the program runs").packet, packet);
        }
    });
}

#[test]
fn an_adopted_ring_goes_on_remembering() {
    with_pins(|pin_dir| {
        let bed = lived_in(pin_dir);
        let mut desired = bed.desired.clone();
        let before = snapshot::take(&bed.router, &version(pin_dir)).rings;
        drop(bed);
        for (_, weight) in site::members_mut(&mut desired) {
            *weight = Weight::default();
        }
        let (mut router, _) = Router::load(&options(pin_dir)).expect("the program loads");
        let applied = router.apply(&desired).expect("the desired state is consistent");
        assert!(applied.rings_published > 0 && applied.slots_moved > 0, "{applied:?}");
        let after = snapshot::take(&router, &version(pin_dir)).rings;
        let mut moved = 0;
        for (index, _, slots) in &after {
            // A ring keeps its index; a slot whose host changed has the one before behind it.
            let Some((_, _, old)) = before.iter().find(|(other, ..)| other == index) else { continue };
            for (new, old) in slots.iter().zip(old).filter(|(new, old)| *new & 0xffff != *old & 0xffff) {
                assert_eq!(new >> 16 & 0xffff, old & 0xffff, "ring {index}: {old:#x} became {new:#x}");
                moved += 1;
            }
        }
        assert!(moved > 0, "some slot moved");
    });
}

#[test]
fn a_host_that_went_down_or_left_while_the_daemon_was_away_loses_its_flows() {
    type Change = fn(&mut Desired);
    let down: Change = |desired| host_mut(desired, "a").state = HostState::Down;
    let gone: Change = |desired| remove_host(desired, "a");
    let replaced: Change = |desired| {
        remove_host(desired, "a");
        desired.hosts.push(host("new", "10.1.0.9", 9));
    };
    for change in [down, gone, replaced] {
        with_pins(|pin_dir| {
            let bed = lived_in(pin_dir);
            for ends in ON_A {
                bed.send(&syn(ends, 1));
                assert_eq!(host_of(&bed, &ack(ends, 1)), (R::FwdPromoted, "a".to_owned()));
            }
            let mut desired = bed.desired.clone();
            drop(bed);
            change(&mut desired);
            let (bed, _) = start(pin_dir, desired);
            for ends in ON_A {
                assert_eq!(bed.send(&ack(ends, 1)).reason, R::DropNoActiveHost);
            }
        });
    }
}

#[test]
fn a_host_that_was_out_of_reach_and_is_down_after_the_restart_loses_its_flows() {
    with_pins(|pin_dir| {
        let (mut bed, _) = start(pin_dir, site::site());
        for ends in ON_A {
            bed.send(&syn(ends, 1));
            assert_eq!(bed.send(&ack(ends, 1)).reason, R::FwdPromoted);
        }
        bed.change(|desired| host_mut(desired, "a").link = None);
        drop(bed);
        let mut desired = site::site();
        host_mut(&mut desired, "a").state = HostState::Down;
        let (mut bed, _) = start(pin_dir, desired);
        bed.change(|desired| host_mut(desired, "a").state = HostState::Active);
        for ends in ON_A {
            assert_eq!(bed.send(&ack(ends, 1)).reason, R::FwdOrphanRing, "un-pinned, as when it goes down");
        }
    });
}

#[test]
fn a_subnet_that_left_the_configuration_while_the_daemon_was_away_is_no_longer_ours() {
    with_pins(|pin_dir| {
        let (bed, _) = start(pin_dir, site::site());
        for ends in ON_A {
            bed.send(&syn(ends, 1));
            assert_eq!(bed.send(&ack(ends, 1)).reason, R::FwdPromoted);
        }
        drop(bed);
        let mut desired = site::site();
        desired.subnets.retain(|s| ON_A.iter().all(|(_, to)| !s.prefix.contains(to.parse().expect("an address"))));
        let (bed, _) = start(pin_dir, desired);
        for ends in ON_A {
            assert_eq!(bed.send(&ack(ends, 1)).reason, R::PassNotOurs);
            assert_eq!(bed.send(&syn(ends, 2)).reason, R::PassNotOurs);
        }
    });
}

#[test]
fn tables_that_are_taken_over_keep_their_capacity() {
    with_pins(|pin_dir| {
        drop(start(pin_dir, site::site()));
        let other = RouterOptions { flows_per_family: 99, ..options(pin_dir) };
        let (router, adoption) = Router::load(&other).expect("the program loads");
        assert_eq!(adoption, Adoption::SameVersion { flows: 0 });
        let capacity = router.flow_count().expect("flows can be counted").capacity_per_family;
        assert_eq!(capacity, options(pin_dir).flows_per_family);
    });
}

#[test]
fn a_table_whose_pin_is_missing_is_made_anew_and_the_others_stay() {
    with_pins(|pin_dir| {
        drop(lived_in(pin_dir));
        for table in ["buckets", "frags", "reasons"] {
            std::fs::remove_file(version(pin_dir).join(table)).expect("a pinned table");
        }
        let (bed, adoption) = start(pin_dir, site::site());
        assert_eq!(adoption, Adoption::SameVersion { flows: u64::from(2 * 2 * FLOWS) });
        for ends in FAMILIES {
            assert_eq!(bed.send(&ack(ends, 5)).reason, R::FwdEstablished);
        }
        assert!(version(pin_dir).join("buckets").exists());
    });
}

#[test]
fn unload_removes_every_pin_and_nothing_beside_them() {
    with_pins(|pin_dir| {
        let neighbour = pin_dir.with_file_name("slr-neighbour");
        drop(start(&neighbour, site::site()));
        let (bed, _) = start(pin_dir, site::site());
        assert!(version(pin_dir).join("flows_v4").exists());
        Router::unload(pin_dir).expect("pins can be removed");
        assert!(!pin_dir.exists());
        assert!(version(&neighbour).join("flows_v4").exists());
        drop(bed);
        Router::unload(pin_dir).expect("nothing there is no failure");
        let (_, adoption) = start(pin_dir, site::site());
        assert_eq!(adoption, Adoption::Fresh);
    });
}
