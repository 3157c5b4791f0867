//! The files under `etc/` are what a newcomer copies: they must be right.

use std::path::{Path, PathBuf};

use clap::Parser;
use slr_dataplane::router::{Config, SweepPolicy};

use super::*;
use crate::cli::Cli;

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("etc").join(name)
}

#[test]
fn the_shipped_example_is_good_and_states_the_defaults() {
    let settings = Settings::load(&shipped("slr-router.toml")).unwrap();
    let hosts = settings.load_hosts(None).unwrap();
    settings.require_interfaces().unwrap();
    assert_eq!((settings.subnets.len(), hosts.len()), (2, 2));
    assert_eq!(settings.dataplane.limits, Config::default());
    assert_eq!(settings.dataplane.sweep, SweepPolicy::default());
    let bare = Settings::parse("c.toml", "[node]\nname = \"slr-1\"").unwrap();
    let unnamed = Dataplane { interfaces: Vec::new(), ..settings.dataplane };
    assert_eq!(unnamed, bare.dataplane);
    assert_eq!(settings.admin_socket, bare.admin_socket);
}

#[test]
fn every_line_that_is_commented_out_is_good_too() {
    let text = std::fs::read_to_string(shipped("slr-router.toml")).unwrap();
    let uncommented = text
        .replace("# [[upstream]]", "[[upstream]]")
        .replace("# name =", "name =")
        .replace("# prefixes =", "prefixes =");
    assert_eq!(Settings::parse("c.toml", &uncommented).unwrap().upstreams.len(), 1);
}

#[test]
fn the_unit_runs_commands_that_exist() {
    let unit = std::fs::read_to_string(shipped("slr-router.service")).unwrap();
    let mut section = "";
    let mut commands = 0;
    for line in unit.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.strip_suffix(']').expect("a section ends with ]");
            assert!(["Unit", "Service", "Install"].contains(&section), "{section}");
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("neither section nor setting: {line}"));
        if let ("Service", true) = (section, key.starts_with("Exec")) {
            let words: Vec<&str> = value.split(' ').collect();
            assert!(words[0].ends_with("/slr-router"), "{line}");
            Cli::try_parse_from(&words).unwrap_or_else(|error| panic!("{line}\n{error}"));
            commands += 1;
        }
    }
    assert_eq!(commands, 3);
    assert!(unit.contains("Type=notify\n") && unit.contains("CAP_BPF"));
}
