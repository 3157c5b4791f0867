//! A router's configuration, and behind a line `---` its hosts file: the daemon's own code reads them. Whatever the text is,
//! it becomes settings that can be worked with, or a refusal that shows the line.

#![no_main]
#![allow(dead_code, unused_imports, reason = "the modules have more than what a configuration needs")]

#[path = "../../../slr-router/src"]
mod router {
    pub mod config;
    pub mod hosts;
}

use libfuzzer_sys::fuzz_target;
use router::config::Settings;
use router::{config, hosts};
use slr_fuzz::{assert_shows_line, evaluate};
use slr_policy::{Policy, compile_aggregate};

/// What the files are called in complaints.
const CONFIG: &str = "slr-router.toml";
const HOSTS: &str = "hosts.toml";

fuzz_target!(|text: &str| {
    let (config, hosts) = text.split_once("\n---\n").unwrap_or((text, ""));
    match Settings::parse(CONFIG, config) {
        Ok(settings) => {
            accepted(&settings);
            match hosts::parse(HOSTS, hosts, &settings) {
                Ok(hosts) => hosts.iter().for_each(|host| served(host, &settings)),
                Err(error) => assert_shows_line(HOSTS, hosts, &error),
            }
        }
        Err(error) => assert_shows_line(CONFIG, config, &error),
    }
});

/// What a check has to have seen to, and expressions that say what they said.
fn accepted(settings: &Settings) {
    let tunnels = &settings.tunnel_addresses;
    assert!(tunnels.iter().all(|address| !settings.subnets.iter().any(|subnet| subnet.prefix.contains(*address))));
    for family in [true, false] {
        assert!(settings.sources.iter().filter(|net| net.addr().is_ipv4() == family).count() <= 1);
    }
    for subnet in &settings.subnets {
        evaluate(&subnet.aggregate);
        assert_eq!(compile_aggregate(subnet.aggregate.source()).as_ref(), Ok(&subnet.aggregate));
        for policy in std::iter::once(&subnet.policy).chain(subnet.rules.iter().map(|rule| &rule.policy)) {
            assert_eq!(policy.damping.check(), Ok(()));
            evaluate(&policy.cost);
            assert_eq!(Policy::compile_cost(policy.cost.source()).as_ref(), Ok(&policy.cost));
        }
        for class in subnet.rules.iter().filter_map(|rule| rule.class.as_ref()) {
            assert!(subnet.classes.iter().any(|known| known.name == *class));
        }
    }
}

/// A host is reached without coming back here, and serves what this router has.
fn served(host: &hosts::Host, settings: &Settings) {
    assert!(!settings.tunnel_addresses.contains(&host.address));
    assert!(settings.sources.iter().any(|net| net.addr().is_ipv4() == host.address.is_ipv4()));
    for prefix in &host.subnets {
        assert!(settings.subnets.iter().any(|subnet| subnet.prefix == *prefix));
    }
}
