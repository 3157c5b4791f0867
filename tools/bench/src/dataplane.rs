//! `bench dataplane`: nanoseconds per packet over a null program timed the same way.
//!
//! Every shot is one `BPF_PROG_TEST_RUN` with repeat 1, on one pinned CPU; the kernel times the program, and the null
//! program's figure of the same round is subtracted. Null, floors and candidates take turns batch by batch, so that drift
//! of the machine hits all alike, and ratios are formed within a round. Cold cases sweep over all established flows, one
//! program after another, and are compared flow range by flow range ([`measure::swept`]).

pub mod adverts;
pub mod case;
pub mod measure;
pub mod packets;
pub mod report;
pub mod scene;
pub mod sockets;

use std::path::PathBuf;

use anyhow::Result;
use slr_daemon::output;
use slr_testkit::netns::NetNs;

use crate::machine::{self, Watch};
use crate::results;

pub use report::Report;

/// Options of `bench dataplane`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Print JSON, with every batch, instead of a table
    #[arg(long)]
    pub json: bool,
    /// Batches per kind of packet; the median and spread are taken over them
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub batches: u32,
    /// Single shots per batch
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(16..=1_000_000))]
    pub shots: u32,
    /// Established flows that the cold cases visit, each once a sweep
    #[arg(long, default_value_t = 500_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub cold_flows: u32,
    /// Sweeps of the cold cases over all flows
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub sweeps: u32,
    /// Load everything anew so many times, each time at other places in memory, with all batches: where the kernel puts a program moves a
    /// packet's time by some nanoseconds
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub loads: u32,
    /// Measure only cases whose name contains this (may be given several times), and what they are compared with
    #[arg(long, value_name = "TEXT")]
    pub only: Vec<String>,
    /// Hosts of each address family
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub hosts: u16,
    /// Also write dataplane.json and dataplane.md into this folder; without a name, into tools/bench/results/DATE-HOST
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = results::DEFAULT)]
    pub out: Option<PathBuf>,
}

/// Measure and report.
pub fn run(args: &Args) -> Result<()> {
    // In a namespace of its own: the host's socket check shall find the benchmark's connections and no others.
    let ns = NetNs::new()?;
    let report = ns.with(|| measure(&ns, args))?;
    if let Some(warning) = report.noise.warning() {
        eprintln!("{warning}");
    }
    if let Some(folder) = &args.out {
        results::write(&results::folder(folder)?, "dataplane", &report, &report.markdown())?;
    }
    output::print(if args.json { serde_json::to_string(&report)? } else { report.table() });
    Ok(())
}

/// On a thread inside the namespace.
fn measure(ns: &NetNs, args: &Args) -> Result<Report> {
    let machine = machine::settle()?;
    let _connections = [sockets::connect(ns, scene::V4_IN_V4)?, sockets::connect(ns, scene::V6_IN_V6)?];
    let watch = Watch::start();
    let mut measured: Vec<measure::Measured> = Vec::new();
    for load in 1..=args.loads {
        eprintln!("setting the scene ({load} of {}): {} flows of each family", args.loads, args.cold_flows);
        for (case, batches) in measure_once(args, load - 1)? {
            match measured.iter_mut().find(|(known, _)| known.name == case.name) {
                Some((_, all)) => all.extend(batches),
                None => measured.push((case, batches)),
            }
        }
    }
    Ok(Report::new(machine, watch.finish(), args, measured))
}

/// With programs and tables of its own.
fn measure_once(args: &Args, place: u32) -> Result<Vec<measure::Measured>> {
    let scene = scene::Scene::new(args.hosts, args.cold_flows, place)?;
    let (cold, hot) = case::all(&scene, args)?.into_iter().partition(|case| case.flows.is_cold());
    let mut measured = measure::interleaved(&scene, hot, args)?;
    measured.extend(measure::swept(&scene, cold, args)?);
    Ok(measured)
}
