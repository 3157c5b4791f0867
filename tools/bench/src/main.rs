//! `bench`: what data plane and control plane cost, held against the targets.

use std::process::ExitCode;

use bench::{control, dataplane, mirror, rings, stalls, throughput};
use clap::{Parser, Subcommand};
use slr_daemon::output;

/// Measures the data plane (nanoseconds per packet, packets per second, ring builds), the control plane (CPU, memory, time from
/// advert to ring, restarts) and the mirror (time from a new flow to its being known elsewhere). Needs root and BPF.
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
    /// CPU and memory of a router with many simulated hosts, time from advert to ring, restarts
    Control(control::Args),
    /// How fast new flows are known to another member of the cluster, at a rate and at too high a one
    Mirror(mirror::Args),
    /// What a host pays to watch its flows for stalls: CPU and bulk throughput, with watching and without
    Stalls(stalls::Args),
    /// The simulated hosts of `control`, which starts this itself
    #[command(hide = true)]
    ControlHosts(control::swarm::Args),
    /// Clients' ends of `stalls`, which starts this itself
    #[command(hide = true)]
    StallsClients(stalls::HoldArgs),
}

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Dataplane(args) => dataplane::run(&args),
        Command::Throughput(args) => throughput::run(&args),
        Command::Rings(args) => rings::run(&args),
        Command::Control(args) => control::run(&args),
        Command::Mirror(args) => mirror::run(&args),
        Command::Stalls(args) => stalls::run(&args),
        Command::ControlHosts(args) => control::swarm::run(&args),
        Command::StallsClients(args) => stalls::hold(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::failure("bench", &error),
    }
}
