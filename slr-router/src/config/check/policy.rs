//! `[policy]`, and what each `[[subnet]]` says of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ipnet::IpNet;
use slr_daemon::config::Complaint;
use slr_model::Service;
use toml::Spanned;

use super::host_bits;
use super::number::{fraction, millis, seconds};
use crate::config::file;
use crate::config::policy::{Cost, Damping, Rule};

const DEFAULT_COST: &str = "max(load, 0.25) / share";
const DEFAULT_AGGREGATE: &str = "mean_load";

/// Rules of a subnet: each may be a ring of its own.
const RULES_MAX: usize = 64;

/// Checks `[policy]`'s numbers.
pub fn damping(given: &file::Policy, found: &mut Vec<Complaint>) -> Damping {
    Damping {
        interval: millis("interval_ms", &given.interval_ms, Duration::from_millis(400), 50..=60_000, found),
        smoothing: fraction("smoothing", &given.smoothing, 0.5, 0.01..=1.0, found),
        step: fraction("step", &given.step, 1.1, 1.001..=2.0, found),
        hysteresis: fraction("hysteresis", &given.hysteresis, 0.1, 0.0..=1.0, found),
        budget: fraction("budget", &given.budget, 0.05, 0.001..=1.0, found),
        slow_start: seconds("slow_start_s", &given.slow_start_s, Duration::from_secs(10), 0..=3_600, found),
    }
}

/// The subnet's own F, or the default's.
pub fn cost(subnet: &file::Subnet, default: &file::Policy, found: &mut Vec<Complaint>) -> Cost {
    let expression = subnet.cost.as_ref().or(default.cost.as_ref());
    Cost {
        expression: f_expression(expression, found).unwrap_or_else(|| DEFAULT_COST.to_owned()),
        balance: subnet.policy.unwrap_or(default.policy),
    }
}

/// The subnet's own G, or the default's.
pub fn aggregate(subnet: &file::Subnet, default: &file::Policy, _found: &mut [Complaint]) -> String {
    let Some(given) = subnet.aggregate.as_ref().or(default.aggregate.as_ref()) else {
        return DEFAULT_AGGREGATE.to_owned();
    };
    given.get_ref().clone()
}

fn f_expression(given: Option<&Spanned<String>>, _found: &mut [Complaint]) -> Option<String> {
    let given = given?;
    Some(given.get_ref().clone())
}

/// The subnet's rules; `cost` is what they inherit.
pub fn rules(subnet: &file::Subnet, cost: &Cost, found: &mut Vec<Complaint>) -> Vec<Rule> {
    let mut names = BTreeSet::new();
    let mut places = BTreeMap::new();
    for (index, rule) in subnet.rule.iter().enumerate() {
        let name = rule.name.get_ref();
        if !names.insert(name) {
            let message = format!("two rules of subnet {} are called {name}", subnet.name.get_ref());
            found.push(Complaint::new(rule.name.span(), message, "give each its own name"));
        }
        if index == RULES_MAX {
            let message = format!("more than {RULES_MAX} rules for subnet {}", subnet.name.get_ref());
            found.push(Complaint::new(rule.name.span(), message, "join rules that differ in their clients only"));
        }
        if rule.clients.is_empty() && rule.services.is_empty() {
            found.push(Complaint::new(
                rule.name.span(),
                format!("rule {name} matches every packet of the subnet"),
                "add clients or services, or move its cost, policy and key_mask to the subnet",
            ));
        }
        for client in &rule.clients {
            host_bits(client, "client prefix", found);
            if client.get_ref().addr().is_ipv4() != subnet.prefix.get_ref().is_ipv4() {
                let message =
                    format!("clients in {} have no packets for {}", client.get_ref(), subnet.prefix.get_ref());
                found.push(Complaint::new(client.span(), message, "write a prefix of the subnet's own family"));
            }
        }
        served(subnet, rule, found);
        claims(rule, &mut places, found);
    }
    subnet.rule.iter().map(|rule| compiled(subnet, rule, cost, found)).collect()
}

/// A rule is for ports that the subnet serves.
fn served(subnet: &file::Subnet, rule: &file::Rule, found: &mut Vec<Complaint>) {
    let Some(listed) = &subnet.services else { return };
    for service in &rule.services {
        if !listed.get_ref().iter().any(|known| known.get_ref() == service.get_ref()) {
            found.push(Complaint::new(
                service.span(),
                format!(
                    "rule {} is for {}, which subnet {} does not serve",
                    rule.name.get_ref(),
                    service.get_ref(),
                    subnet.name.get_ref()
                ),
                "add it to the subnet's services, or remove it here",
            ));
        }
    }
}

/// No two rules say where one packet goes.
fn claims<'a>(
    rule: &'a file::Rule,
    places: &mut BTreeMap<(Option<IpNet>, Option<Service>), &'a str>,
    found: &mut Vec<Complaint>,
) {
    let clients: Vec<Option<IpNet>> = match rule.clients.len() {
        0 => vec![None],
        _ => rule.clients.iter().map(|client| Some(*client.get_ref())).collect(),
    };
    let services: Vec<Option<Service>> = match rule.services.len() {
        0 => vec![None],
        _ => rule.services.iter().map(|service| Some(*service.get_ref())).collect(),
    };
    for client in clients {
        for service in &services {
            if let Some(first) = places.insert((client, *service), rule.name.get_ref())
                && first != rule.name.get_ref()
            {
                let who = client.map_or_else(|| "everybody".to_owned(), |net| net.to_string());
                let what = service.map_or_else(|| "every port".to_owned(), |service| service.to_string());
                found.push(Complaint::new(
                    rule.name.span(),
                    format!("rules {first} and {} both decide about {who} and {what}", rule.name.get_ref()),
                    "leave it in one of them",
                ));
            }
        }
    }
}

fn compiled(subnet: &file::Subnet, rule: &file::Rule, inherited: &Cost, found: &mut Vec<Complaint>) -> Rule {
    let expression = f_expression(rule.cost.as_ref(), found);
    Rule {
        name: rule.name.get_ref().clone(),
        clients: rule.clients.iter().map(|client| *client.get_ref()).collect(),
        services: rule.services.iter().map(|service| *service.get_ref()).collect(),
        hosts: rule.hosts.as_ref().map(|hosts| hosts.get_ref().iter().map(|name| name.get_ref().clone()).collect()),
        cost: Cost {
            expression: expression.unwrap_or_else(|| inherited.expression.clone()),
            balance: rule.policy.unwrap_or(inherited.balance),
        },
        key_mask: rule.key_mask.unwrap_or(subnet.key_mask),
    }
}
