//! The host daemon: makes a server answer for virtual hosts. `hostd run` is the daemon, the other commands are an
//! operator's tools.
//!
//! `config` is what the operator wrote. `net` keeps the kernel's interfaces, routes and sysctls as that wants them,
//! `slr-dataplane` does the same with programs and tables. `health`, `load` and `sockets` watch this host on tasks of their
//! own; `standing` makes of what they find what the host says of itself, `parents` says it to the routers, `drain` knows when
//! it may be stopped. `daemon` puts them together in one loop.

mod advert;
mod capture;
mod check;
mod claims;
mod cli;
mod config;
mod daemon;
mod desired;
mod dial;
mod doctor;
mod drain;
mod echo;
mod health;
mod http;
mod load;
mod metrics;
mod net;
mod parents;
mod patience;
mod peers;
mod process;
mod reason;
mod recovery;
mod remedies;
mod show;
mod sockets;
mod standing;
mod state;
mod status;
mod trace;
mod unload;
mod web;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    slr_daemon::memory::keep_small();
    match cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => slr_daemon::output::failure("hostd", &error),
    }
}
