//! `hostd check`: is this a configuration, and what does it come to?

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use slr_daemon::config::ConfigError;
use slr_daemon::output;
use slr_daemon::table::Table;

use crate::config::Settings;

/// Checks the file at `path`; the exit code says what came of it.
pub fn run(path: &Path) -> Result<ExitCode> {
    let settings = match Settings::load(path) {
        Ok(settings) => settings,
        Err(refused @ ConfigError::Refused(_)) => {
            eprintln!("{refused}");
            return Ok(ExitCode::from(1));
        }
        Err(unreadable) => return Err(unreadable.into()),
    };
    let mut table = Table::new(["subnet", "prefix", "interface"]);
    for subnet in &settings.subnets {
        table.row([subnet.name.clone(), subnet.prefix.to_string(), subnet.interface.clone()]);
    }
    let (subnets, routers, hosts) = (settings.subnets.len(), settings.routers.len(), settings.site_hosts.len());
    output::print(format!(
        "{}: good: host {} with {subnets} subnets, {routers} routers, {hosts} other hosts of the site\n\n{table}",
        path.display(),
        settings.name,
    ));
    Ok(ExitCode::SUCCESS)
}
