//! The service level router's tools: `check` a configuration, `replay` a capture through the real program.
//!
//! `config` and `hosts` are what the operator wrote, `desired` is that as the kernel's tables shall say it.

mod check;
mod cli;
mod config;
mod desired;
mod hosts;
mod replay;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => slr_daemon::output::failure("slr-router", &error),
    }
}
