//! `slr-router check`: is this configuration good? Touches nothing.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Error, Result};
use clap::Args;
use slr_daemon::config::ConfigError;
use slr_daemon::output::print;
use slr_daemon::table::Table;

use crate::config::{DEFAULT_CONFIG, Settings};
use crate::hosts::Host;

/// What to check.
#[derive(Debug, Args)]
pub struct Options {
    /// The configuration.
    #[arg(value_name = "CONFIG", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// A hosts file in place of the one that the configuration names.
    #[arg(long, value_name = "FILE")]
    hosts: Option<PathBuf>,
}

/// Says whether the configuration is good.
pub fn run(options: &Options) -> Result<ExitCode> {
    match load(options) {
        Ok((settings, hosts)) => {
            print(format!("{}\n\n{} is good.", overview(&settings, &hosts), options.config.display()));
            Ok(ExitCode::SUCCESS)
        }
        Err(error) if matches!(error.downcast_ref(), Some(ConfigError::Refused(_))) => {
            eprintln!("{error}");
            Ok(ExitCode::FAILURE)
        }
        Err(error) => Err(error),
    }
}

fn load(options: &Options) -> Result<(Settings, Vec<Host>), Error> {
    let settings = Settings::load(&options.config)?;
    let hosts = settings.load_hosts(options.hosts.as_deref())?;
    settings.require_interfaces()?;
    Ok((settings, hosts))
}

fn overview(settings: &Settings, hosts: &[Host]) -> Table {
    let mut table = Table::new(["subnet", "prefix", "serves", "active hosts", "weight"]);
    for subnet in &settings.subnets {
        let members: Vec<&Host> =
            hosts.iter().filter(|h| h.subnets.contains(&subnet.prefix) && h.state.takes_new_flows()).collect();
        let weight: u32 = members.iter().map(|host| u32::from(host.weight.get())).sum();
        let services = subnet.services.as_ref().map_or_else(|| "everything".to_owned(), |list| join(list));
        table.row([
            &subnet.name,
            &subnet.prefix.to_string(),
            &services,
            &members.len().to_string(),
            &weight.to_string(),
        ]);
    }
    table
}

/// A list as people write it.
pub fn join<T: ToString>(list: &[T]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
