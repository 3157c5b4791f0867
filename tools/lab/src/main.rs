//! `lab`: network topologies on one machine, from the command line. The work is in `slr_testkit::lab`.

mod args;
mod commands;
mod interrupt;
mod status;
mod units;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = args::Args::parse();
    match commands::run(args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::from(2)
        }
    }
}
