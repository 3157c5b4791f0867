//! All sessions are cut at once, or the router restarts while hosts are connected: the fault is here and not with the hosts,
//! so traffic goes on as it was, nobody is marked down, and somebody is told.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use slr_testkit::{eventually, require_root};
use xtask::load::{Load, live_flows};
use xtask::site::{CLIENT_RANGES, HOSTS, Site, SiteOptions, VIRTUAL};
use xtask::traffic;

const SOON: Duration = Duration::from_secs(20);
/// How long the fault lasts: many times what it takes a host to be silent, and its path to be lost.
const FAULT: Duration = Duration::from_secs(15);
/// How long states are looked at after a router has come back: the adoption hold and more.
const ADOPTED: Duration = Duration::from_secs(12);
/// New connections at a time, in the variant at full rate.
const FULL_RATE: u32 = 64;
/// What a fault at the router's control port drops.
const SESSIONS: &str = "udp dport 6100 drop; udp sport 6100 drop;";
/// And the answers to keepalives.
const KEEPALIVES: &str = "udp sport 6101 drop;";

fn cut(site: &Site, rules: &str) {
    let chain = |hook: &str| format!("chain {hook} {{ type filter hook {hook} priority -300; {rules} }}");
    let table = format!("table inet fault {{ {}; {}; }}", chain("input"), chain("output"));
    site.lab().sh("slr1", &format!("echo '{table}' | nft --file -")).unwrap();
}

fn heal(site: &Site) {
    site.lab().sh("slr1", "nft delete table inet fault").unwrap();
}

/// Every state, with whether it is held and for how long it has been so.
fn states(site: &Site) -> Vec<(String, bool, f64)> {
    let states = site.show("states").unwrap();
    let state = |row: &Value| {
        let words = ["host", "service", "state"].map(|field| row[field].as_str().unwrap_or_default().to_owned());
        (words.join(" "), row["held"] == true, row["for_s"].as_f64().unwrap())
    };
    states.as_array().unwrap().iter().map(state).collect()
}

fn assert_all_active(site: &Site, when: &str) -> Vec<(String, bool, f64)> {
    let states = states(site);
    assert_eq!(states.len(), HOSTS.len() * 4 * 3, "{when}: {states:?}");
    assert!(states.iter().all(|(state, ..)| state.ends_with(" active")), "{when}: {states:?}");
    states
}

fn alarms(site: &Site) -> Vec<Value> {
    site.show("alarms").unwrap().as_array().unwrap().clone()
}

/// Every service has an alarm, on the screen and in the log, of most of its hosts: whose advert came last before the fault
/// is missed when the alarm is raised already.
fn assert_alarmed(site: &Site) {
    let alarms = alarms(site);
    println!("{} alarms, such as: {}", alarms.len(), alarms[0]["text"]);
    for alarm in &alarms {
        assert_eq!(alarm["kind"], "vanish", "{alarm}");
        let text = alarm["text"].as_str().unwrap();
        assert!(text.contains("of 3 hosts") && text.contains("check this router's links and control port"), "{text}");
        assert!(alarm["hosts"].as_array().unwrap().len() >= 2, "{alarm}");
        assert!(site.router().unwrap().log().contains(&format!("ALARM: {text}")), "the log has {text}");
    }
}

/// Cuts all sessions for a while, and nothing happens but an alarm.
fn assert_survives_cut(prefix: &str, rules: &str, full_rate: bool) {
    require_root();
    let site = Site::up(prefix, SiteOptions::default()).unwrap();
    let load = Load::start(&site).unwrap();
    let (client, ranges) = CLIENT_RANGES[1];
    let targets = VIRTUAL.map(|address| format!("--target {address}")).join(" ");
    let words = format!(
        "{targets} --flow http={FULL_RATE} --source-range {} --source-range {} --source-freebind --timeout 20s --duration 300s",
        ranges[0], ranges[1]
    );
    let rush = full_rate.then(|| traffic::start(site.lab(), client, &words).unwrap());
    let flows = live_flows(&site).unwrap();
    let before = assert_all_active(&site, "before");
    let rings = rings(&site);

    let (begun, mark) = (Instant::now(), site.router().unwrap().log().len());
    cut(&site, rules);
    eventually(SOON, "an alarm for each service", || alarms(&site).len() == 12);
    println!("{prefix}: alarm after {:?}", begun.elapsed());
    assert_alarmed(&site);
    eventually(SOON, "all to be held", || assert_all_active(&site, "cut").iter().all(|(_, held, _)| *held));
    while begun.elapsed() < FAULT {
        let states = assert_all_active(&site, "while sessions are cut");
        assert!(states.iter().all(|(_, held, _)| *held), "all are held: {states:?}");
        thread::sleep(Duration::from_millis(200)); // the pace of looking
    }
    assert_eq!(self::rings(&site), rings, "the last ring stays");
    heal(&site);
    let healed = Instant::now();
    eventually(SOON, "the alarms to be over", || alarms(&site).is_empty());
    println!("{prefix}: alarms are over {:?} after the fault", healed.elapsed());
    eventually(SOON, "nobody to be held", || states(&site).iter().all(|(_, held, _)| !held));
    let after = assert_all_active(&site, "after");
    let passed = begun.elapsed().as_secs_f64();
    for ((was, _, for_s), (is, _, now_for_s)) in before.iter().zip(&after) {
        assert!(
            was == is && now_for_s - for_s > passed - 2.0,
            "{was} for {for_s} s, {passed} s later {is} for {now_for_s} s"
        );
    }
    let log = site.router().unwrap().log()[mark..].to_owned();
    assert!(log.contains("alarm is over"), "{log}");
    for word in ["to=down", "to=silent", "to=removed"] {
        assert!(!log.contains(word), "{word}: {log}");
    }
    let pinned = live_flows(&site).unwrap();
    assert!(flows.iter().all(|(flow, host)| full_rate || pinned.get(flow) == Some(host)), "live flows stay");
    if let Some(rush) = rush {
        rush.interrupt().unwrap();
        let report = rush.finish().unwrap();
        report.assert_clean("requests at full rate");
        println!("{prefix}: {} requests at full rate", report.total("completed"));
    }
    load.stop().unwrap().assert_clean(prefix);
}

/// Who has which share of which ring.
fn rings(site: &Site) -> Vec<String> {
    let subnets = site.show("subnets").unwrap();
    subnets.as_array().unwrap().iter().map(|row| format!("{} {}", row["prefix"], row["shares"])).collect()
}

#[test]
fn all_sessions_are_cut_and_the_last_ring_goes_on_with_an_alarm() {
    assert_survives_cut("cut", SESSIONS, false);
}

#[test]
fn all_sessions_and_keepalives_are_cut_and_the_last_ring_goes_on_with_an_alarm() {
    assert_survives_cut("cut-paths", &format!("{SESSIONS} {KEEPALIVES}"), false);
}

#[test]
fn all_sessions_and_keepalives_are_cut_while_requests_run_at_full_rate() {
    assert_survives_cut("cut-rush", &format!("{SESSIONS} {KEEPALIVES}"), true);
}

/// The router went away and came back: its hosts are who they were.
fn assert_adopted(site: &Site, mark: usize) {
    let begun = Instant::now();
    while begun.elapsed() < ADOPTED {
        assert_all_active(site, "adopted");
        thread::sleep(Duration::from_millis(200)); // the pace of looking
    }
    let sessions = site.show("sessions").unwrap();
    for session in sessions.as_array().unwrap() {
        assert!(session["contact"] == "heard" && session["path"] == "alive", "{session}");
    }
    assert!(alarms(site).is_empty(), "{:?}", alarms(site));
    let log = site.router().unwrap().log()[mark..].to_owned();
    for word in ["to=down", "to=silent", "to=removed"] {
        assert!(!log.contains(word), "{word}: {log}");
    }
}

#[test]
fn a_router_that_restarts_adopts_its_hosts_and_marks_none_down() {
    require_root();
    let mut site = Site::up("adopt", SiteOptions::default()).unwrap();
    let load = Load::start(&site).unwrap();
    let flows = live_flows(&site).unwrap();
    let rings = rings(&site);
    for kill in [false, true] {
        let mark = site.router().unwrap().log().len();
        if kill {
            site.router().unwrap().kill().unwrap();
        } else {
            site.terminate("slr1").unwrap();
        }
        site.start_router().unwrap();
        assert_adopted(&site, mark);
        assert_eq!(self::rings(&site), rings, "rings changed, killed: {kill}");
        assert_eq!(live_flows(&site).unwrap(), flows, "live flows moved, killed: {kill}");
    }
    load.stop().unwrap().assert_clean("slr-router restarted");
    for node in ["slr1"].into_iter().chain(HOSTS) {
        assert_eq!(site.drops(node).unwrap(), [], "{node} dropped packets");
    }
}
