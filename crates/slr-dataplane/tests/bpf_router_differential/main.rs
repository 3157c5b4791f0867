//! The program against a plain Rust model of it: random sequences of packets and changes of the configuration go through
//! both, and after each packet both must have given the same reason and the same bytes.
//!
//! `PROPTEST_CASES` sets how many sequences (256 if unset).

#[path = "../common/mod.rs"]
mod common;

mod emit;
mod generate;
mod icmp;
mod model;
mod parse;
mod plan;
mod routing;

use std::cell::RefCell;
use std::collections::BTreeMap;

use common::{Bed, site};
use model::{Decision, Model};
use plan::{Change, Event};
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use slr_dataplane::reason::{RouterReason, Verdict};
use slr_dataplane::router::Desired;
use slr_model::{HostState, Weight};

fn change(desired: &mut Desired, change: &Change) {
    let name_of = |host: usize| site::HOSTS[host].0;
    match *change {
        Change::Weights(weights) => {
            for route in site::routes_mut(desired) {
                for ((_, weight), new) in route.members.iter_mut().zip(weights) {
                    *weight = Weight::new(new).expect("a weight");
                }
            }
        }
        Change::State(host, state) => {
            let state = [HostState::Active, HostState::Draining, HostState::Down][usize::from(state)];
            let mut named = desired.hosts.iter_mut().filter(|h| &*h.name == name_of(host));
            named.by_ref().for_each(|host| host.state = state);
        }
        Change::Remove(host) => site::remove_host(desired, name_of(host)),
        Change::Rename(host) => {
            let new = || "renamed".parse().expect("a name");
            if desired.hosts.iter().any(|host| &*host.name == "renamed") {
                return;
            }
            desired.hosts.iter_mut().filter(|h| &*h.name == name_of(host)).for_each(|host| host.name = new());
            site::members_mut(desired)
                .filter(|(member, _)| &**member == name_of(host))
                .for_each(|(member, _)| *member = new());
        }
        Change::Unlink => desired.hosts.iter_mut().filter(|h| &*h.name == "b").for_each(|host| host.link = None),
        Change::Mtu(host, mtu) => {
            let links = desired.hosts.iter_mut().filter(|h| &*h.name == name_of(host)).filter_map(|h| h.link.as_mut());
            links.for_each(|link| link.mtu = mtu);
        }
        Change::Seed(seed) => desired.config.seed = seed,
        Change::AddSubnet(which) => {
            let prefix = ["192.0.2.77/32", "2001:db8:2::77/128", "203.0.113.0/24"][usize::from(which)];
            if desired.subnets.iter().all(|subnet| subnet.prefix.to_string() != prefix) {
                let members: Vec<String> = desired.hosts.iter().map(|host| host.name.to_string()).collect();
                let members: Vec<&str> = members.iter().map(String::as_str).collect();
                desired.subnets.push(site::subnet(prefix, &members));
            }
        }
        Change::RemoveSubnet(index) => {
            if index < desired.subnets.len() {
                desired.subnets.remove(index);
            }
        }
        Change::Routing(index, what) => {
            let names: Vec<String> = desired.hosts.iter().map(|host| host.name.to_string()).collect();
            if let Some(subnet) = desired.subnets.get_mut(index) {
                routing::change(subnet, what, &names);
            }
        }
        Change::Restore => *desired = site::site(),
    }
}

fn compare(bed: &Bed, model: &mut Model, frame: &[u8]) -> Result<(), TestCaseError> {
    let expected = model.decide(frame);
    let outcome = bed.observe(frame);
    let packet = (outcome.reason.verdict() != Verdict::Drop).then_some(outcome.packet);
    let seen = Decision { reason: outcome.reason, packet };
    if seen != expected {
        return Err(TestCaseError::fail(format!(
            "{frame:02x?}\nmodel:   {:?} {:02x?}\nprogram: {:?} {:02x?}",
            expected.reason, expected.packet, seen.reason, seen.packet
        )));
    }
    Ok(())
}

fn run(bed: &mut Bed, events: &[Event]) -> Result<(), TestCaseError> {
    // Without hosts all generations end: both start from nothing, on one router for all sequences.
    bed.change(|desired| *desired = Desired::default());
    bed.change(|desired| *desired = site::site());
    let mut model = Model::default();
    model.apply(&bed.desired);
    for event in events {
        match event {
            Event::Packet(plan) => compare(bed, &mut model, &plan.frame())?,
            Event::Noise(frame) => compare(bed, &mut model, frame)?,
            Event::Change(what) => {
                bed.change(|desired| change(desired, what));
                model.apply(&bed.desired);
            }
        }
    }
    Ok(())
}

/// How often each reason came up, so that a generator that has gone lame is noticed.
fn reasons_since(bed: &Bed, before: &BTreeMap<RouterReason, u64>) -> BTreeMap<RouterReason, u64> {
    let now = bed.router.reasons().expect("counters can be read");
    let grown = now.into_iter().map(|(reason, counter)| (reason, counter.packets - before.get(&reason).unwrap_or(&0)));
    grown.filter(|(_, packets)| *packets > 0).collect()
}

/// Limits, full tables and missing headroom have fixtures of their own; of the other reasons, the rarest come up in most
/// runs of the usual length and need not in all.
const REASONS_AT_LEAST: usize = 30;

#[test]
fn the_program_does_what_the_model_does() {
    let bed = RefCell::new(Bed::new(site::site()));
    let before = reasons_since(&bed.borrow(), &BTreeMap::new());
    let config = Config { failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() };
    let result = TestRunner::new(config).run(&generate::events(), |events| run(&mut bed.borrow_mut(), &events));
    if let Err(failure) = result {
        panic!("{failure}");
    }
    let reasons = reasons_since(&bed.borrow(), &before);
    println!("{} reasons: {reasons:?}", reasons.len());
    assert!(reasons.len() >= REASONS_AT_LEAST, "only {} reasons came up: {reasons:?}", reasons.len());
}
