//! Keepalives over a link that delays, loses and swallows, answered by the real program of a host.

// The module as the daemon has it; a binary has no library to link.
#[allow(dead_code, unused_imports, reason = "the tests use a part of it")]
#[path = "../../src/keepalive/mod.rs"]
mod keepalive;
mod scene;
#[allow(dead_code, reason = "what is for other packets than keepalives is not used here")]
#[path = "../../src/tunnel.rs"]
mod tunnel;

use std::time::{Duration, Instant};

use keepalive::{Path, Settings};
use nix::sys::signal::Signal;
use scene::*;
use slr_testkit::acceptance::allowed;
use slr_testkit::lab::Shaping;

const BOTH: [&str; 2] = [ROUTER4, ROUTER6];

fn both_families() -> Vec<keepalive::Target> {
    vec![target("h", HOST4), target("h", HOST6)]
}

#[test]
fn round_trips_and_loss_are_those_of_the_link() {
    let scene = Scene::new();
    let often = Settings::new(Duration::from_millis(20), Duration::from_millis(200), 50).unwrap();
    let mut keepalives = scene.keepalives(often, &BOTH);
    scene.shape(Shaping::clear().delay(Duration::from_millis(3)));
    keepalives.watch(both_families());
    scene.until_all(&mut keepalives, Path::Alive, 2);
    let [_, report] = after_probes(&keepalives, 100);
    for target in &report.targets {
        let (rtt_us, rtt_us_min) = (target.rtt_us.unwrap(), target.rtt_us_min.unwrap());
        assert!((6_000..7_000).contains(&rtt_us_min), "3 ms each way: {target:?}");
        assert!((rtt_us_min..9_000).contains(&rtt_us), "{target:?}");
        assert_eq!((target.loss, target.path), (0.0, Path::Alive), "{target:?}");
    }
    scene.shape(Shaping::default().loss(0.2).only_from("r"));
    let [before, after] = after_probes(&keepalives, 500);
    let judged = after.counts.answered + after.counts.unanswered - before.counts.answered - before.counts.unanswered;
    let lost = after.counts.unanswered - before.counts.unanswered;
    let (expected, allowed) = (judged / 5, 5 * judged.isqrt() * 2 / 5); // five standard deviations
    assert!(lost.abs_diff(expected) <= allowed, "{lost} of {judged} lost, expected {expected} ± {allowed}");
    assert!(after.targets.iter().all(|target| target.loss > 0.0 && target.loss < 0.5), "{:?}", after.targets);
    assert_eq!((after.counts.forged, after.edge), (0, keepalive::EdgeCounts::default()));
}

#[test]
fn a_blackhole_is_a_lost_path_about_a_second_later_and_its_end_is_seen_at_once() {
    let scene = Scene::new();
    let mut keepalives = scene.keepalives(Settings::default(), &BOTH);
    keepalives.watch(both_families());
    scene.until_all(&mut keepalives, Path::Alive, 2);
    for _ in 0..3 {
        scene.shape(Shaping::default().blackhole(true));
        let lost = scene.until_all(&mut keepalives, Path::Lost, 2);
        println!("lost after {lost:?}");
        assert!((Duration::from_millis(700)..allowed(Duration::from_millis(1_350))).contains(&lost), "{lost:?}");
        scene.shape(Shaping::default().blackhole(false));
        let back = scene.until_all(&mut keepalives, Path::Alive, 2);
        println!("back after {back:?}");
        assert!(back < allowed(Duration::from_millis(350)), "{back:?}");
    }
}

#[test]
fn a_stopped_and_a_killed_hostd_look_alive() {
    let scene = Scene::new();
    let mut keepalives = scene.keepalives(Settings::default(), &BOTH);
    keepalives.watch(both_families());
    scene.until_all(&mut keepalives, Path::Alive, 2);
    for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
        scene.hostd().signal(signal).unwrap();
        let [before, after] = after_probes(&keepalives, 20);
        assert_eq!(after.counts.unanswered, before.counts.unanswered, "{signal}");
        assert!(scene.is_quiet(&mut keepalives), "{signal}");
    }
}

#[test]
fn the_inside_may_be_of_the_other_family_and_answers_need_no_configured_address() {
    let scene = Scene::new();
    for ours in [&[ROUTER4][..], &[ROUTER6], &BOTH, &[]] {
        let mut keepalives = scene.keepalives(Settings::default(), ours);
        keepalives.watch(both_families());
        scene.until_all(&mut keepalives, Path::Alive, 2);
        assert_eq!(keepalives.report().edge.unsendable, 0, "{ours:?}");
    }
}

#[test]
fn targets_settings_and_addresses_change_while_it_runs() {
    let scene = Scene::new();
    let mut keepalives = scene.keepalives(Settings::default(), &[ROUTER4]);
    // A host that nobody is: unreachable, and so lost.
    keepalives.watch(vec![target("h", HOST4), target("nobody", "10.1.11.77")]);
    let changes = [scene.change(&mut keepalives), scene.change(&mut keepalives)];
    assert!(changes.iter().any(|change| change.name.as_str() == "h" && change.path == Path::Alive), "{changes:?}");
    assert!(changes.iter().any(|change| change.name.as_str() == "nobody" && change.path == Path::Lost), "{changes:?}");
    keepalives.watch(both_families());
    assert_eq!(scene.change(&mut keepalives).address, HOST6.parse::<std::net::IpAddr>().unwrap());
    let faster = Settings::new(Duration::from_millis(20), Duration::from_millis(100), 5).unwrap();
    let refused = keepalive::Addresses { tunnel_addresses: vec!["192.0.2.77".parse().unwrap()], ..Default::default() };
    let error = keepalives.configure(faster, refused).unwrap_err().to_string();
    assert!(error.contains("192.0.2.77") && error.contains("tunnel.addresses"), "{error}");
    let [_, after] = after_probes(&keepalives, 10);
    assert!(after.targets.iter().all(|target| target.loss == 0.0), "the old sockets go on: {after:?}");
}

#[test]
fn a_thousand_targets_cost_a_small_part_of_a_core() {
    let scene = Scene::new();
    let mut keepalives = scene.keepalives(Settings::default(), &BOTH);
    let name = |n: usize| target(&format!("h{n}"), if n.is_multiple_of(2) { HOST4 } else { HOST6 });
    keepalives.watch((0..1_000).map(name).collect());
    scene.until_all(&mut keepalives, Path::Alive, 1_000);
    let (start, before) = (Instant::now(), thread_cpu());
    let [first, last] = after_probes(&keepalives, 12_500);
    let (elapsed, cpu) = (start.elapsed(), thread_cpu() - before);
    let share = cpu.as_secs_f64() / elapsed.as_secs_f64();
    let sent = last.counts.sent - first.counts.sent;
    println!(
        "{sent} probes in {elapsed:?}: {:.2} % of a core, {:.1} us a probe; {:?}",
        share * 100.0,
        cpu.as_secs_f64() * 1e6 / sent as f64,
        last.counts
    );
    assert!(elapsed < Duration::from_millis(5_500), "2,500 a second: {elapsed:?}");
    assert!(last.counts.unanswered - first.counts.unanswered < 250, "{:?}", last.counts);
    // Half of it is the wire: both ends of the veth run in the sender's name. A busy machine doubles it.
    assert!(share < 0.06, "{share}");
}
