//! The service level router: `slr-router run` is the daemon, the other commands are an operator's tools.
//!
//! `config` and `hosts` are what the operator wrote, `desired` is that as the kernel's tables shall say it, `links` keeps
//! the layer below current, `announce` tells the routers
//! around, `daemon` puts them together in one loop, `show` and `replay` answer questions.

mod announce;
mod capture;
mod check;
mod cli;
mod config;
mod control;
mod daemon;
mod desired;
mod diff;
mod doctor;
mod drain;
mod fleet;
mod forget;
mod hosts;
mod keepalive;
mod links;
mod metrics;
mod overview;
mod recovery;
mod replay;
mod show;
mod state;
mod top;
mod trace;
mod tunnel;
mod unload;
mod web;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    slr_daemon::memory::keep_small();
    match cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => slr_daemon::output::failure("slr-router", &error),
    }
}
