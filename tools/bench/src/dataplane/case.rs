//! The kinds of packets that are timed.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::rc::Rc;

use anyhow::{Result, ensure};
use slr_dataplane::reason::{HostReason, RouterReason, Verdict};

use super::measure::Estimator;
use super::packets::Service;
use super::scene::{
    ELSEWHERE_V4, ELSEWHERE_V6, Scene, TUNNEL_V4, TUNNEL_V6, V4_IN_V4, V4_IN_V6, V4_NO_SOCKET, V6_IN_V4, V6_IN_V6,
    V6_NO_SOCKET,
};
use super::{Args, adverts};
use crate::target::{Measure, Target};

/// Which program a case runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The zero.
    Null,
    /// The floor for IPv4 in IPv4.
    FloorV4,
    /// The floor for IPv6 in IPv6.
    FloorV6,
    /// The router.
    Router,
    /// The router without pinned flows.
    IdleRouter,
    /// The router's program that captures one packet in a hundred.
    CapturingRouter,
    /// The one that captures one in ten.
    CapturingTenth,
    /// The host.
    Host,
    /// Likewise the host's.
    CapturingHost,
}

impl Program {
    /// Its descriptor.
    pub fn of(self, scene: &Scene) -> BorrowedFd<'_> {
        match self {
            Self::Null => scene.yardsticks.null(),
            Self::FloorV4 => scene.yardsticks.floor_v4(),
            Self::FloorV6 => scene.yardsticks.floor_v6(),
            Self::Router => scene.router.program(),
            Self::IdleRouter => scene.idle_router.program(),
            Self::CapturingRouter => scene.captures.router.program(),
            Self::CapturingTenth => scene.captures.router_tenth.program(),
            Self::Host => scene.host.program(),
            Self::CapturingHost => scene.captures.host.program(),
        }
    }
}

/// Which flow each shot belongs to.
pub enum Flows {
    /// Always the first: everything it touches is in the nearest cache.
    Same,
    /// One after another from here: nobody has seen it before.
    Fresh(u32),
    /// All established ones in this order: what they touch left the caches long ago.
    Sweep {
        /// The order.
        order: Rc<[u32]>,
        /// The next place in it.
        next: usize,
    },
}

/// One kind of packet through one program.
pub struct Case {
    /// As JSON and tables have it.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
    /// Which program.
    pub program: Program,
    /// Where the packet goes.
    pub service: Service,
    /// The packet.
    pub packet: Vec<u8>,
    /// Its flows.
    pub flows: Flows,
    /// The XDP verdict of every shot.
    pub verdict: u32,
    /// What the router or the host counts it as.
    pub reason: Option<&'static str>,
    /// The case whose figure it is divided by.
    pub floor: Option<&'static str>,
    /// Limits.
    pub targets: Vec<Target>,
}

impl Flows {
    /// The next shot's flow.
    pub fn advance(&mut self) -> Option<u32> {
        match self {
            Self::Same => None,
            Self::Fresh(flow) => {
                *flow += 1;
                Some(*flow)
            }
            Self::Sweep { order, next } => {
                let flow = order[*next % order.len()];
                *next += 1;
                Some(flow)
            }
        }
    }

    /// Back to where a sweep starts, so that every sweep is over the same flows in the same batches.
    pub fn rewind(&mut self) {
        if let Self::Sweep { next, .. } = self {
            *next = 0;
        }
    }

    /// Do they sweep over the established flows?
    pub fn is_cold(&self) -> bool {
        matches!(self, Self::Sweep { .. })
    }
}

const PASS: u32 = 2;
const TX: u32 = 3;

/// Where flows that nobody has seen start: beyond the established ones (a million at most).
const FRESH_SYN: u32 = 2_000_000;
const FRESH_ORPHAN: u32 = 8_000_000;
const FRESH_UNKNOWN: u32 = 12_000_000;

/// The case that every other one is measured over.
pub const NULL: &str = "null";
const FLOOR_V4: &str = "floor v4";
const FLOOR_V6: &str = "floor v6";
const FLOOR_V4_UNKNOWN: &str = "floor v4, unknown flow";
const FLOOR_V6_UNKNOWN: &str = "floor v6, unknown flow";
const FLOOR_V4_SWEPT: &str = "floor v4 cold, in order";
const FLOOR_V6_SWEPT: &str = "floor v6 cold, in order";
const FLOOR_V4_RANDOM: &str = "floor v4 cold, random";
const FLOOR_V6_RANDOM: &str = "floor v6 cold, random";

fn ratio(limit: f64) -> Target {
    Target { measure: Measure::RatioToFloor, limit }
}

fn over_null(limit: f64) -> Target {
    Target { measure: Measure::OverNullNs, limit }
}

/// Every case that was asked for, in the order of the report, each checked to take the path it is named after.
pub fn all(scene: &Scene, args: &Args) -> Result<Vec<Case>> {
    let mut cases: Vec<Case> =
        [yardsticks(), established(), unknown(), adverts::cases(), hosts(), capturing(), cold(args)]
            .into_iter()
            .flatten()
            .collect();
    let asked = |name: &str| args.only.is_empty() || args.only.iter().any(|text| name.contains(text.as_str()));
    let floor_of = |name: &str| cases.iter().find(|case| case.name == name).and_then(|case| case.floor);
    let floors: Vec<&str> = cases.iter().filter(|case| asked(case.name)).filter_map(|case| case.floor).collect();
    let their_floors: Vec<&str> = floors.iter().filter_map(|name| floor_of(name)).collect();
    cases.retain(|case| {
        asked(case.name) || case.name == NULL || floors.contains(&case.name) || their_floors.contains(&case.name)
    });
    adverts::prepare(scene)?;
    for case in &cases {
        case.check(scene)?;
    }
    fill_new_flows(scene)?;
    Ok(cases)
}

fn yardstick(name: &'static str, what: &'static str, program: Program, service: Service, flows: Flows) -> Case {
    let verdict = if program == Program::Null { PASS } else { TX };
    let packet = service.ack(0);
    Case { name, what, program, service, packet, flows, verdict, reason: None, floor: None, targets: Vec::new() }
}

/// The zero.
pub fn null() -> Case {
    yardstick(NULL, "XDP_PASS and nothing else", Program::Null, V4_IN_V4, Flows::Same)
}

/// The least that a new flow costs: to look it up among the others and not find it.
fn unknown_to(name: &'static str, program: Program, service: Service) -> Case {
    let flows = Flows::Fresh(FRESH_UNKNOWN);
    Case { verdict: PASS, ..yardstick(name, "one lookup in vain, another flow each", program, service, flows) }
}

fn yardsticks() -> Vec<Case> {
    vec![
        null(),
        yardstick(FLOOR_V4, "one lookup, v4 in v4", Program::FloorV4, V4_IN_V4, Flows::Same),
        yardstick(FLOOR_V6, "one lookup, v6 in v6", Program::FloorV6, V6_IN_V6, Flows::Same),
        unknown_to(FLOOR_V4_UNKNOWN, Program::FloorV4, V4_IN_V4),
        unknown_to(FLOOR_V6_UNKNOWN, Program::FloorV6, V6_IN_V6),
    ]
}

/// A packet of the first established flow.
fn pinned(name: &'static str, service: Service, floor: &'static str, targets: &[Target]) -> Case {
    Case {
        name,
        what: "pinned flow, hot",
        program: Program::Router,
        service,
        packet: service.ack(0),
        flows: Flows::Same,
        verdict: TX,
        reason: Some(RouterReason::FwdEstablished.name()),
        floor: Some(floor),
        targets: targets.to_vec(),
    }
}

fn established() -> Vec<Case> {
    vec![
        pinned("established v4 in v4", V4_IN_V4, FLOOR_V4, &[ratio(1.4), over_null(73.0)]),
        pinned("established v6 in v6", V6_IN_V6, FLOOR_V4, &[ratio(1.6)]),
        pinned("established v4 in v6", V4_IN_V6, FLOOR_V4, &[]),
        pinned("established v6 in v4", V6_IN_V4, FLOOR_V4, &[]),
        pinned("established v6, by floor v6", V6_IN_V6, FLOOR_V6, &[]),
    ]
}

/// A packet whose flow is not pinned.
pub(super) fn other(
    name: &'static str,
    what: &'static str,
    service: Service,
    packet: Vec<u8>,
    reason: RouterReason,
) -> Case {
    let verdict = if reason.verdict() == Verdict::Pass { PASS } else { TX };
    let reason = Some(reason.name());
    let (program, flows, floor) = (Program::Router, Flows::Same, Some(FLOOR_V4));
    Case { name, what, program, service, packet, flows, verdict, reason, floor, targets: Vec::new() }
}

fn unknown() -> Vec<Case> {
    let new = |name, service: Service, floor| Case {
        flows: Flows::Fresh(FRESH_SYN),
        floor: Some(floor),
        targets: vec![over_null(350.0)],
        ..other(name, "SYN of another flow each", service, service.syn(FRESH_SYN), RouterReason::FwdNew)
    };
    // The same where no other flow is pinned: what remains is the way, without the search among half a million.
    let first = |name, service: Service| Case {
        program: Program::IdleRouter,
        floor: None,
        ..new(name, service, FLOOR_V4_UNKNOWN)
    };
    let orphan = |name, service: Service, floor| Case {
        flows: Flows::Fresh(FRESH_ORPHAN),
        floor: Some(floor),
        ..other(name, "ACK of an unknown flow each", service, service.ack(FRESH_ORPHAN), RouterReason::FwdOrphanRing)
    };
    let echo = |name, service: Service| {
        other(name, "echo request, answered", service, service.echo(0), RouterReason::ReplyEcho)
    };
    vec![
        new("new flow v4", V4_IN_V4, FLOOR_V4_UNKNOWN),
        new("new flow v6", V6_IN_V6, FLOOR_V6_UNKNOWN),
        first("new flow v4, none pinned", V4_IN_V4),
        first("new flow v6, none pinned", V6_IN_V6),
        orphan("orphan v4", V4_IN_V4, FLOOR_V4_UNKNOWN),
        orphan("orphan v6", V6_IN_V6, FLOOR_V6_UNKNOWN),
        other("not ours v4", "passes to the kernel", ELSEWHERE_V4, ELSEWHERE_V4.ack(0), RouterReason::PassNotOurs),
        other("not ours v6", "passes to the kernel", ELSEWHERE_V6, ELSEWHERE_V6.ack(0), RouterReason::PassNotOurs),
        echo("echo v4", V4_IN_V4),
        echo("echo v6", V6_IN_V6),
    ]
}

/// The same packets through the programs that are on the interfaces while somebody captures one in a hundred, at the usual rate and
/// snap length. Divided by the plain program's figure of the same round. The mean leaves out the slowest hundredth, which these packets
/// are: what each of them costs is for the case of one in ten to tell.
fn capturing() -> Vec<Case> {
    let beside = |name, plain: &'static str, program, of: Vec<Case>| {
        let case = of.into_iter().find(|case| case.name == plain).expect("a case of this name");
        Case { name, what: "1 % is captured", program, floor: Some(plain), targets: vec![ratio(1.05)], ..case }
    };
    vec![
        beside("capturing, established v4", "established v4 in v4", Program::CapturingRouter, established()),
        beside("capturing, established v6", "established v6 in v6", Program::CapturingRouter, established()),
        Case {
            what: "10 % is captured",
            targets: Vec::new(),
            ..beside(
                "capturing a tenth, established v4",
                "established v4 in v4",
                Program::CapturingTenth,
                established(),
            )
        },
        beside("capturing, decapsulate v4", "decapsulate v4 in v4", Program::CapturingHost, hosts()),
        beside("capturing, decapsulate v6", "decapsulate v6 in v6", Program::CapturingHost, hosts()),
    ]
}

/// Packets at a host: out of one tunnel header, and of a chain of two with and without the flow's socket.
fn hosts() -> Vec<Case> {
    let at_host = |name, what, service: Service, headers: &[(IpAddr, IpAddr)], reason: HostReason| {
        let verdict = if reason.verdict() == Verdict::Pass { PASS } else { TX };
        let (packet, reason) = (service.tunnelled(headers), Some(reason.name()));
        let (program, flows, targets) = (Program::Host, Flows::Same, Vec::new());
        Case { name, what, program, service, packet, flows, verdict, reason, floor: None, targets }
    };
    let single = |name, service, [router, host, _]: [IpAddr; 3]| Case {
        targets: vec![over_null(60.0)],
        ..at_host(name, "one tunnel header", service, &[(router, host)], HostReason::Deliver)
    };
    let chain = |name, what, service, [router, host, next]: [IpAddr; 3], reason| {
        at_host(name, what, service, &[(router, host), (router, next)], reason)
    };
    vec![
        single("decapsulate v4 in v4", V4_IN_V4, TUNNEL_V4),
        single("decapsulate v6 in v6", V6_IN_V6, TUNNEL_V6),
        single("decapsulate v4 in v6", V4_IN_V4, TUNNEL_V6),
        single("decapsulate v6 in v4", V6_IN_V6, TUNNEL_V4),
        chain("chain, socket here v4", "socket check: found", V4_IN_V4, TUNNEL_V4, HostReason::DeliverChain),
        chain("chain, socket here v6", "socket check: found", V6_IN_V6, TUNNEL_V6, HostReason::DeliverChain),
        chain("chain, relayed v4", "socket check: none", V4_NO_SOCKET, TUNNEL_V4, HostReason::RelayChain),
        chain("chain, relayed v6", "socket check: none", V6_NO_SOCKET, TUNNEL_V6, HostReason::RelayChain),
    ]
}

/// All established flows, each once a sweep. In the order in which they were established, their table entries lie side by
/// side, as with the harness that the absolute target comes from (its floor: 190 ns). In random order every access misses
/// caches and TLB alike: what a site with half a million flows really sees.
fn cold(args: &Args) -> Vec<Case> {
    let in_order: Rc<[u32]> = (0..args.cold_flows).collect();
    let random = shuffled(args.cold_flows);
    let sweep = |order: &Rc<[u32]>| Flows::Sweep { order: Rc::clone(order), next: 0 };
    let floor =
        |name, program, service, order| yardstick(name, "all flows, one lookup", program, service, sweep(order));
    let candidate = |name, service, order, floor, targets: &[Target]| Case {
        what: "all pinned flows",
        flows: sweep(order),
        ..pinned(name, service, floor, targets)
    };
    vec![
        floor(FLOOR_V4_SWEPT, Program::FloorV4, V4_IN_V4, &in_order),
        candidate("cold v4, in order", V4_IN_V4, &in_order, FLOOR_V4_SWEPT, &[ratio(1.4), over_null(227.0)]),
        floor(FLOOR_V6_SWEPT, Program::FloorV6, V6_IN_V6, &in_order),
        candidate("cold v6, in order", V6_IN_V6, &in_order, FLOOR_V6_SWEPT, &[]),
        floor(FLOOR_V4_RANDOM, Program::FloorV4, V4_IN_V4, &random),
        candidate("cold v4, random", V4_IN_V4, &random, FLOOR_V4_RANDOM, &[ratio(1.4)]),
        floor(FLOOR_V6_RANDOM, Program::FloorV6, V6_IN_V6, &random),
        candidate("cold v6, random", V6_IN_V6, &random, FLOOR_V6_RANDOM, &[]),
    ]
}

impl Case {
    /// How a batch's shots become one figure.
    pub fn estimator(&self) -> Estimator {
        if self.flows.is_cold() { Estimator::Midmean } else { Estimator::Mean }
    }

    /// Does the router take the path that the case is named after?
    fn check(&self, scene: &Scene) -> Result<()> {
        if let Some(expected) = self.reason {
            let reason = scene.reason(self.program, &self.packet)?;
            ensure!(
                reason == expected,
                "case `{}` would time the wrong path: {} instead of {}",
                self.name,
                reason,
                expected
            );
        }
        Ok(())
    }
}

/// New flows arrive at a table that is full of earlier ones, as it is after the first minute in production: each then
/// pays for an eviction.
fn fill_new_flows(scene: &Scene) -> Result<()> {
    const TABLE: u32 = 1 << 16; // RouterOptions::default()
    for service in [V4_IN_V4, V6_IN_V6] {
        let mut packet = service.syn(0);
        for flow in 0..TABLE * 5 / 4 {
            service.set_flow(&mut packet, FRESH_SYN - TABLE * 2 + flow);
            scene.router.test_run(&packet)?;
            scene.idle_router.test_run(&packet)?;
        }
    }
    Ok(())
}

/// The numbers below `count` in an order that no prefetcher guesses; the same in every run.
fn shuffled(count: u32) -> Rc<[u32]> {
    let mut order: Vec<u32> = (0..count).collect();
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    for i in (1..order.len()).rev() {
        // xorshift64 (Marsaglia 2003)
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        order.swap(i, (state % (i as u64 + 1)) as usize);
    }
    order.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffled_is_a_permutation_and_out_of_order() {
        let order = shuffled(10_000);
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        assert!(sorted.iter().copied().eq(0..10_000));
        let neighbours = order.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 16).count();
        assert!(neighbours < 100, "{neighbours} of 10,000 neighbours stayed close");
    }

    #[test]
    fn fresh_flows_never_repeat_and_swept_ones_come_round() {
        let mut fresh = Flows::Fresh(5);
        assert_eq!([fresh.advance(), fresh.advance()], [Some(6), Some(7)]);
        let mut round = Flows::Sweep { order: [2, 0, 1].into(), next: 0 };
        assert_eq!([(); 4].map(|()| round.advance()), [Some(2), Some(0), Some(1), Some(2)]);
    }
}
