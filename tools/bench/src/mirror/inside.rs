//! What the two daemons say of the mirror, over time.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::pair::Pair;

/// Between two questions: shorter than anything that is promised of states.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// The first router's flows at the second, at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// What the first says.
    pub told: String,
    /// What the second says.
    pub heard: String,
    /// Flows that wait.
    pub queue: u64,
    /// Times that everything was told.
    pub resyncs: u64,
    /// Records that the first's program had no room for.
    pub lost: u64,
    /// Flows that the second has taken: pinned or known.
    pub taken: u64,
    /// Flows that it refused.
    pub refused: u64,
    /// p50, p99, max in milliseconds, of the last minute.
    pub lag_ms: Option<[f64; 3]>,
}

impl Said {
    /// Now.
    pub fn now(pair: &Pair) -> Result<Self> {
        let (a, b) = (pair.ask(0, "mirror")?, pair.ask(1, "mirror")?);
        let (told, heard) = (&a["peers"][0]["told"], &b["peers"][0]["heard"]);
        let word = |value: &Value| value["state"].as_str().unwrap_or("none").to_owned();
        let count = |value: &Value, what: &str| value[what].as_u64().unwrap_or_default();
        let lags = ["lag_ms_p50", "lag_ms_p99", "lag_ms_max"].map(|lag| told[lag].as_f64());
        let refused = heard["refused"].as_object().map_or(0, |all| all.values().filter_map(Value::as_u64).sum());
        Ok(Self {
            told: word(told),
            heard: word(heard),
            queue: count(told, "queue"),
            resyncs: count(told, "resyncs"),
            lost: a["records_lost"].as_u64().context("show mirror has records_lost")?,
            taken: count(heard, "pinned") + count(heard, "known"),
            refused,
            lag_ms: match lags {
                [Some(p50), Some(p99), Some(max)] => Some([p50, p99, max]),
                _ => None,
            },
        })
    }

    /// Whether both say that nothing is missing.
    pub fn is_warm(&self) -> bool {
        self.told == "warm" && self.heard == "warm"
    }
}

/// What was said while something went on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Inside {
    /// Seconds in each state, as the first router says.
    pub told_s: BTreeMap<String, f64>,
    /// As the second says.
    pub heard_s: BTreeMap<String, f64>,
    /// Each pair of states that was entered, when, and the flows that waited then.
    pub changes: Vec<(f64, String, String, u64)>,
    /// Flows that waited at most.
    pub queue_max: u64,
    /// The longest that both daemons took to answer one after the other, in milliseconds: no turn of a loop took longer.
    pub answer_ms_max: f64,
}

/// The last answer of the first router: when it was asked for, and whether it was "warm".
pub type Last = Mutex<Option<(Instant, bool)>>;

/// Asks until it is over.
pub fn watch(pair: &Pair, is_over: &AtomicBool, newest: &Last) -> Result<Inside> {
    let (mut inside, start, mut last) = (Inside::default(), Instant::now(), Instant::now());
    while !is_over.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let said = Said::now(pair)?;
        *newest.lock().expect("nobody panics with it") = Some((asked, said.told == "warm"));
        inside.answer_ms_max = inside.answer_ms_max.max(asked.elapsed().as_secs_f64() * 1_000.0);
        let passed = last.elapsed().as_secs_f64();
        last = Instant::now();
        *inside.told_s.entry(said.told.clone()).or_default() += passed;
        *inside.heard_s.entry(said.heard.clone()).or_default() += passed;
        inside.queue_max = inside.queue_max.max(said.queue);
        if inside.changes.last().is_none_or(|(_, told, heard, _)| (told, heard) != (&said.told, &said.heard)) {
            inside.changes.push((start.elapsed().as_secs_f64(), said.told, said.heard, said.queue));
        }
        std::thread::sleep(ASK_EVERY.saturating_sub(asked.elapsed()));
    }
    Ok(inside)
}
