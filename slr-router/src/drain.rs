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

/// For so long after a service began to drain, flows may be under way that its host has not counted: SYNs that were sent
/// before the ring changed, and what came since its last advert. The host's own settle time and an interval.
const SETTLE_S: f64 = 2.0;

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

/// How many flows it has; `None` until every service drains, or is down anyway. None at all is believed only once flows
/// that were under way have been counted.
fn flows_left(options: &Options) -> Result<Option<u64>> {
    let states: Vec<State> = admin::request(&options.output.socket, &Request::Show(What::States))?;
    let own: Vec<&State> = states.iter().filter(|state| state.host == options.host).collect();
    if own.is_empty() {
        bail!("{} has gone, or serves nothing", options.host);
    }
    if let Some(silent) = own.iter().find(|state| state.state == ServiceState::Silent) {
        bail!("{} is silent ({}), so its flows are not known", options.host, silent.reason);
    }
    Ok(count(&own))
}

fn count(services: &[&State]) -> Option<u64> {
    let drain = services.iter().all(|service| service.said != HostState::Active);
    let is_settled = services.iter().all(|service| service.for_s >= SETTLE_S);
    let flows: u64 = services.iter().map(|service| service.flows).sum();
    (drain && (is_settled || flows > 0)).then_some(flows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use slr_model::{Loads, Weight};

    fn service(said: HostState, for_s: f64, flows: u64) -> State {
        State {
            host: "h1".parse().unwrap(),
            service: "tcp/80@192.0.2.0/24".parse().unwrap(),
            state: ServiceState::Draining,
            for_s,
            reason: String::new(),
            said,
            held: false,
            weight: Weight::new(100).unwrap(),
            flows,
            loads: Loads::default(),
        }
    }

    #[test]
    fn no_flow_is_left_when_every_service_drains_and_what_was_under_way_was_counted() {
        let table = [
            // (what services say, for how long, with how many flows; what is counted)
            (vec![(HostState::Draining, 9.0, 0), (HostState::Active, 9.0, 0)], None),
            (vec![(HostState::Draining, 0.1, 0)], None),
            (vec![(HostState::Draining, 0.1, 3)], Some(3)),
            (vec![(HostState::Draining, 2.1, 3), (HostState::Draining, 2.1, 2)], Some(5)),
            (vec![(HostState::Draining, 2.1, 0), (HostState::Draining, 1.9, 0)], None),
            (vec![(HostState::Draining, 2.1, 0), (HostState::Down, 900.0, 0)], Some(0)),
        ];
        for (said, expected) in table {
            let services: Vec<State> = said.iter().map(|&(said, for_s, flows)| service(said, for_s, flows)).collect();
            assert_eq!(count(&services.iter().collect::<Vec<_>>()), expected, "{said:?}");
        }
    }
}
