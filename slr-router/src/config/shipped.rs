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
    assert_eq!(
        (settings.keepalive, &settings.damping, settings.metrics),
        (bare.keepalive, &bare.damping, bare.metrics)
    );
    let subnet = "[node]\nname = \"slr-1\"\n[[subnet]]\nname = \"web\"\nprefix = \"192.0.2.0/24\"\n";
    let bare = Settings::parse("c.toml", subnet).unwrap();
    assert_eq!((&settings.subnets[0].policy, &settings.subnets[0].aggregate), {
        let subnet = &bare.subnets[0];
        (&subnet.policy, &subnet.aggregate)
    });
}

#[test]
fn the_shipped_control_plane_states_the_defaults() {
    let stated = Settings::load(&shipped("slr-router.toml")).unwrap().control.unwrap();
    let bare = "[node]\nname = \"slr-1\"\n[control]\nlisten = [\"10.1.0.1:6100\", \"[fd00:1::1]:6100\"]\n\
                ca = \"/etc/slr/ca.pem\"\ncertificate = \"/etc/slr/slr-1.pem\"\nkey = \"/etc/slr/slr-1-key.pem\"\n\
                crl = \"/etc/slr/crl.pem\"\n";
    assert_eq!(stated, Settings::parse("c.toml", bare).unwrap().control.unwrap());
}

#[test]
fn the_shipped_announcements_state_the_defaults_and_bird_knows_them() {
    let stated = Settings::load(&shipped("slr-router.toml")).unwrap().announce.unwrap();
    let bare = Settings::parse("c.toml", "[node]\nname = \"slr-1\"\n[announce]\n").unwrap().announce.unwrap();
    assert_eq!(stated, bare);
    let bird = std::fs::read_to_string(shipped("bird/slr.conf")).unwrap();
    for line in [
        format!("define SLR_TABLE = {};", bare.table),
        format!("define SLR_PROTOCOL = {};", bare.protocol),
        format!("define SLR_METRIC_LOWERED = {};", bare.metric_lowered),
    ] {
        assert!(bird.contains(&line), "{line}");
    }
}

#[test]
fn bird_takes_its_shipped_configurations() {
    let dir = tempfile::tempdir().unwrap();
    let files = [
        ("slr.conf", "slr.conf"),
        ("local.example.conf", "local.conf"),
        ("upstream.conf", "upstream.conf"),
        ("upstream.example.conf", "upstream.local.conf"),
    ];
    for (from, to) in files {
        std::fs::copy(shipped("bird").join(from), dir.path().join(to)).unwrap();
    }
    let check = |name: &str| {
        let mut bird = std::process::Command::new("bird");
        let output = bird.arg("-p").arg("-c").arg(dir.path().join(name)).output();
        let output = output.expect("bird, of Debian's package bird2 (tools/prepare.sh installs it)");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(check("slr.conf"), (true, String::new()));
    assert_eq!(check("upstream.conf"), (true, String::new()));
    let local = dir.path().join("upstream.local.conf");
    let shared = std::fs::read_to_string(&local).unwrap().replace("MERGE_PATHS = 0", "MERGE_PATHS = 1");
    std::fs::write(&local, &shared).unwrap();
    assert_eq!(check("upstream.conf"), (true, String::new()), "several active SLRs");
    std::fs::write(&local, shared.replace("SLR_AS", "SLR_AX")).unwrap();
    assert!(!check("upstream.conf").0, "what is missing is noticed");
}

#[test]
fn every_line_that_is_commented_out_is_good_too() {
    let text = std::fs::read_to_string(shipped("slr-router.toml")).unwrap();
    // A sentence begins with a capital letter, or goes on in one; a setting is a word and an equals sign, or a table.
    let is_setting =
        |line: &str| line.starts_with("[[") || line.split_once(" = ").is_some_and(|(word, _)| !word.contains(' '));
    let uncommented: Vec<&str> =
        text.lines().map(|line| line.strip_prefix("# ").filter(|rest| is_setting(rest)).unwrap_or(line)).collect();
    // Of the files that are named, the secret alone is read with the configuration.
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "5a".repeat(slr_wire::FlowSecret::LEN)).unwrap();
    let text = uncommented.join("\n").replace("/etc/slr/flow-secret", &secret.path().to_string_lossy());
    let settings = Settings::parse("c.toml", &text).unwrap();
    assert_eq!((settings.upstreams.len(), settings.subnets[0].rules.len()), (1, 1));
    let control = settings.control.unwrap();
    assert_eq!((control.peers.len(), control.parents.len()), (1, 1));
    assert!(control.flow_secret.is_some());
}

#[test]
fn the_units_run_commands_that_exist() {
    let unit = commands_of("slr-router.service", 3);
    assert!(unit.contains("CAP_BPF"));
    let watchdog = commands_of("slr-router-watchdog.service", 1);
    assert!(!watchdog.contains("Requires=") && !watchdog.contains("BindsTo="), "it outlives the daemon");
}

/// Reads a unit, whose commands must be ours, and so many.
fn commands_of(name: &str, expected: usize) -> String {
    let unit = std::fs::read_to_string(shipped(name)).unwrap();
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
    assert_eq!(commands, expected, "{name}");
    assert!(unit.contains("Type=notify\n"), "{name}");
    unit
}
