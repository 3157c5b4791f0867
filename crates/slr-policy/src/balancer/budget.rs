//! How far weights may go in one interval: the most that moves no more slots than are allowed.
//!
//! What moves is known only from the ring that the weights make: Maglev moves more slots than the change of shares
//! alone asks for (one to seven times as many, by the number of hosts). So rings are built and compared. How many times
//! more was needed last time tells where to look first, and mostly the first or the second ring is the one.

use std::sync::Arc;

use slr_model::Weight;

use super::{host::Host, placer::Placer};
use crate::{Member, Placement};

/// Rings built at most in one evaluation: at 1.7 ms for the largest, 7 ms in an interval of 400.
pub(super) const BUILDS_MAX: u32 = 4;
/// A step that uses this part of what is allowed needs no better one.
const GOOD_ENOUGH: f64 = 0.8;
/// Where between the last known good and the first known bad step to look when the estimate says nothing.
const MARGIN: f64 = 0.92;

/// Slots by the hop that has them. Rings that are alike share theirs.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots(Arc<[u16]>);

impl From<&[u16]> for Slots {
    fn from(hops: &[u16]) -> Self {
        Self(hops.into())
    }
}

/// What became of a change.
#[derive(Debug, Default)]
pub(super) struct Moved {
    pub weights: Vec<u16>,
    pub slots: Slots,
    pub moved: u32,
    pub clipped: bool,
    pub builds: u32,
}

impl Slots {
    pub(super) fn len(&self) -> u32 {
        self.0.len() as u32
    }

    /// The slots of these hosts with these weights.
    pub(super) fn build(hosts: &[Host], weights: &[u16], placement: Placement, placer: &mut Placer) -> Self {
        let member = |(host, &weight): (&Host, &u16)| Member {
            name: host.name.clone(),
            hop: host.hop,
            weight: Weight::new(weight).expect("weights are kept in range"),
        };
        let members = hosts.iter().zip(weights).filter(|&(_, &weight)| weight > 0).map(member).collect();
        placer.place(members, placement)
    }

    /// Slots that have another hop than before; all of them if the ring had another size. None if there was no ring.
    pub(super) fn moved_from(&self, before: &Slots) -> u32 {
        if before.0.is_empty() {
            return 0;
        }
        if self.0.len() != before.0.len() {
            return before.len();
        }
        self.0.iter().zip(before.0.iter()).map(|(now, before)| u32::from(now != before)).sum()
    }
}

/// Goes from the hosts' weights towards `goal` as far as `allowed` slots let it.
pub(super) fn approach(
    hosts: &[Host],
    from: (&[u16], &Slots),
    goal: &[u16],
    placement: Placement,
    allowed: u32,
    amplification: &mut f64,
    placer: &mut Placer,
) -> Moved {
    let (from, before) = from;
    let limit = f64::from(allowed);
    let mut best = Moved { weights: from.to_vec(), slots: before.clone(), clipped: true, ..Moved::default() };
    // Known to fit, and known not to.
    let (mut low, mut high) = (0.0, None);
    let mut reach = if needed(from, goal, placement) * *amplification <= limit {
        1.0
    } else {
        largest_reach(from, goal, placement, limit / *amplification)
    };
    while best.builds < BUILDS_MAX && allowed > 0 {
        let weights = between(hosts, from, goal, reach);
        let slots = Slots::build(hosts, &weights, placement, placer);
        best.builds += 1;
        let moved = slots.moved_from(before);
        let least = needed(from, &weights, placement);
        if least >= 1.0 && moved > 0 {
            *amplification = f64::from(moved) / least;
        }
        if moved <= allowed {
            low = reach;
            best = Moved { weights, slots, moved, clipped: reach < 1.0, builds: best.builds };
            if reach >= 1.0 || f64::from(moved) >= limit * GOOD_ENOUGH {
                break;
            }
        } else {
            high = Some(reach);
        }
        reach = next_reach(low, high, reach, f64::from(moved), limit);
    }
    best
}

/// In proportion to what the last one moved, but between what is known to fit and what is known not to.
fn next_reach(low: f64, high: Option<f64>, last: f64, moved: f64, limit: f64) -> f64 {
    let proportional = if moved > 0.0 { last * limit / moved * MARGIN } else { f64::INFINITY };
    match high {
        None => proportional.min(1.0).max((low + 1.0) / 2.0),
        Some(high) if proportional > low && proportional < high => proportional,
        Some(high) => (low + high) / 2.0,
    }
}

/// The part of the way for which the shares alone ask for this many slots.
fn largest_reach(from: &[u16], goal: &[u16], placement: Placement, slots: f64) -> f64 {
    (slots / needed(from, goal, placement)).clamp(0.0, 1.0)
}

/// Slots that the change of shares alone asks for.
fn needed(from: &[u16], to: &[u16], placement: Placement) -> f64 {
    let sum = |weights: &[u16]| weights.iter().map(|&weight| f64::from(weight)).sum::<f64>();
    let (from_sum, to_sum) = (sum(from).max(1.0), sum(to).max(1.0));
    let differ = |(&from, &to): (&u16, &u16)| (f64::from(from) / from_sum - f64::from(to) / to_sum).abs();
    from.iter().zip(to).map(differ).sum::<f64>() / 2.0 * f64::from(placement.size.get())
}

/// Weights this part of the way. They are whole numbers, so each host rounds at a place of its own: with one place for
/// all, small steps would change nobody and then everybody at once.
fn between(hosts: &[Host], from: &[u16], goal: &[u16], reach: f64) -> Vec<u16> {
    let each = |((host, &from), &goal): ((&Host, &u16), &u16)| {
        if reach >= 1.0 || from == goal {
            return goal;
        }
        let way = (f64::from(goal) - f64::from(from)) * reach;
        // The part above a whole number counts as one if it is above the host's own threshold.
        let whole = way.abs() + host.threshold;
        let moved = whole.floor().min(f64::from(goal.abs_diff(from))) as u16;
        if goal > from { from + moved } else { from - moved }
    };
    hosts.iter().zip(from).zip(goal).map(each).collect()
}
