//! Two clusters of one SLR each, in front of the same hosts, that know each other; and flows that go from one to the other.

use std::time::Duration;

use serde_json::Value;
use slr_testkit::{eventually, holds_within};
use xtask::load::start_servers;
use xtask::pair::{HOSTS, Kind, Pair, PairOptions};

pub const SOON: Duration = Duration::from_secs(20);
pub const ANNOUNCE: &str = "announce_after_ms = 1000\nwithdraw_after_ms = 500\nlowered_ms = 1500\naway_s = 6";
/// The second router's rings for IPv6 have never had h1.
const WITHOUT_H1: &str = "\n[[subnet.class]]\nname = \"all\"\nclients = [\"::/0\"]\n\n[[subnet.rule]]\nclass = \"all\"\n\
                          hosts = [\"h2\", \"h3\"]\n";

/// Chains pass from each host to each other one, and on to both routers, once they have told.
pub fn await_chains(pair: &Pair) {
    let needed = ["10.1.11.2", "10.1.12.2", "10.1.13.2", "10.1.1.2", "10.1.2.2"];
    eventually(SOON, "hosts that know each other and the routers", || {
        (1..=HOSTS.len()).all(|number| {
            let peers = pair.show(&format!("h{number}"), "peers").unwrap().to_string();
            let own = format!("10.1.1{number}.2");
            needed.iter().filter(|address| **address != own).all(|address| peers.contains(&format!("\"{address}")))
        })
    });
}

/// Two clusters of one SLR each that know each other.
pub fn neighbours(prefix: &str) -> Pair {
    let options = PairOptions { announce: ANNOUNCE.to_owned(), ..PairOptions::new(Kind::TwoSlr) };
    let pair = Pair::up(prefix, options).unwrap();
    let path = pair.config_path("slr2");
    let text = std::fs::read_to_string(&path).unwrap() + WITHOUT_H1;
    std::fs::write(&path, text).unwrap();
    pair.tell("slr2", &["reload"]).unwrap();
    start_servers(pair.lab()).unwrap();
    await_chains(&pair);
    // Whoever is met has its tunnel resolved; then flows can go through it.
    for (slr, other) in [("slr1", "slr2"), ("slr2", "slr1")] {
        let hops = || pair.show(slr, "hops").unwrap();
        let is_hop = || hops().as_array().unwrap().iter().any(|hop| hop["host"] == other && hop["up"] == true);
        assert!(
            holds_within(SOON, is_hop),
            "{slr} does not reach {other}: {} {}",
            hops(),
            pair.daemon(slr).unwrap().log_tail()
        );
    }
    pair
}

pub fn recovery(pair: &Pair, slr: &str) -> Value {
    pair.show(slr, "recovery").unwrap()
}

/// Pinned flows of a host.
pub fn pinned_to(pair: &Pair, slr: &str, host: &str) -> u64 {
    let answer = pair.show(slr, "flows").unwrap();
    let flows = answer["flows"].as_array().unwrap();
    flows.iter().filter(|flow| flow["pinned"] == true && flow["host"] == host).count() as u64
}

/// From now on the virtual subnets are reached through the second router, whatever BGP says.
pub fn move_to_slr2(pair: &Pair) {
    let routes = "ip route replace 192.0.2.0/24 via 10.1.2.2 metric 10 && \
                  ip -6 route replace 2001:db8:100::/48 via fd00:1:2::2 metric 10";
    pair.lab().sh("internet", routes).unwrap();
}
