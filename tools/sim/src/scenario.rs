//! What is simulated: hosts, traffic, timing, and what happens meanwhile.

use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;
use slr_model::PlacementPolicy;
use slr_policy::{Damping, Policy};

/// All that decides a run, but for the seed.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Each host's speed: seconds of work a second.
    pub speeds: Vec<f64>,
    /// Traffic, as a part of what all hosts can do at the start.
    pub utilisation: f64,
    /// Mean work of a request, in seconds at speed 1; exponential.
    pub work_s: f64,
    /// What a flow is.
    pub flow: FlowShape,
    /// Simulated time.
    pub length_s: f64,
    /// How adverts come.
    pub adverts: Adverts,
    /// Whether the router counts what it forwards to each host, and tells the balancer.
    pub counts_traffic: bool,
    /// How the router places.
    pub policy: Policy,
    /// What happens, in order of time.
    pub changes: Vec<Change>,
}

/// A flow: how many requests, one after the other, and the pause between two.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct FlowShape {
    /// Mean number of requests; geometric.
    pub requests: f64,
    /// Mean pause after an answer; exponential.
    pub pause_s: f64,
}

/// How loads get from hosts to the router.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Adverts {
    /// Between two of a host, and between two evaluations of the router.
    pub interval_s: f64,
    /// Over which the busy time is measured.
    pub window_s: f64,
    /// Network delay: least, and what comes on top at random (exponential, mean).
    pub delay_s: (f64, f64),
    /// Part that is lost.
    pub loss: f64,
    /// Standard deviation of what the measurement adds to a load.
    pub noise: f64,
}

/// Something that happens.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Change {
    /// When.
    pub at_s: f64,
    /// What.
    pub what: What,
}

/// Kinds of change.
#[derive(Clone, Copy, Debug, Serialize)]
pub enum What {
    /// The host's speed is this from now on.
    Speed(usize, f64),
    /// The host is gone: no answers, no adverts.
    Cut(usize),
    /// It is back.
    Restore(usize),
}

/// Scenarios by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
pub enum Named {
    /// Three hosts of capacities 4, 2 and 1 under 80 % load; short flows.
    Steady,
    /// The same with flows of half a minute: shares act late.
    LongFlows,
    /// The same; after 40 s the largest host has half its speed, at 80 s all of it again.
    Shift,
    /// Four hosts, two sizes, under 60 % load; at 20 s one is cut off, at 40 s it is back.
    Return,
    /// Twenty hosts, three sizes, under 80 % load; every 10 s another one has 0.6 of its speed.
    Twenty,
}

impl Scenario {
    /// The scenario of that name, with the shipped policy.
    pub fn named(name: Named) -> Self {
        let base = Self {
            speeds: vec![4.0, 2.0, 1.0],
            utilisation: 0.8,
            work_s: 0.005,
            flow: FlowShape { requests: 1.0, pause_s: 0.0 },
            length_s: 60.0,
            adverts: Adverts { interval_s: 0.4, window_s: 1.0, delay_s: (0.001, 0.004), loss: 0.01, noise: 0.02 },
            counts_traffic: true,
            policy: Policy::new(PlacementPolicy::Weighted),
            changes: Vec::new(),
        };
        let change = |at_s, what| Change { at_s, what };
        match name {
            Named::Steady => base,
            Named::LongFlows => Self { flow: FlowShape { requests: 60.0, pause_s: 0.5 }, length_s: 240.0, ..base },
            Named::Shift => Self {
                changes: vec![change(40.0, What::Speed(0, 2.0)), change(80.0, What::Speed(0, 4.0))],
                utilisation: 0.65,
                length_s: 120.0,
                ..base
            },
            Named::Return => Self {
                speeds: vec![2.0, 2.0, 1.0, 1.0],
                utilisation: 0.6,
                changes: vec![change(20.0, What::Cut(1)), change(40.0, What::Restore(1))],
                length_s: 80.0,
                ..base
            },
            Named::Twenty => {
                let speeds: Vec<f64> = (0..20).map(|host| [1.0, 0.5, 2.0][host % 3]).collect();
                let slow = |host: usize| {
                    let at_s = 10.0 * (host + 1) as f64;
                    [
                        change(at_s, What::Speed(host, speeds[host] * 0.6)),
                        change(at_s + 10.0, What::Speed(host, speeds[host])),
                    ]
                };
                let mut changes: Vec<Change> = (0..8).flat_map(slow).collect();
                changes.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
                Self { speeds, changes, utilisation: 0.75, work_s: 0.004, length_s: 100.0, ..base }
            }
        }
    }

    /// With another interval, for adverts and evaluations both.
    #[must_use]
    pub fn with_interval(mut self, interval_s: f64) -> Self {
        self.adverts.interval_s = interval_s;
        self.policy.damping.interval = Duration::from_secs_f64(interval_s);
        self
    }

    /// The damping, to be changed.
    pub fn damping_mut(&mut self) -> &mut Damping {
        &mut self.policy.damping
    }
}
