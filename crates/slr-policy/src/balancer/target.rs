//! From costs to the weights that are wanted.

use slr_model::{PlacementPolicy, Weight};

use super::host::Host;
use crate::Policy;

/// An equal share, as a weight: the middle of the range, and what an operator writes for an ordinary host.
pub(super) const EQUAL: f64 = 100.0;
/// Costs further than this from the median count as this far: one absurd value must not empty the rest of the ring, and
/// a host that gets a fiftieth still gets enough for its load to be seen.
const COST_RATIO_MAX: f64 = 50.0;
/// Costs this close are one cost, so that rounding makes no difference between hosts that are alike.
const SAME_COST: f64 = 1e-9;

/// Sets what each placed host is to have. If no host has a cost, everybody keeps what they have.
pub(super) fn set_wanted(hosts: &mut [Host], policy: &Policy) {
    let mut costs: Vec<f64> = hosts.iter().filter(|host| host.placed).filter_map(|host| host.cost).collect();
    if costs.is_empty() {
        // Those that had everything may just have left.
        let nobody = hosts.iter().all(|host| !host.placed || host.wanted == 0);
        for host in hosts.iter_mut().filter(|host| host.placed) {
            host.wanted = if nobody { host.configured.get() } else { host.wanted };
            host.target = f64::from(host.wanted);
        }
        return;
    }
    let middle = (costs.len() - 1) / 2;
    let median = *costs.select_nth_unstable_by(middle, f64::total_cmp).1;
    match policy.placement {
        PlacementPolicy::Weighted => weighted(hosts, median, policy),
        PlacementPolicy::LeastCost => least_cost(hosts, median, policy),
    }
}

/// Shares in inverse proportion to the costs; a weight changes when its target is beyond the hysteresis.
fn weighted(hosts: &mut [Host], median: f64, policy: &Policy) {
    // All may cost nothing: then they cost the same.
    let floor = if median > 0.0 { median / COST_RATIO_MAX } else { f64::MIN_POSITIVE };
    let bounded = |host: &Host| host.cost.unwrap_or(median).clamp(floor, floor * COST_RATIO_MAX * COST_RATIO_MAX);
    let placed = || hosts.iter().filter(|host| host.placed);
    // Divided by the floor first: the inverse of the smallest number there is would be infinite.
    let total: f64 = placed().map(|host| floor / bounded(host)).sum();
    let count = placed().count() as f64;
    let targets: Vec<f64> = hosts.iter().map(|host| EQUAL * count * (floor / bounded(host)) / total).collect();
    for (host, target) in hosts.iter_mut().zip(targets).filter(|(host, _)| host.placed) {
        host.target = target.clamp(EQUAL / COST_RATIO_MAX, f64::from(Weight::MAX));
        let wanted = f64::from(host.wanted);
        if (host.target - wanted).abs() > wanted * policy.damping.hysteresis {
            host.wanted = quantised(host.target, policy.damping.step);
        }
        if let Some(ceiling) = host.ceiling {
            host.wanted = host.wanted.min(ceiling);
        }
    }
}

/// All to the cheapest. Those that have it keep it until another is cheaper by more than the hysteresis.
fn least_cost(hosts: &mut [Host], median: f64, policy: &Policy) {
    let cost = |host: &Host| host.cost.unwrap_or(median);
    let placed = || hosts.iter().filter(|host| host.placed);
    let least = placed().map(cost).fold(f64::INFINITY, f64::min);
    let stays = |host: &Host| host.wanted > 0 && cost(host) <= least * (1.0 + policy.damping.hysteresis);
    let any_stays = placed().any(stays);
    let chosen: Vec<bool> = hosts
        .iter()
        .map(|host| if any_stays { stays(host) } else { cost(host) <= least * (1.0 + SAME_COST) })
        .collect();
    for (host, chosen) in hosts.iter_mut().zip(chosen).filter(|(host, _)| host.placed) {
        host.target = if chosen { EQUAL } else { 0.0 };
        host.wanted = host.target as u16;
    }
}

/// The nearest weight of those that are whole steps from an equal share.
fn quantised(target: f64, step: f64) -> u16 {
    let steps = ((target / EQUAL).ln() / step.ln()).round();
    (EQUAL * step.powf(steps)).round().clamp(1.0, f64::from(Weight::MAX)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_whole_steps_from_an_equal_share() {
        let table: &[(f64, f64, u16)] = &[
            (100.0, 1.05, 100),
            (102.0, 1.05, 100),
            (103.0, 1.05, 105),
            (97.0, 1.05, 95),
            (1.0, 1.05, 1),
            (2.0, 1.05, 2),
            (990.0, 1.05, 991),
            (1_000.0, 2.0, 800),
            (1_000.0, 1.001, 1_000),
        ];
        for &(target, step, weight) in table {
            assert_eq!(quantised(target, step), weight, "{target} in steps of {step}");
        }
    }
}
