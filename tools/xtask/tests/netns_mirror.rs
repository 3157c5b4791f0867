//! Flows of the preferred SLR are known to the spare one: when the way to the first is cut, their packets are those of
//! established flows there, and every flow goes on with its server.

use std::time::{Duration, Instant};

use serde_json::Value;
use slr_testkit::lab::Shaping;
use slr_testkit::{eventually, require_root};
use xtask::load::start_servers;
use xtask::pair::{Kind, Pair, PairOptions, VIRTUAL};
use xtask::traffic;

const SOON: Duration = Duration::from_secs(20);
/// Of each kind, over both families.
const FLOWS: usize = 10;
const ANNOUNCE: &str = "announce_after_ms = 1000\nwithdraw_after_ms = 500\nlowered_ms = 1500\naway_s = 6";

fn mirror(pair: &Pair, slr: &str) -> Value {
    pair.show(slr, "mirror").unwrap()["peers"][0].clone()
}

/// Pinned flows with their hosts, in order.
fn pinned(pair: &Pair, slr: &str) -> Vec<[String; 4]> {
    let answer = pair.show(slr, "flows").unwrap();
    let flows = answer["flows"].as_array().unwrap().iter().filter(|flow| flow["pinned"] == true);
    let mut all: Vec<_> =
        flows.map(|flow| ["protocol", "client", "virtual_host", "host"].map(|field| flow[field].to_string())).collect();
    all.sort();
    all
}

fn packets(pair: &Pair, slr: &str, reason: &str) -> u64 {
    let counters = pair.show(slr, "counters").unwrap();
    let found = counters.as_array().unwrap().iter().find(|counter| counter["reason"] == reason);
    found.and_then(|counter| counter["packets"].as_u64()).unwrap_or_default()
}

#[test]
fn flows_go_on_at_the_spare_router_as_established_ones() {
    require_root();
    let options = PairOptions { announce: ANNOUNCE.to_owned(), ..PairOptions::new(Kind::Spare) };
    let pair = Pair::up("mirror", options).unwrap();
    start_servers(pair.lab()).unwrap();
    for slr in ["slr1", "slr2"] {
        let warm = |way: &str| mirror(&pair, slr)[way]["state"] == "warm";
        eventually(SOON, "the mirrors are warm", || warm("told") && warm("heard"));
    }
    let [v4, v6] = VIRTUAL;
    let words = format!(
        "--target {v4} --target {v6} --flow keepalive={FLOWS} --think 200ms --path /who --flow interactive={FLOWS} \
         --flow udp={FLOWS} --interval 200ms --timeout 20s --stall-timeout 20s --duration 120s"
    );
    let running = traffic::start(pair.lab(), "c1", &words).unwrap();
    let all = 3 * FLOWS;
    eventually(SOON, "flows at the preferred router", || pinned(&pair, "slr1").len() >= all);
    eventually(SOON, "the same flows at the spare one", || pinned(&pair, "slr1") == pinned(&pair, "slr2"));
    let told = mirror(&pair, "slr1");
    assert_eq!(told["told"]["state"], "warm", "{told}");
    let heard = mirror(&pair, "slr2");
    assert!(heard["heard"]["refused"].as_object().unwrap().values().all(|flows| flows == 0), "{heard}");
    println!("lag p50 {} p99 {} ms", told["told"]["lag_ms_p50"], told["told"]["lag_ms_p99"]);
    assert_eq!(packets(&pair, "slr2", "fwd_established"), 0, "the spare router has had no packet of these");

    pair.lab().shape("internet", "slr1", Shaping::default().blackhole(true)).unwrap();
    let cut = Instant::now();
    pair.await_routed(&["slr2"], SOON).unwrap();
    eventually(SOON, "packets of established flows", || packets(&pair, "slr2", "fwd_established") > 20 * all as u64);
    println!("{} packets after {:?}", packets(&pair, "slr2", "fwd_established"), cut.elapsed());
    for reason in ["fwd_orphan_chain", "fwd_orphan_ring", "drop_orphan"] {
        assert_eq!(packets(&pair, "slr2", reason), 0, "{reason}");
    }
    running.interrupt().unwrap();
    let report = running.finish().unwrap();
    // A datagram that was on its way when the way was cut is lost, and nobody sends it again.
    for kind in report.kinds().filter(|kind| kind["kind"] != "udp") {
        assert!(kind["examples"].as_array().is_none_or(Vec::is_empty), "flows failed: {kind}");
    }
    assert_eq!(report.total("changed_server"), 0);
    assert_eq!(report.total("reset"), 0);
    assert_eq!(report.total("started"), all as u64, "flows had to start again");
}
