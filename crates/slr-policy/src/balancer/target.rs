//! From costs to the weights that are wanted.

use slr_model::{PlacementPolicy, Weight};

use super::host::Host;
use crate::Policy;

/// An equal share, as a weight: the middle of the range, and what an operator writes for an ordinary host.
pub(super) const EQUAL: f64 = 100.0;
/// Costs further than this from the median count as this far: one absurd value must not empty the rest of the ring, and
/// a host that gets a fiftieth still gets enough for its load to be seen.
const COST_RATIO_MAX: f64 = 50.0;
/// Mean weights that are as good as an equal share's: beyond, steps of one would be coarse, or the largest not fit.
const MEAN_KEPT: std::ops::RangeInclusive<f64> = 60.0..=160.0;
/// Rounds of looking for hosts above their ceiling, at most.
const CAP_ROUNDS_MAX: usize = 4;
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
    // Divided by the floor first: the inverse of the smallest number there is would be infinite.
    let worth: Vec<f64> = hosts.iter().map(|host| floor / bounded(host)).collect();
    let is_capped = capped(hosts, &worth);
    let (unit, mean) = scale(hosts, &worth, &is_capped);
    for ((host, worth), is_capped) in hosts.iter_mut().zip(worth).zip(is_capped).filter(|((host, _), _)| host.placed) {
        let target = if is_capped { host.ceiling.unwrap_or(1.0) * mean } else { worth * unit };
        host.target = target.clamp(EQUAL / COST_RATIO_MAX, f64::from(Weight::MAX));
        let wanted = f64::from(host.wanted);
        if (host.target - wanted).abs() > wanted * policy.damping.hysteresis {
            host.wanted = quantised(host.target, policy.damping.step);
        }
    }
}

/// Which hosts would get more than their ceiling. Taking the excess from them raises the others, of which some may then
/// exceed theirs: a few rounds find nearly all, and what is left of it is found in the next interval.
fn capped(hosts: &[Host], worth: &[f64]) -> Vec<bool> {
    let mut is_capped = vec![false; hosts.len()];
    for _ in 0..CAP_ROUNDS_MAX {
        let (unit, mean) = scale(hosts, worth, &is_capped);
        let exceeds = |host: &Host, worth: f64| host.ceiling.is_some_and(|ceiling| worth * unit > ceiling * mean);
        let next: Vec<bool> = (hosts.iter().zip(worth).zip(&is_capped))
            .map(|((host, &worth), &is_capped)| is_capped || (host.placed && exceeds(host, worth)))
            .collect();
        if next == is_capped {
            break;
        }
        is_capped = next;
    }
    is_capped
}

/// What a worth of one is as a weight, and the mean weight, both of the hosts that are not capped: their weights keep
/// their sum, so that a host that comes or goes changes the numbers of no other. A sum that has drifted far from equal
/// shares is set right.
fn scale(hosts: &[Host], worth: &[f64], is_capped: &[bool]) -> (f64, f64) {
    let free = || hosts.iter().zip(worth).zip(is_capped).filter(|((host, _), is_capped)| host.placed && !**is_capped);
    let count = free().count() as f64;
    if count == 0.0 {
        return (EQUAL, EQUAL);
    }
    let mean = free().map(|((host, _), _)| f64::from(host.wanted)).sum::<f64>() / count;
    let mean = if MEAN_KEPT.contains(&mean) { mean } else { EQUAL };
    (mean * count / free().map(|((_, worth), _)| worth).sum::<f64>(), mean)
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
