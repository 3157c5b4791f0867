//! F and its damping: what decides how costs become weights, and how fast weights may change.

use std::time::Duration;

use slr_model::PlacementPolicy;
use thiserror::Error;

use crate::{Expression, ExpressionError, Vocabulary};

/// F, how its values become shares, and how fast these follow: one for each ring.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// How costs become shares.
    pub placement: PlacementPolicy,
    /// F: the cost of a host.
    pub cost: Expression,
    /// How fast shares follow the costs.
    pub damping: Damping,
}

/// How fast shares follow the costs. docs/policy.md says what each number was measured to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Damping {
    /// Time between two evaluations: the unit of `smoothing` and `budget`. An evaluation that comes earlier (a host went
    /// down) counts for the part of it that has passed.
    pub interval: Duration,
    /// Part of a new value that counts at once, above 0, up to 1; the rest is what it was.
    pub smoothing: f64,
    /// How far the loads that hosts advertise lag behind the traffic that caused them: half the window they are measured
    /// over and half the interval; and, where traffic is not counted, half of what a flow lasts. `expected_load` reckons
    /// with it.
    pub load_lag: Duration,
    /// Ratio of neighbouring weights, above 1: 1.05 is steps of five per cent.
    pub step: f64,
    /// A host whose target differs from its weight by less than this part of it keeps its weight.
    pub hysteresis: f64,
    /// Part of a ring's slots that may move in an interval because costs changed.
    pub budget: f64,
    /// How long a host that came back takes to its whole share.
    pub slow_start: Duration,
    /// The part of its share that a host which came back begins with.
    pub slow_start_from: f64,
}

/// A number of [`Damping`] that is out of range.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("{name} is {given}: expected {expected}")]
pub struct DampingError {
    /// Which.
    pub name: &'static str,
    /// Its value.
    pub given: f64,
    /// What it may be.
    pub expected: &'static str,
}

/// What a policy's default F is, by placement.
///
/// `weighted`: cost per unit of traffic. A host's load divided by the share that causes it is the inverse of its
/// capacity, whatever the share is, so weights in inverse proportion to it make all loads equal, and stay. Below a load
/// of a quarter nothing moves: there is nothing to gain, and small loads are mostly noise (docs/decisions/0004).
/// `least-cost`: the seed's rule, load and the cost of the way there.
pub const fn default_cost(placement: PlacementPolicy) -> &'static str {
    match placement {
        PlacementPolicy::Weighted => "max(expected_load * routing_cost, 0.25) / share",
        PlacementPolicy::LeastCost => "load * routing_cost",
    }
}

/// The names that F may use, each with a sample.
pub fn cost_vocabulary() -> Vocabulary {
    let names = [
        ("load", 0.5),
        ("expected_load", 0.5),
        ("rtt_ms", 1.0),
        ("loss", 0.01),
        ("weight", 1.0),
        ("share", 1.0),
        ("flows", 100.0),
        ("hour", 12.0),
        ("routing_cost", 1.0),
    ];
    Vocabulary::new(names).with_loads()
}

impl Policy {
    /// The default F of a placement, with the default damping.
    pub fn new(placement: PlacementPolicy) -> Self {
        let cost = Self::compile_cost(default_cost(placement)).expect("the default expressions are sound");
        Self { placement, cost, damping: Damping::default() }
    }

    /// Compiles an F.
    pub fn compile_cost(source: &str) -> Result<Expression, ExpressionError> {
        Expression::compile(source, &cost_vocabulary())
    }
}

impl Default for Damping {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(400),
            smoothing: 0.3,
            load_lag: Duration::from_millis(700),
            step: 1.05,
            hysteresis: 0.1,
            budget: 0.05,
            slow_start: Duration::from_secs(10),
            slow_start_from: 0.1,
        }
    }
}

impl Damping {
    /// Smallest budget: five slots of the smallest ring, the least in which the weight of one of two hosts can change by
    /// one. With less, shares could never follow.
    pub const BUDGET_MIN: f64 = 0.005;

    /// Refuses numbers out of range.
    pub fn check(&self) -> Result<(), DampingError> {
        let budget = "0.005 (with less no weight could change) to 1";
        let checks = [
            ("interval (in seconds)", self.interval.as_secs_f64(), 0.01..=3_600.0, "0.01 to 3600"),
            ("smoothing", self.smoothing, 0.001..=1.0, "0.001 to 1"),
            ("load_lag (in seconds)", self.load_lag.as_secs_f64(), 0.0..=3_600.0, "0 to 3600"),
            ("step", self.step, 1.001..=2.0, "a ratio from 1.001 to 2"),
            ("hysteresis", self.hysteresis, 0.0..=1.0, "0 to 1"),
            ("budget", self.budget, Self::BUDGET_MIN..=1.0, budget),
            ("slow_start_from", self.slow_start_from, 0.01..=1.0, "0.01 to 1"),
        ];
        match checks.into_iter().find(|(_, given, range, _)| !range.contains(given)) {
            Some((name, given, _, expected)) => Err(DampingError { name, given, expected }),
            None => Ok(()),
        }
    }
}
