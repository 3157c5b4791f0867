//! The report as tables for people.

use std::fmt::Write;

use comfy_table::{Cell, CellAlignment, Table, presets};

use super::report::{KindReport, Report};
use crate::units::{show_bytes, show_count, show_us};

/// Everything a person wants to see of a run, widest questions first.
pub fn show(report: &Report) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}", flows(report));
    let _ = writeln!(out, "{}", exchanges(report));
    let _ = writeln!(out, "{}", times(report));
    if report.kinds.iter().any(|kind| !kind.servers.is_empty()) {
        let _ = writeln!(out, "{}", servers(report));
    }
    for kind in &report.kinds {
        tell_failures(&mut out, kind);
    }
    let late = &report.own_lateness_us;
    let _ = writeln!(
        out,
        "own lateness: p99 {}, max {}, {} of {} ticks missed (no shorter gap is the network's)",
        show_us(late.late.p99),
        show_us(late.late.max),
        late.missed_ticks,
        late.late.count + late.missed_ticks,
    );
    let verdict = match (report.ok, report.total.started) {
        (true, _) => "nothing failed".to_owned(),
        (false, started) => format!("{} of {} flows FAILED", show_count(report.total.failed), show_count(started)),
    };
    let end = if report.interrupted { ", interrupted" } else { "" };
    let _ = write!(out, "{verdict} in {}{end}", show_us(report.elapsed_us));
    out
}

/// What became of the flows.
fn flows(report: &Report) -> Table {
    let header =
        ["kind", "target", "flows", "clients", "started", "completed", "failed", "reset", "cut", "changed\nserver"];
    let mut table = table(&header);
    for kind in &report.kinds {
        let ended = &kind.ended;
        let numbers = [
            show_count(kind.flows.into()),
            show_count(kind.client_addresses as u64),
            show_count(ended.started),
            show_count(ended.completed),
            show_count(ended.failed),
            show_count(ended.reset),
            show_count(ended.cut),
            show_count(ended.changed_server),
        ];
        add(&mut table, kind, numbers);
    }
    table
}

/// What was said over them.
fn exchanges(report: &Report) -> Table {
    let mut table = table(&["kind", "target", "asked", "answered", "per s", "lost", "duplicate", "sent", "received"]);
    for kind in &report.kinds {
        let exchanges = &kind.exchanges;
        let numbers = [
            show_count(exchanges.sent),
            show_count(exchanges.answered),
            show_count(kind.answers_per_s.round() as u64),
            show_count(exchanges.lost),
            show_count(exchanges.duplicate),
            show_bytes(kind.bytes_sent),
            show_bytes(kind.bytes_received),
        ];
        add(&mut table, kind, numbers);
    }
    table
}

/// How long things took.
fn times(report: &Report) -> Table {
    let mut table = table(&[
        "kind",
        "target",
        "latency\np50",
        "\np90",
        "\np99",
        "\np99.9",
        "\nmax",
        "connect\np99",
        "longest gap\np99",
        "\nmax",
    ]);
    for kind in &report.kinds {
        let (latency, connect, gap) = (&kind.latency_us, &kind.connect_us, &kind.gap_us);
        let when = |count: u64, us| if count == 0 { "-".to_owned() } else { show_us(us) };
        let numbers = [
            when(latency.count, latency.p50),
            when(latency.count, latency.p90),
            when(latency.count, latency.p99),
            when(latency.count, latency.p999),
            when(latency.count, latency.max),
            when(connect.count, connect.p99),
            when(gap.count, gap.p99),
            when(gap.count, gap.max),
        ];
        add(&mut table, kind, numbers);
    }
    table
}

/// Who answered.
fn servers(report: &Report) -> Table {
    let mut table = table(&["kind", "target", "server", "answers", "share", "flows"]);
    for kind in &report.kinds {
        for server in &kind.servers {
            let share = format!("{:.1} %", server.share * 100.0);
            let numbers = [server.server.clone(), show_count(server.answers), share, show_count(server.flows)];
            add(&mut table, kind, numbers);
        }
    }
    if let Some(column) = table.column_mut(2) {
        column.set_cell_alignment(CellAlignment::Left);
    }
    table
}

fn tell_failures(out: &mut String, kind: &KindReport) {
    if kind.failures.is_empty() {
        return;
    }
    let causes: Vec<_> = kind.failures.iter().map(|(cause, count)| format!("{count} {cause}")).collect();
    let _ = writeln!(out, "{} {} failed: {}", kind.kind, kind.target, causes.join(", "));
    for example in &kind.examples {
        let _ = writeln!(out, "  for instance {example}");
    }
    for remedy in &kind.remedies {
        let _ = writeln!(out, "  remedy: {remedy}");
    }
}

/// An empty table; the first two columns are names, the others numbers.
fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(header.iter().map(Cell::new));
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn add<const N: usize>(table: &mut Table, kind: &KindReport, numbers: [String; N]) {
    table.add_row([kind.kind.to_owned(), kind.target.clone()].into_iter().chain(numbers));
}
