//! The benchmark measures what it says it does.

use std::collections::BTreeMap;
use std::process::Command;

use bench::dataplane::Report;
use bench::dataplane::scene::{Scene, V4_IN_V4, V6_IN_V6};
use bench::target::Measure;
use slr_dataplane::router::XdpVerdict;
use slr_dataplane::sys;
use slr_testkit::packet::verify_checksums;

const XDP_TX: u32 = 3;

fn dataplane(more: &[&str]) -> Report {
    slr_testkit::require_root();
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["dataplane", "--json", "--batches", "2", "--shots", "400", "--cold-flows", "2000", "--sweeps", "1"])
        .args(more)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_kind_of_packet_costs_something_and_is_held_against_its_targets() {
    let report = dataplane(&[]);
    let by_name: BTreeMap<&str, _> = report.cases.iter().map(|row| (row.name.as_str(), row)).collect();
    assert_eq!(by_name.len(), report.cases.len(), "names are unique");
    assert_eq!(by_name["null"].over_null_ns.median, 0.0);
    for row in report.cases.iter().filter(|row| row.name != "null") {
        // A packet that costs less than a nanosecond, or more than a tenth of a millisecond, was not what was timed.
        let median = row.over_null_ns.median;
        assert!((1.0..100_000.0).contains(&median), "{}: {median} ns", row.name);
        assert!(row.over_null_ns.p10 <= median && median <= row.over_null_ns.p90, "{row:?}");
        let batches = if row.name.contains("cold") { 2000 / 400 } else { 2 };
        assert_eq!(row.batches.len(), batches, "{}", row.name);
        if let Some(floor) = &row.floor {
            assert!(by_name.contains_key(floor.as_str()), "{} is divided by {floor}, which is missing", row.name);
            assert!(row.ratio.unwrap().median > 0.0, "{row:?}");
        }
        for verdict in &row.targets {
            let measured = match verdict.measure {
                Measure::RatioToFloor => row.ratio.unwrap().median,
                _ => median,
            };
            assert_eq!((verdict.measured, verdict.met), (measured, measured <= verdict.limit), "{}", row.name);
        }
    }
    for (name, reason, targets) in [
        ("established v4 in v4", "fwd_established", 2),
        ("established v6 in v6", "fwd_established", 1),
        ("cold v4, in order", "fwd_established", 2),
        ("new flow v4", "fwd_new", 1),
        ("new flow v6", "fwd_new", 1),
        ("new flow v4, none pinned", "fwd_new", 1),
        ("not ours v4", "pass_not_ours", 0),
        ("echo v6", "reply_echo", 0),
        ("decapsulate v6 in v4", "deliver", 1),
        ("chain, socket here v4", "deliver_chain", 0),
        ("chain, relayed v6", "relay_chain", 0),
    ] {
        assert_eq!(by_name[name].reason.as_deref(), Some(reason), "{name}");
        assert_eq!(by_name[name].targets.len(), targets, "{name}");
    }
}

#[test]
fn only_measures_what_was_asked_for_and_what_it_is_compared_with() {
    let report = dataplane(&["--only", "established v4 in v6"]);
    let names: Vec<&str> = report.cases.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["null", "floor v4", "established v4 in v6"]);
}

#[test]
fn the_floor_writes_the_outer_header_that_the_router_writes() {
    slr_testkit::require_root();
    let scene = Scene::new(10, 50, 3).unwrap();
    let floors = [(V4_IN_V4, scene.yardsticks.floor_v4()), (V6_IN_V6, scene.yardsticks.floor_v6())];
    for (service, floor) in floors {
        for flow in 0..50 {
            let mut packet = service.ack(0);
            service.set_flow(&mut packet, flow);
            let router = scene.router.test_run(&packet).unwrap();
            assert_eq!(router.verdict, XdpVerdict::Tx);
            let mut out = Vec::new();
            let (verdict, _) = sys::test_run(floor, &packet, &mut out).unwrap();
            assert_eq!(verdict, XDP_TX, "flow {flow} of {service:?} is unknown to the floor");
            assert_eq!(out, router.packet, "flow {flow} of {service:?}");
        }
        let sound = scene.router.test_run(&service.ack(0)).unwrap().packet;
        verify_checksums(&sound).unwrap();
    }
}
