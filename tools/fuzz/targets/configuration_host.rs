//! A host's configuration, read by the daemon's own code, with its health checks, load values and expressions. Whatever the
//! text is, it becomes settings that can be worked with, or a refusal that shows the line.

#![no_main]
#![allow(dead_code, unused_imports, reason = "the modules have more than what a configuration needs")]

#[path = "../../../hostd/src"]
mod hostd {
    pub mod config;
    pub mod dial;
    pub mod health;
    pub mod http;
    pub mod load;
    pub mod patience;
    pub mod process;
    pub mod reason;
}

use std::time::Duration;

use hostd::config::Settings;
use hostd::health::Checked;
use hostd::{config, dial, health, http, load, patience, process, reason};
use libfuzzer_sys::fuzz_target;
use slr_fuzz::{assert_shows_line, evaluate};

/// What the file is called in complaints.
const CONFIG: &str = "hostd.toml";

fuzz_target!(|text: &str| {
    match Settings::parse(CONFIG, text) {
        Ok(settings) => accepted(&settings),
        Err(error) => assert_shows_line(CONFIG, text, &error),
    }
});

/// What a check has to have seen to.
fn accepted(settings: &Settings) {
    assert!(settings.tunnel_v4.is_some() || settings.tunnel_v6.is_some());
    assert!(!settings.interfaces.is_empty());
    assert_eq!(settings.groups().values().map(Vec::len).sum::<usize>(), settings.subnets.len());
    for served in &settings.services {
        assert!(settings.prefixes().contains(&served.key.subnet));
    }
    settings.checks().iter().for_each(checked);
    for source in &settings.sources {
        assert!(!source.interval.is_zero() && !source.timeout.is_zero() && !source.stale_after.is_zero());
    }
    settings.formulas.host.iter().chain(settings.formulas.services.values()).for_each(evaluate);
}

/// A check is made at its own subnet, and neither all the time nor never.
fn checked(checked: &Checked) {
    let check = &checked.check;
    assert!(checked.key.subnet.contains(check.address));
    assert!(check.rise > 0 && check.fall > 0 && !check.timeout.is_zero());
    assert!((Duration::from_millis(50)..=Duration::from_secs(3_600)).contains(&check.interval));
}
