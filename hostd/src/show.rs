//! `hostd show` and `hostd reload`: ask the running daemon, print tables or JSON.

use anyhow::Result;
use clap::Subcommand;
use serde::Serialize;
use serde::de::DeserializeOwned;
use slr_daemon::table::Table;
use slr_daemon::{admin, output};

use crate::cli::Output;
use crate::status::{Check, Counter, Interface, Load, Peer, Reloaded, Request, Service, Session, Subnet, Topic};
use crate::{drain, recovery};

/// What to show.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum What {
    /// Virtual subnets with their traffic.
    Subnets,
    /// Interfaces at which tunnels arrive.
    Interfaces,
    /// What became of packets, by reason.
    Counters {
        /// Also reasons that no packet ended with.
        #[arg(long)]
        all: bool,
    },
    /// What was dropped, why, and what usually helps.
    Drops,
    /// Routers and hosts whose tunnels are accepted.
    Peers,
    /// Sessions with the routers that are told what this host serves.
    Sessions,
    /// Services with their state, flows and own load values.
    Services,
    /// Load values and what they come to.
    Load,
    /// Health checks.
    Health,
    /// How far a drain is.
    Drain,
    /// Flows that stalled, the echoes sent for them, and flows claimed.
    Recovery,
}

/// Asks and prints.
pub fn run(what: What, output: &Output) -> Result<()> {
    match what {
        What::Subnets => print(Topic::Subnets, output, subnets),
        What::Interfaces => print(Topic::Interfaces, output, interfaces),
        What::Counters { all } => print(Topic::Counters, output, |counters: &[Counter]| {
            let shown = counters.iter().filter(|counter| all || counter.packets > 0);
            counter_table(shown)
        }),
        What::Drops => drops(output),
        What::Peers => print(Topic::Peers, output, peers),
        What::Sessions => print(Topic::Sessions, output, sessions),
        What::Services => print(Topic::Services, output, services),
        What::Load => print(Topic::Load, output, loads),
        What::Health => print(Topic::Health, output, checks),
        What::Drain => drain::command::show(output),
        What::Recovery => recovery::show(output),
    }
}

/// Has the daemon reload, and prints what changed.
pub fn reload(output: &Output) -> Result<()> {
    let changed: Reloaded = admin::request(&output.socket, &Request::Reload)?;
    if output.json {
        output::print(serde_json::to_string_pretty(&changed)?);
        return Ok(());
    }
    let (added, removed) = (changed.subnets_added.len(), changed.subnets_removed.len());
    let (peers, gone) = (changed.peers_changed.len(), changed.peers_removed.len());
    output::print(format!("subnets: {added} added, {removed} removed; peers: {peers} changed, {gone} removed"));
    Ok(())
}

fn print<T: Serialize + DeserializeOwned>(topic: Topic, output: &Output, table: impl Fn(&[T]) -> Table) -> Result<()> {
    let rows: Vec<T> = admin::request(&output.socket, &Request::Show(topic))?;
    output::print(if output.json { serde_json::to_string_pretty(&rows)? } else { table(&rows).to_string() });
    Ok(())
}

fn subnets(rows: &[Subnet]) -> Table {
    let mut table = Table::new(["subnet", "prefix", "interface", "received", "bytes", "sent", "bytes"]);
    for s in rows {
        let numbers = [s.received_packets, s.received_bytes, s.sent_packets, s.sent_bytes].map(|n| n.to_string());
        table.row([s.name.clone(), s.prefix.to_string(), s.interface.clone()].into_iter().chain(numbers));
    }
    table
}

fn interfaces(rows: &[Interface]) -> Table {
    let mut table = Table::new(["interface", "xdp", "tunnel addresses", "MSS v4", "MSS v6"]);
    for i in rows {
        let addresses: Vec<String> = i.tunnel_addresses.iter().map(ToString::to_string).collect();
        let xdp = if i.attached { i.xdp.clone() } else { "gone".to_owned() };
        table.row([i.name.clone(), xdp, addresses.join(" "), i.mss_v4.to_string(), i.mss_v6.to_string()]);
    }
    table
}

fn counter_table<'a>(rows: impl Iterator<Item = &'a Counter>) -> Table {
    let mut table = Table::new(["reason", "packets", "bytes", "meaning"]);
    for c in rows {
        table.row([c.reason.clone(), c.packets.to_string(), c.bytes.to_string(), c.meaning.clone()]);
    }
    table
}

/// The drops that happened, most frequent first.
fn drops(to: &Output) -> Result<()> {
    let mut drops: Vec<Counter> = admin::request(&to.socket, &Request::Show(Topic::Counters))?;
    drops.retain(|counter| counter.remedy.is_some() && counter.packets > 0);
    drops.sort_by_key(|counter| std::cmp::Reverse(counter.packets));
    if to.json {
        output::print(serde_json::to_string_pretty(&drops)?);
    } else if drops.is_empty() {
        output::print("Nothing was dropped.");
    } else {
        let mut table = Table::new(["reason", "packets", "meaning", "what usually helps"]);
        for c in &drops {
            let remedy = c.remedy.clone().unwrap_or_default();
            table.row([c.reason.clone(), c.packets.to_string(), c.meaning.clone(), remedy]);
        }
        output::print(table.to_string());
    }
    Ok(())
}

fn peers(rows: &[Peer]) -> Table {
    let mut table = Table::new(["prefix", "names", "router", "site host"]);
    for p in rows {
        let mark = |yes: bool| if yes { "yes" } else { "-" }.to_owned();
        table.row([p.prefix.to_string(), p.names.join(" "), mark(p.router), mark(p.site_host)]);
    }
    table
}

fn sessions(rows: &[Session]) -> Table {
    let mut table = Table::new(["router", "session", "for", "advert every", "tunnels from", "reason"]);
    for s in rows {
        let every = s.advert_interval_ms.map_or("-".to_owned(), |ms| format!("{ms} ms"));
        let sources: Vec<String> = s.tunnel_sources.iter().map(ToString::to_string).collect();
        let cells = [s.parent.to_string(), s.state.clone(), age(s.state_age_ms), every, sources.join(" ")];
        table.row(cells.into_iter().chain([s.reason.clone()]));
    }
    table
}

fn services(rows: &[Service]) -> Table {
    let mut table = Table::new(["service", "state", "for", "flows", "weight", "loads", "reason"]);
    for s in rows {
        let loads: Vec<String> = s.loads.iter().map(|(name, value)| format!("{name}={value:.3}")).collect();
        let since = s.state_age_ms.map_or("-".to_owned(), age);
        let cells = [s.key.to_string(), s.state.clone(), since, s.flows.to_string(), s.weight.to_string()];
        table.row(cells.into_iter().chain([loads.join(" "), s.reason.clone()]));
    }
    table
}

fn loads(rows: &[Load]) -> Table {
    let mut table = Table::new(["load", "value", "age", "source", "problem"]);
    for l in rows {
        let value = l.value.map_or("-".to_owned(), |value| format!("{value:.3}"));
        let since = l.age_ms.map_or("-".to_owned(), age);
        table.row([l.name.clone(), value, since, l.source.clone(), l.problem.clone()]);
    }
    table
}

fn checks(rows: &[Check]) -> Table {
    let mut table = Table::new(["service", "check", "at", "health", "passed", "failed", "took", "problem"]);
    for c in rows {
        let took = c.took_us.map_or("-".to_owned(), |us| format!("{:.1} ms", us as f64 / 1e3));
        let cells = [c.key.to_string(), c.kind.clone(), c.address.to_string(), c.health.clone()];
        let numbers = [c.successes.to_string(), c.failures.to_string(), took, c.reason.clone()];
        table.row(cells.into_iter().chain(numbers));
    }
    table
}

/// A time for people: three digits are enough.
fn age(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..100_000 => format!("{:.1} s", ms as f64 / 1e3),
        _ => format!("{} min", ms / 60_000),
    }
}
