//! `slr-router capture`: packets as the program met them. All but the host's name is in the crate `slr_capture`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use slr_capture::Setup;
use slr_daemon::admin;
use slr_dataplane::capture::Kind;
use slr_dataplane::reason::RouterReason;
use slr_model::NodeName;

use crate::config::DEFAULT_SOCKET;
use crate::daemon::Request;
use crate::show::remedies;

/// Which packets.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    which: slr_capture::Options,
    /// Only packets that go to this host, or would if nothing stood in the way.
    #[arg(long, value_name = "HOST")]
    hop: Option<NodeName>,
    /// The daemon's admin socket.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
}

/// Captures until told to end.
pub fn run(options: &Options) -> Result<ExitCode> {
    let setup = Setup {
        kind: Kind::Router,
        application: concat!("slr-router ", env!("CARGO_PKG_VERSION")),
        host: options.hop.as_deref(),
        remedy: |reason| remedies::remedy(*RouterReason::ALL.get(reason as usize)?),
        ask: |order| admin::request(&options.socket, &Request::Capture(order)),
    };
    slr_capture::run(&setup, &options.which)
}
