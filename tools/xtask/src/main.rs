//! `xtask`: what `tools/demo` runs.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod demo;

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
}

fn main() -> ExitCode {
    let Task::Demo(options) = Cli::parse().task;
    match demo::run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
