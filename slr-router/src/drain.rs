//! `slr-router drain` and `undrain`: has a host take no new flows, by its session, and waits until it has none left.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use slr_daemon::admin;
use slr_daemon::output::print;
use slr_model::{HostState, NodeName};
use slr_session::registry::ServiceState;

use crate::cli::Output;
use crate::daemon::{Order, Request};
use crate::show::{What, control::State};

/// Exit code: flows are left after the time-out.
const FLOWS_LEFT: u8 = 3;
/// How often the count is looked at; the host's own says how current it is.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Whom to drain, and whether to wait.
#[derive(Debug, Args)]
pub struct Options {
    /// The host.
    host: NodeName,
    /// Wait until it may be stopped: no flow is left. Exit code 0: safe to stop, 3: flows are left after the time-out.
    #[arg(long)]
    wait: bool,
    /// How long to wait, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, requires = "wait")]
    timeout: u64,
    #[command(flatten)]
    output: Output,
}

/// Drains a host.
pub fn drain(options: &Options) -> Result<ExitCode> {
    tell(options, Order::Drain)?;
    if !options.wait {
        print(format!("{} drains; `slr-router show states` counts its flows", options.host));
        return Ok(ExitCode::SUCCESS);
    }
    let until = Instant::now() + Duration::from_secs(options.timeout);
    let mut shown = None;
    loop {
        let left = flows_left(options)?;
        match left {
            Some(0) => {
                print(format!("{}: safe to stop", options.host));
                return Ok(ExitCode::SUCCESS);
            }
            Some(left) if shown != Some(left) => {
                eprintln!("{}: {left} flows left", options.host);
                shown = Some(left);
            }
            _ => {}
        }
        if Instant::now() >= until {
            let left = left.map_or_else(|| "it has not said that it drains".to_owned(), |left| format!("{left} left"));
            eprintln!("{}: not safe to stop after {} s: {left}", options.host, options.timeout);
            return Ok(ExitCode::from(FLOWS_LEFT));
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Ends a drain.
pub fn undrain(options: &Options) -> Result<ExitCode> {
    tell(options, Order::Undrain)?;
    print(format!("{} takes new flows again, as far as it is healthy", options.host));
    Ok(ExitCode::SUCCESS)
}

fn tell(options: &Options, action: Order) -> Result<()> {
    let user = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).unwrap_or_else(|_| "somebody".into());
    let request = Request::Order { host: options.host.clone(), action, by: format!("{user} at slr-router") };
    admin::request::<()>(&options.output.socket, &request).with_context(|| format!("{} is as it was", options.host))
}

/// How many flows it has; `None` until every service drains, or is down anyway.
fn flows_left(options: &Options) -> Result<Option<u64>> {
    let states: Vec<State> = admin::request(&options.output.socket, &Request::Show(What::States))?;
    let own: Vec<&State> = states.iter().filter(|state| state.host == options.host).collect();
    if own.is_empty() {
        bail!("{} has gone, or serves nothing", options.host);
    }
    if let Some(silent) = own.iter().find(|state| state.state == ServiceState::Silent) {
        bail!("{} is silent ({}), so its flows are not known", options.host, silent.reason);
    }
    let drains = own.iter().all(|state| state.said != HostState::Active);
    Ok(drains.then(|| own.iter().map(|state| state.flows).sum()))
}
