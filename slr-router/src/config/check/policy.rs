//! `[policy]`, and what each `[[subnet]]` says of it.

use std::collections::{BTreeMap, BTreeSet};

use slr_daemon::config::Complaint;
use slr_model::{ClassName, Service};
use slr_policy::{Damping, Expression, ExpressionError, Policy};
use toml::Spanned;

use super::host_bits;
use super::number::{fraction, millis, seconds};
use crate::config::file;
use crate::config::policy::{Class, Rule};

/// Classes of a subnet: each has a ring for every port.
const CLASSES_MAX: usize = 64;
/// Rules of a subnet: each may be a ring of its own.
const RULES_MAX: usize = 64;

/// Checks `[policy]`'s numbers.
pub fn damping(given: &file::Policy, found: &mut Vec<Complaint>) -> Damping {
    let default = Damping::default();
    let least = Damping::BUDGET_MIN;
    Damping {
        interval: millis("interval_ms", &given.interval_ms, default.interval, 50..=60_000, found),
        smoothing: fraction("smoothing", &given.smoothing, default.smoothing, 0.001..=1.0, found),
        load_lag: millis("load_lag_ms", &given.load_lag_ms, default.load_lag, 0..=600_000, found),
        step: fraction("step", &given.step, default.step, 1.001..=2.0, found),
        hysteresis: fraction("hysteresis", &given.hysteresis, default.hysteresis, 0.0..=1.0, found),
        budget: fraction("budget", &given.budget, default.budget, least..=1.0, found),
        slow_start: seconds("slow_start_s", &given.slow_start_s, default.slow_start, 0..=3_600, found),
        slow_start_from: fraction(
            "slow_start_from",
            &given.slow_start_from,
            default.slow_start_from,
            0.01..=1.0,
            found,
        ),
    }
}

/// The subnet's own F, or the default's.
pub fn policy(subnet: &file::Subnet, default: &file::Policy, damping: &Damping, found: &mut Vec<Complaint>) -> Policy {
    let placement = subnet.policy.unwrap_or(default.policy);
    let given = subnet.cost.as_ref().or(default.cost.as_ref());
    let own = Policy { damping: damping.clone(), ..Policy::new(placement) };
    with_cost(own, given, found)
}

/// The policy with this F, if one is given.
fn with_cost(policy: Policy, given: Option<&Spanned<String>>, found: &mut Vec<Complaint>) -> Policy {
    let Some(given) = given else { return policy };
    match Policy::compile_cost(given.get_ref()) {
        Ok(cost) => Policy { cost, ..policy },
        Err(error) => {
            found.push(not_an_expression(given, &error));
            policy
        }
    }
}

/// The subnet's own G, or the default's.
pub fn aggregate(subnet: &file::Subnet, default: &file::Policy, found: &mut Vec<Complaint>) -> Expression {
    let given = subnet.aggregate.as_ref().or(default.aggregate.as_ref());
    let own = given.map(|given| slr_policy::compile_aggregate(given.get_ref()).map_err(|error| (given, error)));
    match own {
        Some(Ok(aggregate)) => return aggregate,
        Some(Err((given, error))) => found.push(not_an_expression(given, &error)),
        None => {}
    }
    slr_policy::compile_aggregate(slr_policy::DEFAULT_AGGREGATE).expect("a test of slr-policy compiles it")
}

/// The complaint is about the part of the expression that is wrong, if that is known.
fn not_an_expression(given: &Spanned<String>, error: &ExpressionError) -> Complaint {
    // One past the quote that the string begins with.
    let at = error.at.map_or(given.span(), |at| {
        let at = given.span().start + 1 + at;
        at..at + 1
    });
    Complaint::new(at, error.fault.to_string(), "docs/policy.md has the language and the names, with examples")
}

/// The subnet's client classes.
pub fn classes(subnet: &file::Subnet, found: &mut Vec<Complaint>) -> Vec<Class> {
    let (mut names, mut owners) = (BTreeSet::new(), BTreeMap::new());
    for (index, class) in subnet.class.iter().enumerate() {
        let name = class.name.get_ref();
        if !names.insert(name) {
            let message = format!("two classes of subnet {} are called {name}", subnet.name.get_ref());
            found.push(Complaint::new(class.name.span(), message, "list all clients in one"));
        }
        if index == CLASSES_MAX {
            let message = format!("more than {CLASSES_MAX} classes for subnet {}", subnet.name.get_ref());
            found.push(Complaint::new(class.name.span(), message, "join some: each class has rings of its own"));
        }
        if class.clients.get_ref().is_empty() {
            let message = format!("class {name} has no clients");
            found.push(Complaint::new(class.clients.span(), message, "list their prefixes, or remove the class"));
        }
        for client in class.clients.get_ref() {
            host_bits(client, "client prefix", found);
            let net = *client.get_ref();
            if net.addr().is_ipv4() != subnet.prefix.get_ref().is_ipv4() {
                let message = format!("clients in {net} have no packets for {}", subnet.prefix.get_ref());
                found.push(Complaint::new(client.span(), message, "write a prefix of the subnet's own family"));
            }
            if let Some(first) = owners.insert(net, name) {
                let message = format!("{net} is in class {first} and again in {name}");
                found.push(Complaint::new(client.span(), message, "leave it in one; the longest prefix decides"));
            }
        }
    }
    let nets = |class: &file::Class| class.clients.get_ref().iter().map(|client| *client.get_ref()).collect();
    subnet.class.iter().map(|class| Class { name: class.name.get_ref().clone(), clients: nets(class) }).collect()
}

/// The subnet's rules; `inherited` is what they begin with.
pub fn rules(subnet: &file::Subnet, inherited: &Policy, found: &mut Vec<Complaint>) -> Vec<Rule> {
    let mut places = BTreeSet::new();
    for (index, spanned) in subnet.rule.iter().enumerate() {
        let rule = spanned.get_ref();
        if index == RULES_MAX {
            let message = format!("more than {RULES_MAX} rules for subnet {}", subnet.name.get_ref());
            found.push(Complaint::new(spanned.span(), message, "join rules that differ in their services only"));
        }
        if rule.class.is_none() && rule.services.is_empty() {
            found.push(Complaint::new(
                spanned.span(),
                "this rule matches every packet of the subnet",
                "add class or services, or move its cost, policy and key_mask to the subnet",
            ));
        }
        if let Some(class) = &rule.class
            && !subnet.class.iter().any(|known| known.name.get_ref() == class.get_ref())
        {
            let message = format!("subnet {} has no class {}", subnet.name.get_ref(), class.get_ref());
            found.push(Complaint::new(class.span(), message, "add [[subnet.class]] with this name and its clients"));
        }
        served(subnet, rule, found);
        claims(spanned, &mut places, found);
    }
    subnet.rule.iter().map(|rule| compiled(subnet, rule.get_ref(), inherited, found)).collect()
}

/// A rule is for ports that the subnet serves.
fn served(subnet: &file::Subnet, rule: &file::Rule, found: &mut Vec<Complaint>) {
    let Some(listed) = &subnet.services else { return };
    for service in &rule.services {
        if !listed.get_ref().iter().any(|known| known.get_ref() == service.get_ref()) {
            found.push(Complaint::new(
                service.span(),
                format!("{} is not served by subnet {}", service.get_ref(), subnet.name.get_ref()),
                "add it to the subnet's services, or remove it here",
            ));
        }
    }
}

/// No two rules say where one packet goes.
fn claims(
    spanned: &Spanned<file::Rule>,
    places: &mut BTreeSet<(Option<ClassName>, Option<Service>)>,
    found: &mut Vec<Complaint>,
) {
    let rule = spanned.get_ref();
    let class = rule.class.as_ref().map(|class| class.get_ref().clone());
    let services: Vec<Option<Service>> = match rule.services.len() {
        0 => vec![None],
        _ => rule.services.iter().map(|service| Some(*service.get_ref())).collect(),
    };
    for service in services {
        if !places.insert((class.clone(), service)) {
            let who = class.as_ref().map_or_else(|| "everybody".to_owned(), |class| format!("class {class}"));
            let what = service.map_or_else(|| "every port".to_owned(), |service| service.to_string());
            let message = format!("another rule decides about {who} and {what} already");
            found.push(Complaint::new(spanned.span(), message, "leave it in one of them"));
        }
    }
}

fn compiled(subnet: &file::Subnet, rule: &file::Rule, inherited: &Policy, found: &mut Vec<Complaint>) -> Rule {
    let placement = rule.policy.unwrap_or(inherited.placement);
    // Another way to make shares of costs has another default F.
    let own = if placement == inherited.placement {
        inherited.clone()
    } else {
        Policy { damping: inherited.damping.clone(), ..Policy::new(placement) }
    };
    Rule {
        class: rule.class.as_ref().map(|class| class.get_ref().clone()),
        services: rule.services.iter().map(|service| *service.get_ref()).collect(),
        hosts: rule.hosts.as_ref().map(|hosts| hosts.get_ref().iter().map(|name| name.get_ref().clone()).collect()),
        policy: with_cost(own, rule.cost.as_ref(), found),
        key_mask: rule.key_mask.unwrap_or(subnet.key_mask),
    }
}
