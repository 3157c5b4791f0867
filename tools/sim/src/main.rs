//! `slr-sim`: the router's real registry, balancer and rings over simulated hosts and requests.
//!
//! Deterministic: a scenario and a seed decide a run. It answers how interval, steps, hysteresis and budget trade
//! balance against moved flows, and shows what `least-cost` does on stale data. docs/policy.md has what was found.

mod cli;
mod dice;
mod plot;
mod record;
mod report;
mod router;
mod scenario;
mod server;
mod sweep;
mod world;

#[cfg(test)]
mod tests;

use clap::Parser;

fn main() -> anyhow::Result<()> {
    match cli::Cli::parse().command {
        cli::Command::Balance(args) => report::balance(&args),
        cli::Command::Sweep(args) => sweep::sweep(&args),
        cli::Command::Herd(args) => report::herd(&args),
    }
}
