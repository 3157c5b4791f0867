//! A pair with healthy flows on it, which attacks leave as they were.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use slr_model::FlowKey;
use slr_testkit::eventually;
use xtask::load::start_servers;
use xtask::pair::{HOSTS, Kind, Pair, PairOptions, VIRTUAL};
use xtask::traffic;

pub const SOON: Duration = Duration::from_secs(20);
/// Healthy flows of each kind, over both families.
const FLOWS: usize = 20;
/// Their client. Attacks come from elsewhere.
const HONEST: &str = "c1";

/// A pair with healthy flows on it.
pub struct Scene {
    pub pair: Pair,
    flows: traffic::Running,
    /// Which host each of them is at.
    pub placed: BTreeMap<FlowKey, String>,
}

impl Scene {
    /// Waits until each of them is pinned.
    pub fn up(prefix: &str) -> Self {
        let announce = "announce_after_ms = 1000\nwithdraw_after_ms = 500\nlowered_ms = 1500\naway_s = 6".to_owned();
        let pair = Pair::up(prefix, PairOptions { announce, ..PairOptions::new(Kind::Spare) }).unwrap();
        start_servers(pair.lab()).unwrap();
        await_chains(&pair);
        let words = format!(
            "--target {} --target {} --flow keepalive={FLOWS} --think 200ms --path /who --flow interactive={FLOWS} \
             --interval 200ms --http-port 8080 --timeout 20s --stall-timeout 20s --duration 120s",
            VIRTUAL[0], VIRTUAL[1]
        );
        let flows = traffic::start(pair.lab(), HONEST, &words).unwrap();
        eventually(SOON, "healthy flows", || placed(&pair).len() == 2 * FLOWS);
        let placed = placed(&pair);
        Self { pair, flows, placed }
    }

    /// What these flows have seen of the attacks: nothing.
    pub fn assert_untouched(self) {
        assert_eq!(placed(&self.pair), self.placed, "healthy flows have moved");
        self.flows.interrupt().unwrap();
        let report = self.flows.finish().unwrap();
        report.assert_clean("healthy flows");
        assert_eq!((report.total("reset"), report.total("changed_server")), (0, 0));
        assert_eq!(report.total("started"), 2 * FLOWS as u64, "healthy flows had to start again");
    }
}

/// Chains pass from each host to each other one, and on to both routers, and somebody can be asked.
fn await_chains(pair: &Pair) {
    let needed = ["10.1.11.2", "10.1.12.2", "10.1.13.2", "10.1.1.2", "10.1.2.2"];
    eventually(SOON, "hosts that know each other and the routers", || {
        HOSTS.iter().zip(needed).all(|(host, own)| {
            let peers = pair.show(host, "peers").unwrap().to_string();
            needed.iter().filter(|address| **address != own).all(|address| peers.contains(&format!("\"{address}")))
        })
    });
    eventually(SOON, "peers that have met", || {
        pair.show("slr1", "mirror").unwrap()["peers"][0]["told"]["state"] == "warm"
    });
}

/// Pinned flows of the healthy client with their hosts.
fn placed(pair: &Pair) -> BTreeMap<FlowKey, String> {
    let answer = pair.show("slr1", "flows").unwrap();
    let word = |flow: &Value, field: &str| flow[field].as_str().unwrap().to_owned();
    let pinned = answer["flows"].as_array().unwrap().iter().filter(|flow| flow["pinned"] == true);
    let all = pinned.map(|flow| {
        let words = ["protocol", "client", "virtual_host"].map(|field| word(flow, field));
        let key: FlowKey = format!("{} {} > {}", words[0], words[1], words[2]).parse().unwrap();
        (key, word(flow, "host"))
    });
    all.collect()
}

/// Packets counted under a reason.
pub fn packets(pair: &Pair, node: &str, reason: &str) -> u64 {
    let counters = pair.show(node, "counters").unwrap();
    let found = counters.as_array().unwrap().iter().find(|counter| counter["reason"] == reason);
    found.unwrap_or_else(|| panic!("{node} has no reason {reason}"))["packets"].as_u64().unwrap()
}

/// At all these nodes together.
pub fn sum(pair: &Pair, nodes: &[&str], reason: &str) -> u64 {
    nodes.iter().map(|node| packets(pair, node, reason)).sum()
}
