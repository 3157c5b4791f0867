//! What is to be done to interfaces and routes. Pure.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use slr_model::VirtualSubnet;

use super::Groups;

/// An interface as the kernel has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Made by hostd.
    pub ours: bool,
    /// Up.
    pub up: bool,
    /// `local` routes on it, in table `local`.
    pub routes: BTreeSet<VirtualSubnet>,
}

/// Steps, in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Interfaces to make; they come up with it.
    pub create: Vec<String>,
    /// Interfaces to set up.
    pub raise: Vec<String>,
    /// Routes to add.
    pub add: Vec<(String, VirtualSubnet)>,
    /// Routes to remove.
    pub remove: Vec<(String, VirtualSubnet)>,
    /// Interfaces to delete.
    pub delete: Vec<String>,
}

impl Plan {
    /// Nothing to make.
    pub fn adds_nothing(&self) -> bool {
        self.create.is_empty() && self.raise.is_empty() && self.add.is_empty()
    }
}

/// Compares what is wanted with what is there. Refuses to touch an interface that somebody else made.
pub fn plan(groups: &Groups, seen: &BTreeMap<String, Seen>) -> Result<Plan> {
    let mut plan = Plan::default();
    for (name, wanted) in groups {
        let routes = match seen.get(name) {
            Some(there) if !there.ours => bail!(
                "interface {name} exists and was not made by hostd: name another with `interface = \"…\"` under [[subnet]], or \
                 delete it"
            ),
            Some(there) => {
                if !there.up {
                    plan.raise.push(name.clone());
                }
                there.routes.clone()
            }
            None => {
                plan.create.push(name.clone());
                BTreeSet::new()
            }
        };
        let wanted: BTreeSet<VirtualSubnet> = wanted.iter().copied().collect();
        plan.add.extend(wanted.difference(&routes).map(|subnet| (name.clone(), *subnet)));
        plan.remove.extend(routes.difference(&wanted).map(|subnet| (name.clone(), *subnet)));
    }
    // The routes of a deleted interface go with it.
    plan.delete
        .extend(seen.iter().filter(|(name, s)| s.ours && !groups.contains_key(*name)).map(|(name, _)| name.clone()));
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> VirtualSubnet {
        text.parse().unwrap()
    }

    fn groups(list: &[(&str, &[&str])]) -> Groups {
        list.iter().map(|(n, s)| ((*n).to_owned(), s.iter().map(|s| subnet(s)).collect())).collect()
    }

    fn seen(name: &str, ours: bool, up: bool, routes: &[&str]) -> (String, Seen) {
        (name.to_owned(), Seen { ours, up, routes: routes.iter().map(|s| subnet(s)).collect() })
    }

    #[test]
    fn what_is_missing_is_made_and_what_is_extra_goes() {
        let wanted = groups(&[("slr-0", &["192.0.2.0/24", "2001:db8::/48"]), ("slr-1", &["198.51.100.0/24"])]);
        let there = BTreeMap::from([
            seen("eth0", false, true, &[]),
            seen("slr-0", true, false, &["192.0.2.0/24", "203.0.113.0/24"]),
            seen("slr-9", true, true, &["10.9.0.0/16"]),
        ]);
        let expected = Plan {
            create: vec!["slr-1".into()],
            raise: vec!["slr-0".into()],
            add: vec![("slr-0".into(), subnet("2001:db8::/48")), ("slr-1".into(), subnet("198.51.100.0/24"))],
            remove: vec![("slr-0".into(), subnet("203.0.113.0/24"))],
            delete: vec!["slr-9".into()],
        };
        assert_eq!(plan(&wanted, &there).unwrap(), expected);
    }

    #[test]
    fn nothing_is_done_where_all_is_well() {
        let wanted = groups(&[("slr-0", &["192.0.2.0/24"])]);
        let there = BTreeMap::from([seen("slr-0", true, true, &["192.0.2.0/24"])]);
        assert_eq!(plan(&wanted, &there).unwrap(), Plan::default());
    }

    #[test]
    fn an_interface_of_somebody_else_is_left_alone() {
        let wanted = groups(&[("br0", &["192.0.2.0/24"])]);
        let there = BTreeMap::from([seen("br0", false, true, &[])]);
        assert!(plan(&wanted, &there).unwrap_err().to_string().contains("not made by hostd"));
    }
}
