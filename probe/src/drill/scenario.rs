//! A scenario: which commands make a failure at a site, and what there is to measure there. A TOML file.
//!
//! ```toml
//! summary = "One host's servers are killed."
//! needs = "test -d /run/site"          # optional; when it fails, the drill cannot be made here, for the reason it prints
//! traffic = "--target 192.0.2.10"      # options of `probe run`
//! rungs = "./rungs"                    # optional: puts the rungs of PROBE_RUNGS in force; empty: the site's own again
//! path = "./path"                      # optional: gives the way PROBE_RTT_MS and PROBE_LOSS_PERCENT
//! prepare = "true"                     # optional: before the flows begin
//! halfway = "true"                     # optional: when half of the flows have begun; heal ends what it makes, too
//! inject = "./kill-servers h2"         # the failure
//! heal = "./start-servers h2"          # optional: its end; after a drill that was broken off, too
//! after = "6s"                         # optional: time between failure and heal, if not --after's
//!
//! [counters]                           # optional: flows that each rung saved, as the difference between before and after
//! command = "slr-router show recovery --json"
//! fields = { mirror = "/rungs/mirror/flows" }
//! ```
//!
//! Commands are run by `sh -c` in the scenario's directory, with PROBE_DRILL, PROBE_RUNGS, PROBE_SEED, PROBE_RTT_MS and
//! PROBE_LOSS_PERCENT set. A line `failure at MICROSECONDS` (since 1970) that inject prints says when the failure
//! happened; each such line is one failure. Without it, the failure is when inject was started.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::units::parse_duration;

/// The drills, in the order of `all`.
pub const DRILLS: [&str; 15] = [
    "table-loss",
    "partial-table-loss",
    "slr-failure",
    "slr-failure-lagging",
    "route-change",
    "route-change-flood",
    "route-change-forged",
    "host-failure",
    "host-drain",
    "server-crash",
    "rolling-restart",
    "ecmp-reply",
    "nat-client",
    "echo-filtered",
    "mass-stall",
];

/// What the file says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    #[serde(default)]
    pub summary: String,
    pub needs: Option<String>,
    #[serde(default)]
    pub traffic: String,
    pub rungs: Option<String>,
    pub path: Option<String>,
    pub prepare: Option<String>,
    pub halfway: Option<String>,
    pub inject: Option<String>,
    pub heal: Option<String>,
    #[serde(default, deserialize_with = "duration")]
    pub after: Option<Duration>,
    pub counters: Option<Counters>,
    /// Where it was read, and where its commands run.
    #[serde(skip)]
    pub directory: PathBuf,
}

/// Where to read how many flows each rung saved.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counters {
    pub command: String,
    /// JSON pointers (RFC 6901) to numbers. Empty: the number of each field at the top.
    #[serde(default)]
    pub fields: BTreeMap<String, String>,
}

impl Scenario {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read scenario {}", path.display()))?;
        let mut scenario: Self =
            toml::from_str(&text).with_context(|| format!("scenario {} is not good", path.display()))?;
        scenario.directory = path.parent().map(Path::to_owned).unwrap_or_default();
        if scenario.directory.as_os_str().is_empty() {
            scenario.directory = PathBuf::from(".");
        }
        Ok(scenario)
    }

    /// Reads the one of that name in a directory.
    pub fn find(directory: &Path, name: &str) -> Result<Self> {
        let path = directory.join(format!("{name}.toml"));
        if !path.is_file() {
            let hint = if DRILLS.contains(&name) { "" } else { "; the drills are " };
            let known = if hint.is_empty() { String::new() } else { DRILLS.join(", ") };
            bail!(
                "there is no scenario {} (--scenarios names their directory, --scenario one file){hint}{known}",
                path.display()
            );
        }
        Self::load(&path)
    }
}

fn duration<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(from)?;
    parse_duration(&text).map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_above_is_a_scenario() {
        let text: String = include_str!("scenario.rs")
            .lines()
            .skip_while(|line| !line.contains("```toml"))
            .skip(1)
            .take_while(|line| !line.contains("```"))
            .map(|line| line.trim_start_matches("//!").to_owned() + "\n")
            .collect();
        let scenario: Scenario = toml::from_str(&text).expect("the documented example");
        assert_eq!(scenario.after, Some(Duration::from_secs(6)));
        assert_eq!(scenario.counters.expect("given").fields["mirror"], "/rungs/mirror/flows");
    }

    #[test]
    fn a_misspelt_field_is_named() {
        let error = toml::from_str::<Scenario>("injekt = 'true'").expect_err("unknown").to_string();
        assert!(error.contains("injekt"), "{error}");
        assert!(toml::from_str::<Scenario>("after = '6'").is_err(), "no unit");
    }

    #[test]
    fn a_drill_that_is_not_there_is_named_with_the_directory() {
        let error = Scenario::find(Path::new("/nonexistent"), "host-fire").expect_err("no such drill").to_string();
        assert!(error.contains("/nonexistent/host-fire.toml") && error.contains("host-failure"), "{error}");
    }
}
