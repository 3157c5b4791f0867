//! One kind of load for some time, and everything that is seen meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use serde::{Deserialize, Serialize};
use slr_dataplane::bench::Pinned;
use slr_testkit::holds_within;

use super::flood::{Flood, Rates};
use super::inside::{self, Inside, Said};
use super::outside::{self, Outside};
use super::pair::Pair;
use crate::usage::{Cpu, CpuShare};

/// Flows that are looked for in both tables at the end.
const COMPARED: u32 = 200_000;

/// What came out of a load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// Which.
    pub name: String,
    /// New flows that were sent.
    pub flows: u32,
    /// In so many seconds.
    pub seconds: f64,
    /// Flows that the first router's program pinned meanwhile.
    pub pinned: u64,
    /// Of them, those that it had no room to tell of.
    pub lost: u64,
    /// Flows that the second router took meanwhile, those that speak and were told of again among them.
    pub taken: u64,
    /// Flows that it refused.
    pub refused: u64,
    /// Times that telling everything began.
    pub resyncs: u64,
    /// p50, p99 and max of the last minute's lags in milliseconds, as the first daemon says at the end.
    pub lag_ms: Option<[f64; 3]>,
    /// What the daemons said.
    pub inside: Inside,
    /// What the tables showed.
    pub outside: Outside,
    /// CPU of the first daemon and the second.
    pub cpu: [CpuShare; 2],
}

/// Both routers and what is sent.
pub struct Bench<'a> {
    pair: &'a Pair,
    flood: Flood,
    tables: [Pinned; 2],
}

impl<'a> Bench<'a> {
    /// Both run.
    pub fn new(pair: &'a Pair, flood: Flood) -> Result<Self> {
        Ok(Self { pair, flood, tables: [pair.tables(0)?, pair.tables(1)?] })
    }

    /// From now on the first flows speak all the time.
    pub fn speak(&mut self, flows: u32) {
        self.flood.speak(flows);
    }

    /// How long it took until both said that nothing is missing; none if they do not.
    pub fn caught_up(&self, within: Duration) -> Result<Option<Duration>> {
        let begun = Instant::now();
        let warm = holds_within(within, || Said::now(self.pair).is_ok_and(|said| said.is_warm() && said.queue == 0));
        Ok(warm.then(|| begun.elapsed()))
    }

    /// Sends so many flows for so long.
    pub fn phase(&mut self, name: &str, rates: Rates, time: Duration) -> Result<Phase> {
        let (pair, tables, flood) = (self.pair, &self.tables, &mut self.flood);
        let cpu = || anyhow::Ok([Cpu::of(pair.pid(0))?, Cpu::of(pair.pid(1))?]);
        let (said, pins, before) = (Said::now(pair)?, tables[0].new_pins()?, cpu()?);
        let (is_over, newest, is_v6) = (AtomicBool::new(false), inside::Last::default(), flood.is_v6());
        let newest = &newest;
        let (tell, pinned) = mpsc::channel();
        let (sent, inside, outside, after) = std::thread::scope(|scope| {
            let inside = scope.spawn(|| inside::watch(pair, &is_over, newest));
            let outside = scope.spawn(move || outside::watch(tables, is_v6, &pinned, newest));
            let sent = flood.run(rates, time, move |number, at| {
                // Whoever watches has ended with an error, which is told below.
                let _ = tell.send((number, at));
            });
            let after = cpu();
            is_over.store(true, Ordering::Relaxed);
            let panicked = |_| anyhow!("a thread that watches has panicked");
            let outside = outside.join().map_err(panicked)??;
            anyhow::Ok((sent?, inside.join().map_err(panicked)??, outside, after?))
        })?;
        let (end, pinned) = (Said::now(pair)?, tables[0].new_pins()?);
        Ok(Phase {
            name: name.to_owned(),
            flows: sent.flows,
            seconds: sent.time.as_secs_f64(),
            pinned: pinned.0 + pinned.1 - pins.0 - pins.1,
            lost: pinned.1 - pins.1,
            taken: end.taken - said.taken,
            refused: end.refused - said.refused,
            resyncs: end.resyncs - said.resyncs,
            lag_ms: end.lag_ms,
            inside,
            outside,
            cpu: [after[0].since(&before[0]), after[1].since(&before[1])],
        })
    }

    /// Of flows spread over all that were sent, those that the first router has and the second has not, and how many were looked for.
    pub fn missing(&self) -> Result<[u32; 2]> {
        let all = self.flood.answered();
        let step = (all / COMPARED).max(1);
        let (mut missing, mut looked) = (0, 0);
        for number in (0..all).step_by(step as usize) {
            let flow = Flood::flow(self.flood.is_v6(), number);
            looked += 1;
            missing += u32::from(self.tables[0].has(&flow)? && !self.tables[1].has(&flow)?);
        }
        Ok([missing, looked])
    }
}
