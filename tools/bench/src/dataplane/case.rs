//! The kinds of packets that are timed.

use std::os::fd::BorrowedFd;

use anyhow::{Result, ensure};
use slr_dataplane::reason::RouterReason;

use super::Args;
use super::packets::Service;
use super::scene::{ELSEWHERE, Scene, V4_IN_V4, V4_IN_V6, V6_IN_V4, V6_IN_V6};
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
}

impl Program {
    /// Its descriptor.
    pub fn of(self, scene: &Scene) -> BorrowedFd<'_> {
        match self {
            Self::Null => scene.yardsticks.null(),
            Self::FloorV4 => scene.yardsticks.floor_v4(),
            Self::FloorV6 => scene.yardsticks.floor_v6(),
            Self::Router => scene.router.program(),
        }
    }
}

/// Which flow each shot belongs to.
pub enum Flows {
    /// Always the first: everything it touches is in the nearest cache.
    Same,
    /// One after another from here: nobody has seen it before.
    Fresh(u32),
    /// The established ones in random order, from a place that moves on: what they touch left the caches long ago.
    Shuffled {
        /// The order.
        order: Vec<u32>,
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
    /// What the router counts it as.
    pub reason: Option<RouterReason>,
    /// The case whose figure it is divided by.
    pub floor: Option<&'static str>,
    /// Limits.
    pub targets: Vec<Target>,
}

impl Flows {
    /// The next shot's flow.
    pub fn next(&mut self) -> Option<u32> {
        match self {
            Self::Same => None,
            Self::Fresh(flow) => {
                *flow += 1;
                Some(*flow)
            }
            Self::Shuffled { order, next } => {
                let flow = order[*next % order.len()];
                *next += 1;
                Some(flow)
            }
        }
    }
}

const PASS: u32 = 2;
const TX: u32 = 3;

/// Where flows that nobody has seen start: beyond the established ones (a million at most).
const FRESH_SYN: u32 = 2_000_000;
const FRESH_ORPHAN: u32 = 8_000_000;

/// Names of the cases that others are measured against.
pub const NULL: &str = "null";
const FLOOR_V4: &str = "floor v4";
const FLOOR_V6: &str = "floor v6";
const FLOOR_V4_COLD: &str = "floor v4 cold";
const FLOOR_V6_COLD: &str = "floor v6 cold";

fn ratio(limit: f64) -> Target {
    Target { measure: Measure::RatioToFloor, limit }
}

fn over_null(limit: f64) -> Target {
    Target { measure: Measure::OverNullNs, limit }
}

/// Every case, in the order of the report, each checked to take the path it is named after.
pub fn all(scene: &mut Scene, args: &Args) -> Result<Vec<Case>> {
    let order = shuffled(args.cold_flows);
    let cold = || Flows::Shuffled { order: order.clone(), next: 0 };
    let yardstick = |name, what, program, service: Service, flows| Case {
        name,
        what,
        program,
        service,
        packet: service.ack(0),
        flows,
        verdict: if program == Program::Null { PASS } else { TX },
        reason: None,
        floor: None,
        targets: Vec::new(),
    };
    let router = |name, what, service, packet, flows, reason, floor, targets: &[Target]| Case {
        name,
        what,
        program: Program::Router,
        service,
        packet,
        flows,
        verdict: if reason == RouterReason::PassNotOurs { PASS } else { TX },
        reason: Some(reason),
        floor,
        targets: targets.to_vec(),
    };
    let established = |name, what, service: Service, flows, floor, targets: &[Target]| {
        router(name, what, service, service.ack(0), flows, RouterReason::FwdEstablished, Some(floor), targets)
    };
    let new = |name, what, service: Service, targets: &[Target]| {
        let flows = Flows::Fresh(FRESH_SYN);
        router(name, what, service, service.syn(FRESH_SYN), flows, RouterReason::FwdNew, Some(FLOOR_V4), targets)
    };
    let echo = |name, what, service: Service| {
        router(name, what, service, service.echo(0), Flows::Same, RouterReason::ReplyEcho, Some(FLOOR_V4), &[])
    };
    let cases = vec![
        yardstick(NULL, "XDP_PASS and nothing else", Program::Null, V4_IN_V4, Flows::Same),
        yardstick(FLOOR_V4, "one lookup, v4 in v4", Program::FloorV4, V4_IN_V4, Flows::Same),
        yardstick(FLOOR_V6, "one lookup, v6 in v6", Program::FloorV6, V6_IN_V6, Flows::Same),
        yardstick(FLOOR_V4_COLD, "the same over all flows", Program::FloorV4, V4_IN_V4, cold()),
        yardstick(FLOOR_V6_COLD, "the same over all flows", Program::FloorV6, V6_IN_V6, cold()),
        established(
            "established v4 in v4",
            "pinned flow, hot",
            V4_IN_V4,
            Flows::Same,
            FLOOR_V4,
            &[ratio(1.4), over_null(73.0)],
        ),
        established("established v6 in v6", "pinned flow, hot", V6_IN_V6, Flows::Same, FLOOR_V4, &[ratio(1.6)]),
        established("established v4 in v6", "pinned flow, hot", V4_IN_V6, Flows::Same, FLOOR_V4, &[]),
        established("established v6 in v4", "pinned flow, hot", V6_IN_V4, Flows::Same, FLOOR_V4, &[]),
        established("v6 beside floor v6", "the same, v6 floor", V6_IN_V6, Flows::Same, FLOOR_V6, &[]),
        established(
            "cold v4 in v4",
            "pinned flows, random order",
            V4_IN_V4,
            cold(),
            FLOOR_V4_COLD,
            &[ratio(1.4), over_null(227.0)],
        ),
        established("cold v6 in v6", "pinned flows, random order", V6_IN_V6, cold(), FLOOR_V6_COLD, &[]),
        new("new flow v4", "SYN of another client each", V4_IN_V4, &[over_null(350.0)]),
        new("new flow v6", "SYN of another client each", V6_IN_V6, &[over_null(350.0)]),
        router(
            "orphan v4",
            "ACK of an unknown flow each",
            V4_IN_V4,
            V4_IN_V4.ack(FRESH_ORPHAN),
            Flows::Fresh(FRESH_ORPHAN),
            RouterReason::FwdOrphanRing,
            Some(FLOOR_V4),
            &[],
        ),
        router(
            "not ours",
            "passes to the kernel",
            ELSEWHERE,
            ELSEWHERE.ack(0),
            Flows::Same,
            RouterReason::PassNotOurs,
            Some(FLOOR_V4),
            &[],
        ),
        echo("echo v4", "echo request answered", V4_IN_V4),
        echo("echo v6", "echo request answered", V6_IN_V6),
    ];
    for case in &cases {
        case.check(scene)?;
    }
    fill_new_flows(scene)?;
    Ok(cases)
}

impl Case {
    /// Does the router take the path that the case is named after?
    fn check(&self, scene: &Scene) -> Result<()> {
        if let Some(expected) = self.reason {
            let reason = scene.reason(&self.packet)?;
            ensure!(
                reason == expected,
                "case `{}` would time the wrong path: {} instead of {}",
                self.name,
                reason.name(),
                expected.name()
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
        }
    }
    Ok(())
}

/// The numbers below `count` in an order that no prefetcher guesses; the same in every run.
fn shuffled(count: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count).collect();
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    for i in (1..order.len()).rev() {
        // xorshift64 (Marsaglia 2003)
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        order.swap(i, (state % (i as u64 + 1)) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffled_is_a_permutation_and_out_of_order() {
        let order = shuffled(10_000);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert!(sorted.iter().copied().eq(0..10_000));
        let neighbours = order.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 16).count();
        assert!(neighbours < 100, "{neighbours} of 10,000 neighbours stayed close");
    }

    #[test]
    fn fresh_flows_never_repeat_and_shuffled_ones_come_round() {
        let mut fresh = Flows::Fresh(5);
        assert_eq!([fresh.next(), fresh.next()], [Some(6), Some(7)]);
        let mut round = Flows::Shuffled { order: vec![2, 0, 1], next: 0 };
        assert_eq!([(); 4].map(|()| round.next()), [Some(2), Some(0), Some(1), Some(2)]);
    }
}
