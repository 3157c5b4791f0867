//! `slr-router diff CONFIG`: what a new configuration would move, before it is applied.
//!
//! The daemon answers, since only it knows the hosts as they are. It weighs them under the new configuration, without the
//! budget that spreads a change over intervals: this is what the change comes to in the end, all else being equal.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use slr_daemon::admin;
use slr_daemon::output::print;
use slr_daemon::table::Table;
use slr_dataplane::router::Router;
use slr_model::{ClassName, NodeName, ServiceKey, VirtualSubnet};

use crate::cli::Output;
use crate::daemon::{Core, Loaded, Request};
use crate::desired::desired;

/// What a configuration would change.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Diff {
    /// Rings of which slots would move.
    pub rings: Vec<Moved>,
    /// Hosts that would be gone, with the flows that are pinned to them now and would be un-pinned.
    pub hosts_gone: Vec<Gone>,
    pub hosts_new: Vec<NodeName>,
    pub subnets_gone: Vec<VirtualSubnet>,
    pub subnets_new: Vec<VirtualSubnet>,
}

/// A ring of which slots would move.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Moved {
    pub service: ServiceKey,
    pub class: Option<ClassName>,
    pub moved_slots: u32,
    pub slots: u32,
    /// Of new flows, in per cent, that would go to another host. Established flows stay where they are.
    pub new_flows_percent: f64,
}

/// A host that would be gone.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Gone {
    pub host: NodeName,
    pub flows: u64,
    /// Of all pinned flows, in per cent.
    pub percent: f64,
}

/// The daemon's side: compares `new` with what is in force.
pub fn of(core: &Core<Router>, new: &Loaded, now: Instant) -> Result<Diff> {
    let in_force = core.in_force().context("the daemon is starting: nothing is in force yet")?;
    let (hops, routes) = core.foresee(new, now);
    let wanted = desired(&new.settings, &hops, &routes, |hop| core.link_of(hop));
    let moved = core.plane().preview(&wanted)?;
    let prefixes = |loaded: &Loaded| loaded.settings.subnets.iter().map(|s| s.prefix).collect::<BTreeSet<_>>();
    let (old_subnets, new_subnets) = (prefixes(in_force), prefixes(new));
    let names = |hops: &[crate::fleet::Hop]| hops.iter().map(|hop| hop.name.clone()).collect::<BTreeSet<_>>();
    let (old_hosts, new_hosts) = (names(core.hops()), names(&hops));
    Ok(Diff {
        rings: moved.into_iter().map(row).collect(),
        hosts_gone: gone(core.plane(), &old_hosts, &new_hosts),
        hosts_new: new_hosts.difference(&old_hosts).cloned().collect(),
        subnets_gone: old_subnets.difference(&new_subnets).copied().collect(),
        subnets_new: new_subnets.difference(&old_subnets).copied().collect(),
    })
}

fn row(moved: slr_dataplane::router::Moved) -> Moved {
    let percent = f64::from(moved.moved) * 100.0 / f64::from(moved.slots.max(1));
    Moved {
        service: moved.service,
        class: moved.class,
        moved_slots: moved.moved,
        slots: moved.slots,
        new_flows_percent: (percent * 10.0).round() / 10.0,
    }
}

/// Flows as the last walk over the tables counted them.
fn gone(router: &Router, old: &BTreeSet<NodeName>, new: &BTreeSet<NodeName>) -> Vec<Gone> {
    let shares = router.flow_shares();
    let all: u64 = shares.iter().map(|share| share.pinned).sum();
    let row = |host: &NodeName| {
        let flows = shares.iter().filter(|share| share.host == *host).map(|share| share.pinned).sum();
        let percent = (flows as f64 * 1_000.0 / all.max(1) as f64).round() / 10.0;
        Gone { host: host.clone(), flows, percent }
    };
    old.difference(new).map(row).collect()
}

/// Asks the daemon and prints its answer.
pub fn run(config: &Path, output: &Output) -> Result<()> {
    let config = config.canonicalize().with_context(|| format!("cannot read {}", config.display()))?;
    let diff: Diff = admin::request(&output.socket, &Request::Diff { config })?;
    print(if output.json { serde_json::to_string_pretty(&diff)? } else { text(&diff) });
    Ok(())
}

fn text(diff: &Diff) -> String {
    let mut lines = Vec::new();
    let mut list = |what: &str, items: Vec<String>| {
        if !items.is_empty() {
            lines.push(format!("{what}: {}", items.join(", ")));
        }
    };
    list("new subnets", diff.subnets_new.iter().map(ToString::to_string).collect());
    list("subnets gone", diff.subnets_gone.iter().map(ToString::to_string).collect());
    list("new hosts", diff.hosts_new.iter().map(ToString::to_string).collect());
    let gone = |gone: &Gone| format!("{} (un-pins {} flows, {}% of all)", gone.host, gone.flows, gone.percent);
    list("hosts gone", diff.hosts_gone.iter().map(gone).collect());
    let mut table = Table::new(["service", "class", "slots moved", "of", "new flows that go elsewhere"]);
    for ring in &diff.rings {
        table.row([
            ring.service.to_string(),
            ring.class.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            ring.moved_slots.to_string(),
            ring.slots.to_string(),
            format!("{}%", ring.new_flows_percent),
        ]);
    }
    if table.is_empty() {
        lines.push("No slot would move. Established flows stay in any case.".to_owned());
    } else {
        lines.push(format!("{table}\n\nEstablished flows stay where they are."));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_reads_like_this() {
        let diff = Diff {
            rings: vec![Moved {
                service: "tcp/80@192.0.2.0/24".parse().unwrap(),
                class: None,
                moved_slots: 51,
                slots: 1021,
                new_flows_percent: 5.0,
            }],
            hosts_gone: vec![Gone { host: "h3".parse().unwrap(), flows: 12, percent: 4.0 }],
            ..Diff::default()
        };
        let golden = "\
hosts gone: h3 (un-pins 12 flows, 4% of all)
service              class  slots moved    of  new flows that go elsewhere
tcp/80@192.0.2.0/24      -           51  1021                           5%

Established flows stay where they are.";
        assert_eq!(text(&diff), golden);
        assert_eq!(text(&Diff::default()), "No slot would move. Established flows stay in any case.");
    }
}
