//! Two hundred simulated hosts, a real router, two restarts: the control plane as a whole, small enough for every run.

use bench::control::Report;
use std::process::Command;

const HOSTS: usize = 200;
/// Far above what a quiet machine needs: what fails here is broken, not slow.
const CHANGE_MS_MAX: f64 = 2_000.0;

#[test]
fn rings_follow_two_hundred_hosts_and_a_restarted_router_takes_none_for_down() {
    slr_testkit::require_root();
    let mounts = || std::fs::read_to_string("/proc/self/mounts").unwrap().matches("slr-bench-").count();
    let before = mounts();
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["control", "--json", "--hosts", &HOSTS.to_string(), "--seconds", "3", "--changes", "6"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Report = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report.hosts, HOSTS);
    for load in &report.loads {
        assert_eq!(load.sessions_lost, 0, "{load:?}");
        assert!(load.keepalives_per_s > HOSTS as f64 * 2.0, "each is asked five times in two seconds: {load:?}");
    }
    assert_eq!(report.loads[0].slots_moved, 0, "nothing changes, nothing moves");
    assert_eq!(report.changes.out_ms.len(), 6);
    for ms in report.changes.out_ms.iter().chain(&report.changes.back_ms) {
        assert!(*ms < CHANGE_MS_MAX, "{:?}", report.changes);
    }
    let signals: Vec<&str> = report.restarts.iter().map(|restart| &*restart.signal).collect();
    assert_eq!(signals, ["SIGTERM", "SIGKILL"]);
    for restart in &report.restarts {
        assert_eq!(restart.down(), 0, "{restart:?}");
        assert_eq!(restart.slots_moved, 0, "{restart:?}");
        let last = restart.looks.last().unwrap();
        assert_eq!((last.sessions, last.held), (HOSTS, 0), "{last:?}");
        assert_eq!(last.states.keys().map(String::as_str).collect::<Vec<_>>(), ["active"], "{last:?}");
    }
    assert_eq!(mounts(), before, "the run's BPF file system is gone");
}
