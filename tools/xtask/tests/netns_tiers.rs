//! An AS SLR above two sites, one of them with a cluster of two SLRs: requests come through both tiers and replies through
//! none, a site counts by its strength, is avoided when it is drained, unreachable or dead, and a cluster weighs as one.

use std::time::{Duration, Instant};

use slr_testkit::acceptance::allowed;
use slr_testkit::lab::Shaping;
use slr_testkit::{holds_within, require_root};
use xtask::tiers::{AS, HOSTS, SITES, Tiers, VIRTUAL};
use xtask::traffic::{self, Report};

const REQUESTS: u64 = 1_500;
/// How far a share of the answers may be from its share of the weights: chance, and a tenth of hysteresis.
const TOLERANCE: f64 = 0.06;
/// Silence and the vanish window (docs/failure-model.md), and what a crowded machine takes to look.
const AVOIDED_WITHIN: Duration = Duration::from_millis(3_000);
/// What is ordered, advertised and placed in order.
const SOON: Duration = Duration::from_secs(20);

/// Requests, one connection each; every one must be answered.
fn request(tiers: &Tiers, target: &str, requests: u64) -> Report {
    let words = format!("--target {target} --flow http=20 --requests {requests}");
    let report = traffic::run(tiers.lab(), "c1", &words).unwrap();
    report.assert_clean(target);
    assert_eq!(report.total("completed"), requests, "{target}: requests left unanswered");
    report
}

/// The part of the answers that came from these hosts.
fn part(report: &Report, hosts: &[&str]) -> f64 {
    let answered = report.shares("http");
    let of = |hosts: &[&str]| hosts.iter().filter_map(|host| answered.get(*host)).sum::<u64>() as f64;
    let all = answered.values().sum::<u64>() as f64;
    assert_eq!(of(&HOSTS), all, "somebody else answered: {answered:?}");
    of(hosts) / all
}

/// Waits until the rings of the AS have site b so.
fn await_share(tiers: &Tiers, why: &str, wanted: impl Fn(u64) -> bool) {
    let shares = || tiers.weights_of(AS, "slr3").unwrap();
    let is_so = || shares().len() == 2 && shares().into_iter().all(&wanted);
    assert!(holds_within(Duration::from_secs(2), is_so), "{why}: site b in the rings: {:?}", shares());
}

/// Nobody of site b answers, and everybody is answered.
fn assert_site_b_is_avoided(tiers: &Tiers, why: &str) {
    await_share(tiers, why, |weight| weight == 0);
    for target in VIRTUAL {
        let report = request(tiers, target, 200);
        assert_eq!(part(&report, &HOSTS[2..]), 0.0, "{why}: site b still gets new flows");
    }
}

#[test]
fn requests_pass_both_tiers_by_weight_and_replies_pass_none() {
    require_root();
    let tiers = Tiers::up("tiers").unwrap();
    let watches = tiers.watch().unwrap();
    for target in VIRTUAL {
        let report = request(&tiers, target, REQUESTS);
        let (a, b) = (part(&report, &HOSTS[..2]), part(&report, &HOSTS[2..]));
        println!("{target}: site a {a:.3}, site b {b:.3} of {REQUESTS} answers");
        assert!((a - 2.0 / 3.0).abs() < TOLERANCE, "{target}: site a has two of three hosts and answered {a:.3}");
        for host in HOSTS {
            assert!(part(&report, &[host]) > 0.2, "{host} answered too little: {:?}", report.shares("http"));
        }
    }
    let replies: Vec<u64> = watches.iter().map(|watch| watch.packets("replies").unwrap()).collect();
    assert!(replies[0] > REQUESTS, "the client's counter counts: {replies:?}");
    assert_eq!(replies[1..], [0; 4], "replies passed an SLR");
    for node in [AS].into_iter().chain(SITES) {
        let drops: Vec<_> = tiers.show_all(node, "counters").unwrap();
        let drops = drops.iter().filter(|c| c["reason"].as_str().is_some_and(|reason| reason.starts_with("drop")));
        let drops: Vec<_> = drops.filter(|c| c["packets"].as_u64() > Some(0)).collect();
        assert!(drops.is_empty(), "{node} dropped packets: {drops:?}");
    }
    for site in SITES {
        assert!(tiers.reason(site, "reply_keepalive").unwrap() > 0, "{site} answers keepalives");
    }
}

#[test]
fn a_site_tells_the_load_that_g_makes_of_its_hosts() {
    require_root();
    let tiers = Tiers::up("tiers-load").unwrap();
    for (host, load) in HOSTS.into_iter().zip([0.6, 0.2, 0.3]) {
        tiers.set_load(host, load).unwrap();
    }
    // The mean over a site's hosts.
    for (site, load) in SITES.into_iter().zip(["load=0.400", "load=0.400", "load=0.300"]) {
        let inputs = || {
            let rings = tiers.show_all(AS, "policy").unwrap();
            let hosts = rings.iter().flat_map(|ring| ring["hosts"].as_array().cloned().unwrap_or_default());
            let of_site = hosts.filter(|host| host["host"] == site);
            of_site.map(|host| host["inputs"].as_array().cloned().unwrap_or_default()).collect::<Vec<_>>()
        };
        let is_told = || inputs().len() == 2 && inputs().iter().all(|names| names.iter().any(|name| name == load));
        assert!(holds_within(SOON, is_told), "{site} has to say {load}: {:?}", inputs());
    }
}

#[test]
fn a_site_that_is_drained_unreachable_or_dead_is_avoided() {
    require_root();
    let mut tiers = Tiers::up("tiers-lost").unwrap();
    let state = |tiers: &Tiers, state: &str, limit| tiers.await_state(AS, "slr3", state, limit).unwrap();

    tiers.tell(AS, &["drain", "slr3"]).unwrap();
    println!("drained: after {:?}", state(&tiers, "draining", SOON));
    assert_site_b_is_avoided(&tiers, "drained");
    tiers.tell(AS, &["undrain", "slr3"]).unwrap();
    state(&tiers, "active", SOON);

    // Its hosts are gone in order: what they have stays with them, so the site drains and is not down.
    tiers.tell("slr3", &["drain", "h3"]).unwrap();
    state(&tiers, "draining", SOON);
    assert_site_b_is_avoided(&tiers, "all its hosts are drained");
    tiers.tell("slr3", &["undrain", "h3"]).unwrap();
    state(&tiers, "active", SOON);

    tiers.lab().shape("internet", "site_b", Shaping::clear().blackhole(true)).unwrap();
    let since = Instant::now();
    let placed = || tiers.states(AS, "slr3").is_ok_and(|states| states.iter().any(|state| state == "active"));
    assert!(holds_within(SOON, || !placed()), "the AS does not notice");
    println!("unreachable: avoided after {:?}", since.elapsed());
    assert!(since.elapsed() < allowed(AVOIDED_WITHIN), "avoided only after {:?}", since.elapsed());
    assert_site_b_is_avoided(&tiers, "unreachable");
    state(&tiers, "down", SOON);
    tiers.lab().shape("internet", "site_b", Shaping::clear().blackhole(false)).unwrap();
    state(&tiers, "active", Duration::from_secs(30));

    await_share(&tiers, "reachable again", |weight| weight > 0);

    // The daemon alone: its program goes on, answers keepalives and forwards what is pinned.
    let words =
        format!("--target {} --target {} --flow keepalive=20 --think 100ms --duration 60s", VIRTUAL[0], VIRTUAL[1]);
    let running = traffic::start(tiers.lab(), "c1", &words).unwrap();
    let pinned = || tiers.reason("slr3", "fwd_promoted").is_ok_and(|packets| packets > 0);
    assert!(holds_within(SOON, pinned), "no flow reached site b");
    tiers.daemon("slr3").unwrap().kill().unwrap();
    let silent = state(&tiers, "silent", AVOIDED_WITHIN);
    println!("daemon killed: silent after {silent:?}");
    assert_site_b_is_avoided(&tiers, "its SLR's daemon was killed");
    assert_eq!(tiers.states(AS, "slr3").unwrap(), ["silent"; 2], "its program is there: it is not down");
    tiers.start("slr3").unwrap();
    state(&tiers, "active", Duration::from_secs(30));
    running.interrupt().unwrap();
    running.finish().unwrap().assert_clean("flows through an SLR whose daemon was killed");

    tiers.daemon("slr3").unwrap().kill().unwrap();
    tiers.lab().sh("slr3", "ip link set to-site_b down").unwrap();
    println!("dead: down after {:?}", state(&tiers, "down", AVOIDED_WITHIN));
    assert_site_b_is_avoided(&tiers, "dead");
}

#[test]
fn a_cluster_weighs_as_one_whoever_of_it_is_there() {
    require_root();
    let mut tiers = Tiers::up("tiers-cluster").unwrap();
    let settle = |tiers: &Tiers, what: &str, wanted: &dyn Fn(u64, u64) -> bool| {
        let agreed = || {
            let (one, other) = (tiers.weights("slr1").unwrap_or_default(), tiers.weights("slr2").unwrap_or_default());
            let of = |host: &str| one.iter().filter(|((_, name), _)| name == host).map(|(_, w)| *w).collect::<Vec<_>>();
            let pairs = of("h1").into_iter().zip(of("h2")).collect::<Vec<_>>();
            !one.is_empty() && one == other && !pairs.is_empty() && pairs.iter().all(|(a, b)| wanted(*a, *b))
        };
        let weights = || [tiers.weights("slr1"), tiers.weights("slr2")];
        let is_steady = || agreed() && is_steady(tiers, &["slr1", "slr2"]);
        assert!(holds_within(Duration::from_secs(60), is_steady), "{what}: {:?}", weights());
        println!("{what}: {:?}", tiers.weights("slr1").unwrap());
    };
    settle(&tiers, "equal loads", &|a, b| a == b);
    tiers.set_load("h1", 0.3).unwrap();
    settle(&tiers, "h1 has three times the load", &|a, b| b > 2 * a);

    // The publisher goes: the other has what was published last, and counts on from there.
    let before = tiers.weights("slr2").unwrap();
    tiers.daemon("slr1").unwrap().kill().unwrap();
    assert_no_jump(&tiers, &["slr2"], &before, "the publisher is gone");
    tiers.await_state(AS, "slr1", "silent", SOON).unwrap();
    tiers.set_load("h1", 0.1).unwrap();
    let alone = || tiers.weights("slr2").unwrap().iter().filter(|((_, host), _)| host == "h1").all(|(_, w)| *w > 80);
    let alone = || alone() && is_steady(&tiers, &["slr2"]);
    assert!(holds_within(Duration::from_secs(60), alone), "slr2 does not weigh: {:?}", tiers.weights("slr2"));
    for target in VIRTUAL {
        request(&tiers, target, 200);
    }

    let before = tiers.weights("slr2").unwrap();
    tiers.start("slr1").unwrap();
    assert!(holds_within(SOON, || tiers.weights("slr1").is_ok()), "slr1 does not start again");
    assert_no_jump(&tiers, &["slr2"], &before, "the publisher is back");
    tiers.await_state(AS, "slr1", "active", Duration::from_secs(30)).unwrap();
    settle(&tiers, "both again", &|a, b| a.abs_diff(b) <= 25);

    tiers.set_load("h2", 0.3).unwrap();
    settle(&tiers, "h2 has three times the load", &|a, b| a > 2 * b);

    // An order to one member is known to both, since the host says it to both.
    tiers.tell("slr2", &["drain", "h1"]).unwrap();
    for member in ["slr1", "slr2"] {
        tiers.await_state(member, "h1", "draining", SOON).unwrap();
    }
    for target in VIRTUAL {
        let report = request(&tiers, target, 300);
        assert_eq!(part(&report, &["h1"]), 0.0, "h1 is drained and gets new flows");
    }
}

/// Whether weights stay what they are for a few evaluations: what those make of the loads now is in force.
fn is_steady(tiers: &Tiers, members: &[&str]) -> bool {
    let weights = || members.iter().map(|member| tiers.weights(member).unwrap()).collect::<Vec<_>>();
    let before = weights();
    !holds_within(Duration::from_secs(3), || weights() != before)
}

/// No weight moves by more than a step of the damping while somebody takes over.
fn assert_no_jump(
    tiers: &Tiers,
    members: &[&str],
    before: &std::collections::BTreeMap<(String, String), u64>,
    what: &str,
) {
    let until = Instant::now() + Duration::from_secs(5);
    let mut looked = 0;
    while Instant::now() < until {
        for member in members {
            let now = tiers.weights(member).unwrap();
            assert_eq!(
                now.keys().collect::<Vec<_>>(),
                before.keys().collect::<Vec<_>>(),
                "{what}: {member} has other rings"
            );
            for (key, weight) in before {
                let moved = now[key].abs_diff(*weight) as f64 / (*weight).max(1) as f64;
                assert!(moved < 0.11, "{what}: {member} weighs {key:?} {} after {weight}", now[key]);
            }
        }
        looked += 1;
    }
    assert!(looked > 5, "{what}: looked only {looked} times");
}
