//! `slr-router announce drain|undrain`: takes this router out of service, and back.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use slr_daemon::admin;
use slr_daemon::output::print;

use super::Level;
use crate::cli::Output;
use crate::daemon::Request;
use crate::show::{What, announce::Announced};

/// Exit code: it is announced still.
const STILL_ANNOUNCED: u8 = 3;
/// How often it is looked whether it is withdrawn.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What to do.
#[derive(Debug, Args)]
pub struct Options {
    #[command(subcommand)]
    what: Change,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum Change {
    /// Be the worse choice for a while, then announce nothing. Holds across restarts, until `announce undrain`.
    Drain {
        /// Wait until everything is withdrawn. Exit code 0: it is, 3: not after the time-out.
        #[arg(long)]
        wait: bool,
        /// How long to wait, in seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 120, requires = "wait")]
        timeout: u64,
    },
    /// Announce again what can be served.
    Undrain,
}

/// Does it.
pub fn run(options: &Options) -> Result<ExitCode> {
    let socket = &options.output.socket;
    let drain = matches!(options.what, Change::Drain { .. });
    admin::request::<()>(socket, &Request::Announce { drain })?;
    let Change::Drain { wait, timeout } = options.what else {
        print("announcing what can be served; `slr-router show announce` lists it");
        return Ok(ExitCode::SUCCESS);
    };
    if !wait {
        print("announced as the worse choice, soon not at all; `slr-router show announce` says when");
        return Ok(ExitCode::SUCCESS);
    }
    let until = Instant::now() + Duration::from_secs(timeout);
    loop {
        let announced: Announced = admin::request(socket, &Request::Show(What::Announce))?;
        if announced.state == "announcing" {
            bail!("somebody has undrained the router meanwhile");
        }
        let left = announced.subnets.iter().filter(|subnet| subnet.announced != Level::Withdrawn).count();
        if announced.state == "withdrawn" && left == 0 {
            print("withdrawn");
            return Ok(ExitCode::SUCCESS);
        }
        if Instant::now() >= until {
            eprintln!("slr-router: {left} subnets are announced still after {timeout} s");
            return Ok(ExitCode::from(STILL_ANNOUNCED));
        }
        thread::sleep(LOOK_EVERY);
    }
}
