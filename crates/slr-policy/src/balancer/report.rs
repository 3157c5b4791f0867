//! What an evaluation did, and how each weight came about: for people, metrics and tests.

use slr_model::{NodeName, Weight};

use crate::{EvaluateError, Variable};

/// What one evaluation did to a ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evaluation {
    /// Whether any weight is another one than before.
    pub changed: bool,
    /// Slots that moved because hosts came or went, or the ring's size changed. Not bound by the budget.
    pub moved_by_state: u32,
    /// Slots that moved because costs changed: at most `allowed`.
    pub moved_by_cost: u32,
    /// Slots that were allowed to move because of costs.
    pub allowed: u32,
    /// Whether the budget held part of the change back.
    pub clipped: bool,
    /// Rings that were built to find out.
    pub builds: u32,
    /// Hosts of which F could not be evaluated: they got the median cost of the others.
    pub inputs_missing: u32,
}

/// A ring as it was last evaluated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RingReport {
    /// Slots of the ring; zero if it has no host.
    pub slots: u32,
    /// What the last evaluation did.
    pub last: Evaluation,
    /// Slots moved because of costs, ever.
    pub moved_by_cost_total: u64,
    /// Slots moved because hosts came or went, ever.
    pub moved_by_state_total: u64,
    /// Evaluations in which the budget held part of the change back, ever.
    pub clipped_total: u64,
    /// Evaluations of F that had no value, ever.
    pub inputs_missing_total: u64,
    /// The hosts, by name.
    pub hosts: Vec<HostReport>,
}

/// One host of a ring as it was last evaluated.
#[derive(Clone, Debug, PartialEq)]
pub struct HostReport {
    /// Which.
    pub name: NodeName,
    /// Whether it gets new flows.
    pub placed: bool,
    /// What F asked for, smoothed; `None` if nobody said it.
    pub inputs: Vec<(Variable, Option<f64>)>,
    /// F's value; `None` if it has none, or the host is not placed.
    pub cost: Option<f64>,
    /// Why it has none.
    pub fault: Option<EvaluateError>,
    /// The weight that the cost asks for, 100 being an equal share.
    pub target: f64,
    /// The part of its share that slow start allows, 1 after it.
    pub ramp: f64,
    /// Its weight.
    pub weight: Weight,
}
