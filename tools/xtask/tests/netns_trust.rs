//! Certificates alone decide who serves: whoever has not the right one gets no packet, and both logs say why. A revoked
//! host is out within two seconds; a renewal is not noticed.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use slr_testkit::acceptance::allowed;
use slr_testkit::{eventually, holds_within, require_root};
use xtask::load::{Load, live_flows};
use xtask::site::{Authority, HOSTS, Site, SiteOptions, TRUST_DOMAIN, VIRTUAL, VIRTUAL_OTHER};
use xtask::traffic;
use xtask::watch::Watch;

/// How long a refusal may take to stand in both logs: a dial, and on a shared machine.
const SOON: Duration = Duration::from_secs(20);
/// From `slr-ca revoke` to the last packet for the host.
const REVOKED_WITHIN: Duration = Duration::from_secs(2);
/// Without a packet for this long, the last one was the last one: several times every interval that packets come at.
const QUIET: Duration = Duration::from_secs(4);
const REQUESTS: u64 = 400;
const TUNNELS: [&str; 2] = ["10.1.13.2/32", "fd00:1:13::2/128"];
const OWN: [&str; 2] = ["192.0.2.0/24", "2001:db8:100::/48"];
const NEIGHBOURS: [&str; 2] = ["198.51.100.0/24", "2001:db8:200::/48"];

/// A site whose h3 is the host under test; h1 and h2 serve meanwhile.
struct Scene {
    site: Site,
}

impl Scene {
    fn up(prefix: &str) -> Self {
        let site = Site::up(prefix, SiteOptions::default()).unwrap();
        // Outer headers, and destinations inside: 36 bytes from the outer header's start for IPv4, 44 for IPv6; 20 more
        // where there is a second header.
        let tunnel = "ip saddr 10.1.255.0/24 ip daddr 10.1.13.2 ip protocol";
        let rules = [
            ("any", "ip saddr 10.1.255.0/24 ip daddr 10.1.13.2".to_owned()),
            ("any", "ip6 saddr fd00:1:ff::/64 ip6 daddr fd00:1:13::2".to_owned()),
            ("own", format!("{tunnel} 4 @nh,288,24 0xc00002")),
            ("own", format!("{tunnel} 41 @nh,352,48 0x20010db80100")),
            ("own", format!("{tunnel} 4 @nh,232,8 4 @nh,448,24 0xc00002")),
            ("own", format!("{tunnel} 4 @nh,232,8 41 @nh,512,48 0x20010db80100")),
            ("neighbour", format!("{tunnel} 4 @nh,288,24 0xc63364")),
            ("neighbour", format!("{tunnel} 41 @nh,352,48 0x20010db80200")),
            ("neighbour", format!("{tunnel} 4 @nh,232,8 4 @nh,448,24 0xc63364")),
            ("neighbour", format!("{tunnel} 4 @nh,232,8 41 @nh,512,48 0x20010db80200")),
        ];
        Watch::start(site.lab(), "site", &rules).unwrap();
        Self { site }
    }

    /// Packets on their way from the router to h3.
    fn packets(&self, name: &str) -> u64 {
        Watch::at(self.site.lab(), "site").packets(name).unwrap()
    }

    fn authority(&self) -> &Authority {
        self.site.authority().unwrap()
    }

    /// What h3 is, service by service.
    fn states_of_h3(&self) -> Vec<Value> {
        let states = self.site.show("states").unwrap();
        states.as_array().unwrap().iter().filter(|state| state["host"] == "h3").cloned().collect()
    }

    fn is_gone(&self) -> bool {
        self.states_of_h3().is_empty() && !names(&self.site.show("hops").unwrap()).contains(&"h3".to_owned())
    }

    fn log(&self, node: &str) -> String {
        self.site.daemon(node).unwrap().log()
    }

    /// Has h3 connect anew with the files that `prepare` puts in place, and waits until both logs have these words, of which
    /// each is why or what to do.
    fn arrives(&mut self, case: &str, router: &[&str], host: &[&str], prepare: impl FnOnce(&Self)) {
        self.site.terminate("h3").unwrap();
        // It ends without a drain, so it would be silent and keep its flows: the operator takes it out. It may be out already.
        self.site.tell("slr1", "slr-router", &["remove", "h3"]).unwrap();
        eventually(SOON, "h3 to be gone", || self.is_gone());
        prepare(self);
        let before = ["slr1", "h3"].map(|node| self.log(node).len());
        self.site.start_hostd("h3").unwrap();
        for ((node, before), words) in ["slr1", "h3"].into_iter().zip(before).zip([router, host]) {
            self.await_words(case, node, before, words);
        }
    }

    /// A line with all these words is in a node's log, behind what was there before.
    fn await_words(&self, case: &str, node: &str, before: usize, words: &[&str]) {
        let says = |line: &&str| words.iter().all(|word| line.contains(word));
        let mut told = String::new();
        let found = holds_within(SOON, || {
            told = self.log(node)[before..].to_owned();
            told.lines().any(|line| says(&line))
        });
        assert!(found, "{case}: no line of {node} has all of {words:?}:\n{told}");
        println!("{case}: {node}: {}", told.lines().find(says).unwrap_or_default());
    }

    /// Requests to every subnet are answered by h1 and h2, and no packet is even sent to h3.
    fn assert_gets_nothing(&self, case: &str) {
        assert!(self.is_gone(), "{case}: {:?}", self.states_of_h3());
        let before = self.packets("any");
        for targets in [VIRTUAL, VIRTUAL_OTHER] {
            assert_eq!(self.servers(targets), ["h1", "h2"], "{case}");
        }
        assert_eq!(self.packets("any"), before, "{case}: packets went to h3");
        assert!(self.is_gone(), "{case}: {:?}", self.states_of_h3());
    }

    /// Who answers requests, of which none fails.
    fn servers(&self, targets: [&str; 2]) -> Vec<String> {
        let targets = targets.map(|address| format!("--target {address}")).join(" ");
        let words = format!("{targets} --flow http=8 --requests {REQUESTS} --timeout 20s");
        let report = traffic::run(self.site.lab(), "c1", &words).unwrap();
        report.assert_clean("requests");
        assert_eq!(report.total("completed"), REQUESTS);
        report.shares("http").into_keys().collect()
    }

    /// h3 serves everything: what kept it out before was what the case says.
    fn assert_serves(&self, case: &str) {
        eventually(SOON, &format!("h3 to serve: {case}"), || self.site.is_served());
        let before = ["own", "neighbour"].map(|name| self.packets(name));
        for targets in [VIRTUAL, VIRTUAL_OTHER] {
            assert_eq!(self.servers(targets), HOSTS, "{case}");
        }
        let after = ["own", "neighbour"].map(|name| self.packets(name));
        assert!(after[0] > before[0] && after[1] > before[1], "{case}: packets to h3 are counted: {after:?}");
    }
}

fn names(rows: &Value) -> Vec<String> {
    rows.as_array().unwrap().iter().filter_map(|row| row["name"].as_str().map(str::to_owned)).collect()
}

#[test]
fn a_host_without_the_right_certificate_gets_no_packet_and_both_logs_say_why() {
    require_root();
    let mut scene = Scene::up("trust");
    let all = [OWN, NEIGHBOURS].concat();
    let dir = scene.site.lab().dir().to_owned();
    let place = scene.site.files("h3");

    // Another trust domain's, with that domain's files; and one that calls itself ours and trusts our authority too.
    let foreign = Authority::init(&dir.join("foreign"), "other.example").unwrap();
    let foreign = foreign.issue("host", "h3", &TUNNELS, &all, &[]).unwrap();
    let case = "another trust domain";
    let router = ["refused", "our certificate is another trust domain's", "use certificates of one slr-ca on both"];
    let host = ["other node's certificate is another trust domain's", "use certificates of one slr-ca on both"];
    scene.arrives(case, &router, &host, |_| place.replace_with(&foreign).unwrap());
    scene.assert_gets_nothing(case);

    let double = Authority::init(&dir.join("double"), TRUST_DOMAIN).unwrap();
    let double = double.issue("host", "h3", &TUNNELS, &all, &[]).unwrap();
    double.trust_also(&scene.site.files("h1")).unwrap();
    let case = "another authority of the same name";
    let router = ["connection refused", "is another trust domain's", "use certificates of one slr-ca on both"];
    let host = ["our certificate is another trust domain's", "use certificates of one slr-ca on both"];
    scene.arrives(case, &router, &host, |_| place.replace_with(&double).unwrap());
    scene.assert_gets_nothing(case);

    assert_expires(&mut scene);
    assert_refuses_itself(&mut scene);

    let case = "revoked";
    let router = ["connection refused", "is revoked", "issue it a new one with slr-ca issue"];
    let host = ["our certificate is revoked", "issue it a new one with slr-ca issue"];
    scene.arrives(case, &router, &host, |scene| {
        scene.authority().issue("host", "h3", &TUNNELS, &all, &[]).unwrap();
        scene.authority().revoke("h3", &["slr1"]).unwrap();
    });
    scene.assert_gets_nothing(case);

    let welcomed = ["hello", "h3"];
    scene.arrives("issued anew", &welcomed, &["welcomed"], |scene| {
        scene.authority().issue("host", "h3", &TUNNELS, &all, &[]).unwrap();
    });
    scene.assert_serves("issued anew");
}

/// A certificate ends while its host serves, and is refused from then on.
fn assert_expires(scene: &mut Scene) {
    let router = ["connection ended", "of host h3 has expired", "renew it with slr-ca renew h3"];
    let host = ["has expired", "renew it with slr-ca renew h3"];
    scene.arrives("expires", &router, &host, |scene| {
        scene.authority().renew("h3", &["--valid-for", "8s"]).unwrap();
    });
    eventually(SOON, "h3 to be gone when its certificate has ended", || scene.is_gone());
    scene.assert_gets_nothing("expires");
    let router = ["connection refused", "has expired", "renew"];
    let host = ["our certificate has expired", "renew ours with slr-ca renew"];
    scene.arrives("expired", &router, &host, |_| {});
    scene.assert_gets_nothing("expired");
}

/// A certificate for another role or name: hostd itself will not begin with it.
fn assert_refuses_itself(scene: &mut Scene) {
    let all = [OWN, NEIGHBOURS].concat();
    let place = scene.site.files("h3");
    let odd = [("as", "h3", "certificate of as h3"), ("host", "h9", "certificate of host h9")];
    for (role, name, whose) in odd {
        scene.site.terminate("h3").unwrap();
        scene.authority().revoke("h3", &[]).unwrap();
        let files = scene.authority().issue(role, name, &TUNNELS, &all, &[]).unwrap();
        if name != "h3" {
            place.replace_with(&files).unwrap();
        }
        let error = format!("{:#}", scene.site.start_hostd("h3").unwrap_err());
        assert!(error.contains(whose) && error.contains("this is host h3: correct [host] name"), "{error}");
        println!("{role} {name}: {error}");
        scene.assert_gets_nothing(whose);
    }
}

#[test]
fn a_host_that_advertises_a_neighbours_subnet_gets_none_of_its_packets() {
    require_root();
    let mut scene = Scene::up("neighbour");
    let router = ["service refused", "198.51.100.0/24", "does not allow", "issue one that does, or stop serving it"];
    let host = ["other4", "does not allow 198.51.100.0/24", "renew it with the subnet, or stop serving it"];
    scene.arrives("a neighbour's subnet", &router, &host, |scene| {
        let own = OWN.map(|prefix| ["--subnet", prefix]).concat();
        scene.authority().renew("h3", &own).unwrap();
    });
    let has_own = || {
        let states = scene.states_of_h3();
        states.len() == 6 && states.iter().all(|state| state["state"] == "active")
    };
    eventually(SOON, "h3 to serve its own subnets", has_own);
    let before = ["own", "neighbour"].map(|name| scene.packets(name));
    assert_eq!(scene.servers(VIRTUAL), HOSTS, "its own subnets");
    assert_eq!(scene.servers(VIRTUAL_OTHER), ["h1", "h2"], "its neighbours' subnets");
    let after = ["own", "neighbour"].map(|name| scene.packets(name));
    assert!(after[0] > before[0] && after[1] == before[1], "h3 got {before:?} and then {after:?} packets");

    scene.arrives("allowed", &["hello", "h3"], &["welcomed"], |scene| {
        let all = [OWN, NEIGHBOURS].concat();
        let all: Vec<&str> = all.into_iter().flat_map(|prefix| ["--subnet", prefix]).collect();
        scene.authority().renew("h3", &all).unwrap();
    });
    scene.assert_serves("allowed");
}

#[test]
fn a_host_that_is_revoked_while_it_serves_is_out_within_two_seconds_and_the_others_do_not_notice() {
    require_root();
    let scene = Scene::up("revoke");
    let load = Load::start(&scene.site).unwrap();
    let flows = live_flows(&scene.site).unwrap();
    let on_h3 = flows.values().filter(|host| *host == "h3").count() as u64;
    assert!(on_h3 > 0, "h3 has live flows");
    let mut seen = scene.packets("any");
    eventually(SOON, "packets to be counted", || scene.packets("any") > seen);

    let begun = Instant::now();
    scene.authority().revoke("h3", &["slr1", "h1", "h2"]).unwrap();
    let told = begun.elapsed();
    let (mut last, mut gone) = (begun, None);
    while last.elapsed() < QUIET {
        assert!(begun.elapsed() < 5 * QUIET, "h3 still gets packets");
        let before = Instant::now();
        let packets = scene.packets("any");
        if packets > seen {
            // Counted at the latest now, so that a slow look counts against us.
            (seen, last) = (packets, Instant::now());
        }
        if gone.is_none() && scene.is_gone() {
            gone = Some(before.duration_since(begun));
        }
        thread::sleep(Duration::from_millis(20)); // the pace of looking
    }
    let last = last.duration_since(begun);
    println!("the list was out after {told:?}, h3 is gone after {gone:?}, the last packet for it came after {last:?}");
    assert!(last <= allowed(REVOKED_WITHIN), "packets for h3 until {last:?} after slr-ca revoke began");

    assert!(!names(&scene.site.show("sessions").unwrap()).contains(&"h3".to_owned()), "its session is closed");
    assert!(scene.is_gone(), "its subnets are withdrawn: {:?}", scene.states_of_h3());
    scene.await_words("revoked", "slr1", 0, &["connection ended", "of host h3 is revoked", "slr-ca issue"]);
    scene.await_words("revoked", "h3", 0, &["of host h3 is revoked", "slr-ca issue"]);
    let after = live_flows(&scene.site).unwrap();
    let untouched = |(flow, host): (&_, &String)| host == "h3" || after.get(flow) == Some(host);
    assert!(flows.iter().all(untouched), "flows of h1 and h2 stay where they are");

    let outcome = load.stop().unwrap();
    // A flow may do both: it answers from another server, and fails there.
    for what in ["failed", "changed_server"] {
        let hit: u64 = outcome.live.iter().map(|report| report.total(what)).sum();
        println!("{what}: {hit} of {on_h3} live flows of h3");
        assert!(hit <= on_h3, "{what}: {hit} live flows, and h3 had {on_h3}");
    }
    println!("{} requests failed", outcome.requests.total("failed"));
    assert!(outcome.requests.total("failed") <= 8, "requests fail that h3 was answering, no others");
}

/// Every state by host and service, with for how long it has been so.
fn states(site: &Site) -> Vec<(String, f64)> {
    let states = site.show("states").unwrap();
    let state = |row: &Value| {
        let words = ["host", "service", "state", "reason"].map(|field| row[field].to_string());
        (words.join(" "), row["for_s"].as_f64().unwrap())
    };
    states.as_array().unwrap().iter().map(state).collect()
}

fn session(site: &Site, host: &str) -> String {
    let sessions = site.show("sessions").unwrap();
    let row = sessions.as_array().unwrap().iter().find(|row| row["name"] == host);
    row.map(|row| row["session"].to_string()).unwrap_or_default()
}

#[test]
fn certificates_are_renewed_under_load_and_nobody_notices() {
    require_root();
    let scene = Scene::up("renew");
    let site = &scene.site;
    let load = Load::start(site).unwrap();
    let (flows, before, since) = (live_flows(site).unwrap(), states(site), Instant::now());

    // The router's, then that of a host, which meets the router's new one when it connects with its own; and once more.
    for round in 1..=2 {
        let told = ["slr1", "h1"].map(|node| scene.log(node).len());
        scene.authority().renew("slr1", &[]).unwrap();
        scene.await_words("renewed", "slr1", told[0], &["certificate", "read"]);
        let old = session(site, "h1");
        scene.authority().renew("h1", &[]).unwrap();
        scene.await_words("renewed", "h1", told[1], &["changed over to a new connection"]);
        eventually(SOON, "h1's new session", || session(site, "h1") != old);
        println!("round {round}: h1's session {old} is {} now", session(site, "h1"));
    }
    thread::sleep(QUIET); // time for what would go wrong later
    let (after, passed) = (states(site), since.elapsed().as_secs_f64());
    assert_eq!(before.len(), after.len());
    for ((was, for_s), (is, now_for_s)) in before.iter().zip(&after) {
        assert_eq!(was, is, "a state changed");
        assert!(now_for_s - for_s > passed - 2.0, "{is}: for {for_s} s, and {passed} s later for {now_for_s} s");
    }
    assert_eq!(live_flows(site).unwrap(), flows, "live flows moved");
    assert_eq!(site.show("alarms").unwrap().as_array().map(Vec::len), Some(0));
    load.stop().unwrap().assert_clean("certificates renewed");
    for node in ["slr1"].into_iter().chain(HOSTS) {
        assert_eq!(site.drops(node).unwrap(), [], "{node} dropped packets");
    }
}
