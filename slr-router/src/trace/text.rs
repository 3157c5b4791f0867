//! A trace for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use slr_model::NodeName;

use super::{Becomes, Candidate, Known, Trace};

/// A router's answer: a line for each fact.
pub fn text(trace: &Trace) -> String {
    let mut lines = vec![("flow", trace.flow.to_string())];
    lines.push(match (&trace.subnet, trace.orphan) {
        (Some(subnet), Some(orphan)) => ("subnet", format!("{subnet}, orphan = \"{orphan}\"")),
        (Some(subnet), None) => ("subnet", format!("{subnet}, of a configuration that is not in force any more")),
        (None, _) => ("subnet", "none: the address is in no virtual subnet of this router".to_owned()),
    });
    if let Some(route) = &trace.route {
        let clients = route.class.as_ref().map_or("all clients".to_owned(), |class| format!("clients of {class}"));
        let service = route.service.map_or("whatever no route names".to_owned(), |service| service.to_string());
        let slot = match (route.slot, route.slots) {
            (Some(slot), Some(slots)) => format!("slot {slot} of {slots}, chosen by {}", route.key),
            _ => "which has no host".to_owned(),
        };
        lines.push(("route", format!("{service} for {clients}: ring {}, {slot}", route.ring)));
        let names = ["the slot has", "before that", "before that"];
        for (name, candidate) in names.into_iter().zip(&route.hosts) {
            lines.push((name, of_candidate(candidate)));
        }
        lines.extend(route.second.as_ref().map(|candidate| ("second choice", of_candidate(candidate))));
    } else if trace.subnet.is_some() {
        lines.push(("route", "none: the subnet does not list this protocol and port".to_owned()));
    }
    lines.push(("remembered", trace.known.as_ref().map_or("no".to_owned(), of_known)));
    if trace.first == trace.later {
        lines.push(("next packet", of_step(&trace.first)));
    } else {
        lines.push(("first packet", of_step(&trace.first)));
        lines.push(("later packets", of_step(&trace.later)));
    }
    let remedies = [&trace.first, &trace.later].into_iter().filter_map(|step| Some((step, step.remedy.as_ref()?)));
    let remedies: BTreeMap<&str, &String> = remedies.map(|(step, remedy)| (step.reason.as_str(), remedy)).collect();
    lines.extend(remedies.into_iter().map(|(reason, remedy)| ("what helps", format!("{reason}: {remedy}"))));
    lines.iter().fold(String::new(), |mut text, (what, value)| {
        let separator = if text.is_empty() { "" } else { "\n" };
        let _ = write!(text, "{separator}{what:<14}{value}");
        text
    })
}

fn of_candidate(candidate: &Candidate) -> String {
    let mut words = vec![if candidate.up { "reached" } else { "packets are not sent there" }.to_owned()];
    if candidate.doubted {
        words.push("in doubt: its last keepalives have no answer".to_owned());
    }
    if let (Some(state), Some(reason)) = (candidate.state, &candidate.reason) {
        words.push(format!("{state} ({reason})"));
    }
    format!("{}: {}", candidate.host, words.join(", "))
}

fn of_known(known: &Known) -> String {
    let Some(host) = &known.host else {
        return "yes, but its host is gone or was down since: it is placed anew".to_owned();
    };
    let mut words = vec![if known.pinned { "pinned" } else { "has not shown two ends yet" }.to_owned()];
    words.push(format!("silent for {} s", known.idle_s));
    let more = [
        (known.closing, "its client has closed it"),
        (known.mirrored, "told by another member of the cluster"),
        (known.guess, "not claimed by its host yet"),
    ];
    words.extend(more.into_iter().filter(|(is, _)| *is).map(|(_, word)| word.to_owned()));
    format!("at {host}: {}", words.join(", "))
}

fn of_step(step: &Becomes) -> String {
    let hosts: Vec<&str> = step.hosts.iter().map(NodeName::as_str).collect();
    let to = if hosts.is_empty() { String::new() } else { format!(" to {}", hosts.join(", then ")) };
    format!("{}{to} ({}: {}; {} packets so far)", step.verdict, step.reason, step.meaning, step.packets)
}

/// How many packets went the same way in a while, of all flows.
pub fn rates(before: &Trace, now: &Trace, while_: Duration) -> String {
    let per_s = |new: u64, old: u64| new.saturating_sub(old) as f64 / while_.as_secs_f64().max(0.001);
    let mut words = Vec::new();
    let known = |reason: &str| [&before.first, &before.later].into_iter().find(|step| step.reason == reason);
    let steps: BTreeMap<&str, u64> =
        [&now.first, &now.later].into_iter().map(|step| (step.reason.as_str(), step.packets)).collect();
    for (reason, packets) in steps {
        let old = known(reason).map_or(packets, |step| step.packets);
        words.push(format!("{reason} {:.0}/s", per_s(packets, old)));
    }
    for next in &now.next {
        let old = before.next.iter().find(|old| old.name == next.name).map_or(next.packets, |old| old.packets);
        words.push(format!("{} {:.0} packets/s", next.name, per_s(next.packets, old)));
    }
    words.join(", ")
}
