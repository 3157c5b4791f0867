//! A router that has forgotten its flows after the ring has changed: each flow's packets find their host through the hosts that
//! their slot has had, and the host claims the flow. And a server that crashes: new connections are taken by another host.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use slr_testkit::{eventually, require_root};
use xtask::knocks::Knocks;
use xtask::load::start_servers;
use xtask::servers;
use xtask::site::{HOSTS, Site, SiteOptions, VIRTUAL};
use xtask::states::{self, become_within};
use xtask::traffic;

const SOON: Duration = Duration::from_secs(20);
/// Connections of each kind and family: requests to nginx, questions to `probe serve`.
const FLOWS: usize = 40;

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
    start_servers(site.lab()).unwrap();
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
    // Every flow speaks ten times a second. Its first packet is searched for; then its host has claimed it.
    eventually(SOON, "flows claimed", || claimed(&site) >= 2 * FLOWS as u64 && pinned(&site) >= 2 * FLOWS);
    let (relayed, found) = (sum(&site, "relay_chain"), sum(&site, "deliver_chain"));
    let searched = site.reason("slr1", "fwd_orphan_chain").unwrap();
    let began = site.reason("slr1", "fwd_established").unwrap();
    eventually(SOON, "packets of pinned flows", || {
        site.reason("slr1", "fwd_established").unwrap() > began + 20 * FLOWS as u64
    });
    let later = site.reason("slr1", "fwd_orphan_chain").unwrap() - searched;
    flows.interrupt().unwrap();
    let report = flows.finish().unwrap();
    report.assert_clean("flows that the router has forgotten");
    println!(
        "{} flows; {searched} packets searched for, {relayed} of them passed on by hosts, {found} found their host before \
         the chain's end; {later} searched for after the claims",
        report.total("started")
    );
    assert!(relayed > 0 && found > 0, "relayed {relayed}, found before the chain's end {found}");
    assert!(later < 2 * FLOWS as u64, "{later} packets were searched for although their flows were claimed");
    // A third of the flows began with the host that is left in the ring.
    let [same_answer, chain] = claimed_by(&site);
    assert!(same_answer > 0 && chain > same_answer, "{same_answer} by the ring's answer, {chain} by chains");
    let recovery = site.show("recovery").unwrap();
    for (why, flows) in recovery["claims"]["refused"].as_object().unwrap() {
        assert_eq!(flows, 0, "claims refused: {why}: {recovery}");
    }
}

/// Whether every host takes chains from, and passes them on to, every other.
fn knows_others(site: &Site) -> bool {
    let address = |number: usize| format!("10.1.1{number}.2");
    (1..=HOSTS.len()).all(|host| {
        let peers = site.show_host(HOSTS[host - 1], "peers").unwrap().to_string();
        (1..=HOSTS.len()).filter(|other| *other != host).all(|other| peers.contains(&address(other)))
    })
}

/// Flows that were pinned because their host claimed them: the one that their slot has now, or another.
fn claimed_by(site: &Site) -> [u64; 2] {
    let rungs = site.show("recovery").unwrap()["rungs"].clone();
    ["same_answer", "chain"].map(|rung| rungs[rung].as_u64().unwrap())
}

fn claimed(site: &Site) -> u64 {
    claimed_by(site).iter().sum()
}

#[test]
fn udp_flows_that_are_forgotten_find_their_hosts_although_the_ring_has_changed() {
    require_root();
    let site = Site::up("udp-orphans", SiteOptions { orphan: Some("chain-udp"), ..options() }).unwrap();
    start_servers(site.lab()).unwrap();
    eventually(SOON, "hosts that know each other", || knows_others(&site));
    eventually(SOON, "shares", || HOSTS.iter().all(|host| percent(&site, host) > 25.0));
    // An answer from another process than the first one's is a failure of the flow: this is the stateful server.
    let targets = VIRTUAL.map(|address| format!("--target {address}")).join(" ");
    let words = format!("{targets} --flow udp={FLOWS} --interval 100ms --ramp 1s --timeout 5s --duration 120s");
    let flows = traffic::start(site.lab(), "c2", &words).unwrap();
    eventually(SOON, "pinned flows", || pinned(&site) >= FLOWS);
    for host in ["h1", "h2"] {
        let (answer, accepted) = site.tell("slr1", "slr-router", &["drain", host]).unwrap();
        assert!(accepted, "{answer}");
        eventually(SOON, "the ring without it", || percent(&site, host) == 0.0);
    }
    let [_, claimed_before] = claimed_by(&site);
    let (answer, accepted) = site.tell("slr1", "slr-router", &["flows", "forget", "--all"]).unwrap();
    assert!(accepted, "{answer}");
    eventually(SOON, "every flow pinned again", || pinned(&site) >= FLOWS);
    let found_elsewhere = claimed_by(&site)[1] - claimed_before;
    assert!(found_elsewhere > FLOWS as u64 / 3, "{found_elsewhere} of {FLOWS} flows had another host than the ring's");
    let (relayed, found) = (sum(&site, "relay_chain"), sum(&site, "deliver_chain"));
    let began = site.reason("slr1", "fwd_established").unwrap();
    eventually(SOON, "packets of pinned flows", || {
        site.reason("slr1", "fwd_established").unwrap() > began + 20 * FLOWS as u64
    });
    flows.interrupt().unwrap();
    let report = flows.finish().unwrap();
    let drops: Vec<_> = ["slr1"].iter().chain(&HOSTS).map(|node| (node, site.drops(node).unwrap())).collect();
    report.assert_clean(&format!("UDP flows that the router has forgotten; dropped {drops:?}"));
    println!("{} flows; {relayed} passed on by hosts, {found} found before the chain's end", report.total("started"));
    assert!(relayed > 0 && found > 0, "relayed {relayed}, found before the chain's end {found}");
}

#[test]
fn no_new_connection_is_refused_while_a_server_is_dead() {
    require_root();
    let site = Site::up("second", options()).unwrap();
    start_servers(site.lab()).unwrap();
    eventually(SOON, "shares", || HOSTS.iter().all(|host| percent(&site, host) > 25.0));
    eventually(SOON, "hosts that pass on to each other", || knows_others(&site));
    let knocks = Knocks::start(&site).unwrap();
    servers::signal_nginx(&site, "h1", Signal::SIGKILL).unwrap();
    let killed = Instant::now();
    // Until the health check has failed, and for as long again.
    assert!(become_within(&site, SOON, "h1", "tcp/80@", "down"), "{:?}", states::of(&site, "h1", ""));
    let out_of_ring = killed.elapsed();
    eventually(2 * SOON, "as long again", || killed.elapsed() > 2 * out_of_ring);
    let done = knocks.stop();
    let after: Vec<_> = done.iter().filter(|knock| knock.at > killed).collect();
    let meanwhile = after.iter().filter(|knock| knock.at < killed + out_of_ring).count();
    let refused: Vec<_> = after.iter().filter(|knock| !knock.is_served()).collect();
    println!(
        "{} new connections, {meanwhile} of them in the {out_of_ring:?} before the ring left the host out; {} passed on, {} \
         claimed; slowest {:?}",
        after.len(),
        site.reason("h1", "relay_chain").unwrap(),
        claimed(&site),
        after.iter().map(|knock| knock.took).max().unwrap(),
    );
    assert!(meanwhile > 10, "too few to tell anything: {meanwhile}");
    assert!(site.reason("h1", "relay_chain").unwrap() > 0, "nobody was passed on: this tests nothing");
    assert!(refused.is_empty(), "{} of {} were not served: {refused:?}", refused.len(), after.len());
}
