//! `xtask`: what `tools/demo` runs.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod demo;
mod drill_task;
mod flood_task;
mod forge_task;
mod stay_task;
mod thresholds_task;

/// Tasks of the workspace.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Bring a site up, send real traffic through it, say what happened, clean up.
    Demo(demo::Options),
    /// Bring a site up and make failure drills on it; probe's results and a page go to a directory.
    Drills(drill_task::Options),
    /// Send segments of connections that do not exist from a client of a lab; drills do so beside what they measure.
    Flood(flood_task::Options),
    /// Send forged answers to augmented echoes into a router of a lab, likewise.
    Forge(forge_task::Options),
    /// Bring a site up with its daemons and traffic, and leave it up until Enter.
    Stay(stay_task::Options),
    /// Count the echoes that nothing called for, and the hosts' CPU, at thresholds of a stall and losses of the path.
    Thresholds(thresholds_task::Options),
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Demo(options) => demo::run(&options),
        Task::Drills(options) => drill_task::run(&options).map(|()| true),
        Task::Flood(options) => flood_task::run(&options).map(|()| true),
        Task::Forge(options) => forge_task::run(&options).map(|()| true),
        Task::Stay(options) => stay_task::run(&options).map(|()| true),
        Task::Thresholds(options) => thresholds_task::run(&options).map(|()| true),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
