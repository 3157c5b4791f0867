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
fn states_are_sets_and_units_are_seconds_and_ratios() {
    let page = page(&sample());
    for line in [
        r#"slr_router_packets_total{reason="drop_no_active_host",verdict="drop"} 7"#,
        r#"slr_router_flows_pinned{family="ipv4"} 1200"#,
        r#"slr_router_subnet_bytes_total{subnet="2001:db8:100::/48",account="2"} 500700"#,
        r#"slr_router_slots_moved_total{subnet="192.0.2.0/24",service="tcp/80",class="default"} 17"#,
        r#"slr_router_service_state{host="h2",subnet="192.0.2.0/24",service="tcp/80",state="silent"} 1"#,
        r#"slr_router_service_state{host="h2",subnet="192.0.2.0/24",service="tcp/80",state="active"} 0"#,
        r#"slr_router_service_state{host="h1",subnet="2001:db8:100::/48",service="any",state="active"} 1"#,
        r#"slr_router_load{host="h1",subnet="",service="",load="cpu"} 0.37"#,
        r#"slr_router_load{host="h1",subnet="192.0.2.0/24",service="tcp/80",load="queue_depth"} 4"#,
        r#"slr_router_cost{host="h1",subnet="192.0.2.0/24",service="tcp/80",class="default"} 0.5"#,
        r#"slr_router_session{host="h2",state="silent"} 1"#,
        r#"slr_router_path{host="h2",address="fd00:1:12::2",state="lost"} 1"#,
        r#"slr_router_keepalive_rtt_seconds{host="h1",address="10.1.11.2"} 0.00085"#,
        r#"slr_router_announced{subnet="192.0.2.0/24",level="normal"} 1"#,
        r#"slr_router_config_reloads_total{result="applied"} 1"#,
        "slr_router_loop_busy_seconds_total 1.5",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
    }
    assert!(!page.contains(r#"slr_router_cost{host="h2""#), "no cost, no sample");
    assert!(!page.contains(r#"slr_router_keepalive_rtt_seconds{host="h2""#), "no answer, no sample");
}

#[test]
fn an_empty_snapshot_has_what_is_always_true_and_no_more() {
    let page = page(&Snapshot::default());
    assert!(page.contains("slr_router_config_last_good 0\n") && !page.contains("slr_router_path"), "{page}");
}

#[test]
fn the_documentation_has_the_same_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    let expected = table(FAMILIES);
    let documented = std::fs::read_to_string(path).unwrap();
    assert!(documented.contains(&expected), "{path} lacks this table:\n{expected}");
}
