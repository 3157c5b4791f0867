//! `hostd capture`: packets as the program met them. It is all in the crate `slr_capture`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use slr_capture::Setup;
use slr_daemon::admin;
use slr_dataplane::capture::Kind;
use slr_dataplane::reason::HostReason;

use crate::config::DEFAULT_SOCKET;
use crate::remedies;
use crate::status::Request;

/// Which packets.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    which: slr_capture::Options,
    /// The daemon's admin socket.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
}

/// Captures until told to end.
pub fn run(options: &Options) -> Result<ExitCode> {
    let setup = Setup {
        kind: Kind::Host,
        application: concat!("hostd ", env!("CARGO_PKG_VERSION")),
        host: None,
        remedy: |reason| remedies::remedy(*HostReason::ALL.get(reason as usize)?),
        ask: |order| admin::request(&options.socket, &Request::Capture(order)),
    };
    slr_capture::run(&setup, &options.which)
}
