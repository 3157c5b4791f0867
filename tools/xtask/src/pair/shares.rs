//! What each SLR gives to each host: where two clusters see different loads, their rings have to be as different before flows
//! begin.

use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{HOSTS, Kind, Pair, config};

/// How far a host's share may be from the one that the loads come to, as a part of it: a weight that is nearer stays.
const NEAR: f64 = 0.15;

impl Pair {
    /// Whether every ring of an SLR has the shares that the loads come to there. In a cluster all hosts look alike, and begin so.
    pub(super) fn is_weighed(&self, slr: &str) -> bool {
        self.options.kind != Kind::TwoSlr || self.show(slr, "policy").is_ok_and(|rings| is_weighed(&rings, slr))
    }

    /// The new flows, in per cent, that an SLR would place on another host if it saw what another sees: the least of its rings.
    pub fn percent_elsewhere(&self, slr: &str, other: &str) -> Result<f64> {
        let config = fs::read_to_string(self.config_path(slr)).context("its configuration")?;
        let path = self.config_path(&format!("{slr}-as-{other}"));
        fs::write(
            &path,
            config.replace(&config::cost(self.options.kind, slr), &config::cost(self.options.kind, other)),
        )?;
        let path = path.to_str().context("a path in text")?;
        let answer: Value = serde_json::from_str(&self.tell(slr, &["diff", path, "--json"])?)?;
        let rings = answer["rings"].as_array().context("rings are a list")?;
        let percent = rings.iter().filter_map(|ring| ring["new_flows_percent"].as_f64());
        // A ring that would stay as it is stands in no difference.
        let all = self.show(slr, "policy")?.as_array().map_or(0, Vec::len);
        Ok(if rings.len() < all { 0.0 } else { percent.fold(100.0, f64::min) })
    }
}

fn is_weighed(rings: &Value, slr: &str) -> bool {
    let strength = |host: &str| 1.0 / config::load_seen(slr, host);
    let sum: f64 = HOSTS.iter().map(|host| strength(host)).sum();
    let is_near = |host: &Value| {
        let (Some(name), Some(percent)) = (host["host"].as_str(), host["percent"].as_f64()) else { return false };
        let expected = 100.0 * strength(name) / sum;
        (percent - expected).abs() <= NEAR * expected
    };
    let has_all = |ring: &Value| {
        ring["hosts"].as_array().is_some_and(|hosts| hosts.len() == HOSTS.len() && hosts.iter().all(is_near))
    };
    rings.as_array().is_some_and(|rings| !rings.is_empty() && rings.iter().all(has_all))
}
