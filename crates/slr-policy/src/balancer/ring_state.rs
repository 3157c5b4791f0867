//! One ring between two evaluations, and an evaluation in its steps.

use std::{collections::BTreeMap, time::Instant};

use slr_model::{HopId, NodeName, Weight};

use super::{
    BalanceError, Evaluation, HostInput, RingInput, RingReport,
    budget::{self, Slots},
    host::{Host, Ratios, SHARE_MIN, Step},
    placer::Placer,
    target::{self, EQUAL},
    traffic::Traffic,
};
use crate::{Damping, Expression, HopSet, Placement, Policy};

/// What Maglev moves for each slot that must move, before anything is known of a ring: that of ten hosts.
const AMPLIFICATION_FIRST: f64 = 1.3;

/// One ring.
#[derive(Clone, Debug)]
pub(super) struct RingState {
    /// By name.
    hosts: Vec<Host>,
    slots: Slots,
    placement: Option<Placement>,
    /// A host that had slots has none any more.
    went: bool,
    cost: Option<Expression>,
    pub(super) traffic: Traffic,
    evaluated_at: Option<Instant>,
    /// Slots that may move now: grows with time, up to an interval's budget.
    allowance: f64,
    amplification: f64,
    report: RingReport,
}

impl RingState {
    pub(super) fn new() -> Self {
        Self {
            hosts: Vec::new(),
            slots: Slots::default(),
            placement: None,
            went: false,
            cost: None,
            traffic: Traffic::default(),
            evaluated_at: None,
            allowance: 0.0,
            amplification: AMPLIFICATION_FIRST,
            report: RingReport::default(),
        }
    }

    pub(super) fn evaluate(
        &mut self,
        now: Instant,
        policy: &Policy,
        input: &RingInput,
        placer: &mut Placer,
    ) -> Result<Evaluation, BalanceError> {
        let inputs = in_order(input.hosts)?;
        let step = Step { now, elapsed: self.evaluated_at.map(|last| now.saturating_duration_since(last)) };
        self.seat(&inputs);
        if self.cost.as_ref() != Some(&policy.cost) {
            self.hosts.iter_mut().for_each(Host::forget_inputs);
            self.cost = Some(policy.cost.clone());
        }
        let before: Vec<u16> = self.hosts.iter().map(|host| host.weight).collect();
        self.place(step, &policy.damping, &inputs);
        let inputs_missing = self.judge(step, policy, input, &inputs);
        target::set_wanted(&mut self.hosts, policy);

        // A host that is no longer listed is a change that no weight of the others shows.
        let changed = self.went;
        let mut done = Evaluation { inputs_missing, changed, ..Evaluation::default() };
        self.apply_state(input.placement, &mut done, placer);
        self.apply_cost(step, &policy.damping, input.placement, &mut done, placer);
        done.changed |= self.hosts.iter().zip(before).any(|(host, before)| host.weight != before);
        self.evaluated_at = Some(now);
        self.count(done);
        Ok(done)
    }

    /// Makes the hosts those of the inputs, keeping what is remembered of each.
    fn seat(&mut self, inputs: &[&HostInput]) {
        let same = self.hosts.len() == inputs.len()
            && self.hosts.iter().zip(inputs).all(|(host, input)| host.name == *input.name);
        if same {
            return;
        }
        let mut known: BTreeMap<NodeName, Host> =
            std::mem::take(&mut self.hosts).into_iter().map(|host| (host.name.clone(), host)).collect();
        let mut marks = FreeMarks::among(known.values());
        let mut seated = Vec::with_capacity(inputs.len());
        for input in inputs {
            seated.push(match known.remove(input.name) {
                Some(host) => host,
                None => Host::new(input.name.clone(), marks.next()),
            });
        }
        self.hosts = seated;
        self.went |= known.values().any(|host| host.weight > 0);
        if marks.used_up {
            self.mark_anew();
        }
    }

    /// Hosts that are gone and hosts that came in one evaluation need more marks than there are: all begin anew, and
    /// what moved is not counted this once.
    fn mark_anew(&mut self) {
        for (host, index) in self.hosts.iter_mut().zip(1..) {
            host.hop = HopId::new(index).expect("as many hosts as marks, at most");
        }
        self.slots = Slots::default();
        self.went = true;
    }

    /// Who is in the ring, with which part of its share.
    fn place(&mut self, step: Step, damping: &Damping, inputs: &[&HostInput]) {
        let is_placed = |input: &HostInput| input.placed && !input.weight.is_zero();
        let stays = self.hosts.iter().zip(inputs).filter(|(host, input)| host.placed && is_placed(input));
        let stay = Means::of(stays.map(|(host, _)| host));
        for (host, input) in self.hosts.iter_mut().zip(inputs) {
            let placed = is_placed(input);
            host.came = placed && !host.placed;
            self.went |= host.weight > 0 && !placed;
            if host.placed && !placed {
                host.learned = stay.as_ref().map(|stay| f64::from(host.wanted) / stay.wanted);
            }
            if host.came {
                host.forget_inputs();
                let configured = f64::from(input.weight.get());
                let is_known = host.configured == input.weight && host.wanted > 0;
                let wanted = match (&stay, host.learned.filter(|_| is_known)) {
                    (Some(stay), Some(learned)) => learned * stay.wanted,
                    (Some(stay), None) => configured / stay.configured * stay.wanted,
                    (None, _) if is_known => f64::from(host.wanted),
                    (None, _) => configured,
                };
                host.wanted = wanted.round().clamp(1.0, f64::from(Weight::MAX)) as u16;
                // Beside hosts at work its load says nothing yet of what it can carry.
                host.ceiling = stay.as_ref().map(|stay| f64::from(host.wanted) / stay.wanted);
                host.came_at = Some(step.now);
            }
            host.update_ramp(step, damping, input.returned_at);
            host.placed = placed;
            host.configured = input.weight;
        }
    }

    /// Evaluates F of everyone placed. How many had no value.
    fn judge(&mut self, step: Step, policy: &Policy, input: &RingInput, inputs: &[&HostInput]) -> u32 {
        let counted = self.traffic.take(self.hosts.iter().filter(|host| host.placed && !host.came));
        let in_ring = || self.hosts.iter().filter(|host| host.placed && host.weight > 0);
        let count = in_ring().count().max(1) as f64;
        let mean_weight = in_ring().map(|host| f64::from(host.weight)).sum::<f64>() / count;
        let mean_whole = in_ring().map(Host::whole).sum::<f64>() / count;
        let ratio = |weight: f64, mean: f64| if mean > 0.0 { (weight / mean).max(SHARE_MIN) } else { 1.0 };
        let mut counted = counted.map(Vec::into_iter);
        let mut missing = 0;
        for (host, of_host) in self.hosts.iter_mut().zip(inputs) {
            if host.placed {
                let real = if host.weight == 0 { host.whole() } else { f64::from(host.weight) };
                let ratios = Ratios {
                    real: ratio(real, mean_weight),
                    whole: ratio(host.whole(), mean_whole),
                    seen: counted.as_mut().filter(|_| !host.came).and_then(Iterator::next),
                };
                host.evaluate(step, policy, input, of_host, ratios);
                missing += u32::from(host.fault.is_some());
            } else {
                host.forget_inputs();
                host.target = 0.0;
            }
        }
        missing
    }

    /// Lets hosts leave, and others in: at once, whatever it moves.
    fn apply_state(&mut self, placement: Placement, done: &mut Evaluation, placer: &mut Placer) {
        let goals = self.goals();
        let mut different = std::mem::take(&mut self.went) || self.placement != Some(placement);
        for (host, &goal) in self.hosts.iter_mut().zip(&goals) {
            if !host.placed {
                host.weight = 0;
            } else if host.came {
                host.weight = goal;
                different = true;
            }
        }
        // Under `least-cost` the one that had everything may be gone: a ring is not empty while anyone is placed.
        if self.hosts.iter().all(|host| host.weight == 0) {
            self.hosts.iter_mut().zip(&goals).for_each(|(host, &goal)| host.weight = goal);
            different |= goals.iter().any(|&goal| goal > 0);
        }
        if !different {
            return;
        }
        let weights: Vec<u16> = self.hosts.iter().map(|host| host.weight).collect();
        let slots = Slots::build(&self.hosts, &weights, placement, placer);
        done.builds += 1;
        done.moved_by_state = slots.moved_from(&self.slots);
        self.slots = slots;
        self.placement = Some(placement);
    }

    /// Changes weights as costs and slow start ask for, within the budget.
    fn apply_cost(
        &mut self,
        step: Step,
        damping: &Damping,
        placement: Placement,
        done: &mut Evaluation,
        placer: &mut Placer,
    ) {
        let budget = damping.budget * f64::from(self.slots.len());
        let intervals = step.elapsed.map_or(1.0, |elapsed| elapsed.as_secs_f64() / damping.interval.as_secs_f64());
        self.allowance = (self.allowance + budget * intervals).min(budget);
        done.allowed = self.allowance as u32;
        let from: Vec<u16> = self.hosts.iter().map(|host| host.weight).collect();
        let goal = self.goals();
        if from == goal {
            return;
        }
        let from = (from.as_slice(), &self.slots);
        let amplification = &mut self.amplification;
        let moved = budget::approach(&self.hosts, from, &goal, placement, done.allowed, amplification, placer);
        for (host, weight) in self.hosts.iter_mut().zip(moved.weights) {
            host.weight = weight;
        }
        self.slots = moved.slots;
        self.allowance -= f64::from(moved.moved);
        done.moved_by_cost = moved.moved;
        done.clipped = moved.clipped;
        done.builds += moved.builds;
    }

    /// Everyone's weight to have now. Small numbers all of them (many hosts came back at once, or one is to have
    /// everything) are scaled up: what a step of one moves must stay small.
    fn goals(&self) -> Vec<u16> {
        let mut goals: Vec<u16> = self.hosts.iter().map(Host::goal).collect();
        let placed = self.hosts.iter().filter(|host| host.placed).count() as f64;
        let sum: f64 = goals.iter().map(|&goal| f64::from(goal)).sum();
        let largest = f64::from(goals.iter().copied().max().unwrap_or(0));
        if sum > 0.0 && sum < EQUAL / 4.0 * placed {
            let scale = (EQUAL * placed / sum).min(f64::from(Weight::MAX) / largest);
            for goal in goals.iter_mut().filter(|goal| **goal > 0) {
                *goal = ((f64::from(*goal) * scale).round() as u16).max(1);
            }
        }
        goals
    }

    pub(super) fn adopt(
        &mut self,
        placement: Placement,
        weights: &[(NodeName, Weight)],
        placer: &mut Placer,
    ) -> Result<(), BalanceError> {
        let mut sorted: Vec<&(NodeName, Weight)> = weights.iter().collect();
        sorted.sort_unstable();
        check_names(sorted.iter().map(|(name, _)| name))?;
        let mut known: BTreeMap<NodeName, Host> =
            std::mem::take(&mut self.hosts).into_iter().map(|host| (host.name.clone(), host)).collect();
        let mut marks = FreeMarks::among(known.values());
        let seat = |(name, _): &&(NodeName, Weight)| {
            known.remove(name).unwrap_or_else(|| Host::new(name.clone(), marks.next()))
        };
        self.hosts = sorted.iter().map(seat).collect();
        if marks.used_up {
            self.mark_anew();
        }
        for (host, (_, weight)) in self.hosts.iter_mut().zip(&sorted) {
            host.placed = !weight.is_zero();
            host.weight = weight.get();
            host.came = false;
            if host.placed {
                host.wanted = weight.get();
            }
        }
        let weights: Vec<u16> = self.hosts.iter().map(|host| host.weight).collect();
        self.slots = Slots::build(&self.hosts, &weights, placement, placer);
        self.placement = Some(placement);
        Ok(())
    }

    pub(super) fn weights(&self) -> Vec<(NodeName, Weight)> {
        let weight = |host: &Host| Weight::new(host.weight).expect("weights are kept in range");
        self.hosts.iter().map(|host| (host.name.clone(), weight(host))).collect()
    }

    pub(super) fn report(&self) -> RingReport {
        let variables = self.cost.as_ref().map(Expression::variables).unwrap_or_default();
        let hosts = self.hosts.iter().map(|host| host.report(variables)).collect();
        RingReport { slots: self.slots.len(), hosts, ..self.report.clone() }
    }

    fn count(&mut self, done: Evaluation) {
        let report = &mut self.report;
        report.last = done;
        report.moved_by_cost_total += u64::from(done.moved_by_cost);
        report.moved_by_state_total += u64::from(done.moved_by_state);
        report.clipped_total += u64::from(done.clipped);
        report.inputs_missing_total += u64::from(done.inputs_missing);
    }
}

/// What hosts have on average.
struct Means {
    /// Of what they are to have; at least one.
    wanted: f64,
    /// Of their configured weights.
    configured: f64,
}

impl Means {
    /// `None` without hosts.
    fn of<'a>(hosts: impl Iterator<Item = &'a Host>) -> Option<Self> {
        let add = |(count, wanted, configured): (u32, u64, u64), host: &Host| {
            (count + 1, wanted + u64::from(host.wanted), configured + u64::from(host.configured.get()))
        };
        let (count, wanted, configured) = hosts.fold((0, 0, 0), add);
        let mean = |sum: u64| sum as f64 / f64::from(count);
        (count > 0).then(|| Self { wanted: mean(wanted).max(1.0), configured: mean(configured).max(1.0) })
    }
}

/// The inputs by name: equal inputs give equal rings, whatever order they came in.
fn in_order<'a, 'b>(hosts: &'b [HostInput<'a>]) -> Result<Vec<&'b HostInput<'a>>, BalanceError> {
    let mut inputs: Vec<&HostInput> = hosts.iter().collect();
    if !inputs.is_sorted_by(|a, b| a.name <= b.name) {
        inputs.sort_unstable_by(|a, b| a.name.cmp(b.name));
    }
    check_names(inputs.iter().map(|input| input.name))?;
    Ok(inputs)
}

/// Names in order: at most as many as a ring has marks for, and no two of them alike.
fn check_names<'a>(names: impl ExactSizeIterator<Item = &'a NodeName> + Clone) -> Result<(), BalanceError> {
    let given = names.len();
    if given > usize::from(HopId::MAX) {
        return Err(BalanceError::TooManyHosts { given });
    }
    match names.clone().zip(names.skip(1)).find(|(one, next)| one == next) {
        Some((name, _)) => Err(BalanceError::DuplicateName(name.clone())),
        None => Ok(()),
    }
}

/// Marks that no host of the last evaluation has: slots are compared with that one's.
struct FreeMarks {
    taken: HopSet,
    next: u16,
    used_up: bool,
}

impl FreeMarks {
    fn among<'a>(hosts: impl Iterator<Item = &'a Host>) -> Self {
        Self { taken: hosts.map(|host| host.hop).collect(), next: 1, used_up: false }
    }

    fn next(&mut self) -> HopId {
        while let Ok(mark) = HopId::new(self.next) {
            self.next += 1;
            if !self.taken.contains(mark) {
                return mark;
            }
        }
        self.used_up = true;
        HopId::new(HopId::MAX).expect("the largest is one")
    }
}
