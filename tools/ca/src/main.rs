//! `slr-ca`: the certificate authority of a trust domain, from the command line. The work is in the library.

mod cli;
mod show;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => slr_daemon::output::failure("slr-ca", &error),
    }
}
