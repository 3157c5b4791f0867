//! What became of the states of hosts and services: every change that the router logged, and what holds now.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use slr_testkit::holds_within;

use crate::site::Site;

/// A change of state as the router's log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose.
    pub host: String,
    /// For which service.
    pub service: String,
    /// From and to which state, with an arrow between.
    pub way: String,
    /// The line, for people.
    pub line: String,
}

/// A place in the router's log.
#[derive(Clone, Copy, Debug)]
pub struct Mark(usize);

impl Mark {
    /// Here.
    pub fn here(site: &Site) -> Result<Self> {
        Ok(Self(site.router()?.log().len()))
    }

    /// What has changed since.
    pub fn changes(self, site: &Site) -> Result<Vec<Change>> {
        let log = site.router()?.log();
        Ok(log.get(self.0..).context("the router's log became shorter")?.lines().filter_map(change).collect())
    }

    /// The ways that each service of a host went, in order; services without a change are left out. An error if anybody
    /// else's state changed.
    pub fn ways(self, site: &Site, host: &str) -> Result<std::collections::BTreeMap<String, Vec<String>>> {
        let mut ways = std::collections::BTreeMap::<String, Vec<String>>::new();
        for change in self.changes(site)? {
            anyhow::ensure!(change.host == host, "{host} was at fault, but: {}", change.line);
            ways.entry(change.service).or_default().push(change.way);
        }
        Ok(ways)
    }
}

fn change(line: &str) -> Option<Change> {
    if !line.contains("state: ") {
        return None;
    }
    let field = |name: &str| {
        let mut values = line.split_whitespace().filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        values.next_back().map(str::to_owned)
    };
    let way = format!("{} > {}", field("from")?, field("to")?);
    Some(Change { host: field("host")?, service: field("service")?, way, line: line.to_owned() })
}

/// The state of a host for each of its services whose key begins so.
pub fn of(site: &Site, host: &str, service: &str) -> Result<Vec<String>> {
    let states = site.show("states")?;
    let states = states.as_array().context("states are a list")?.iter();
    let wanted =
        |state: &&Value| state["host"] == host && state["service"].as_str().is_some_and(|key| key.starts_with(service));
    Ok(states.filter(wanted).map(|state| state["state"].as_str().unwrap_or("?").to_owned()).collect())
}

/// Waits until a host is so for all of these services; whether it came to be.
pub fn become_within(site: &Site, timeout: Duration, host: &str, service: &str, state: &str) -> bool {
    let is_so = |states: Vec<String>| !states.is_empty() && states.iter().all(|found| found == state);
    holds_within(timeout, || of(site, host, service).is_ok_and(is_so))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_read_from_lines_of_the_log() {
        let line = "2026-01-01T00:00:00.1Z  INFO slr_router::daemon: state: http: status 500, 3 times host=h1 \
                    service=tcp/80@192.0.2.0/24 from=active to=down";
        let found = change(line).unwrap();
        assert_eq!((found.host.as_str(), found.way.as_str()), ("h1", "active > down"));
        assert_eq!(found.service, "tcp/80@192.0.2.0/24");
        assert_eq!(change("INFO slr_router: connected host=h1"), None);
    }
}
