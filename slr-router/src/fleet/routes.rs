//! Which rings a subnet has: one for each of its services and client classes, and the rule that fills it. Pure.
//!
//! The kernel looks for (class, port) and then for (class, everything). So every class has an entry for every port that has
//! one without a class; which rule stands behind it is decided here, the most specific first: clients and port, clients,
//! port, the subnet itself.

use std::collections::BTreeSet;

use slr_model::{ClassName, KeyMask, NodeName, Service, ServiceKey};
use slr_policy::Policy;
use slr_wire::RingKey;

use crate::config::{Rule, Subnet};

/// How a route's flows are placed.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteSpec {
    pub key: RingKey,
    pub policy: Policy,
    pub key_mask: KeyMask,
    /// Only these hosts; `None`: all that serve.
    pub hosts: Option<Vec<NodeName>>,
}

/// The routes of a subnet whose hosts `advertised` these services.
pub fn of_subnet(subnet: &Subnet, advertised: &BTreeSet<Service>) -> Vec<RouteSpec> {
    let services = services(subnet, advertised);
    let classes = std::iter::once(None).chain(subnet.classes.iter().map(|class| Some(&class.name)));
    let routes = classes.flat_map(|class| services.iter().map(move |&service| spec(subnet, class, service)));
    routes.collect()
}

/// Services with a ring of their own; `None` is everything else, and at least ICMP.
fn services(subnet: &Subnet, advertised: &BTreeSet<Service>) -> BTreeSet<Option<Service>> {
    let named: Vec<Service> = match &subnet.services {
        Some(listed) => listed.clone(),
        None => {
            let ruled = subnet.rules.iter().flat_map(|rule| rule.services.iter());
            advertised.iter().chain(ruled).copied().collect()
        }
    };
    named.into_iter().map(Some).chain(std::iter::once(None)).collect()
}

fn spec(subnet: &Subnet, class: Option<&ClassName>, service: Option<Service>) -> RouteSpec {
    let find = |class: Option<&ClassName>, service: Option<Service>| {
        let fits = |rule: &&Rule| match service {
            Some(service) => rule.services.contains(&service),
            None => rule.services.is_empty(),
        };
        subnet.rules.iter().filter(|rule| rule.class.as_ref() == class).find(fits)
    };
    let of_class = || class.and_then(|class| find(Some(class), service).or_else(|| find(Some(class), None)));
    let rule = of_class().or_else(|| service.and_then(|service| find(None, Some(service))));
    let key = RingKey { service: ServiceKey { subnet: subnet.prefix, service }, class: class.cloned() };
    match rule {
        Some(rule) => {
            RouteSpec { key, policy: rule.policy.clone(), key_mask: rule.key_mask, hosts: rule.hosts.clone() }
        }
        None => RouteSpec { key, policy: subnet.policy.clone(), key_mask: subnet.key_mask, hosts: None },
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

    /// `class service cost`, a line each.
    fn lines(routes: &[RouteSpec]) -> Vec<String> {
        let class = |key: &RingKey| key.class.as_ref().map_or("-".into(), ToString::to_string);
        let service = |key: &RingKey| key.service.service.map_or("any".into(), |service| service.to_string());
        routes.iter().map(|r| format!("{} {} {}", class(&r.key), service(&r.key), r.policy.cost)).collect()
    }

    #[test]
    fn a_subnet_without_rules_has_a_ring_for_what_is_listed_or_advertised() {
        let advertised = BTreeSet::from(["tcp/80".parse().unwrap()]);
        let own = "cost = \"1.0\"\n";
        assert_eq!(lines(&of_subnet(&subnet(own), &advertised)), ["- any 1.0", "- tcp/80 1.0"]);
        let listed = subnet(&format!("{own}services = [\"udp/53\"]"));
        assert_eq!(lines(&of_subnet(&listed, &advertised)), ["- any 1.0", "- udp/53 1.0"]);
    }

    #[test]
    fn the_most_specific_rule_decides() {
        let subnet = subnet(
            r#"
            cost = "1.0"
            services = ["tcp/80", "tcp/443", "udp/53"]
            [[subnet.class]]
            name = "partners"
            clients = ["10.0.0.0/8"]
            [[subnet.class]]
            name = "guests"
            clients = ["172.16.0.0/12"]
            [[subnet.rule]]
            class = "partners"
            cost = "2.0"
            [[subnet.rule]]
            class = "partners"
            services = ["udp/53"]
            cost = "3.0"
            [[subnet.rule]]
            services = ["tcp/443"]
            cost = "4.0"
            "#,
        );
        assert_eq!(
            lines(&of_subnet(&subnet, &BTreeSet::new())),
            [
                "- any 1.0",
                "- tcp/80 1.0",
                "- tcp/443 4.0",
                "- udp/53 1.0",
                "partners any 2.0",
                "partners tcp/80 2.0",
                "partners tcp/443 2.0",
                "partners udp/53 3.0",
                "guests any 1.0",
                "guests tcp/80 1.0",
                "guests tcp/443 4.0",
                "guests udp/53 1.0",
            ]
        );
    }
}
