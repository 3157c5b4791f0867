//! What the page says, and that the documentation says the same.

use slr_daemon::metrics::{Snapshot as _, Text, table};

use super::sample::sample;
use super::{FAMILIES, Snapshot};

fn page(snapshot: &Snapshot) -> String {
    let mut text = Text::new();
    snapshot.write(&mut text);
    text.into_page()
}

#[test]
fn every_family_is_written_in_the_order_of_the_table() {
    let page = page(&sample());
    let types: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert_eq!(types, FAMILIES.iter().map(|family| family.name).collect::<Vec<_>>());
    let mut lines: Vec<&str> =
        page.lines().filter_map(|line| line.rsplit_once(' ').map(|(series, _)| series)).collect();
    let all = lines.len();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), all, "a series is said twice");
}

#[test]
fn traffic_is_told_both_ways_and_states_are_sets() {
    let page = page(&sample());
    for line in [
        r#"slr_hostd_packets_total{reason="drop_stranger",verdict="drop"} 3"#,
        r#"slr_hostd_subnet_bytes_total{subnet="192.0.2.0/24",account="1",direction="sent"} 2600000"#,
        r#"slr_hostd_subnet_packets_total{subnet="2001:db8:100::/48",account="",direction="received"} 900"#,
        r#"slr_hostd_service_state{subnet="2001:db8:100::/48",service="udp/53",state="down"} 1"#,
        r#"slr_hostd_service_state{subnet="2001:db8:100::/48",service="udp/53",state="active"} 0"#,
        r#"slr_hostd_check_healthy{subnet="192.0.2.0/24",service="tcp/80",check="http"} 1"#,
        r#"slr_hostd_checks_total{subnet="192.0.2.0/24",service="tcp/80",check="http",result="failure"} 5"#,
        r#"slr_hostd_load{subnet="",service="",load="cpu"} 0.37"#,
        r#"slr_hostd_session{router="slr2",state="waiting"} 1"#,
        "slr_hostd_draining 0",
        "slr_hostd_flows 640",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
    }
}

#[test]
fn an_empty_snapshot_has_what_is_always_true_and_no_more() {
    let page = page(&Snapshot::default());
    assert!(page.contains("slr_hostd_config_last_good 0\n") && !page.contains("slr_hostd_check"), "{page}");
}

#[test]
fn the_documentation_has_the_same_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    let expected = table(FAMILIES);
    let documented = std::fs::read_to_string(path).unwrap();
    assert!(documented.contains(&expected), "{path} lacks this table:\n{expected}");
}
