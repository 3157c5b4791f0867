//! How a subnet's flows are shared out: expressions, rules, damping.

use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use slr_model::{KeyMask, NodeName, Service};

/// How costs become shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// The cheaper a host the more it gets, in inverse proportion.
    #[default]
    Weighted,
    /// The cheapest gets everything (seed, Fig. 9). On stale data that is a herd.
    LeastCost,
}

/// F of a subnet, or of one of its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The expression, which has been compiled once.
    pub expression: String,
    /// What becomes of its values.
    pub balance: Balance,
}

/// `[[subnet.rule]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name, for people.
    pub name: String,
    /// Whose packets; none: everybody's.
    pub clients: Vec<IpNet>,
    /// To which ports; none: all.
    pub services: Vec<Service>,
    /// Which hosts may be chosen; `None`: all that serve.
    pub hosts: Option<Vec<NodeName>>,
    /// What they cost.
    pub cost: Cost,
    /// What decides where a flow goes.
    pub key_mask: KeyMask,
}

/// `[policy]`: how fast shares may change, the same for all subnets.
#[derive(Clone, Debug, PartialEq)]
pub struct Damping {
    /// Between two evaluations.
    pub interval: Duration,
    /// Part of a new cost that counts at once; the rest is what it was.
    pub smoothing: f64,
    /// Ratio of neighbouring weights: 1.1 is steps of ten per cent.
    pub step: f64,
    /// A weight that would change by less stays.
    pub hysteresis: f64,
    /// Part of a ring's slots that may move in an interval because of loads.
    pub budget: f64,
    /// How long a host that came back takes to its whole share.
    pub slow_start: Duration,
}
