//! A lab as tables, or as JSON.

use crate::units::{show_bytes, show_delay, show_rate};
use anyhow::{Context, Result};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;
use slr_testkit::emulator::control::{DirectionReport, LinkReport};
use slr_testkit::lab::{Lab, ProcessRecord};
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

#[derive(Serialize)]
struct Status {
    run: String,
    topology: String,
    nodes: Vec<NodeStatus>,
    links: Vec<LinkReport>,
}

#[derive(Serialize)]
struct NodeStatus {
    name: String,
    netns: bool,
    interfaces: Vec<Interface>,
    processes: Vec<ProcessStatus>,
}

#[derive(Serialize)]
struct Interface {
    name: String,
    mtu: u64,
    up: bool,
    addresses: Vec<String>,
}

#[derive(Serialize)]
struct ProcessStatus {
    name: String,
    pid: u32,
    alive: bool,
    command: String,
}

/// Prints the whole status; exit code 1 if the lab is not whole: a namespace missing, a process or the emulator dead.
pub fn show(lab: &Lab, json: bool) -> Result<ExitCode> {
    let links = lab.links();
    let mut whole = links.is_ok();
    if let Err(error) = &links {
        eprintln!("lab: {error:#}");
    }
    let records = lab.processes()?;
    let nodes = lab.topology().nodes.iter().map(|node| node_status(lab, &node.name, &records));
    let nodes: Vec<NodeStatus> = nodes.collect::<Result<_>>()?;
    whole &= nodes.iter().all(|node| node.netns && node.processes.iter().all(|process| process.alive));
    let (run, topology) = (lab.run().to_owned(), lab.topology().name.clone());
    let status = Status { run, topology, nodes, links: links.unwrap_or_default() };
    if json {
        print(&serde_json::to_string_pretty(&status)?)?;
    } else {
        print(&format!("lab {} (topology {}), state in {}", status.run, status.topology, lab.dir().display()))?;
        print(&node_table(&status.nodes).to_string())?;
        print(&link_table(lab, &status.links).to_string())?;
    }
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints the links alone.
pub fn show_links(lab: &Lab, json: bool) -> Result<()> {
    let links = lab.links()?;
    if json {
        return links.iter().try_for_each(|link| print(&serde_json::to_string(link)?));
    }
    print(&link_table(lab, &links).to_string())
}

/// Writes a line to stdout; a closed pipe ends the program quietly.
pub fn print(line: &str) -> Result<()> {
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        other => other.context("write to stdout"),
    }
}

fn node_status(lab: &Lab, node: &str, records: &[ProcessRecord]) -> Result<NodeStatus> {
    let processes = records.iter().filter(|record| record.node == node).map(|record| ProcessStatus {
        name: record.name.clone(),
        pid: record.pid,
        alive: record.is_alive(),
        command: record.command.clone(),
    });
    let netns = lab.netns(node).is_ok();
    let interfaces = if netns { interfaces(lab, node)? } else { Vec::new() };
    Ok(NodeStatus { name: node.to_owned(), netns, interfaces, processes: processes.collect() })
}

fn interfaces(lab: &Lab, node: &str) -> Result<Vec<Interface>> {
    let output = lab.exec(node, &["ip", "-json", "address", "show"])?;
    let list: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).context("output of ip -json address")?;
    let real = list.iter().filter(|interface| interface["ifname"] != "lo");
    Ok(real
        .map(|interface| Interface {
            name: interface["ifname"].as_str().unwrap_or_default().to_owned(),
            mtu: interface["mtu"].as_u64().unwrap_or_default(),
            up: interface["operstate"] == "UP",
            addresses: interface["addr_info"].as_array().into_iter().flatten().filter_map(address).collect(),
        })
        .collect())
}

/// An address with its prefix length; link-local ones would only fill the table.
fn address(info: &serde_json::Value) -> Option<String> {
    let is_link_local = info["scope"] == "link";
    (!is_link_local).then(|| format!("{}/{}", info["local"].as_str().unwrap_or_default(), info["prefixlen"]))
}

fn node_table(nodes: &[NodeStatus]) -> Table {
    let mut table = table(&["node", "interface", "mtu", "addresses", "processes"]);
    for node in nodes {
        let column = |f: fn(&Interface) -> String| lines(node.interfaces.iter().map(f));
        let process = |process: &ProcessStatus| {
            let state = if process.alive { format!("pid {}", process.pid) } else { "DEAD".to_owned() };
            format!("{} {state}", process.name)
        };
        let name = if node.netns { node.name.clone() } else { format!("{} (GONE)", node.name) };
        table.add_row([
            name,
            column(|i| if i.up { i.name.clone() } else { format!("{} (down)", i.name) }),
            column(|i| i.mtu.to_string()),
            column(|i| i.addresses.join("  ")),
            lines(node.processes.iter().map(process)),
        ]);
    }
    table
}

fn link_table(lab: &Lab, links: &[LinkReport]) -> Table {
    let mut table =
        table(&["direction", "delay", "loss", "rate", "frames", "bytes", "lost", "blackhole", "other drops"]);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for link in links {
        table.add_row(direction_row(&link.a, &link.b, &link.a_to_b));
        table.add_row(direction_row(&link.b, &link.a, &link.b_to_a));
    }
    for link in lab.topology().links.iter().filter(|link| link.direct) {
        table.add_row([format!("{} - {}", link.a.node, link.b.node), "direct".to_owned()]);
    }
    table
}

fn direction_row(from: &str, to: &str, report: &DirectionReport) -> [String; 9] {
    let DirectionReport { shape, counters } = report;
    let other = counters.queue_full + counters.wire_full + counters.send_failed + counters.not_read;
    let dash = |number: u64| if number == 0 { "-".to_owned() } else { number.to_string() };
    [
        format!("{from} → {to}"),
        show_delay(shape.delay_us),
        if shape.loss == 0.0 { "-".to_owned() } else { format!("{} %", shape.loss * 100.0) },
        shape.rate_bps.map_or_else(|| "-".to_owned(), |rate| show_rate(rate.get())),
        dash(counters.frames),
        show_bytes(counters.bytes),
        dash(counters.lost),
        if shape.blackhole { format!("ON {}", counters.blackholed) } else { dash(counters.blackholed) },
        dash(other),
    ]
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(header);
    table
}

fn lines(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join("\n")
}
