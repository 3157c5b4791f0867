//! A daemon of another ABI version takes the data plane over, and the first one takes it back, under 500 live flows and
//! request after request: no flow notices. It first builds both daemons once more, with other tables.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use slr_testkit::require_root;
use xtask::load::{LIVE, Load, live_flows};
use xtask::site::{HOSTS, Site, SiteOptions};

/// How long nobody is there between one version and the other.
const AWAY: Duration = Duration::from_secs(5);
/// How long the load goes on after a version has taken over: long enough for a late retransmission to show.
const AFTER: Duration = Duration::from_secs(2);
/// Where the other version is built, under the target directory: its programs have the same names as ours.
const OTHER_TARGET: &str = "abi-next";

/// A daemon of the other version. Both are built once, with the cargo that runs this test.
fn other(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build_other).join(name)
}

fn build_other() -> PathBuf {
    let this = env::current_exe().expect("a running program has a path");
    let ours = this.ancestors().nth(3).expect("TARGET/PROFILE/deps/NAME");
    let target = ours.join(OTHER_TARGET);
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("tools/xtask has a workspace");
    let started = Instant::now();
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--quiet", "--package", "slr-router", "--package", "hostd"])
        .args(["--features", "slr-dataplane/abi-next", "--target-dir"])
        .arg(&target)
        // What does not depend on the tables is there already. A cargo before 1.91 knows no such place and builds all anew.
        .env("CARGO_BUILD_BUILD_DIR", ours)
        .current_dir(workspace)
        .status()
        .expect("cargo starts");
    assert!(status.success(), "the other version does not build: {status}");
    println!("the other version was built in {:.0} s", started.elapsed().as_secs_f64());
    target.join("release")
}

/// Versions that have pins at a node.
fn versions(site: &Site, node: &str) -> Vec<String> {
    let entries = fs::read_dir(site.lab().pin_dir(node)).unwrap().map(|entry| entry.unwrap());
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn assert_no_drops(site: &Site, when: &str) {
    for node in ["slr1"].into_iter().chain(HOSTS) {
        assert_eq!(site.drops(node).unwrap(), [], "{node} dropped packets, {when}");
    }
}

/// The XDP program at a node; another version's is another one.
fn program_id(site: &Site, node: &str) -> String {
    let text = site.lab().sh(node, "ip -details link show to-site").unwrap();
    let id = text.split("prog/xdp id ").nth(1).and_then(|rest| rest.split_whitespace().next());
    id.unwrap_or_else(|| panic!("no program at {node}: {text}")).to_owned()
}

/// After one version took over from the other: its program is there, the other's pins are not.
fn assert_taken_over(site: &Site, node: &str, before: &(Vec<String>, String), times: usize) {
    let (pins, program) = (versions(site, node), program_id(site, node));
    assert_eq!(pins.len(), 1, "{node}: only one version has pins: {pins:?}");
    assert!(pins != before.0 && program != before.1, "{node}: {pins:?} and program {program} were there before");
    let log = site.daemon(node).unwrap().log();
    assert_eq!(log.matches("from another version").count(), times, "{node}: {log}");
}

fn state(site: &Site, node: &str) -> (Vec<String>, String) {
    (versions(site, node), program_id(site, node))
}

#[test]
fn another_version_of_the_router_takes_over_and_gives_back_and_loses_nothing() {
    require_root();
    let next = other("slr-router");
    let mut site = Site::up("upgrade", SiteOptions::default()).unwrap();
    let load = Load::start(&site).unwrap();
    let flows = live_flows(&site).unwrap();
    assert!(flows.len() >= LIVE, "{} flows are pinned", flows.len());

    let first = state(&site, "slr1");
    assert_no_drops(&site, "before the upgrade");
    site.router().unwrap().kill().unwrap();
    thread::sleep(AWAY); // to be away is the case under test
    site.start_router_program(&next).unwrap();
    assert_taken_over(&site, "slr1", &first, 1);
    assert_eq!(live_flows(&site).unwrap(), flows, "pinned flows moved or went with the upgrade");
    thread::sleep(AFTER);

    let second = state(&site, "slr1");
    // Counters do not go from version to version: each version's are looked at before its end.
    assert_no_drops(&site, "before the downgrade");
    site.terminate("slr1").unwrap();
    site.start_router().unwrap();
    assert_taken_over(&site, "slr1", &second, 2);
    assert_eq!(versions(&site, "slr1"), first.0, "the first version is back");
    assert_eq!(live_flows(&site).unwrap(), flows, "pinned flows moved or went with the downgrade");
    thread::sleep(AFTER);

    let outcome = load.stop().unwrap();
    assert_no_drops(&site, "at last");
    assert_eq!(site.show("flows").unwrap()["capacity_per_family"], 100_000, "tables keep their capacity");
    outcome.assert_clean("slr-router to another version and back");
    assert!(outcome.longest_gap() < AWAY, "a flow stood still for {:?}", outcome.longest_gap());
}

#[test]
fn another_version_of_the_host_daemon_takes_over_and_gives_back_and_loses_nothing() {
    require_root();
    let next = other("hostd");
    let mut site = Site::up("upgrade", SiteOptions::default()).unwrap();
    let load = Load::start(&site).unwrap();
    let flows = live_flows(&site).unwrap();

    let first = HOSTS.map(|host| state(&site, host));
    assert_no_drops(&site, "before the upgrade");
    for host in HOSTS {
        site.hostd(host).unwrap().kill().unwrap();
    }
    thread::sleep(AWAY); // to be away is the case under test
    for (host, before) in HOSTS.into_iter().zip(&first) {
        site.start_hostd_program(host, &next).unwrap();
        assert_taken_over(&site, host, before, 1);
    }
    thread::sleep(AFTER);

    let second = HOSTS.map(|host| state(&site, host));
    assert_no_drops(&site, "before the downgrade");
    for (host, before) in HOSTS.into_iter().zip(&second) {
        site.terminate(host).unwrap();
        site.start_hostd(host).unwrap();
        assert_taken_over(&site, host, before, 2);
    }
    assert_eq!(HOSTS.map(|host| versions(&site, host)), first.map(|(versions, _)| versions));
    thread::sleep(AFTER);

    assert_eq!(live_flows(&site).unwrap(), flows, "pinned flows moved or went");
    let outcome = load.stop().unwrap();
    assert_no_drops(&site, "at last");
    outcome.assert_clean("hostd on every host to another version and back");
    assert!(outcome.longest_gap() < AWAY, "a flow stood still for {:?}", outcome.longest_gap());
}
