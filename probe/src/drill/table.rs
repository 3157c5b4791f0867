//! A drill as tables for people.

use std::fmt::Write;

use comfy_table::{CellAlignment, Table, presets};

use super::{
    figures::Judged,
    result::{DrillReport, Pass},
};
use crate::units::{show_count, show_us};

/// Everything that a person wants to see first.
pub fn show(report: &DrillReport) -> String {
    let mut out = format!("{}: {}\n", report.title(), report.summary);
    if let Some(pass) = &report.measured {
        let _ = writeln!(out, "{}", flows(pass));
        tell(&mut out, pass);
    }
    if let Some(null) = &report.null {
        let spread = &null.total.recovery_us;
        let _ = writeln!(
            out,
            "without the failure: {} of {} flows survived, \"recovery\" p50 {}, p99 {}, max {}; own lateness p99 {}, max {}",
            null.total.survived,
            null.total.flows,
            show_us(spread.p50),
            show_us(spread.p99),
            show_us(spread.max),
            show_us(null.own_lateness_p99_us),
            show_us(null.own_lateness_max_us),
        );
    }
    out
}

fn flows(pass: &Pass) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header([
        "kind",
        "flows",
        "survived",
        "moved",
        "reset",
        "failed",
        "recovery\np50",
        "\np90",
        "\np99",
        "\nmax",
        "longest wait\np99",
        "lost\ndatagrams",
        "resent\nsegments",
    ]);
    let rows = pass.kinds.iter().map(|(kind, sums)| (kind.as_str(), sums)).chain([("all", &pass.total)]);
    for (kind, sums) in rows {
        table.add_row(row(kind, sums));
    }
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

fn row(kind: &str, sums: &Judged) -> Vec<String> {
    let when = |us| if sums.recovery_us.count == 0 { "-".to_owned() } else { show_us(us) };
    let spread = &sums.recovery_us;
    let mut row = vec![kind.to_owned()];
    row.extend([sums.flows, sums.survived, sums.moved, sums.reset, sums.failed].map(show_count));
    row.extend([spread.p50, spread.p90, spread.p99, spread.max, sums.wait_us.p99].map(when));
    row.extend([sums.datagrams_lost, sums.segments_resent].map(show_count));
    row
}

fn tell(out: &mut String, pass: &Pass) {
    let new = &pass.new_flows;
    let _ = write!(out, "{} flows began after the failure, {} of them failed", show_count(new.started), new.failed);
    let _ = match new.last_failed_us {
        Some(us) => writeln!(out, ", the last of these {} after it", show_us(us)),
        None => writeln!(out),
    };
    if pass.total.end_us.count > 0 {
        let (p50, max) = (show_us(pass.total.end_us.p50), show_us(pass.total.end_us.max));
        let _ = writeln!(out, "lost flows ended {p50} (p50), {max} (max) after their first word since the failure");
    }
    if pass.total.lost_after_heal > 0 {
        let _ = writeln!(out, "{} were lost when what had failed came back", pass.total.lost_after_heal);
    }
    let saved: Vec<_> = pass.rungs_saved.flows.iter().map(|(rung, flows)| format!("{rung} {flows}")).collect();
    let _ = match &pass.rungs_saved.not_told {
        Some(why) => writeln!(out, "flows saved by each rung: not told ({})", why.lines().next().unwrap_or("")),
        None => writeln!(out, "flows saved by each rung: {}", saved.join(", ")),
    };
    for example in &pass.examples {
        let _ = writeln!(out, "  for instance {example}");
    }
}
