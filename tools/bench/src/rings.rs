//! `bench rings`: how long it takes until packets use a changed ring of 65,537 slots over 1,000 hosts: the plan of
//! `slr_policy::RingTable`, carried out in its order into a mapped array, as the router does.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use slr_daemon::output;
use slr_daemon::table::Table;
use slr_dataplane::bench::mapped_words;
use slr_dataplane::sys::MappedWords;
use slr_model::{HopId, Weight};
use slr_policy::{HopSet, Member, Placement, RingSize, RingSpec, RingTable, RingWrite};

use crate::machine::{self, Machine, Noise, Watch};
use crate::results;
use crate::statistics::Summary;
use crate::target::{Measure, Target, Verdict};

/// Options of `bench rings`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Print JSON, with every build, instead of a table
    #[arg(long)]
    pub json: bool,
    /// Changes per kind; the median and spread are taken over them
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rounds: u32,
    /// Hosts of the ring
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(2..=4_000))]
    pub hosts: u16,
    /// Also write rings.json and rings.md into this folder; without a name, into tools/bench/results/DATE-HOST
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = results::DEFAULT)]
    pub out: Option<PathBuf>,
}

/// A rebuild shall take no longer.
const BUILD_MS_MAX: f64 = 3.0;
/// Room for a ring and its successor, and for what a change leaves behind until the next.
const SLOTS: u32 = 1 << 18;
const RINGS: u32 = 16;

/// All of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What it ran on.
    pub machine: Machine,
    /// What else ran.
    pub noise: Noise,
    /// Slots of the ring.
    pub slots: u32,
    /// Hosts of the ring.
    pub hosts: u16,
    /// Every kind of change.
    pub cases: Vec<Row>,
}

/// One kind of change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What changes.
    pub name: String,
    /// Milliseconds from the wanted members to the last store.
    pub build_ms: Summary,
    /// Of these, the stores into the mapped array.
    pub publish_ms: Summary,
    /// Slots that changed hands, at the median change.
    pub moved_slots: f64,
    /// Whether it is fast enough.
    pub target: Verdict,
    /// Every change, in milliseconds.
    pub rounds_ms: Vec<f64>,
}

/// Measure and report.
pub fn run(args: &Args) -> Result<()> {
    let machine = machine::settle()?;
    let watch = Watch::start();
    let cases = kinds(args.hosts).into_iter().map(|kind| measure(kind, args.rounds)).collect::<Result<Vec<Row>>>()?;
    let slots = RingSize::MAX.get();
    let report = Report { machine, noise: watch.finish(), slots, hosts: args.hosts, cases };
    if let Some(warning) = report.noise.warning() {
        eprintln!("{warning}");
    }
    if let Some(folder) = &args.out {
        results::write(&results::folder(folder)?, "rings", &report, &report.markdown())?;
    }
    output::print(if args.json { serde_json::to_string(&report)? } else { report.table() });
    Ok(())
}

/// A change and its way back, taken in turns: every build starts from another ring and keeps its history.
struct Kind {
    name: String,
    there: RingSpec,
    back: RingSpec,
    removed: HopSet,
}

fn kinds(hosts: u16) -> Vec<Kind> {
    let placement = Placement { size: RingSize::MAX, seed: 1 };
    let spec = |members: &[Member]| RingSpec::new(members, placement).expect("members are distinct");
    let mut kinds = Vec::new();
    for (weights, weight) in
        [("equal weights", (|_| 100) as fn(u16) -> u16), ("weights 1 to 1,000", |host| host.min(1_000))]
    {
        let all: Vec<Member> = (1..=hosts).map(|host| member(host, weight(host))).collect();
        let tilted: Vec<Member> =
            (1..=hosts).map(|host| member(host, if host % 2 == 0 { weight(host) } else { 50 })).collect();
        let last: HopSet = [all[all.len() - 1].hop].into_iter().collect();
        let mut kind = |change: &str, back: &[Member], removed: HopSet| {
            let name = format!("{weights}, {change}");
            kinds.push(Kind { name, there: spec(&all), back: spec(back), removed });
        };
        kind("a host drains and returns", &all[..all.len() - 1], HopSet::new());
        kind("a host is removed and returns", &all[..all.len() - 1], last);
        kind("every second weight changes", &tilted, HopSet::new());
    }
    kinds
}

fn member(host: u16, weight: u16) -> Member {
    Member {
        name: format!("host-{host}.site-a").parse().expect("a valid name"),
        hop: HopId::new(host).expect("in range"),
        weight: Weight::new(weight).expect("in range"),
    }
}

fn measure(kind: Kind, rounds: u32) -> Result<Row> {
    let words = mapped_words(SLOTS).context("a mapped array (as root?)")?;
    let rings = mapped_words(RINGS).context("a mapped array (as root?)")?;
    let mut table: RingTable<u16> = RingTable::new(RINGS - 1, SLOTS);
    let (mut built, mut published, mut moved) = (Vec::new(), Vec::new(), Vec::new());
    let warm_up = 2;
    for round in 0..rounds + warm_up {
        let (spec, removed) = if round % 2 == 0 { (&kind.there, &HopSet::new()) } else { (&kind.back, &kind.removed) };
        let wanted = BTreeMap::from([(1, spec.clone())]);
        let start = Instant::now();
        let plan = table.plan(&wanted, removed)?;
        let planned = Instant::now();
        let moved_slots: u32 = plan.writes.iter().map(|write| carry_out(write, &words, &rings)).sum();
        let done = Instant::now();
        black_box(plan);
        if round >= warm_up {
            built.push((done - start).as_secs_f64() * 1e3);
            published.push((done - planned).as_secs_f64() * 1e3);
            moved.push(f64::from(moved_slots));
        }
    }
    let build_ms = Summary::of(&built);
    Ok(Row {
        name: kind.name,
        build_ms,
        publish_ms: Summary::of(&published),
        moved_slots: Summary::of(&moved).median,
        target: Target { measure: Measure::BuildMs, limit: BUILD_MS_MAX }.judge(build_ms.median),
        rounds_ms: built,
    })
}

/// One write of a plan; returns the slots that it moves.
fn carry_out(write: &RingWrite<u16>, words: &MappedWords, rings: &MappedWords) -> u32 {
    match write {
        RingWrite::Publish { offset, slots, moved_slots, .. } => {
            let area = &words.words()[*offset as usize..][..slots.len()];
            area.iter().zip(slots).for_each(|(word, slot)| word.store(*slot, Ordering::Relaxed));
            *moved_slots
        }
        RingWrite::Flip { ring_index, offset, len } => {
            let descriptor = u64::from(*offset) << 32 | u64::from(*len);
            rings.words()[*ring_index as usize].store(descriptor, Ordering::Release);
            0
        }
        RingWrite::Retire { ring_index } => {
            rings.words()[*ring_index as usize].store(0, Ordering::Release);
            0
        }
        // Which service uses the ring is a table of its own and does not depend on the ring's size.
        RingWrite::Assign { .. } | RingWrite::Unassign { .. } => 0,
    }
}

impl Report {
    fn table(&self) -> String {
        let mut table = Table::new(["change", "ms", "p10", "p90", "publish ms", "slots moved", "target", "verdict"]);
        for row in &self.cases {
            table.row([
                row.name.clone(),
                format!("{:.3}", row.build_ms.median),
                format!("{:.3}", row.build_ms.p10),
                format!("{:.3}", row.build_ms.p90),
                format!("{:.3}", row.publish_ms.median),
                format!("{:.0}", row.moved_slots),
                row.target.limit_text(),
                row.target.outcome().to_owned(),
            ]);
        }
        let Machine { cpu, kernel, .. } = &self.machine;
        format!("{table}\n{} slots over {} hosts; {cpu}, Linux {kernel}", self.slots, self.hosts)
    }

    fn markdown(&self) -> String {
        format!(
            "# Ring rebuilds, {}, {}\n\n`bench rings --rounds {} --hosts {}`: from the wanted members to the last store into a \
             mapped array; median, 10th and 90th percentile over the changes.\n\n```text\n{}\n```\n\n{}",
            self.machine.date,
            self.machine.host,
            self.cases.first().map_or(0, |row| row.rounds_ms.len()),
            self.hosts,
            self.table(),
            self.machine.markdown(&self.noise),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_moves_slots_there_and_back() {
        for kind in kinds(50) {
            let mut table: RingTable<u16> = RingTable::new(RINGS - 1, SLOTS);
            for round in 0..4 {
                let spec = if round % 2 == 0 { &kind.there } else { &kind.back };
                let plan = table.plan(&BTreeMap::from([(1, spec.clone())]), &HopSet::new()).unwrap();
                let moved = plan.writes.iter().find_map(|write| match write {
                    RingWrite::Publish { moved_slots, .. } => Some(*moved_slots),
                    _ => None,
                });
                assert!(moved.is_some(), "{}, round {round}: nothing is published", kind.name);
                // The first ring has no predecessor to move slots from.
                assert_eq!(moved > Some(0), round > 0, "{}, round {round}: {moved:?}", kind.name);
            }
        }
    }
}
