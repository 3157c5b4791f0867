//! The mirror's benchmark, small enough for every run: what one router pins the other has, and nothing is left behind.

use std::process::Command;

use bench::mirror::Report;

#[test]
fn flows_of_one_router_are_known_to_the_other_and_the_figures_say_so() {
    slr_testkit::require_root();
    let folder = tempfile::tempdir().unwrap();
    for more in [&[][..], &["--ipv6", "--round-trip-ms", "4"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_bench"))
            .args(["mirror", "--json", "--rate", "5000", "--seconds", "3", "--speaking", "2000", "--overload", "0"])
            .args(more)
            .env("TMPDIR", folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report: Report = serde_json::from_slice(&output.stdout).unwrap();
        let phase = report.phase("rate").unwrap();
        assert!(phase.flows > 5_000, "{phase:?}");
        assert!(phase.pinned * 100 >= u64::from(phase.flows) * 95, "frames vanish: {phase:?}");
        assert_eq!((phase.lost, phase.refused, phase.resyncs), (0, 0, 0), "{phase:?}");
        assert!(phase.outside.flows > 10 && phase.outside.ms.is_some() && phase.lag_ms.is_some(), "{phase:?}");
        assert_eq!(phase.outside.called_warm, 0, "{phase:?}");
        assert_eq!(report.missing[0], 0, "of {}", report.missing[1]);
        assert!(report.missing[1] > 7_000);
        // What speaks is told of again.
        let taken: u64 = report.phases.iter().map(|phase| phase.taken).sum();
        let pinned: u64 = report.phases.iter().map(|phase| phase.pinned).sum();
        assert!(taken >= pinned, "taken {taken} of {pinned}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the run's folder and BPF file system are gone");
}
