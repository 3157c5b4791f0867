//! The configuration changes under load: what is asked for happens, whole and at once, and no established flow notices. A
//! broken configuration changes nothing and is told by its line.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use slr_testkit::{eventually, require_root};
use xtask::load::{Flows, LIVE, Load, live_flows};
use xtask::site::{HOSTS, Site, SiteOptions, VIRTUAL, VIRTUAL_OTHER};
use xtask::traffic::{self, Report};

/// How long a daemon may take after a signal, to which it does not answer.
const SOON: Duration = Duration::from_secs(5);
/// Requests that show what new flows meet.
const REQUESTS: u64 = 600;

/// The pair of subnets that every site has; the default ones have two pairs.
fn one_pair() -> SiteOptions {
    let mut options = SiteOptions::default().listed();
    options.subnets.truncate(2);
    options
}

fn request(site: &Site, virtual_addresses: [&str; 2]) -> Report {
    let targets = virtual_addresses.map(|address| format!("--target {address}")).join(" ");
    let words = format!("{targets} --flow http=8 --requests {REQUESTS} --timeout 20s");
    let report = traffic::run(site.lab(), "c1", &words).unwrap();
    report.assert_clean("requests");
    assert_eq!(report.total("completed"), REQUESTS);
    report
}

/// Write the options to every node; the daemons do not know yet.
fn write(site: &mut Site, options: SiteOptions) {
    *site.options_mut() = options;
    for node in ["slr1"].into_iter().chain(HOSTS) {
        site.write_config(node).unwrap();
    }
}

fn accepted((answer, accepted): (String, bool)) -> String {
    assert!(accepted, "{answer}");
    answer.trim_end().to_owned()
}

/// Tell a daemon by a signal, and wait until it serves so many subnets.
fn hang_up(site: &Site, node: &str, subnets: usize) {
    site.daemon(node).unwrap().signal(Signal::SIGHUP).unwrap();
    let show = || if node == "slr1" { site.show("subnets") } else { site.show_host(node, "subnets") };
    let is_done = || show().is_ok_and(|found| found.as_array().is_some_and(|found| found.len() == subnets));
    eventually(SOON, &format!("{node} to serve {subnets} subnets after SIGHUP"), is_done);
}

fn by_name(site: &Site, name: &str, field: &str) -> Value {
    let hosts = site.show("hosts").unwrap();
    let host = hosts.as_array().unwrap().iter().find(|host| host["name"] == name);
    host.unwrap_or_else(|| panic!("no host {name} in {hosts}"))[field].clone()
}

fn assert_same_flows(site: &Site, before: &Flows, when: &str) {
    assert_eq!(&live_flows(site).unwrap(), before, "pinned flows moved or went, {when}");
}

#[test]
fn subnets_come_and_go_and_weights_change_and_no_flow_notices() {
    require_root();
    let mut site = Site::up("reload", one_pair()).unwrap();
    let load = Load::start(&site).unwrap();
    let before = live_flows(&site).unwrap();
    assert!(before.len() >= LIVE);

    // One more pair of subnets and other weights; hosts first, as an operator would.
    write(&mut site, SiteOptions::default().listed().weights([100, 10, 300]));
    hang_up(&site, "h1", 4);
    for host in ["h2", "h3"] {
        accepted(site.reload_host(host).unwrap());
    }
    let answer = accepted(site.reload().unwrap());
    println!("{answer}");
    assert!(answer.contains("198.51.100.0/24") && answer.contains("2001:db8:200::/48"), "{answer}");
    let shares = request(&site, VIRTUAL_OTHER).shares("http");
    assert_heaviest_first(&shares, ["h3", "h1", "h2"]);
    assert_heaviest_first(&request(&site, VIRTUAL).shares("http"), ["h3", "h1", "h2"]);
    assert_same_flows(&site, &before, "with new subnets and weights");

    // The pair goes again and the weights turn round, the router by a signal this time; then once more.
    write(&mut site, one_pair().weights([300, 100, 10]));
    hang_up(&site, "slr1", 2);
    for host in HOSTS {
        hang_up(&site, host, 2);
    }
    assert_heaviest_first(&request(&site, VIRTUAL).shares("http"), ["h1", "h2", "h3"]);
    assert_same_flows(&site, &before, "without the subnets");
    write(&mut site, SiteOptions::default().listed());
    for host in HOSTS {
        accepted(site.reload_host(host).unwrap());
    }
    hang_up(&site, "slr1", 4);
    request(&site, VIRTUAL_OTHER);
    assert_same_flows(&site, &before, "with the subnets again");

    let outcome = load.stop().unwrap();
    outcome.assert_clean("subnets and weights changed");
    for node in ["slr1"].into_iter().chain(HOSTS) {
        assert_eq!(site.drops(node).unwrap(), [], "{node} dropped packets");
    }
}

fn assert_heaviest_first(shares: &BTreeMap<String, u64>, hosts: [&str; 3]) {
    let answers = hosts.map(|host| shares.get(host).copied().unwrap_or_default());
    assert!(answers[0] > answers[1] && answers[1] > answers[2], "{hosts:?} answered {answers:?} times");
}

#[test]
fn a_draining_host_keeps_its_flows_and_gets_no_new_ones() {
    require_root();
    let mut site = Site::up("drain", SiteOptions::default().listed()).unwrap();
    let load = Load::start(&site).unwrap();
    let before = live_flows(&site).unwrap();
    let on_h2 = before.values().filter(|host| *host == "h2").count();
    assert!(on_h2 > LIVE / 6, "h2 has {on_h2} flows of {}", before.len());

    site.options_mut().hosts[1].state = "draining";
    site.write_config("slr1").unwrap();
    let answer = accepted(site.reload().unwrap());
    assert!(answer.starts_with("1 rings published"), "no template changes: {answer}");
    let shares = request(&site, VIRTUAL).shares("http");
    assert!(!shares.contains_key("h2") && shares.len() == 2, "new flows while h2 drains: {shares:?}");
    assert_same_flows(&site, &before, "while h2 drains");
    assert!(by_name(&site, "h2", "flows").as_u64() >= Some(on_h2 as u64));
    assert_eq!(by_name(&site, "h2", "up"), true, "a draining host is reached");
    load.stop().unwrap().assert_clean("a host drains");
}

#[test]
fn a_host_that_is_down_loses_its_flows_and_no_other_does() {
    require_root();
    let mut site = Site::up("down", SiteOptions::default().listed()).unwrap();
    let chatter = format!(
        "--target {} --target {} --flow keepalive=120 --think 100ms --ramp 1s --duration 300s",
        VIRTUAL[0], VIRTUAL[1]
    );
    let chatter = traffic::start(site.lab(), "c2", &chatter).unwrap();
    let is_placed = || live_flows(&site).is_ok_and(|flows| flows.len() >= 120);
    eventually(SOON, "120 flows to be pinned", is_placed);
    let before = live_flows(&site).unwrap();
    let on_h2 = before.values().filter(|host| *host == "h2").count() as u64;
    assert!(on_h2 > 0, "h2 has flows: {before:?}");
    site.options_mut().hosts[1].state = "down";
    site.write_config("slr1").unwrap();
    let answer = accepted(site.reload().unwrap());
    assert!(answer.starts_with("hosts changed: h2;"), "{answer}");
    let shares = request(&site, VIRTUAL).shares("http");
    assert!(!shares.contains_key("h2") && shares.len() == 2, "new flows while h2 is down: {shares:?}");
    eventually(SOON, "h2's flows to be gone and placed elsewhere", || {
        live_flows(&site).is_ok_and(|flows| flows.len() >= 120 && flows.values().all(|host| host != "h2"))
    });
    let after = live_flows(&site).unwrap();
    let others: Vec<_> = before.iter().filter(|(_, host)| *host != "h2").collect();
    assert!(others.iter().all(|(flow, host)| after.get(*flow) == Some(*host)), "the other hosts' flows stay");
    assert_eq!(by_name(&site, "h2", "flows"), 0);
    chatter.interrupt().unwrap();
    let report = chatter.finish().unwrap();
    assert_eq!(report.total("failed"), on_h2, "h2's flows end, and no other: {report:?}");
    println!("{on_h2} of 120 flows were on the host that went down");
}

/// A mistake in a file of a node: what is written instead of what, on which line.
struct Mistake {
    node: &'static str,
    path: PathBuf,
    right: &'static str,
    wrong: &'static str,
}

fn mistakes(site: &Site) -> Vec<Mistake> {
    let mistake = |node: &'static str, path: PathBuf, right, wrong| Mistake { node, path, right, wrong };
    let (router, hosts, host) = (site.config_path("slr1"), site.hosts_path(), site.config_path("h1"));
    vec![
        mistake("slr1", router.clone(), "flows_per_family =", "flows_per_famly ="),
        mistake("slr1", router.clone(), "\"198.51.100.0/24\"", "\"198.51.100.0/33\""),
        mistake("slr1", router, "\"2001:db8:200::/48\"", "\"2001:db8:200::1/48\""),
        mistake("slr1", hosts.clone(), "\"web6\"", "\"web66\""),
        mistake("slr1", hosts, "state = \"active\"", "state = \"asleep\""),
        mistake("h1", host.clone(), "\"198.51.100.0/24\"", "\"198.51.100.0/33\""),
        mistake("h1", host.clone(), "\"10.1.255.0/24\"", "\"10.1.255.1/24\""),
        mistake("h1", host, "interfaces =", "interface ="),
    ]
}

/// All that must not change when a configuration is refused: no counters in it.
fn in_force(site: &Site) -> Value {
    let keep = |list: Value, fields: &[&str]| -> Vec<Value> {
        let keep = |row: &Value| fields.iter().map(|field| row[*field].clone()).collect();
        list.as_array().unwrap().iter().map(keep).collect()
    };
    serde_json::json!([
        keep(site.show("hosts").unwrap(), &["name", "address", "state", "weight", "subnets", "up", "problem"]),
        keep(site.show("subnets").unwrap(), &["name", "prefix", "ring_slots", "shares"]),
        keep(site.show_host("h1", "subnets").unwrap(), &["name", "prefix", "interface"]),
        site.show_host("h1", "peers").unwrap(),
        site.show_host("h1", "interfaces").unwrap(),
    ])
}

#[test]
fn a_broken_configuration_is_refused_whole_with_its_line() {
    require_root();
    let mut site = Site::up("broken", SiteOptions::default().listed()).unwrap();
    let load = Load::start(&site).unwrap();
    let (before, flows) = (in_force(&site), live_flows(&site).unwrap());

    // With each mistake comes a change that would be right: it must not be made either.
    write(&mut site, SiteOptions::default().listed().weights([1, 2, 3]));
    for (number, mistake) in mistakes(&site).iter().enumerate() {
        let good = fs::read_to_string(&mistake.path).unwrap();
        assert!(good.contains(mistake.right), "{} is in {}", mistake.right, mistake.path.display());
        fs::write(&mistake.path, good.replacen(mistake.right, mistake.wrong, 1)).unwrap();
        let line = 1 + good.lines().position(|line| line.contains(mistake.right)).unwrap();
        let place = format!("{}:{line}:", mistake.path.display());
        let answer = if mistake.node == "slr1" { site.reload() } else { site.reload_host(mistake.node) };
        let (text, accepted) = answer.unwrap();
        assert!(!accepted && text.contains(&place) && text.contains(mistake.wrong), "{place} is not in: {text}");
        // The log has it from the command already, or has not: it must have it once more.
        let process = site.daemon(mistake.node).unwrap();
        let told = process.log().matches(&place).count();
        process.signal(Signal::SIGHUP).unwrap();
        eventually(SOON, &format!("{place} in the log"), || process.log().matches(&place).count() > told);
        assert_eq!(in_force(&site), before, "mistake {number} changed what is in force");
        assert_same_flows(&site, &flows, "with a broken configuration");
        fs::write(&mistake.path, good).unwrap();
    }
    request(&site, VIRTUAL);
    load.stop().unwrap().assert_clean("broken configurations");

    accepted(site.reload().unwrap());
    assert_eq!(by_name(&site, "h3", "weight"), 3, "without a mistake it is taken");
    assert_eq!(accepted(site.reload().unwrap()), "nothing changed", "the same again");
}
