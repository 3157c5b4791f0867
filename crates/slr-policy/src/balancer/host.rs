//! What is remembered of one host of a ring: its smoothed inputs and its weight.

use std::time::{Duration, Instant};

use slr_model::{HopId, NodeName, Weight};

use super::{HostInput, HostReport, RingInput};
use crate::{Damping, EvaluateError, Expression, Policy, Variable, name_hash::siphash};

/// Least share that F sees: a host without new flows still has a cost.
pub(super) const SHARE_MIN: f64 = 0.01;
/// A share that grew or shrank by more than this since its load was measured tells nothing that can be reckoned with.
const GROWTH_MAX: f64 = 4.0;
/// How many times the lag of its inputs a host that came back is kept from more than the share it began with: after
/// three, 95 % of what F sees was caused by its present share.
const SETTLE_LAGS: f64 = 3.0;
/// Under which names are hashed for [`Host::threshold`]. Spells "slrround".
const THRESHOLD_KEY: u64 = 0x736c_7272_6f75_6e64;

/// One host of a ring.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub name: NodeName,
    /// Its mark in the ring that moved slots are counted with. Nobody outside sees it.
    pub hop: HopId,
    pub placed: bool,
    /// Whether it is in the ring since this evaluation.
    pub came: bool,
    /// When it came last.
    pub came_at: Option<Instant>,
    pub configured: Weight,
    /// What it has now.
    pub weight: u16,
    /// What it is to have when the ramp is over, of the budget's making or not.
    pub wanted: u16,
    /// The weight that the cost asks for, before hysteresis and steps.
    pub target: f64,
    pub cost: Option<f64>,
    pub fault: Option<EvaluateError>,
    pub ramp: f64,
    /// Until the settling time after its return is over, it gets no more than this, as a multiple of the others' mean.
    pub ceiling: Option<f64>,
    /// What it had when it left, as a multiple of the others' mean.
    pub learned: Option<f64>,
    /// From which fraction on its weight is rounded up, 0 to 1: each host's own, and always the same.
    pub threshold: f64,
    /// The share that the host's load is due to: as it was when that load was measured, then smoothed like the load.
    seen: Smoothed,
    seen_smooth: Smoothed,
    load: Smoothed,
    /// Smoothed values, in the order of the expression's variables; NaN for one that is missing.
    inputs: Vec<f64>,
}

/// A value that follows another one.
#[derive(Clone, Copy, Debug)]
struct Smoothed(Option<f64>);

impl Smoothed {
    fn follow(&mut self, value: f64, part: f64) -> f64 {
        let next = self.0.map_or(value, |held| held + (value - held) * part);
        self.0 = Some(next);
        next
    }
}

/// A host's share of the ring in three ways, each as a multiple of the mean of the hosts placed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ratios {
    /// By its weight.
    pub real: f64,
    /// By its weight, ramps left out.
    pub whole: f64,
    /// By the traffic that was counted, if it was.
    pub seen: Option<f64>,
}

/// Time as an evaluation sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub now: Instant,
    /// Since the evaluation before; `None` for the first.
    pub elapsed: Option<Duration>,
}

impl Step {
    /// The part of a new value that counts, when `damping.smoothing` counts in an interval.
    fn smoothing(self, damping: &Damping) -> f64 {
        let Some(elapsed) = self.elapsed else { return 1.0 };
        let intervals = elapsed.as_secs_f64() / damping.interval.as_secs_f64();
        1.0 - (1.0 - damping.smoothing).powf(intervals)
    }

    /// The same for a lag in time.
    fn lag(self, lag: Duration) -> f64 {
        match self.elapsed {
            Some(elapsed) if !lag.is_zero() => 1.0 - (-elapsed.as_secs_f64() / lag.as_secs_f64()).exp(),
            _ => 1.0,
        }
    }
}

impl Host {
    pub(super) fn new(name: NodeName, hop: HopId) -> Self {
        let threshold = siphash(0, THRESHOLD_KEY, name.as_bytes()) as f64 / 2f64.powi(64);
        Self {
            threshold,
            name,
            hop,
            placed: false,
            came: false,
            came_at: None,
            configured: Weight::default(),
            weight: 0,
            wanted: 0,
            target: 0.0,
            cost: None,
            fault: None,
            ramp: 1.0,
            ceiling: None,
            learned: None,
            seen: Smoothed(None),
            seen_smooth: Smoothed(None),
            load: Smoothed(None),
            inputs: Vec::new(),
        }
    }

    /// Forgets what F saw: another F, or the host was away.
    pub(super) fn forget_inputs(&mut self) {
        self.inputs.clear();
        (self.seen, self.seen_smooth, self.load) = (Smoothed(None), Smoothed(None), Smoothed(None));
        self.cost = None;
        self.fault = None;
    }

    /// How far slow start has come, and whether the host's load tells by now what it can carry.
    pub(super) fn update_ramp(&mut self, step: Step, damping: &Damping, returned_at: Option<Instant>) {
        let since = |then: Option<Instant>| then.map(|then| step.now.saturating_duration_since(then));
        self.ramp = match since(returned_at) {
            Some(back) if back < damping.slow_start => {
                let done = back.as_secs_f64() / damping.slow_start.as_secs_f64();
                damping.slow_start_from + (1.0 - damping.slow_start_from) * done
            }
            _ => 1.0,
        };
        let lag = damping.load_lag + damping.interval.div_f64(damping.smoothing);
        let settled = since(self.came_at).is_none_or(|here| here >= lag.mul_f64(SETTLE_LAGS));
        let ramped = since(returned_at).is_none_or(|back| back >= damping.slow_start + lag.mul_f64(SETTLE_LAGS));
        if settled && ramped {
            self.ceiling = None;
        }
    }

    /// Takes the inputs in and evaluates F.
    pub(super) fn evaluate(
        &mut self,
        step: Step,
        policy: &Policy,
        ring: &RingInput,
        input: &HostInput,
        ratios: Ratios,
    ) {
        let part = step.smoothing(&policy.damping);
        let seen = self.seen.follow(ratios.seen.unwrap_or(ratios.real), step.lag(policy.damping.load_lag));
        let seen = self.seen_smooth.follow(seen, part).max(SHARE_MIN);
        let growth = (ratios.real / seen).clamp(1.0 / GROWTH_MAX, GROWTH_MAX);
        let variables = policy.cost.variables();
        self.inputs.resize(variables.len(), f64::NAN);
        for (held, variable) in self.inputs.iter_mut().zip(variables) {
            *held = match value_of(variable, input, ring) {
                Value::Smooth(value) => smooth(*held, value, part),
                Value::Expected(load) => self.load.follow(load, part) * growth,
                Value::Share => ratios.whole,
                Value::Exact(value) => value,
                Value::Missing => f64::NAN,
            };
        }
        self.judge(&policy.cost);
    }

    /// Its weight as F sees it: that of a ramp as if it were over, that of one that comes in now as it is to be.
    pub(super) fn whole(&self) -> f64 {
        if self.weight == 0 { f64::from(self.wanted) } else { f64::from(self.weight) / self.ramp }
    }

    fn judge(&mut self, cost: &Expression) {
        (self.cost, self.fault) = match cost.evaluate_values(&self.inputs) {
            // A negative cost has no inverse; nought is a host that costs nothing.
            Ok(cost) => (Some(cost.max(0.0)), None),
            Err(fault) => (None, Some(fault)),
        };
    }

    /// The weight to have now: what is wanted, as far as slow start allows. Never nought for a host that is to have
    /// something, or it could not come back.
    pub(super) fn goal(&self) -> u16 {
        if !self.placed || self.wanted == 0 {
            return 0;
        }
        ((f64::from(self.wanted) * self.ramp).round() as u16).max(1)
    }

    pub(super) fn report(&self, variables: &[Variable]) -> HostReport {
        let given = |value: &f64| (!value.is_nan()).then_some(*value);
        let value = |index: usize| self.inputs.get(index).and_then(given);
        HostReport {
            name: self.name.clone(),
            placed: self.placed,
            inputs: variables.iter().enumerate().map(|(index, variable)| (variable.clone(), value(index))).collect(),
            cost: self.cost,
            fault: self.fault.clone(),
            target: self.target,
            ramp: self.ramp,
            weight: Weight::new(self.weight).expect("weights are kept in range"),
        }
    }
}

/// How a value is to be taken.
enum Value {
    /// Measured: its noise is smoothed.
    Smooth(f64),
    /// The load, of which the expected one is made.
    Expected(f64),
    /// The ring's own.
    Share,
    /// Set, or a clock's.
    Exact(f64),
    Missing,
}

fn value_of(variable: &Variable, input: &HostInput, ring: &RingInput) -> Value {
    let measured = |value: Option<f64>| value.filter(|value| value.is_finite()).map_or(Value::Missing, Value::Smooth);
    let load = |name: &str| measured(input.loads.get(name).or_else(|| input.node_loads.get(name)));
    match variable {
        Variable::Load(name) => load(name.as_str()),
        Variable::Known(name) => match name.as_ref() {
            "rtt_ms" => measured(input.rtt_ms),
            "loss" => measured(input.loss),
            "flows" => measured(input.flows.map(|flows| flows as f64)),
            "weight" => Value::Exact(f64::from(input.weight.get()) / f64::from(Weight::default().get())),
            "share" => Value::Share,
            "expected_load" => match load("load") {
                Value::Smooth(load) => Value::Expected(load),
                other => other,
            },
            "hour" => Value::Exact(ring.hour),
            "routing_cost" => Value::Exact(input.routing_cost),
            // `load`, and whatever names a vocabulary of the caller's own adds.
            name => load(name),
        },
    }
}

fn smooth(held: f64, value: f64, part: f64) -> f64 {
    if held.is_nan() { value } else { held + (value - held) * part }
}
