//! `probe` measures a service from its clients' side: what became of each flow, and who answered it.
//!
//! It shares no code with what it measures, but for what writes man pages. [`run`] is the client side, [`serve`] a small server side whose answers say
//! who they come from; [`drill`] makes failures under `run`'s flows,
//! [`report`] turns their results into a page; [`wire`] and [`pattern`] are what the two agree on, and [`http`] is their HTTP.

mod drill;
mod http;
mod limits;
mod pattern;
mod report;
mod rng;
mod run;
mod serve;
mod units;
mod wire;

use std::{io, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};

/// Measure a service from its clients' side
#[derive(Parser, Debug)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Run(Box<run::RunArgs>),
    Serve(serve::ServeArgs),
    Drill(Box<drill::DrillArgs>),
    Report(report::ReportArgs),
    /// Write man pages and shell completions into a folder
    #[command(hide = true)]
    Manual {
        /// The folder
        dir: std::path::PathBuf,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run::run(*args),
        Command::Drill(args) => drill::drill(&args),
        Command::Report(args) => report::report(&args).map(|()| true),
        Command::Serve(args) => serve::serve(&args).map(|()| true),
        Command::Manual { dir } => slr_manual::write(Cli::command(), &dir).map(|()| true).map_err(Into::into),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        // Whoever reads our output may stop early (`| head`); that is no error to talk about.
        Err(error) if is_closed_pipe(&error) => ExitCode::from(2),
        Err(error) => {
            eprintln!("probe: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
