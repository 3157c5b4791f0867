//! The last value of each source, and what the expressions make of them. Pure.

use std::collections::BTreeMap;
use std::time::Instant;

use slr_model::{LoadName, Loads, ServiceKey};
use slr_policy::{Expression, Variable};

use super::{COMBINED, Kind, Reading, Source};

/// Name of the connections in expressions.
pub const FLOWS: &str = "flows";

/// What is made of the values.
#[derive(Clone, Debug, PartialEq)]
pub struct Formulas {
    /// `load` of the host; `None`: there is none.
    pub host: Option<Expression>,
    /// `load` of services that have an expression of their own.
    pub services: BTreeMap<ServiceKey, Expression>,
}

/// A value as people see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Where it comes from.
    pub source: String,
    /// The value, if it counts.
    pub value: Option<f64>,
    /// Age of the last good reading in milliseconds.
    pub age_ms: Option<u64>,
    /// Why the last reading failed, or why there is no value; empty if all is well.
    pub problem: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Last {
    good: Option<(f64, Instant)>,
    error: Option<String>,
}

/// All sources with their last values.
#[derive(Debug)]
pub struct Board {
    sources: Vec<Source>,
    formulas: Formulas,
    last: BTreeMap<LoadName, Last>,
}

impl Board {
    /// No values yet.
    pub fn new(sources: Vec<Source>, formulas: Formulas) -> Self {
        let mut board = Self { sources: Vec::new(), formulas: formulas.clone(), last: BTreeMap::new() };
        board.set(sources, formulas);
        board
    }

    /// From now on these; what is known of those that stay is kept.
    pub fn set(&mut self, sources: Vec<Source>, formulas: Formulas) {
        let stays = |name: &LoadName| {
            let by_name = |all: &[Source]| all.iter().find(|source| source.name == *name).map(|s| s.kind.clone());
            by_name(&sources) == by_name(&self.sources)
        };
        self.last.retain(|name, _| stays(name));
        self.sources = sources;
        self.formulas = formulas;
    }

    /// Takes a reading. One of a source that is gone is nothing.
    pub fn take(&mut self, reading: Reading, now: Instant) {
        if !self.sources.iter().any(|source| source.name == reading.name) {
            return;
        }
        let last = self.last.entry(reading.name).or_default();
        match reading.value {
            Ok(value) => *last = Last { good: Some((value, now)), error: None },
            Err(error) => last.error = Some(error),
        }
    }

    /// Whether the last reading of a source failed.
    pub fn is_failing(&self, name: &LoadName) -> bool {
        self.last.get(name).is_some_and(|last| last.error.is_some())
    }

    /// The host's load values: each that is known, and `load`. `flows` are its connections.
    pub fn host(&self, flows: u64, now: Instant) -> Loads {
        let mut loads = Loads::new();
        for source in &self.sources {
            put(&mut loads, source.name.clone(), self.value(source, flows, now));
        }
        let combined = self.formulas.host.as_ref().and_then(|formula| self.evaluate(formula, flows, now));
        put(&mut loads, COMBINED.parse().expect("a good name"), combined);
        loads
    }

    /// A service's own load values: those that are not the host's.
    pub fn service(&self, key: &ServiceKey, flows: u64, now: Instant) -> Loads {
        let mut loads = Loads::new();
        for source in self.sources.iter().filter(|source| source.kind == Kind::Connections) {
            put(&mut loads, source.name.clone(), Some(flows as f64));
        }
        if let Some(formula) = self.formulas.services.get(key) {
            put(&mut loads, COMBINED.parse().expect("a good name"), self.evaluate(formula, flows, now));
        }
        loads
    }

    /// Every value, for people, `load` last. `flows` are the host's connections.
    pub fn rows(&self, flows: u64, now: Instant) -> Vec<Row> {
        let mut rows: Vec<Row> = self.sources.iter().map(|source| self.row(source, flows, now)).collect();
        if let Some(formula) = &self.formulas.host {
            let evaluated = formula.evaluate(|variable| self.variable(variable, flows, now));
            rows.push(Row {
                name: COMBINED.to_owned(),
                source: formula.source().to_owned(),
                value: evaluated.as_ref().ok().copied(),
                age_ms: None,
                problem: evaluated.err().map_or_else(String::new, |error| error.to_string()),
            });
        }
        rows
    }

    fn row(&self, source: &Source, flows: u64, now: Instant) -> Row {
        let value = self.value(source, flows, now);
        let last = self.last.get(&source.name);
        let age_ms =
            last.and_then(|last| last.good).map(|(_, at)| now.saturating_duration_since(at).as_millis() as u64);
        let why = last.and_then(|last| last.error.clone()).unwrap_or_default();
        let problem = match (value, age_ms) {
            (Some(_), _) => why,
            (None, Some(age_ms)) => format!("no value for {:.1} s: {why}", age_ms as f64 / 1e3),
            (None, None) => format!("no value yet{}{why}", if why.is_empty() { "" } else { ": " }),
        };
        Row { name: source.name.to_string(), source: source.kind.word().to_owned(), value, age_ms, problem }
    }

    fn value(&self, source: &Source, flows: u64, now: Instant) -> Option<f64> {
        if source.kind == Kind::Connections {
            return Some(flows as f64);
        }
        let (value, at) = self.last.get(&source.name)?.good?;
        (now.saturating_duration_since(at) <= source.stale_after).then_some(value)
    }

    fn evaluate(&self, formula: &Expression, flows: u64, now: Instant) -> Option<f64> {
        formula.evaluate(|variable| self.variable(variable, flows, now)).ok()
    }

    fn variable(&self, variable: &Variable, flows: u64, now: Instant) -> Option<f64> {
        if variable.name() == FLOWS {
            return Some(flows as f64);
        }
        let source = self.sources.iter().find(|source| source.name.as_str() == variable.name())?;
        self.value(source, flows, now)
    }
}

/// The configuration has seen to it that there are not too many, and expressions give finite numbers or none.
fn put(loads: &mut Loads, name: LoadName, value: Option<f64>) {
    if let Some(value) = value
        && let Err(error) = loads.set(name, value)
    {
        tracing::debug!(%error, "a load value is left out");
    }
}

#[cfg(test)]
mod tests;
