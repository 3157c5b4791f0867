//! Which rings a subnet has: one for each of its services and client classes, and the rule that fills it. Pure.
//!
//! The kernel looks for (class, port) and then for (class, everything). So every class has an entry for every port that has
//! one without a class; which rule stands behind it is decided here, the most specific first: clients and port, clients,
//! port, the subnet itself.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use slr_model::{KeyMask, NodeName, Service, ServiceKey, VirtualSubnet};

use crate::config::{Cost, Rule, Subnet};

/// Names a ring's user: packets of a subnet, a client class of it (0: nobody's in particular), a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey {
    pub subnet: VirtualSubnet,
    pub class: u16,
    pub service: Option<Service>,
}

impl RouteKey {
    /// The service whose hosts serve this route.
    pub fn service_key(&self) -> ServiceKey {
        ServiceKey { subnet: self.subnet, service: self.service }
    }
}

/// How a route's flows are placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSpec {
    pub key: RouteKey,
    /// Name of the rule; `None`: the subnet itself.
    pub rule: Option<String>,
    pub cost: Cost,
    pub key_mask: KeyMask,
    /// Only these hosts; `None`: all that serve.
    pub hosts: Option<Vec<NodeName>>,
}

/// A subnet's client classes and routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubnetRoutes {
    /// Client prefixes of class 1, 2, …
    pub classes: Vec<Vec<IpNet>>,
    pub routes: Vec<RouteSpec>,
}

/// The routes of a subnet whose hosts `advertised` these services.
pub fn of_subnet(subnet: &Subnet, advertised: &BTreeSet<Service>) -> SubnetRoutes {
    let classes = classes(&subnet.rules);
    let services = services(subnet, advertised);
    let mut routes = Vec::new();
    for (class, rules) in std::iter::once(&BTreeSet::new()).chain(classes.iter().map(|(rules, _)| rules)).enumerate() {
        for &service in &services {
            let key = RouteKey { subnet: subnet.prefix, class: class as u16, service };
            routes.push(spec(subnet, key, rules));
        }
    }
    SubnetRoutes { classes: classes.into_iter().map(|(_, prefixes)| prefixes).collect(), routes }
}

/// Client prefixes, grouped by the rules that name them.
fn classes(rules: &[Rule]) -> Vec<(BTreeSet<usize>, Vec<IpNet>)> {
    let mut named: BTreeMap<IpNet, BTreeSet<usize>> = BTreeMap::new();
    for (index, rule) in rules.iter().enumerate() {
        for client in &rule.clients {
            named.entry(*client).or_default().insert(index);
        }
    }
    let mut classes: BTreeMap<BTreeSet<usize>, Vec<IpNet>> = BTreeMap::new();
    for (prefix, rules) in named {
        classes.entry(rules).or_default().push(prefix);
    }
    classes.into_iter().collect()
}

/// Services with a ring of their own; `None` is everything else.
fn services(subnet: &Subnet, advertised: &BTreeSet<Service>) -> BTreeSet<Option<Service>> {
    match &subnet.services {
        Some(listed) => listed.iter().copied().map(Some).collect(),
        None => {
            let ruled = subnet.rules.iter().flat_map(|rule| rule.services.iter());
            let named = advertised.iter().chain(ruled).copied().map(Some);
            named.chain(std::iter::once(None)).collect()
        }
    }
}

fn spec(subnet: &Subnet, key: RouteKey, class_rules: &BTreeSet<usize>) -> RouteSpec {
    let names = |rule: &&Rule| key.service.is_some_and(|service| rule.services.contains(&service));
    let of_class = || class_rules.iter().map(|&index| &subnet.rules[index]);
    let rule = of_class()
        .find(names)
        .or_else(|| of_class().find(|rule| rule.services.is_empty()))
        .or_else(|| subnet.rules.iter().filter(|rule| rule.clients.is_empty()).find(names));
    match rule {
        Some(rule) => RouteSpec {
            key,
            rule: Some(rule.name.clone()),
            cost: rule.cost.clone(),
            key_mask: rule.key_mask,
            hosts: rule.hosts.clone(),
        },
        None => RouteSpec { key, rule: None, cost: subnet.cost.clone(), key_mask: subnet.key_mask, hosts: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn subnet(text: &str) -> Subnet {
        let text = format!("[node]\nname = \"r\"\n[[subnet]]\nname = \"web\"\nprefix = \"192.0.2.0/24\"\n{text}");
        Settings::parse("r.toml", &text).unwrap().subnets.remove(0)
    }

    /// `class service -> rule`, a line each.
    fn lines(routes: &SubnetRoutes) -> Vec<String> {
        let word = |service: Option<Service>| service.map_or("any".into(), |service| service.to_string());
        let line =
            |r: &RouteSpec| format!("{} {} {}", r.key.class, word(r.key.service), r.rule.as_deref().unwrap_or("-"));
        routes.routes.iter().map(line).collect()
    }

    #[test]
    fn a_subnet_without_rules_has_a_ring_for_what_is_listed_or_advertised() {
        let advertised = BTreeSet::from(["tcp/80".parse().unwrap()]);
        assert_eq!(lines(&of_subnet(&subnet(""), &advertised)), ["0 any -", "0 tcp/80 -"]);
        assert_eq!(lines(&of_subnet(&subnet("services = [\"udp/53\"]"), &advertised)), ["0 udp/53 -"]);
    }

    #[test]
    fn the_most_specific_rule_decides() {
        let subnet = subnet(
            r#"
            services = ["tcp/80", "tcp/443", "udp/53"]
            [[subnet.rule]]
            name = "partners"
            clients = ["10.0.0.0/8"]
            [[subnet.rule]]
            name = "partners-dns"
            clients = ["10.0.0.0/8", "172.16.0.0/12"]
            services = ["udp/53"]
            [[subnet.rule]]
            name = "tls"
            services = ["tcp/443"]
            key_mask = ["client-address"]
            "#,
        );
        let routes = of_subnet(&subnet, &BTreeSet::new());
        let nets = |text: &str| vec![text.parse::<IpNet>().unwrap()];
        assert_eq!(routes.classes, [nets("10.0.0.0/8"), nets("172.16.0.0/12")]);
        assert_eq!(
            lines(&routes),
            [
                "0 tcp/80 -",
                "0 tcp/443 tls",
                "0 udp/53 -",
                "1 tcp/80 partners",
                "1 tcp/443 partners",
                "1 udp/53 partners-dns",
                "2 tcp/80 -",
                "2 tcp/443 tls",
                "2 udp/53 partners-dns",
            ]
        );
    }
}
