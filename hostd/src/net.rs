//! The kernel's side of a virtual subnet: an interface of its own, up, with a `local` route for the whole range, so that
//! every address of it is ours without being configured; and the sysctls without which that does harm or drops packets.
//!
//! Reconciling: [`plan::observe`]d facts, a pure [`plan::Plan`], [`apply`]. Interfaces of ours are known by their alias, so
//! a restarted or crashed daemon finds them.

pub mod links;
pub mod plan;
pub mod sysctl;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use slr_model::VirtualSubnet;

pub use links::Links;
use plan::Plan;

/// Wanted: virtual subnets by interface.
pub type Groups = BTreeMap<String, Vec<VirtualSubnet>>;

/// Makes interfaces and routes that `groups` wants and that are not there.
pub async fn add_missing(links: &Links, groups: &Groups) -> Result<Plan> {
    let seen = links.observe().await.context("cannot list interfaces and routes")?;
    let plan = plan::plan(groups, &seen)?;
    for name in &plan.create {
        links.create(name).await.with_context(|| format!("cannot create interface {name}"))?;
    }
    for name in &plan.raise {
        links.raise(name).await.with_context(|| format!("cannot set interface {name} up"))?;
    }
    for (name, subnet) in &plan.add {
        links.add_route(name, *subnet).await.with_context(|| format!("cannot add local route {subnet} on {name}"))?;
    }
    Ok(plan)
}

/// Removes interfaces and routes of ours that `groups` does not want any more.
pub async fn remove_extra(links: &Links, groups: &Groups) -> Result<Plan> {
    let seen = links.observe().await.context("cannot list interfaces and routes")?;
    let plan = plan::plan(groups, &seen)?;
    for (name, subnet) in &plan.remove {
        links.remove_route(name, *subnet).await.with_context(|| format!("cannot remove local route {subnet}"))?;
    }
    for name in &plan.delete {
        links.delete(name).await.with_context(|| format!("cannot delete interface {name}"))?;
    }
    Ok(plan)
}

/// Smallest MTU of the underlay interfaces.
pub async fn underlay_mtu(links: &Links, interfaces: &[String]) -> Result<u16> {
    let mtus = links.mtus().await.context("cannot list interfaces")?;
    let mut smallest = u16::MAX;
    for name in interfaces.iter().collect::<BTreeSet<_>>() {
        match mtus.get(name) {
            Some(mtu) => smallest = smallest.min(u16::try_from(*mtu).unwrap_or(u16::MAX)),
            None => bail!("interface {name} does not exist; `ip link` lists those that do"),
        }
    }
    Ok(smallest)
}

/// The root of cgroup v2, wherever it is mounted.
pub fn cgroup_root() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    find_cgroup2(&mounts)
}

fn find_cgroup2(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let path = fields.nth(1)?;
        (fields.next()? == "cgroup2").then(|| Path::new(path).to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup_v2_is_found_where_it_is_mounted() {
        let mounts = "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(find_cgroup2(mounts), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(find_cgroup2("proc /proc proc rw 0 0\n"), None);
    }
}
