//! One time that flows are opened and watched, with the failure or without.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tokio::time::sleep;

use super::{
    args::{self, DrillArgs},
    command::Shell,
    figures::{Judging, NewFlows},
    judge::{Fate, judge},
    result::{Pass, Throughput},
    saved,
    scenario::Scenario,
};
use crate::run::{
    DrillTraffic, Report, Session,
    ledger::{BIN, Bin, Trace},
};

/// Time between the failure and its end, when nobody says.
const AFTER: Duration = Duration::from_secs(5);
/// Unlike ways to be lost that are told in words.
const EXAMPLES_KEPT: usize = 8;
/// Pause of an http slot between two flows: new flows arrive steadily, and the way to and from is not full of them.
const PAUSE: Duration = Duration::from_millis(50);

/// What happened when.
struct Happened {
    failures: Vec<Instant>,
    inject_took: Duration,
    healed: Option<Instant>,
}

/// Opens flows, has the failure made if `real`, and judges what became of them.
pub async fn make(args: &DrillArgs, scenario: &Scenario, shell: &Shell, real: bool) -> Result<Pass> {
    let after = args.after.or(scenario.after).unwrap_or(AFTER);
    let longest = args.ramp + args.before + after + args.healed + 2 * args.command_timeout;
    let traffic = args::traffic(args, &scenario.traffic, longest)?;
    let before = saved::read(shell, scenario.counters.as_ref()).await;
    let drill = DrillTraffic { idle_spread: args.idle_spread.min(after), pause: PAUSE };
    let mut session = Session::start(traffic, Some(drill))?;
    let happened = happen(args, scenario, shell, real, after, &session).await;
    session.stop();
    let (happened, report) = (happened?, session.finish().await?);
    let counted = saved::between(before, saved::read(shell, scenario.counters.as_ref()).await);
    let ledger = session.ledger().context("a drill keeps a ledger")?;
    let left_out = ledger.left_out.get();
    let us = |at: Instant| ledger.us(at);
    let (traces, bins) = ledger.take();
    let mut pass = judged(&traces, happened.failures.iter().map(|&at| us(at)).collect(), happened.healed.map(us));
    pass.inject_took_us = happened.inject_took.as_micros() as u64;
    pass.throughput = throughput(&bins);
    pass.rungs_saved = counted;
    pass.left_out = left_out;
    tell_run(&mut pass, &report);
    Ok(pass)
}

/// The course of a drill. What was begun is healed, also when it is broken off.
async fn happen(
    args: &DrillArgs,
    scenario: &Scenario,
    shell: &Shell,
    real: bool,
    after: Duration,
    session: &Session,
) -> Result<Happened> {
    let begun = Instant::now();
    let halfway = match scenario.halfway.as_deref().filter(|_| real) {
        Some(command) => {
            pause(args.ramp / 2, session).await;
            Some(command).filter(|_| !session.is_interrupted())
        }
        None => None,
    };
    let prepared = match halfway {
        Some(command) => shell.run("halfway", command).await.map(drop),
        None => Ok(()),
    };
    if prepared.is_ok() {
        pause((args.ramp + args.before).saturating_sub(begun.elapsed()), session).await;
    }
    if let Some(ledger) = session.ledger() {
        ledger.mark();
    }
    let inject = scenario.inject.as_deref().filter(|_| real && prepared.is_ok() && !session.is_interrupted());
    let mut happened = Happened { failures: vec![Instant::now()], inject_took: Duration::ZERO, healed: None };
    let injected = match inject {
        None => Ok(()),
        Some(command) => shell.run("inject", command).await.and_then(|outcome| {
            happened.inject_took = outcome.ended - outcome.started;
            happened.failures = outcome.failures()?;
            Ok(())
        }),
    };
    session.wake();
    if prepared.is_ok() && injected.is_ok() {
        pause(after, session).await;
    }
    let healed = match (inject.or(halfway), &scenario.heal) {
        (Some(_), Some(command)) => {
            shell.run("heal", command).await.map(|outcome| happened.healed = Some(outcome.started))
        }
        _ => Ok(()),
    };
    prepared?;
    injected?;
    healed?;
    pause(args.healed, session).await;
    Ok(happened)
}

async fn pause(time: Duration, session: &Session) {
    tokio::select! {
        () = sleep(time) => {}
        () = session.until_stopped() => {}
    }
}

/// The figures of all flows.
fn judged(traces: &[Trace], failures_us: Vec<u64>, healed_us: Option<u64>) -> Pass {
    let (mut total, mut kinds) = (Judging::default(), BTreeMap::<&str, Judging>::new());
    let mut examples = Vec::new();
    for trace in traces {
        let Some(verdict) = judge(trace, &failures_us, healed_us) else { continue };
        total.add(trace, &verdict);
        kinds.entry(trace.kind.name()).or_default().add(trace, &verdict);
        if !matches!(verdict.fate, Fate::Survived { .. } | Fate::Untested) && examples.len() < EXAMPLES_KEPT {
            let what = trace.detail.as_deref().unwrap_or("nothing came any more");
            let told = format!("{} {}: {what}", trace.kind.name(), trace.target);
            if !examples.contains(&told) {
                examples.push(told);
            }
        }
    }
    let kinds: BTreeMap<String, _> = kinds.into_iter().map(|(kind, sums)| (kind.to_owned(), sums.finish())).collect();
    let clients: std::collections::BTreeSet<_> =
        traces.iter().filter_map(|trace| trace.client).filter(|client| !client.is_unspecified()).collect();
    Pass {
        new_flows: NewFlows::of(traces, failures_us[0]),
        failures_us,
        inject_took_us: 0,
        healed_us,
        ended_us: 0,
        client_addresses: clients.len() as u64,
        interrupted: false,
        connect_p50_us: 0,
        own_lateness_p99_us: 0,
        own_lateness_max_us: 0,
        total: total.finish().0,
        recoveries_us: kinds.iter().map(|(kind, (_, recoveries))| (kind.clone(), recoveries.clone())).collect(),
        kinds: kinds.into_iter().map(|(kind, (sums, _))| (kind, sums)).collect(),
        examples,
        throughput: Throughput::default(),
        rungs_saved: saved::between(Err(String::new()), Err(String::new())),
        left_out: 0,
    }
}

fn throughput(bins: &[Bin]) -> Throughput {
    Throughput {
        bin_us: BIN.as_micros() as u64,
        answers: bins.iter().map(|bin| bin.answers).collect(),
        transfer_bytes: bins.iter().map(|bin| bin.bytes).collect(),
    }
}

fn tell_run(pass: &mut Pass, report: &Report) {
    pass.ended_us = report.elapsed_us;
    pass.interrupted = report.interrupted;
    pass.own_lateness_p99_us = report.own_lateness_us.late.p99;
    pass.own_lateness_max_us = report.own_lateness_us.late.max;
    let connects = report.kinds.iter().map(|kind| &kind.connect_us).filter(|connect| connect.count > 0);
    pass.connect_p50_us = connects.map(|connect| connect.p50).min().unwrap_or(0);
}
