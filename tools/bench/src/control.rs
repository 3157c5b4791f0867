//! `bench control`: what the control plane costs a router with many hosts, and how fast it follows them.
//!
//! The hosts are simulated (one process, real connections, each with its own certificate, name and address; keepalives
//! are answered), the router is the real program with its data plane in the kernel. Measured are, at the shipped
//! intervals: CPU and memory of the router's process, the time from a host's change of state to the rings that packets
//! find, and what a restart of the router does to states and rings.

mod keepalive;
mod report;
mod restart;
mod rings;
mod site;
pub mod swarm;
mod timing;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use slr_daemon::output;
use slr_testkit::holds_within;

use crate::machine::{self, Watch};
use crate::process::beside;
use crate::results;
use crate::usage::{Cpu, Memory};
use site::{HOSTS_MAX, SERVICES, Site, Swarm};

pub use report::{Load, Report};
pub use restart::Restart;
pub use timing::Changes;

/// Options of `bench control`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
    /// Simulated hosts
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(2..=HOSTS_MAX as i64))]
    pub hosts: u16,
    /// Seconds over which CPU time is taken, for each kind of load
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub seconds: u32,
    /// Changes of state that are timed
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub changes: u32,
    /// The router's program; without it, the one beside this program
    #[arg(long, value_name = "FILE")]
    pub router: Option<PathBuf>,
    /// Leave the restarts out
    #[arg(long)]
    pub no_restarts: bool,
    /// Also write control.json and control.md into this folder; without a name, into tools/bench/results/DATE-HOST
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = results::DEFAULT)]
    pub out: Option<PathBuf>,
}

/// How long hosts may take to be welcomed and served, all of them.
const REGISTERED_WITHIN: Duration = Duration::from_secs(120);
/// After the last registration the returning hosts' ramp and the rings' budget do their work; it is over by then.
const SETTLED_WITHIN: Duration = Duration::from_secs(180);
/// Rings that have not changed for so long do not change by themselves.
const QUIET: Duration = Duration::from_secs(3);

/// Measure and report.
pub fn run(args: &Args) -> Result<()> {
    let report = measure(args)?;
    if let Some(warning) = report.noise.warning() {
        eprintln!("{warning}");
    }
    if let Some(folder) = &args.out {
        results::write(&results::folder(folder)?, "control", &report, &report.markdown())?;
    }
    output::print(if args.json { serde_json::to_string(&report)? } else { report.table() });
    Ok(())
}

fn measure(args: &Args) -> Result<Report> {
    let (machine, watch) = (machine::describe()?, Watch::start());
    let hosts = usize::from(args.hosts);
    let program = args.router.clone().map_or_else(beside, Ok)?;
    eprintln!("certificates for {hosts} hosts");
    let mut site = Site::new(&program, hosts, "")?;
    site.start_router()?;
    let idle = Memory::of(site.router_pid()?)?;
    let mut swarm = site.start_hosts(hosts)?;
    register(&site, &mut swarm, hosts)?;

    eprintln!("steady loads, {} s", args.seconds);
    settle(&site)?;
    let steady = load("steady", &site, &mut swarm, args.seconds)?;
    // While nothing else moves slots.
    let mut restarts = Vec::new();
    for signal in [Signal::SIGTERM, Signal::SIGKILL].into_iter().filter(|_| !args.no_restarts) {
        eprintln!("restart after {signal}");
        restarts.push(restart::measure(&mut site, &mut swarm, hosts, signal)?);
    }
    eprintln!("drifting loads, {} s", args.seconds);
    swarm.ask(swarm::Command::Drift(true))?;
    let drifting = load("drifting", &site, &mut swarm, args.seconds)?;
    eprintln!("{} changes of state", args.changes);
    let changes = timing::measure(&site, &mut swarm, hosts, args.changes)?;
    let memory = Memory::of(site.router_pid()?)?;
    let loads = vec![steady, drifting];
    Ok(Report { machine, noise: watch.finish(), hosts, idle, memory, loads, changes, restarts })
}

fn register(site: &Site, swarm: &mut Swarm, hosts: usize) -> Result<()> {
    let welcomed = holds_within(REGISTERED_WITHIN, || {
        std::thread::sleep(Duration::from_millis(200));
        swarm.ask(swarm::Command::Count).is_ok_and(|answer| answer.open == hosts)
    });
    ensure!(welcomed, "of {hosts} hosts only {} are welcome", swarm.ask(swarm::Command::Count)?.open);
    let served = holds_within(REGISTERED_WITHIN, || {
        std::thread::sleep(Duration::from_millis(500));
        site.show("states").is_ok_and(|states| count(&states, "active") == hosts * SERVICES.len())
            && site.show("sessions").is_ok_and(|sessions| alive(&sessions) == hosts)
    });
    ensure!(served, "not every host's services are active and its tunnel alive:\n{}", site.show("alarms")?);
    Ok(())
}

/// How many (host, service) are in a state.
fn count(states: &Value, state: &str) -> usize {
    states.as_array().map_or(0, |all| all.iter().filter(|one| one["state"] == state).count())
}

fn alive(sessions: &Value) -> usize {
    sessions.as_array().map_or(0, |all| all.iter().filter(|one| one["path"] == "alive").count())
}

/// Waits until the rings stay as they are.
fn settle(site: &Site) -> Result<()> {
    let rings = site.rings()?;
    let mut seen = (rings.descriptors(), std::time::Instant::now());
    let quiet = holds_within(SETTLED_WITHIN, || {
        std::thread::sleep(Duration::from_millis(50));
        let now = rings.descriptors();
        if now != seen.0 {
            seen = (now, std::time::Instant::now());
        }
        seen.1.elapsed() >= QUIET
    });
    ensure!(quiet, "the rings do not come to rest within {SETTLED_WITHIN:?}, although nothing changes");
    Ok(())
}

/// CPU time under one kind of load.
fn load(kind: &str, site: &Site, swarm: &mut Swarm, seconds: u32) -> Result<Load> {
    let rings = site.rings()?;
    let (ours, theirs) = (site.router_pid()?, swarm.pid());
    let (router, hosts) = (Cpu::of(ours)?, Cpu::of(theirs)?);
    let (before, slots) = (swarm.ask(swarm::Command::Count)?, rings.contents());
    let mut published = 0;
    let mut last = rings.descriptors();
    let end = std::time::Instant::now() + Duration::from_secs(seconds.into());
    while std::time::Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
        let now = rings.descriptors();
        published += u64::from(now != last);
        last = now;
    }
    let after = swarm.ask(swarm::Command::Count)?;
    let router = Cpu::of(ours)?.since(&router);
    let keepalives_per_s = (after.keepalives - before.keepalives) as f64 / router.seconds;
    Ok(Load {
        kind: kind.to_owned(),
        hosts_percent: Cpu::of(theirs)?.since(&hosts).percent,
        router,
        memory: Memory::of(ours)?,
        keepalives_per_s,
        publications: published,
        slots_moved: rings::moved(&slots, &rings.contents()),
        sessions_lost: after.lost - before.lost,
    })
}
