//! A router that has forgotten its flows after the ring has changed: each flow's packets find their host through the hosts that
//! their slot has had.

use std::time::Duration;

use slr_testkit::{eventually, require_root};
use xtask::load::start_servers;
use xtask::site::{HOSTS, Site, SiteOptions, VIRTUAL};
use xtask::traffic;

const SOON: Duration = Duration::from_secs(20);
/// Connections of each kind and family: requests to nginx, questions to `probe serve`.
const FLOWS: usize = 40;

/// What a flow asks and is answered after the router has forgotten it, at the least.
const PACKETS: u64 = 20 * FLOWS as u64;

fn options() -> SiteOptions {
    let policy = "[policy]\ncost = \"1.0 / weight\"\nbudget = 1.0\nslow_start_s = 1\n";
    let mut options = SiteOptions { cost: None, control: format!("\n{policy}"), ..SiteOptions::default() };
    options.subnets.truncate(2);
    options
}

/// Pinned flows, of any client.
fn pinned(site: &Site) -> usize {
    let answer = site.show("flows").unwrap();
    answer["flows"].as_array().unwrap().iter().filter(|flow| flow["pinned"] == true).count()
}

/// What this host's share of new flows is, in per cent of the ring that has the most for it.
fn percent(site: &Site, host: &str) -> f64 {
    let rings = site.show("policy").unwrap();
    let hosts = rings.as_array().unwrap().iter().flat_map(|ring| ring["hosts"].as_array().unwrap());
    hosts.filter(|found| found["host"] == host).filter_map(|found| found["percent"].as_f64()).fold(0.0, f64::max)
}

fn sum(site: &Site, reason: &str) -> u64 {
    HOSTS.iter().map(|host| site.reason(host, reason).unwrap()).sum()
}

#[test]
fn forgotten_flows_find_their_hosts_although_the_ring_has_changed() {
    require_root();
    let site = Site::up("orphans", options()).unwrap();
    start_servers(&site).unwrap();
    eventually(SOON, "shares", || HOSTS.iter().all(|host| percent(&site, host) > 25.0));
    let targets = VIRTUAL.map(|address| format!("--target {address}")).join(" ");
    let words = format!(
        "{targets} --flow keepalive={FLOWS} --think 100ms --flow interactive={FLOWS} --interval 100ms --http-port 8080 \
         --ramp 1s --timeout 20s --stall-timeout 20s --duration 120s"
    );
    let flows = traffic::start(site.lab(), "c2", &words).unwrap();
    eventually(SOON, "pinned flows", || pinned(&site) >= 2 * FLOWS);

    // Two changes: the hosts that the flows began with are no longer those of their slots.
    for host in ["h1", "h2"] {
        let (answer, accepted) = site.tell("slr1", "slr-router", &["drain", host]).unwrap();
        assert!(accepted, "{answer}");
        eventually(SOON, "the ring without it", || percent(&site, host) == 0.0);
    }
    assert_eq!(site.reason("slr1", "fwd_orphan_chain").unwrap(), 0, "no flow is forgotten yet");
    let (answer, accepted) = site.tell("slr1", "slr-router", &["flows", "forget", "--all"]).unwrap();
    assert!(accepted, "{answer}");
    eventually(SOON, "packets of flows that nobody knows", || {
        site.reason("slr1", "fwd_orphan_chain").unwrap() > PACKETS
    });
    let (relayed, found) = (sum(&site, "relay_chain"), sum(&site, "deliver_chain"));
    flows.interrupt().unwrap();
    let report = flows.finish().unwrap();
    report.assert_clean("flows that the router has forgotten");
    println!(
        "{} flows; {relayed} packets passed on by hosts, {found} found their host before the chain's end",
        report.total("started")
    );
    assert!(relayed > PACKETS / 10 && found > 0, "relayed {relayed}, found before the chain's end {found}");
}
