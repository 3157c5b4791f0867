//! `bench`: what the data plane costs, measured beside a floor in the same run and held against the targets.

use std::process::ExitCode;

use bench::{dataplane, rings, throughput};
use clap::{Parser, Subcommand};
use slr_daemon::output;

/// Measures the data plane: nanoseconds per packet, packets per second, ring builds. Needs root and BPF.
#[derive(Parser)]
#[command(version, about)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Nanoseconds per packet over a null program, by kind of packet, beside the floor program
    Dataplane(dataplane::Args),
    /// Packets per second through a veth pair, beside the floor program
    Throughput(throughput::Args),
    /// Milliseconds until packets use a changed ring of 65,537 slots
    Rings(rings::Args),
}

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Dataplane(args) => dataplane::run(&args),
        Command::Throughput(args) => throughput::run(&args),
        Command::Rings(args) => rings::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::failure("bench", &error),
    }
}
