//! The command line.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand};
use slr_policy::Policy;

use crate::scenario::{Named, Scenario};

/// The real policy and session code over simulated hosts and requests
#[derive(Debug, Parser)]
#[command(name = "slr-sim", version)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The commands
#[derive(Debug, Subcommand)]
pub enum Command {
    /// One scenario over time: shares, loads, slots moved
    Balance(BalanceArgs),
    /// Interval, step, hysteresis and budget against imbalance and moved slots
    Sweep(SweepArgs),
    /// least-cost beside weighted, both on stale data
    Herd(HerdArgs),
}

/// What every run has
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Decides everything that chance decides
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Directory that a plot is written to
    #[arg(long, value_name = "DIRECTORY")]
    pub plots: Option<PathBuf>,
}

/// Damping other than the shipped
#[derive(Debug, Args)]
pub struct DampingArgs {
    /// Seconds between adverts, and between evaluations
    #[arg(long)]
    pub interval: Option<f64>,
    /// Part of a new value that counts at once
    #[arg(long)]
    pub smoothing: Option<f64>,
    /// Seconds by which loads lag behind shares
    #[arg(long)]
    pub load_lag: Option<f64>,
    /// Ratio of neighbouring weights
    #[arg(long)]
    pub step: Option<f64>,
    /// Part of a weight by which its target must differ
    #[arg(long)]
    pub hysteresis: Option<f64>,
    /// Part of the slots that may move in an interval
    #[arg(long)]
    pub budget: Option<f64>,
    /// F
    #[arg(long)]
    pub cost: Option<String>,
    /// The router does not count what it forwards
    #[arg(long)]
    pub uncounted: bool,
}

/// `slr-sim balance`
#[derive(Debug, Args)]
pub struct BalanceArgs {
    /// Which scenario
    #[arg(long, value_enum, default_value_t = Named::Steady)]
    pub scenario: Named,
    #[command(flatten)]
    pub run: RunArgs,
    #[command(flatten)]
    pub damping: DampingArgs,
    /// Write every interval as JSON to standard output instead of the table
    #[arg(long)]
    pub json: bool,
}

/// `slr-sim sweep`
#[derive(Debug, Args)]
pub struct SweepArgs {
    /// Which scenario
    #[arg(long, value_enum, default_value_t = Named::Twenty)]
    pub scenario: Named,
    /// Runs of each setting, from seeds that follow each other
    #[arg(long, default_value_t = 3)]
    pub runs: u64,
    #[command(flatten)]
    pub run: RunArgs,
}

/// `slr-sim herd`
#[derive(Debug, Args)]
pub struct HerdArgs {
    /// Seconds between adverts, and between evaluations
    #[arg(long, default_value_t = 0.4)]
    pub interval: f64,
    #[command(flatten)]
    pub run: RunArgs,
}

impl DampingArgs {
    /// The scenario with what was given.
    pub fn apply(&self, mut scenario: Scenario) -> Result<Scenario> {
        if let Some(interval) = self.interval {
            ensure!((0.05..=60.0).contains(&interval), "--interval is {interval}: expected 0.05 to 60 seconds");
            scenario = scenario.with_interval(interval);
        }
        if let Some(lag) = self.load_lag {
            ensure!((0.0..=3_600.0).contains(&lag), "--load-lag is {lag}: expected 0 to 3600 seconds");
            scenario.damping_mut().load_lag = std::time::Duration::from_secs_f64(lag);
        }
        scenario.counts_traffic = !self.uncounted;
        if let Some(source) = &self.cost {
            scenario.policy.cost = Policy::compile_cost(source)?;
        }
        let damping = scenario.damping_mut();
        damping.smoothing = self.smoothing.unwrap_or(damping.smoothing);
        damping.step = self.step.unwrap_or(damping.step);
        damping.hysteresis = self.hysteresis.unwrap_or(damping.hysteresis);
        damping.budget = self.budget.unwrap_or(damping.budget);
        damping.check()?;
        Ok(scenario)
    }
}
