//! `slr-router unload`: the end of forwarding.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use slr_daemon::output::print;
use slr_dataplane::router::Router;

use crate::announce;
use crate::config::Settings;
use crate::fleet::Fleet;
use crate::links::{self, Target};
use crate::show;
use crate::state::State;

/// Removes the links and pins that the configuration names, and lets go of its hosts' neighbours.
pub fn run(config: &Path) -> Result<()> {
    let settings = Settings::load(config)?;
    if show::is_answered(&settings.admin_socket) {
        bail!(
            "a daemon answers at {}: stop it first, else it goes on with what it has open",
            settings.admin_socket.display()
        );
    }
    // Before the forwarding ends, so that packets go elsewhere by then.
    withdraw(&settings)?;
    let pins = &settings.dataplane.pin_path;
    if !pins.exists() {
        print(format!("nothing is pinned under {}", pins.display()));
        return Ok(());
    }
    Router::unload(pins)?;
    print(format!("removed the program, its flows and its tables under {}", pins.display()));
    match release_neighbours(&settings) {
        Ok(0) => {}
        Ok(count) => print(format!("{count} neighbours are no longer kept resolved")),
        Err(error) => eprintln!("slr-router: neighbours stay resolved by the kernel: {error:#}"),
    }
    Ok(())
}

fn withdraw(settings: &Settings) -> Result<()> {
    let Some(settings) = &settings.announce else { return Ok(()) };
    match runtime()?.block_on(announce::withdraw_all(settings))? {
        0 => {}
        count => print(format!("withdrew {count} virtual subnets from table {}", settings.table)),
    }
    Ok(())
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start tokio")
}

fn release_neighbours(settings: &Settings) -> Result<usize> {
    let mut fleet = Fleet::default();
    if let Some(control) = &settings.control
        && let Some(state) = State::load(&control.state_dir)?
    {
        state.restore(&mut fleet, settings, Instant::now());
    }
    let hops = fleet.hops(settings, &settings.load_hosts(None)?);
    let targets: Vec<Target> = hops.iter().map(Target::from).collect();
    runtime()?.block_on(links::release(&targets))
}
