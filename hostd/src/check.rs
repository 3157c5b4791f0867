//! `hostd check`: is this a configuration, and what does it come to?

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use slr_daemon::config::ConfigError;
use slr_daemon::output;
use slr_daemon::table::Table;

use crate::config::Settings;
use crate::health::Check;
use crate::parents;

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
    // What the file names must be there and fit, or `run` would refuse it.
    if let Some(control) = &settings.control
        && let Err(error) = parents::trust(control, &settings)
    {
        eprintln!("{error:#}");
        return Ok(ExitCode::from(1));
    }
    let mut subnets = Table::new(["subnet", "prefix", "interface"]);
    for subnet in &settings.subnets {
        subnets.row([subnet.name.clone(), subnet.prefix.to_string(), subnet.interface.clone()]);
    }
    let mut services = Table::new(["service", "weight", "check"]);
    for served in &settings.services {
        let check = served.check.as_ref().map_or("none".to_owned(), check_words);
        services.row([served.key.to_string(), served.weight.to_string(), check]);
    }
    let parents = settings.control.as_ref().map_or(0, |control| control.parents.len());
    let sources: Vec<&str> = settings.sources.iter().map(|source| source.name.as_str()).collect();
    let load = settings.formulas.host.as_ref().map_or("unknown".to_owned(), ToString::to_string);
    output::print(format!(
        "{}: good: host {} with {} subnets, {parents} parents, {} configured routers, {} configured hosts of the site\n\
         load = {load}, of {}\n\n{subnets}\n\n{services}",
        path.display(),
        settings.name,
        settings.subnets.len(),
        settings.routers.len(),
        settings.site_hosts.len(),
        sources.join(", "),
    ));
    Ok(ExitCode::SUCCESS)
}

fn check_words(check: &Check) -> String {
    let (every, timeout) = (check.interval.as_millis(), check.timeout.as_millis());
    format!(
        "{} at {}, every {every} ms, {timeout} ms, fall {}, rise {}",
        check.kind.name(),
        check.address,
        check.fall,
        check.rise
    )
}
