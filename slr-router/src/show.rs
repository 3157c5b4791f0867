//! `slr-router show` and `reload`: both ends of the questions that a running daemon answers.
//!
//! [`rows`] are the answers, as JSON and in memory alike; [`tables`] renders them for people.

pub mod announce;
pub mod control;
mod control_tables;
pub mod mirror;
pub mod recovery;
pub mod remedies;
pub mod rows;
mod tables;

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use ipnet::IpNet;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use slr_daemon::admin;
use slr_daemon::output::print;
use slr_dataplane::router::Router;
use slr_model::NodeName;

use crate::cli::{Output, prefix_or_address};
use crate::daemon::{Changes, Core, Request};

/// What can be shown.
#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Next hops: state, link, how much went there, how many flows they have.
    Hosts,
    /// Children of this router: their connections, whether they are heard, and whether their tunnels answer.
    Sessions,
    /// Each host's state for each service, since when, and why.
    States,
    /// Rings: what F saw of each host, its cost, its weight, and how many slots moved.
    Policy,
    /// What somebody should look at.
    Alarms,
    /// What the routers around are told: virtual subnets, how gladly each is served, since when, and why.
    Announce,
    /// Flows that no router remembered: how they were searched for, who had them, and what was refused.
    Recovery,
    /// Flows that the cluster's other members have too: how far they are, and what they refused.
    Mirror,
    /// Virtual subnets: what they serve, and each host's share of new flows.
    Subnets,
    /// Flows that are remembered, pinned ones first.
    Flows(FlowFilter),
    /// Hop templates as the kernel has them.
    Hops,
    /// Every reason with its counter and meaning.
    Counters,
    /// What was dropped, why, and what usually helps.
    Drops,
}

/// Which flows.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub struct FlowFilter {
    /// Show this many at most.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=FLOWS_MAX))]
    pub limit: u32,
    /// Only those of clients with this address or in this prefix.
    #[arg(long, value_name = "PREFIX", value_parser = prefix_or_address)]
    pub client: Option<IpNet>,
    /// Only those of this host.
    #[arg(long, value_name = "NAME")]
    pub host: Option<NodeName>,
}

/// Most flows in one answer: about 20 MB of JSON, which is read within the admin socket's patience.
pub const FLOWS_MAX: i64 = 100_000;

/// Asks the daemon and prints its answer.
pub fn run(what: &What, output: &Output) -> Result<()> {
    match what {
        What::Hosts => ask::<Vec<rows::Host>>(what, output, tables::hosts),
        What::Sessions => ask::<Vec<control::Session>>(what, output, control_tables::sessions),
        What::States => ask::<Vec<control::State>>(what, output, control_tables::states),
        What::Policy => ask::<Vec<control::Ring>>(what, output, control_tables::policy),
        What::Alarms => ask::<Vec<control::Alarm>>(what, output, control_tables::alarms),
        What::Announce => ask::<announce::Announced>(what, output, announce::table),
        What::Recovery => ask::<recovery::Recovery>(what, output, recovery::table),
        What::Mirror => ask::<mirror::Mirror>(what, output, mirror::table),
        What::Subnets => ask::<Vec<rows::Subnet>>(what, output, tables::subnets),
        What::Flows(_) => ask::<rows::Flows>(what, output, tables::flows),
        What::Hops => ask::<Vec<rows::Hop>>(what, output, tables::hops),
        What::Counters => ask::<Vec<rows::Counter>>(what, output, tables::counters),
        What::Drops => ask::<Vec<rows::Counter>>(what, output, tables::drops),
    }
}

fn ask<T: DeserializeOwned + Serialize>(what: &What, output: &Output, table: fn(&T) -> String) -> Result<()> {
    let answer: T = admin::request(&output.socket, &Request::Show(what.clone()))?;
    print(if output.json { serde_json::to_string_pretty(&answer)? } else { table(&answer) });
    Ok(())
}

/// Has the daemon reload, and prints what that changed.
pub fn reload(output: &Output) -> Result<()> {
    let changes: Changes = admin::request(&output.socket, &Request::Reload)?;
    print(if output.json { serde_json::to_string_pretty(&changes)? } else { one_line(&changes) });
    Ok(())
}

/// The daemon's side: the answer to a question.
pub fn answer(what: &What, core: &Core<Router>, now: Instant) -> Result<Value> {
    Ok(match what {
        What::Sessions => serde_json::to_value(control::sessions(core.fleet(), now))?,
        What::States => serde_json::to_value(control::states(core.fleet(), now))?,
        What::Policy => serde_json::to_value(control::policy(core, rows::in_force(core)?))?,
        What::Alarms => serde_json::to_value(control::alarms(core.fleet(), now))?,
        What::Announce | What::Recovery | What::Mirror => bail!("this is the loop's to show"),
        What::Hosts => serde_json::to_value(rows::hosts(core)?)?,
        What::Subnets => serde_json::to_value(rows::subnets(core)?)?,
        What::Flows(filter) => serde_json::to_value(rows::flows(filter, core.plane())?)?,
        What::Hops => serde_json::to_value(rows::hops(core)?)?,
        What::Counters => serde_json::to_value(rows::counters(core.plane())?)?,
        What::Drops => serde_json::to_value(rows::drops(core.plane())?)?,
    })
}

/// Whether a daemon answers at this socket.
pub fn is_answered(socket: &Path) -> bool {
    UnixStream::connect(socket).is_ok()
}

/// A change of configuration in a line, for the log and for people.
pub fn one_line(changes: &Changes) -> String {
    let lists = [
        ("hosts added", &changes.hosts_added),
        ("hosts changed", &changes.hosts_changed),
        ("hosts removed", &changes.hosts_removed),
        ("subnets added", &changes.subnets_added),
        ("subnets changed", &changes.subnets_changed),
        ("subnets removed", &changes.subnets_removed),
        ("attached to", &changes.interfaces_attached),
        ("detached from", &changes.interfaces_detached),
        ("not resolved yet", &changes.unresolved),
    ];
    let mut parts: Vec<String> = lists
        .iter()
        .filter(|(_, list)| !list.is_empty())
        .map(|(what, list)| format!("{what}: {}", list.join(" ")))
        .collect();
    if changes.rings_published > 0 {
        parts.push(format!("{} rings published, {} slots moved", changes.rings_published, changes.slots_moved));
    }
    if parts.is_empty() { "nothing changed".to_owned() } else { parts.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_reads_as_one_line() {
        assert_eq!(one_line(&Changes::default()), "nothing changed");
        let changes = Changes {
            hosts_added: vec!["h3".into(), "h4".into()],
            subnets_removed: vec!["192.0.2.0/24".into()],
            rings_published: 1,
            slots_moved: 512,
            ..Changes::default()
        };
        assert_eq!(
            one_line(&changes),
            "hosts added: h3 h4; subnets removed: 192.0.2.0/24; 1 rings published, 512 slots moved"
        );
    }

    #[test]
    fn requests_survive_the_socket() {
        let what = What::Flows(FlowFilter { limit: 3, client: Some("10.0.0.0/8".parse().unwrap()), host: None });
        let text = serde_json::to_string(&Request::Show(what)).unwrap();
        assert_eq!(text, r#"{"show":{"flows":{"limit":3,"client":"10.0.0.0/8","host":null}}}"#);
        let Request::Show(What::Flows(filter)) = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
        assert_eq!(filter.limit, 3);
        assert!(matches!(serde_json::from_str(r#"{"show":"hosts"}"#).unwrap(), Request::Show(What::Hosts)));
        assert!(matches!(serde_json::from_str(r#""reload""#).unwrap(), Request::Reload));
    }
}
