//! Drills on a running site: a drain loses nothing, a crash loses what the dead servers had and nothing else. And between two
//! SLRs: which rung saved the flows is told, and a drill's rungs are in force while it is made and no longer.

use std::thread;
use std::time::Duration;

use serde_json::Value;
use slr_testkit::acceptance::allowed;
use slr_testkit::{eventually, require_root};
use xtask::drills;
use xtask::pair::{Kind, Pair, SLRS};

/// Small and short: what is tested is that the drill tells the truth, not how good the figures are.
const WORDS: &str = "--flows 120 --rtt 10ms --ramp 1s --before 2s --after 4s --healed 3s --skip-null";
/// Shorter still, for flows that have nothing to wait for.
const BRIEF: &str =
    "--flows 60 --rtt 10ms --ramp 500ms --before 500ms --after 1500ms --healed 500ms --idle-spread 1s --skip-null";
/// The same with time between the first half of the flows and the second.
const IN_HALVES: &str =
    "--flows 60 --rtt 10ms --ramp 2s --before 500ms --after 1500ms --healed 500ms --idle-spread 1s --skip-null";
const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_drain_loses_nothing_and_a_crash_loses_the_dead_servers_flows() {
    require_root();
    let site = drills::site("drills").unwrap();

    let drain = drills::drill(site.lab(), "c1", "host-drain", WORDS, None).unwrap();
    let pass = &drain["measured"];
    let total = &pass["total"];
    assert!(total["flows"].as_u64() >= Some(100), "{total}");
    assert_eq!(total["survived"], total["flows"], "{total} {}", pass["examples"]);
    assert_eq!(pass["new_flows"]["failed"], 0, "{}", pass["new_flows"]);
    assert!(pass["connect_p50_us"].as_u64() >= Some(10_000), "the way has 10 ms: {}", pass["connect_p50_us"]);

    let crash = drills::drill(site.lab(), "c1", "server-crash", WORDS, None).unwrap();
    let pass = &crash["measured"];
    let number = |name: &str| pass["total"][name].as_u64().unwrap();
    let lost = number("flows") - number("survived") - number("untested");
    assert!(lost > 0 && number("survived") > lost / 2, "some of the three hosts' flows: {}", pass["total"]);
}

/// Nobody answers a client that only listens to a host that is dead, so that its router has to make it speak.
#[test]
fn every_connection_of_a_dead_host_ends_by_a_reset_and_new_ones_pass_by_it() {
    require_root();
    let site = drills::site("drills-dead").unwrap();
    let drill = drills::drill(site.lab(), "c1", "host-failure", &WORDS.replace("120", "300"), None).unwrap();
    let pass = &drill["measured"];
    let ends = |kind: &str| ["flows", "survived", "reset"].map(|end| pass["kinds"][kind][end].as_u64().unwrap());
    for kind in ["download", "upload", "interactive", "keepalive", "idle"] {
        let [flows, survived, reset] = ends(kind);
        let untested = pass["kinds"][kind]["untested"].as_u64().unwrap_or_default();
        assert_eq!(survived + reset + untested, flows, "{kind}: {} {}", pass["kinds"][kind], pass["examples"]);
    }
    assert!(ends("download")[2] > 2, "a third of 30 were on the dead host: {}", pass["kinds"]["download"]);
    let within = allowed(Duration::from_secs(3)).as_micros() as u64;
    assert!(pass["total"]["end_us"]["max"].as_u64().unwrap() < within, "{}", pass["total"]);
    let (new, within) = (&pass["new_flows"], allowed(Duration::from_millis(1_500)).as_micros() as u64);
    assert!(new["failed"] == 0 && new["first_progress_us"]["max"].as_u64().unwrap() < within, "{new}");
}

/// Flows that a rung of an SLR saved in a drill.
fn saved(drill: &Value, rung: &str) -> u64 {
    let saved = &drill["measured"]["rungs_saved"];
    saved["flows"][rung].as_u64().unwrap_or_else(|| panic!("nothing is told of {rung}: {saved}"))
}

fn assert_all_survived(drill: &Value) {
    let pass = &drill["measured"];
    let number = |name: &str| pass["total"][name].as_u64().unwrap();
    assert!(number("flows") >= 50, "{}", pass["total"]);
    assert_eq!(number("survived") + number("untested"), number("flows"), "{} {}", pass["total"], pass["examples"]);
}

/// What an SLR does with packets of flows that it does not know, in its configuration in force: the same for all subnets.
fn orphans(pair: &Pair, slr: &str) -> String {
    let subnets = pair.show(slr, "subnets").unwrap();
    let mut all: Vec<_> = subnets.as_array().unwrap().iter().map(|subnet| subnet["orphan"].as_str().unwrap()).collect();
    all.dedup();
    assert_eq!(all.len(), 1, "{subnets}");
    all[0].to_owned()
}

fn mirrors(pair: &Pair, slr: &str) -> Vec<Value> {
    pair.show(slr, "mirror").unwrap()["peers"].as_array().unwrap().clone()
}

/// One cluster again, the first SLR preferred.
fn await_spare(pair: &Pair) {
    let is_warm = |peer: &Value| peer["told"]["state"] == "warm" && peer["heard"]["state"] == "warm";
    let are_warm = |slr: &str| mirrors(pair, slr).len() == 1 && mirrors(pair, slr).iter().all(is_warm);
    eventually(SOON, "warm mirrors", || SLRS.iter().all(|slr| are_warm(slr)));
    pair.await_routed(&["slr1"], SOON).unwrap();
}

#[test]
fn a_route_change_between_clusters_whose_rings_differ_tells_which_rung_saved_the_flows() {
    require_root();
    let pair = drills::pair("drills-apart", Kind::TwoSlr).unwrap();
    let elsewhere = pair.percent_elsewhere("slr2", "slr1").unwrap();
    assert!(elsewhere > 30.0, "the rings are much alike: {elsewhere} % of the flows would begin elsewhere");
    let drill = drills::drill(pair.lab(), "c1", "route-change", BRIEF, None).unwrap();
    let pass = &drill["measured"];
    let [same_answer, chain, whohas] =
        ["same-answer", "chain", "whohas"].map(|rung| saved(&drill, &format!("slr2 {rung}")));
    println!(
        "{elsewhere} % would begin elsewhere; same answer {same_answer}, chain {chain}, asked {whohas}; {}",
        pass["total"]
    );
    // How many a slot's memory has, and how many only the neighbour knows, is as the hosts happened to come.
    assert!(same_answer > 0 && chain + whohas > 0 && same_answer + chain + whohas > 20, "{}", pass["rungs_saved"]);
    assert_eq!(saved(&drill, "slr2 mirror"), 0, "they are no cluster");
    // Every flow survives in any case: whom no slot has, the neighbour knows.
    assert_all_survived(&drill);
}

#[test]
fn a_drill_of_a_cluster_has_the_rungs_that_it_asks_for_and_gives_them_back() {
    require_root();
    let pair = drills::pair("drills-spare", Kind::Spare).unwrap();
    await_spare(&pair);
    let whole = SLRS.map(|slr| orphans(&pair, slr));

    thread::scope(|scope| {
        // Nothing is coming: nobody has to wait for it for long.
        let words = format!("{BRIEF} --rungs none -- --timeout 2s --stall-timeout 2s");
        let lab = pair.lab();
        let drill = scope.spawn(move || drills::drill(lab, "c1", "table-loss", &words, None).unwrap());
        // What a mirror has told stays known; nothing comes any more.
        let is_cold = |peer: &Value| peer["told"]["state"] == "cold" && peer["heard"]["state"] == "cold";
        let has_none = |slr: &&str| orphans(&pair, slr) == "drop" && mirrors(&pair, slr).iter().all(is_cold);
        eventually(SOON, "no rung in force", || SLRS.iter().all(has_none));
        let drill = drill.join().unwrap();
        assert_eq!(drill["rungs"], "none");
        for rung in ["mirror", "same-answer", "chain"] {
            assert_eq!(saved(&drill, &format!("slr1 {rung}")), 0, "{}", drill["measured"]["rungs_saved"]);
        }
        let survived = &drill["measured"]["total"];
        assert!(survived["survived"].as_u64() < survived["flows"].as_u64(), "nothing helps: {survived}");
    });
    assert_eq!(SLRS.map(|slr| orphans(&pair, slr)), whole, "the drill is over");
    await_spare(&pair);

    // The mirror has told the spare SLR of the flows' first half, of the second nobody has.
    let drill = drills::drill(pair.lab(), "c1", "slr-failure-lagging", IN_HALVES, None).unwrap();
    assert_all_survived(&drill);
    let mirrored = saved(&drill, "slr2 mirror");
    let searched = saved(&drill, "slr2 same-answer") + saved(&drill, "slr2 chain");
    println!("mirrored {mirrored}, searched for {searched}");
    assert!(mirrored > 0 && searched > 0, "{}", drill["measured"]["rungs_saved"]);
}
