//! Drills on a running site: a drain loses nothing, a crash loses what the dead servers had and nothing else.

use slr_testkit::require_root;
use xtask::drills;

/// Small and short: what is tested is that the drill tells the truth, not how good the figures are.
const WORDS: &str = "--flows 120 --rtt 10ms --ramp 1s --before 2s --after 4s --healed 3s --skip-null";

#[test]
fn a_drain_loses_nothing_and_a_crash_loses_the_dead_servers_flows() {
    require_root();
    let site = drills::site("drills").unwrap();

    let drain = drills::drill(site.lab(), "host-drain", WORDS, None).unwrap();
    let pass = &drain["measured"];
    let total = &pass["total"];
    assert!(total["flows"].as_u64() >= Some(100), "{total}");
    assert_eq!(total["survived"], total["flows"], "{total} {}", pass["examples"]);
    assert_eq!(pass["new_flows"]["failed"], 0, "{}", pass["new_flows"]);
    assert!(pass["connect_p50_us"].as_u64() >= Some(10_000), "the way has 10 ms: {}", pass["connect_p50_us"]);

    let crash = drills::drill(site.lab(), "server-crash", WORDS, None).unwrap();
    let pass = &crash["measured"];
    let number = |name: &str| pass["total"][name].as_u64().unwrap();
    let lost = number("flows") - number("survived") - number("untested");
    assert!(lost > 0 && number("survived") > lost / 2, "some of the three hosts' flows: {}", pass["total"]);
}
