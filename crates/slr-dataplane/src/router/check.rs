//! What a desired state must hold before anything of it is written, and why one was refused.

use std::collections::BTreeSet;

use slr_model::{ClassName, NodeName, VirtualSubnet};
use slr_policy::{RingError, TableError};
use thiserror::Error;

use super::desired::{Desired, Subnet};
use super::rings::PublishError;
use crate::abi::slr_const;
use crate::table::MapError;

/// Client prefixes of all classes together: half the table, so that one list can take the place of another.
pub const CLIENTS_MAX: usize = slr_const::SLR_CLASSES_MAX.0 as usize / 2;

/// Why a desired state was not applied.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// More hosts than hop templates.
    #[error("{given} hosts: the table holds {}", slr_const::SLR_HOPS_MAX.0 - 1)]
    TooManyHosts {
        /// How many.
        given: usize,
    },
    /// More subnets than ids.
    #[error("{given} virtual subnets: the table holds {}", slr_const::SLR_SUBNETS_MAX.0)]
    TooManySubnets {
        /// How many.
        given: usize,
    },
    /// More routes than entries.
    #[error("{given} routes by service or class: the table holds {}; let more services share a route", slr_const::SLR_SERVICES_MAX.0)]
    TooManyRoutes {
        /// How many.
        given: usize,
    },
    /// More classes of one subnet than ids.
    #[error("subnet {subnet} has {given} client classes: the table holds {}", u16::MAX)]
    TooManyClasses {
        /// The subnet.
        subnet: VirtualSubnet,
        /// How many.
        given: usize,
    },
    /// More client prefixes than entries.
    #[error("{given} client prefixes of all classes: the table holds {CLIENTS_MAX}; join neighbouring prefixes")]
    TooManyClients {
        /// How many.
        given: usize,
    },
    /// A route names a host that is not in the list.
    #[error("subnet {subnet} names host {host}, which is not in the list of hosts")]
    UnknownHost {
        /// The subnet.
        subnet: VirtualSubnet,
        /// The host.
        host: NodeName,
    },
    /// A route names a class that the subnet does not have.
    #[error("a route of subnet {subnet} names client class {class}, which the subnet does not have")]
    UnknownClass {
        /// The subnet.
        subnet: VirtualSubnet,
        /// The class.
        class: ClassName,
    },
    /// Two hosts share a tunnel address, two subnets a prefix, two classes of a subnet a name or a prefix; or two routes
    /// are for the same.
    #[error("{what} {which} is given twice")]
    Duplicate {
        /// What kind.
        what: &'static str,
        /// Which.
        which: String,
    },
    /// A ring's members are inconsistent.
    #[error("subnet {subnet}: {source}")]
    Ring {
        /// The subnet.
        subnet: VirtualSubnet,
        /// What is wrong.
        source: RingError,
    },
    /// The rings do not fit.
    #[error(transparent)]
    Rings(#[from] TableError),
    /// A kernel table refused.
    #[error(transparent)]
    Map(#[from] MapError),
}

impl From<PublishError> for ApplyError {
    fn from(e: PublishError) -> Self {
        match e {
            PublishError::Table(e) => Self::Rings(e),
            PublishError::Map(e) => Self::Map(e),
        }
    }
}

/// Refuse what contradicts itself or cannot fit.
pub fn check(desired: &Desired) -> Result<(), ApplyError> {
    let mut seen = BTreeSet::new();
    for host in &desired.hosts {
        if !seen.insert(host.address) {
            return Err(ApplyError::Duplicate { what: "host address", which: host.address.to_string() });
        }
    }
    let names: BTreeSet<_> = desired.hosts.iter().map(|host| &host.name).collect();
    let mut prefixes = BTreeSet::new();
    for subnet in &desired.subnets {
        if !prefixes.insert(subnet.prefix) {
            return Err(ApplyError::Duplicate { what: "subnet", which: subnet.prefix.to_string() });
        }
        check_classes(subnet)?;
        check_routes(subnet, &names)?;
    }
    let total = |count: &dyn Fn(&Subnet) -> usize| desired.subnets.iter().map(count).sum();
    let given = total(&|subnet| subnet.routes.iter().filter(|r| r.class.is_some() || r.service.is_some()).count());
    if given > slr_const::SLR_SERVICES_MAX.0 as usize {
        return Err(ApplyError::TooManyRoutes { given });
    }
    let given = total(&|subnet| subnet.classes.iter().map(|class| class.clients.len()).sum());
    if given > CLIENTS_MAX {
        return Err(ApplyError::TooManyClients { given });
    }
    if desired.subnets.len() > slr_const::SLR_SUBNETS_MAX.0 as usize {
        return Err(ApplyError::TooManySubnets { given: desired.subnets.len() });
    }
    Ok(())
}

fn check_classes(subnet: &Subnet) -> Result<(), ApplyError> {
    let (mut names, mut clients) = (BTreeSet::new(), BTreeSet::new());
    for class in &subnet.classes {
        if !names.insert(&class.name) {
            return Err(duplicate("client class", &class.name, subnet));
        }
        if let Some(client) = class.clients.iter().find(|client| !clients.insert(client.trunc())) {
            return Err(duplicate("client prefix", client, subnet));
        }
    }
    Ok(())
}

fn check_routes(subnet: &Subnet, hosts: &BTreeSet<&NodeName>) -> Result<(), ApplyError> {
    let mut seen = BTreeSet::new();
    for route in &subnet.routes {
        if let Some(class) = route.class.as_ref().filter(|class| !subnet.classes.iter().any(|c| c.name == **class)) {
            return Err(ApplyError::UnknownClass { subnet: subnet.prefix, class: class.clone() });
        }
        if !seen.insert((&route.class, route.service)) {
            let word = |part: Option<String>| part.unwrap_or_else(|| "any".to_owned());
            let service = word(route.service.map(|service| service.to_string()));
            let class = word(route.class.as_ref().map(ClassName::to_string));
            return Err(duplicate("route", &format_args!("of class {class} to {service}"), subnet));
        }
        if let Some((host, _)) = route.members.iter().find(|(host, _)| !hosts.contains(host)) {
            return Err(ApplyError::UnknownHost { subnet: subnet.prefix, host: host.clone() });
        }
    }
    Ok(())
}

fn duplicate(what: &'static str, which: &dyn std::fmt::Display, subnet: &Subnet) -> ApplyError {
    ApplyError::Duplicate { what, which: format!("{which} of subnet {}", subnet.prefix) }
}

#[cfg(test)]
mod tests {
    use super::super::desired::{Class, Route};
    use super::*;
    use slr_model::Weight;

    fn subnet() -> Subnet {
        Subnet {
            prefix: "192.0.2.0/24".parse().unwrap(),
            account: 1,
            listed_only: false,
            orphan: Default::default(),
            echo: Default::default(),
            classes: vec![Class { name: "near".parse().unwrap(), clients: vec!["10.0.0.0/8".parse().unwrap()] }],
            routes: vec![Route::to(vec![])],
        }
    }

    fn refusal(change: impl FnOnce(&mut Subnet)) -> String {
        let mut desired = Desired { subnets: vec![subnet()], ..Desired::default() };
        check(&desired).expect("consistent before");
        change(&mut desired.subnets[0]);
        check(&desired).unwrap_err().to_string()
    }

    #[test]
    fn what_contradicts_itself_is_refused_by_name() {
        let again = |s: &mut Subnet| s.routes.push(s.routes[0].clone());
        assert_eq!(refusal(again), "route of class any to any of subnet 192.0.2.0/24 is given twice");
        let class = |s: &mut Subnet| s.routes[0].class = Some("far".parse().unwrap());
        let message = "a route of subnet 192.0.2.0/24 names client class far, which the subnet does not have";
        assert_eq!(refusal(class), message);
        let twice = |s: &mut Subnet| s.classes.push(s.classes[0].clone());
        assert_eq!(refusal(twice), "client class near of subnet 192.0.2.0/24 is given twice");
        let prefix = |s: &mut Subnet| {
            s.classes.push(Class { name: "far".parse().unwrap(), clients: vec!["10.1.0.0/8".parse().unwrap()] });
        };
        assert_eq!(refusal(prefix), "client prefix 10.1.0.0/8 of subnet 192.0.2.0/24 is given twice");
        let host = |s: &mut Subnet| s.routes[0].members.push(("h1".parse().unwrap(), Weight::default()));
        assert_eq!(refusal(host), "subnet 192.0.2.0/24 names host h1, which is not in the list of hosts");
        let many = |s: &mut Subnet| {
            s.classes[0].clients =
                (0..40_000u32).map(|n| ipnet::IpNet::from(std::net::IpAddr::from(n.to_be_bytes()))).collect();
        };
        assert!(refusal(many).starts_with("40000 client prefixes of all classes: the table holds 32768"));
    }
}
