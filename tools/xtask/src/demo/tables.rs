//! What happened, as tables.

use anyhow::{Context, Result};
use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};
use serde_json::Value;
use xtask::site::{HOSTS, Site};
use xtask::traffic::Report;

fn table(title: &str, header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header(header.to_vec());
    for row in rows {
        table.add_row(row);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        if index > 0 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    format!("{title}\n{table}")
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "–".to_owned(),
        other => other.to_string(),
    }
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|g| std::str::from_utf8(g).unwrap_or("")).collect();
    groups.join(",")
}

fn count(value: &Value) -> String {
    value.as_u64().map_or_else(|| text(value), thousands)
}

fn milliseconds(value: &Value) -> String {
    value.as_u64().map_or_else(|| "–".to_owned(), |us| format!("{:.1} ms", us as f64 / 1000.0))
}

/// Hosts as the router has them.
pub fn hosts(site: &Site) -> Result<String> {
    let hosts = site.show("hosts")?;
    let rows = hosts
        .as_array()
        .context("hosts are a list")?
        .iter()
        .map(|host| ["name", "address", "state", "weight", "up", "flows"].map(|field| text(&host[field])).to_vec());
    Ok(table(
        "The hosts, as the SLR has them",
        &["host", "tunnel address", "state", "weight", "up", "flows placed"],
        rows,
    ))
}

/// A host's services as the router has them.
pub fn states(site: &Site, host: &str) -> Result<String> {
    let states = site.show("states")?;
    let own = states.as_array().context("states are a list")?.iter().filter(|state| state["host"] == host);
    let rows = own.map(|state| ["service", "state", "reason"].map(|field| text(&state[field])).to_vec());
    Ok(table(&format!("The services of {host}, as the SLR has them"), &["service", "state", "reason"], rows))
}

/// Flows by kind, as the client saw them.
pub fn kinds(report: &Report) -> String {
    let rows = report.kinds().map(|kind| {
        vec![
            text(&kind["kind"]),
            text(&kind["target"]),
            count(&kind["started"]),
            count(&kind["completed"]),
            count(&kind["failed"]),
            count(&kind["changed_server"]),
            milliseconds(&kind["latency_us"]["p50"]),
            milliseconds(&kind["latency_us"]["p99"]),
            milliseconds(&kind["gap_us"]["max"]),
        ]
    });
    let header = ["flows", "virtual host", "started", "completed", "failed", "moved", "p50", "p99", "longest gap"];
    table("What the client saw", &header, rows)
}

/// Who answered, beside the share of the ring that each host has.
pub fn shares(site: &Site, report: &Report) -> Result<String> {
    let answered = report.shares("http");
    let all: u64 = answered.values().sum();
    let subnets = site.show("subnets")?;
    let web = subnets.as_array().and_then(|all| all.first()).context("a subnet")?;
    let shares = web["shares"].as_array().context("shares are a list")?;
    let rows = HOSTS.map(|host| {
        let share = shares.iter().find(|share| share["host"] == host);
        let ring = share.and_then(|share| share["percent"].as_f64()).unwrap_or_default();
        let got = *answered.get(host).unwrap_or(&0);
        let share = got as f64 / all.max(1) as f64 * 100.0;
        vec![host.to_owned(), format!("{ring:.1} %"), thousands(got), format!("{share:.1} %")]
    });
    Ok(table("Who answered", &["server", "share of the ring", "requests", "share"], rows))
}

/// Packets in each direction, counted where they pass.
pub fn ways(site: &Site, returned: u64) -> Result<String> {
    let subnets = site.show("subnets")?;
    let tunnelled: u64 = subnets.as_array().into_iter().flatten().filter_map(|s| s["packets"].as_u64()).sum();
    let mut rows = vec![
        vec!["client → SLR → host, in tunnels".to_owned(), "slr1".to_owned(), thousands(tunnelled)],
        vec!["host → SLR".to_owned(), "slr1".to_owned(), thousands(returned)],
    ];
    for host in HOSTS {
        let sent = site.show_host(host, "subnets")?;
        let packets: u64 = sent.as_array().into_iter().flatten().filter_map(|s| s["sent_packets"].as_u64()).sum();
        rows.push(vec!["host → client, from the virtual address".to_owned(), host.to_owned(), thousands(packets)]);
    }
    Ok(table("The ways packets went", &["way", "counted at", "packets"], rows))
}

/// What became of every packet at the SLR.
pub fn reasons(site: &Site) -> Result<String> {
    let counters = site.show("counters")?;
    let rows = counters
        .as_array()
        .context("counters are a list")?
        .iter()
        .filter(|c| c["packets"] != 0)
        .map(|c| vec![text(&c["reason"]), count(&c["packets"]), text(&c["meaning"])]);
    Ok(table("What became of every packet at the SLR", &["reason", "packets", "meaning"], rows))
}
