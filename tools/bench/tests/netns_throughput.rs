//! Real frames through a real veth pair come back with a tunnel header, and nothing is left behind.

use std::process::Command;

use bench::throughput::Report;

#[test]
fn the_router_sends_every_frame_back_through_the_pair() {
    slr_testkit::require_root();
    let links = || Command::new("ip").args(["-brief", "link"]).output().unwrap().stdout;
    let before = links();
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["throughput", "--json", "--seconds", "1", "--flows", "64"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Report = serde_json::from_slice(&output.stdout).unwrap();
    let programs: Vec<(&str, &str)> = report.cases.iter().map(|row| (&*row.program, &*row.family)).collect();
    let expected =
        ["v4", "v6"].map(|family| ["reflector", "floor", "router", "capturing"].map(|program| (program, family)));
    assert_eq!(programs, expected.concat());
    for row in &report.cases {
        assert!(row.mpps.median > 0.001, "{row:?}");
        assert!(row.lost < 0.01, "frames vanish: {row:?}");
    }
    assert_eq!(links(), before, "the pair is gone with its namespace");
}
