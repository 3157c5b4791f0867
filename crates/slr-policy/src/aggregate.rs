//! G: what an SLR says of all its hosts of a service to the tier above (seed, Fig. 9), as one load.

use crate::{EvaluateError, Expression, ExpressionError, Variable, Vocabulary};

/// The default G. The tier above sees a site as one host with that load; its F finds the site's capacity from it.
pub const DEFAULT_AGGREGATE: &str = "mean_load";

/// What G is computed from: one host of the service.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AggregateHost {
    /// Whether it gets new flows. The others count in `hosts` and `flows` alone.
    pub active: bool,
    /// Its `load`, if it says one.
    pub load: Option<f64>,
    /// F's value (see [`HostReport::cost`](crate::HostReport::cost)).
    pub cost: Option<f64>,
    /// Connections it has.
    pub flows: Option<u64>,
    /// Cost of the way to it.
    pub routing_cost: f64,
}

/// The hosts of a service in a few numbers. A mean of nothing is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// All hosts, in whatever state.
    pub hosts: u32,
    /// Those that get new flows.
    pub active: u32,
    /// Connections of all.
    pub flows: u64,
    /// Mean load of the active.
    pub mean_load: Option<f64>,
    /// Highest load of the active.
    pub max_load: Option<f64>,
    /// Least cost of the active.
    pub min_cost: Option<f64>,
    /// Mean cost of the active.
    pub mean_cost: Option<f64>,
    /// Mean cost of the way to the active.
    pub routing_cost: Option<f64>,
}

impl Summary {
    /// Sums the hosts up. Sums are formed in ascending order, so the order of the hosts makes no difference.
    pub fn new(hosts: &[AggregateHost]) -> Self {
        let active = || hosts.iter().filter(|host| host.active);
        let sorted = |values: &mut dyn Iterator<Item = f64>| {
            let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
            values.sort_unstable_by(f64::total_cmp);
            values
        };
        let loads = sorted(&mut active().filter_map(|host| host.load));
        let costs = sorted(&mut active().filter_map(|host| host.cost));
        Self {
            hosts: hosts.len() as u32,
            active: active().count() as u32,
            flows: hosts.iter().filter_map(|host| host.flows).fold(0, u64::saturating_add),
            mean_load: mean(&loads),
            max_load: loads.last().copied(),
            min_cost: costs.first().copied(),
            mean_cost: mean(&costs),
            routing_cost: mean(&sorted(&mut active().map(|host| host.routing_cost))),
        }
    }

    /// G's value for these hosts.
    pub fn aggregate(&self, expression: &Expression) -> Result<f64, EvaluateError> {
        expression.evaluate(|variable: &Variable| match variable.name() {
            "hosts" => Some(f64::from(self.hosts)),
            "active" => Some(f64::from(self.active)),
            "flows" => Some(self.flows as f64),
            "mean_load" => self.mean_load,
            "max_load" => self.max_load,
            "min_cost" => self.min_cost,
            "mean_cost" => self.mean_cost,
            "routing_cost" => self.routing_cost,
            _ => None,
        })
    }
}

/// The names that G may use, each with a sample.
pub fn aggregate_vocabulary() -> Vocabulary {
    Vocabulary::new([
        ("hosts", 4.0),
        ("active", 3.0),
        ("flows", 100.0),
        ("mean_load", 0.5),
        ("max_load", 0.75),
        ("min_cost", 0.25),
        ("mean_cost", 0.5),
        ("routing_cost", 1.0),
    ])
}

/// Compiles a G.
pub fn compile_aggregate(source: &str) -> Result<Expression, ExpressionError> {
    Expression::compile(source, &aggregate_vocabulary())
}

fn mean(values: &[f64]) -> Option<f64> {
    if values.is_empty() { None } else { Some(values.iter().sum::<f64>() / values.len() as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(active: bool, load: Option<f64>, cost: Option<f64>) -> AggregateHost {
        AggregateHost { active, load, cost, flows: Some(10), routing_cost: 2.0 }
    }

    #[test]
    fn only_active_hosts_have_a_part_in_loads_and_costs() {
        let hosts = [
            host(true, Some(0.2), Some(1.0)),
            host(true, Some(0.6), None),
            host(true, None, Some(3.0)),
            host(false, Some(9.0), Some(0.1)),
        ];
        let summary = Summary::new(&hosts);
        let table = [
            (DEFAULT_AGGREGATE, 0.4),
            ("max_load", 0.6),
            ("min_cost", 1.0),
            ("mean_cost", 2.0),
            ("hosts", 4.0),
            ("active", 3.0),
            ("flows", 40.0),
            ("routing_cost * active / hosts", 1.5),
        ];
        for (source, value) in table {
            let found = summary.aggregate(&compile_aggregate(source).unwrap()).unwrap();
            assert!((found - value).abs() < 1e-12, "{source}: {found}");
        }
        let mut turned = hosts;
        turned.reverse();
        assert_eq!(Summary::new(&turned), summary);
    }

    #[test]
    fn without_active_hosts_there_is_no_mean() {
        let summary = Summary::new(&[host(false, Some(0.5), Some(1.0))]);
        let error = summary.aggregate(&compile_aggregate(DEFAULT_AGGREGATE).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "no value of mean_load is known");
        assert_eq!((summary.hosts, summary.active, summary.flows), (1, 0, 10));
    }

    #[test]
    fn names_of_f_are_not_names_of_g() {
        let error = compile_aggregate("load").unwrap_err().to_string();
        assert!(error.contains("nothing is called load; known are active, flows, hosts, max_load"), "{error}");
    }
}
