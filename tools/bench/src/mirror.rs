//! `bench mirror`: how fast a flow that one member of a cluster has pinned is known to another, and what the members say of it.
//!
//! Two real routers in namespaces of their own, with a real control connection. New flows, a SYN and the ACK that continues it,
//! come through the first one's program as live frames. Measured are, at a rate and then at too high a one: lags as the daemon
//! says them and as the two kernel tables show them, the mirror's states over time, what was lost, and the daemons' CPU.

mod flood;
mod inside;
mod outside;
mod pair;
mod phase;
mod relay;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use slr_daemon::output;

use crate::machine::{self, Watch};
use crate::process::beside;
use crate::results;
use flood::{Flood, Rates};
use pair::{Pair, Tables};
use phase::Bench;

pub use outside::Outside;
pub use phase::Phase;
pub use report::Report;

/// Options of `bench mirror`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
    /// New flows a second
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    pub rate: u32,
    /// Seconds at that rate
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(2..=120))]
    pub seconds: u32,
    /// New flows a second that are too many, for some seconds; 0: leave this out
    #[arg(long, default_value_t = 400_000, value_parser = clap::value_parser!(u32).range(0..=2_000_000))]
    pub overload: u32,
    /// Seconds at that rate
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=30))]
    pub overload_seconds: u32,
    /// Older flows that speak all the time, so that the peer is told of them again and again
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(0..=4_000_000))]
    pub speaking: u32,
    /// Round trip between the two, in milliseconds, made by a relay; 0: none
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=200))]
    pub round_trip_ms: u32,
    /// Flows of IPv6
    #[arg(long)]
    pub ipv6: bool,
    /// The router's program; without it, the one beside this program
    #[arg(long, value_name = "FILE")]
    pub router: Option<PathBuf>,
    /// Also write mirror.json and mirror.md into this folder; without a name, into tools/bench/results/DATE-HOST
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = results::DEFAULT)]
    pub out: Option<PathBuf>,
}

/// How fast the flows that speak are made.
const SPEAKING_PER_S: u32 = 40_000;
/// So that all their pins are a second old and more by the daemon's clock when they speak: they are told of again then.
const CLOCK: Duration = Duration::from_secs(6);
/// How long the peer may take to have everything again.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(120);

/// Measure and report.
pub fn run(args: &Args) -> Result<()> {
    let report = measure(args)?;
    if let Some(warning) = report.noise.warning() {
        eprintln!("{warning}");
    }
    if let Some(folder) = &args.out {
        results::write(&results::folder(folder)?, "mirror", &report, &report.markdown())?;
    }
    output::print(if args.json { serde_json::to_string(&report)? } else { report.table() });
    Ok(())
}

fn measure(args: &Args) -> Result<Report> {
    let (machine, watch) = (machine::describe()?, Watch::start());
    let flows = u64::from(args.speaking)
        + u64::from(args.rate) * u64::from(args.seconds + 1)
        + u64::from(args.overload) * u64::from(args.overload_seconds + 1);
    let program = args.router.clone().map_or_else(beside, Ok)?;
    let pair = Pair::start(&program, Tables::of(flows)?, args.round_trip_ms)?;
    let mut bench = Bench::new(&pair, Flood::new(pair.far(), args.ipv6)?)?;
    ensure!(bench.caught_up(CAUGHT_UP_WITHIN)?.is_some(), "the mirrors do not become warm:\n{}", pair.describe());

    let mut phases = Vec::new();
    if args.speaking > 0 {
        eprintln!("{} flows that will speak", args.speaking);
        let seconds = f64::from(args.speaking) / f64::from(SPEAKING_PER_S);
        phases.push(bench.phase("first flows", Rates::new(SPEAKING_PER_S), Duration::from_secs_f64(seconds))?);
        bench.caught_up(CAUGHT_UP_WITHIN)?;
        std::thread::sleep(CLOCK);
    }
    bench.speak(args.speaking);
    eprintln!("{} new flows a second, {} s", args.rate, args.seconds);
    phases.push(bench.phase("rate", Rates::new(args.rate), Duration::from_secs(args.seconds.into()))?);
    phases.push(bench.phase("rest", Rates::new(0), Duration::from_secs(1))?);
    let mut warm_after_s = None;
    if args.overload > 0 {
        eprintln!("{} new flows a second, {} s", args.overload, args.overload_seconds);
        let overload = Duration::from_secs(args.overload_seconds.into());
        phases.push(bench.phase("overload", Rates::new(args.overload), overload)?);
        warm_after_s = bench.caught_up(CAUGHT_UP_WITHIN)?.map(|took| took.as_secs_f64());
        phases.push(bench.phase("afterwards", Rates::new(args.rate), Duration::from_secs(2))?);
    }
    bench.caught_up(CAUGHT_UP_WITHIN)?;
    let missing = bench.missing()?;
    Ok(Report {
        machine,
        noise: watch.finish(),
        rate: args.rate,
        speaking: args.speaking,
        round_trip_ms: args.round_trip_ms,
        family: if args.ipv6 { "v6" } else { "v4" }.to_owned(),
        phases,
        warm_after_s,
        missing,
    })
}
