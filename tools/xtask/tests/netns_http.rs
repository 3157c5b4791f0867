//! Real HTTP through a site: every request is answered, straight from the virtual address, in proportion to the weights.

use slr_testkit::require_root;
use xtask::site::{CLIENT_RANGES, HOSTS, Site, SiteOptions, VIRTUAL};
use xtask::traffic::{self, Report};
use xtask::watch::Watch;

const WEIGHTS: [u16; 3] = [100, 100, 50];
/// How far a host's share of the answers may be from its share of the weights, in relation to it.
const SHARE_TOLERANCE: f64 = 0.1;
const CONCURRENT: u32 = 200;

/// A site under test, and what is counted around it.
struct Scene<'a> {
    site: &'a Site,
    client: Watch<'a>,
    way_back: Watch<'a>,
    tunnels: Watch<'a>,
}

impl<'a> Scene<'a> {
    fn watch(site: &'a Site) -> Self {
        let lab = site.lab();
        let client = Watch::client(lab, "c1", "tcp sport 80").unwrap();
        let way_back = Watch::way_back(lab).unwrap();
        let tunnels = Watch::tunnels(lab).unwrap();
        Self { site, client, way_back, tunnels }
    }

    /// Requests of one family, one connection each, from many client addresses; every one must be answered.
    fn request(&self, family: usize, requests: u64) -> Report {
        self.request_at_once(family, requests, CONCURRENT)
    }

    fn request_at_once(&self, family: usize, requests: u64, concurrent: u32) -> Report {
        let (client, ranges) = CLIENT_RANGES[0];
        let words = format!(
            "--target {} --source-range {} --source-freebind --flow http={concurrent} --requests {requests}",
            VIRTUAL[family], ranges[family]
        );
        let report = traffic::run(self.site.lab(), client, &words).unwrap();
        report.assert_clean(VIRTUAL[family]);
        assert_eq!(report.total("completed"), requests, "{}: requests left unanswered", VIRTUAL[family]);
        let rate = report.kinds().filter_map(|kind| kind["answers_per_s"].as_f64()).sum::<f64>();
        println!("{}: {requests} requests, {rate:.0} a second", VIRTUAL[family]);
        report
    }

    /// The packets went only where they should, through these tunnels, and nothing was dropped.
    fn assert_direct(&self, tunnels_used: [&str; 2]) {
        for tunnel in ["v4_in_v4", "v6_in_v4", "v4_in_v6", "v6_in_v6"] {
            let packets = self.tunnels.packets(tunnel).unwrap();
            assert_eq!(packets > 0, tunnels_used.contains(&tunnel), "{tunnel}: {packets} packets");
        }
        self.assert_answered();
    }

    fn assert_answered(&self) {
        let counted = |watch: &Watch<'_>, name| watch.packets(name).unwrap();
        assert!(counted(&self.client, "virtual") > 0, "the client's counter counts");
        assert_eq!(counted(&self.client, "strangers"), 0, "packets that did not come from a virtual address");
        assert_eq!(counted(&self.way_back, "replies"), 0, "replies passed the SLR");
        for node in ["slr1"].into_iter().chain(HOSTS) {
            assert_eq!(self.site.drops(node).unwrap(), [], "{node} dropped packets");
        }
    }
}

/// Each host answered as much as its weight says.
fn assert_shares(report: &Report) {
    let answered = report.shares("http");
    let all: u64 = answered.values().sum();
    let weights: u16 = WEIGHTS.iter().sum();
    for (host, weight) in HOSTS.into_iter().zip(WEIGHTS) {
        let share = answered.get(host).map_or(0.0, |answers| *answers as f64 / all as f64);
        let due = f64::from(weight) / f64::from(weights);
        println!("{host}: {:.2} % of the answers, {:.2} % of the weights", share * 100.0, due * 100.0);
        assert!((share / due - 1.0).abs() <= SHARE_TOLERANCE, "{host} answered {share:.4}, its weight is {due:.4}");
    }
    assert_eq!(answered.len(), HOSTS.len(), "somebody else answered: {answered:?}");
}

fn try_small(prefix: &str, options: SiteOptions, tunnels: [&str; 2]) {
    let site = Site::up(prefix, options).unwrap();
    let scene = Scene::watch(&site);
    for family in [0, 1] {
        let answered = scene.request(family, 2_000).shares("http");
        assert_eq!(answered.keys().map(String::as_str).collect::<Vec<_>>(), HOSTS, "every host answers");
    }
    scene.assert_direct(tunnels);
}

#[test]
fn twenty_thousand_requests_of_each_family_are_answered_directly_and_by_weight() {
    require_root();
    let site = Site::up("http", SiteOptions::default().weights(WEIGHTS)).unwrap();
    let scene = Scene::watch(&site);
    for family in [0, 1] {
        assert_shares(&scene.request(family, 20_000));
    }
    scene.assert_direct(["v4_in_v4", "v6_in_v4"]);
}

/// For a slow machine: kernel_oldest runs it in an emulated one.
#[test]
fn a_few_requests_of_each_family_are_answered_from_the_virtual_address() {
    require_root();
    let site = Site::up("http-few", SiteOptions::default()).unwrap();
    let scene = Scene::watch(&site);
    for family in [0, 1] {
        scene.request_at_once(family, 60, 2);
    }
    scene.assert_answered();
}

#[test]
fn hosts_behind_ipv6_tunnels_serve_both_families() {
    require_root();
    try_small("http-over6", SiteOptions::default().over_v6(), ["v4_in_v6", "v6_in_v6"]);
}

#[test]
fn generic_xdp_serves_as_native_does() {
    require_root();
    let generic = SiteOptions { xdp: "generic", ..SiteOptions::default() };
    try_small("http-generic", generic.clone(), ["v4_in_v4", "v6_in_v4"]);
    try_small("http-generic6", generic.over_v6(), ["v4_in_v6", "v6_in_v6"]);
}
