//! Two tiers of SLRs: the lab's `two-tiers` topology with a daemon on every node that has one. An AS SLR above two sites,
//! one of which has a cluster of two.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use slr_testkit::holds_within;
use slr_testkit::lab::{Lab, Process, ScopedLab};
use slr_testkit::topology::Topology;

use crate::site::{Authority, TRUST_DOMAIN, program};
use crate::watch::Watch;

mod config;

/// The SLR of the AS.
pub const AS: &str = "as1";
/// SLRs of the sites; the first two are a cluster.
pub const SITES: [&str; 3] = ["slr1", "slr2", "slr3"];
/// Hosts; the first two are of the cluster's site.
pub const HOSTS: [&str; 3] = ["h1", "h2", "h3"];
/// A virtual address of each family.
pub const VIRTUAL: [&str; 2] = ["192.0.2.10", "2001:db8:100::10"];
const SUBNETS: [&str; 2] = ["192.0.2.0/24", "2001:db8:100::/48"];

/// How long all sessions may take, from the hosts' to the AS.
const READY: Duration = Duration::from_secs(40);

/// The tiers with their daemons.
pub struct Tiers {
    lab: ScopedLab,
    authority: Authority,
    daemons: BTreeMap<String, Process>,
}

impl Tiers {
    /// Brings everything up, and waits until the AS places flows on every site's SLR.
    pub fn up(prefix: &str) -> Result<Self> {
        let lab = Lab::scoped(&Topology::shipped("two-tiers").context("a shipped topology")?, prefix)?;
        let authority = Authority::init(&lab.dir().join("trust"), TRUST_DOMAIN)?;
        let mut tiers = Self { lab, authority, daemons: BTreeMap::new() };
        for host in HOSTS {
            tiers.set_load(host, 0.1)?;
        }
        for node in [AS].into_iter().chain(SITES).chain(HOSTS) {
            let place = config::place(node).context("a node of the topology")?;
            let claims = place.claims();
            let claims: Vec<&str> = claims.iter().map(String::as_str).collect();
            tiers.authority.issue(place.role, node, &claims, &SUBNETS, &[])?;
            tiers.start(node)?;
        }
        let ended = || tiers.daemons.iter().find(|(_, process)| !process.is_alive());
        let serves = holds_within(READY, || ended().is_some() || tiers.is_served());
        if let Some((node, process)) = ended() {
            bail!("the daemon of {node} ended: {}", process.log_tail());
        }
        ensure!(
            serves,
            "not every site is active after {READY:?}: {}\n{}\n{}",
            tiers.tell(AS, &["show", "states"])?,
            tiers.tell(AS, &["show", "policy"])?,
            tiers.daemon(AS)?.log_tail()
        );
        Ok(tiers)
    }

    /// Whether the AS places flows on every site's SLR, and those on every host they have.
    pub fn is_served(&self) -> bool {
        let all = |node: &str, children: &[&str]| {
            children.iter().all(|child| self.states(node, child).is_ok_and(|found| found == ["active"; 2]))
        };
        let is_active =
            all(AS, &SITES) && all("slr1", &HOSTS[..2]) && all("slr2", &HOSTS[..2]) && all("slr3", &HOSTS[2..]);
        is_active && self.is_told()
    }

    /// Whether the AS has heard of every host behind each router, and places as that comes to: three hosts at three routers,
    /// of which two share two, are alike to it, but for the hysteresis. Rings that nobody has said anything for are alike too.
    fn is_told(&self) -> bool {
        let (Ok(states), Ok(rings)) = (self.show_all(AS, "states"), self.show_all(AS, "policy")) else { return false };
        let knows_hosts = |state: &Value| {
            let hosts = if state["host"] == SITES[2] { "1 of 1 hosts" } else { "2 of 2 hosts" };
            state["reason"].as_str().is_some_and(|reason| reason.contains(hosts))
        };
        let hosts = |ring: &Value| ring["hosts"].as_array().cloned().unwrap_or_default();
        let hosts: Vec<Value> = rings.iter().flat_map(hosts).collect();
        let knows_inputs = |host: &Value| {
            let inputs = host["inputs"].as_array().map_or(&[][..], Vec::as_slice);
            ["weight=1.000", "load=0.100"].iter().all(|input| inputs.iter().any(|told| told == input))
        };
        let weights: Vec<u64> = hosts.iter().filter_map(|host| host["weight"].as_u64()).collect();
        let (least, most) = (weights.iter().min(), weights.iter().max());
        let is_alike = least.zip(most).is_some_and(|(least, most)| *least > 0 && most * 10 <= least * 11);
        weights.len() == 6 && is_alike && states.iter().all(knows_hosts) && hosts.iter().all(knows_inputs)
    }

    /// The lab below.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Starts a node's daemon.
    pub fn start(&mut self, node: &str) -> Result<()> {
        let path = self.lab.dir().join(format!("{node}.toml"));
        fs::write(&path, config::text(self, node)?).with_context(|| format!("configuration of {node}"))?;
        let mut command = Command::new(program(daemon_of(node))?);
        command.args(["run", "--config"]).arg(path).env("SLR_LOG", "info");
        let process = self.lab.spawn(node, daemon_of(node), command)?;
        self.daemons.insert(node.to_owned(), process);
        Ok(())
    }

    /// A node's daemon.
    pub fn daemon(&self, node: &str) -> Result<&Process> {
        self.daemons.get(node).with_context(|| format!("no daemon was started on {node}"))
    }

    /// Sets the load that a host says.
    pub fn set_load(&self, host: &str, load: f64) -> Result<()> {
        // In one step: the daemon may read at any moment.
        let (path, new) = (self.load_path(host), self.lab.dir().join("load.new"));
        fs::write(&new, load.to_string()).and_then(|()| fs::rename(&new, path)).context("set a load")
    }

    fn load_path(&self, host: &str) -> PathBuf {
        self.lab.dir().join(format!("{host}.load"))
    }

    fn socket(&self, node: &str) -> PathBuf {
        self.lab.dir().join(format!("{node}.sock"))
    }

    /// A command to a daemon; what it printed.
    pub fn tell(&self, node: &str, words: &[&str]) -> Result<String> {
        let mut command = self.lab.command(node, program(daemon_of(node))?)?;
        let output = command.args(words).arg("--socket").arg(self.socket(node)).output().context("start it")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{} on {node}: {said}", words.join(" "));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// `show WHAT --json`, as a list.
    pub fn show_all(&self, node: &str, what: &str) -> Result<Vec<Value>> {
        let text = self.tell(node, &["show", what, "--json"])?;
        serde_json::from_str(&text).with_context(|| format!("JSON of show {what} on {node}"))
    }

    /// The states of a child at a router, one for each service.
    pub fn states(&self, node: &str, child: &str) -> Result<Vec<String>> {
        let of_child = self.show_all(node, "states")?.into_iter().filter(|state| state["host"] == child);
        Ok(of_child.filter_map(|state| state["state"].as_str().map(str::to_owned)).collect())
    }

    /// Waits until a child is so for all its services at a router; how long that took.
    pub fn await_state(&self, node: &str, child: &str, state: &str, limit: Duration) -> Result<Duration> {
        let since = std::time::Instant::now();
        let is_so = || self.states(node, child).is_ok_and(|all| !all.is_empty() && all.iter().all(|one| one == state));
        ensure!(
            holds_within(limit, is_so),
            "{child} is not {state} at {node} after {limit:?}: {:?}\n{}",
            self.states(node, child)?,
            self.daemon(node)?.log_tail()
        );
        Ok(since.elapsed())
    }

    /// The weights of all rings of a router: (ring, child) to weight.
    pub fn weights(&self, node: &str) -> Result<BTreeMap<(String, String), u64>> {
        let rings = self.show_all(node, "policy")?;
        let of_ring = |ring: &Value| {
            let service = ring["service"].as_str().unwrap_or_default().to_owned();
            let hosts = ring["hosts"].as_array().cloned().unwrap_or_default();
            hosts.into_iter().filter_map(move |host| {
                Some(((service.clone(), host["host"].as_str()?.to_owned()), host["weight"].as_u64()?))
            })
        };
        Ok(rings.iter().flat_map(of_ring).collect())
    }

    /// What a router's rings give a child: its weight in each. They follow states within 50 ms.
    pub fn weights_of(&self, node: &str, child: &str) -> Result<Vec<u64>> {
        let weights = self.weights(node)?.into_iter();
        Ok(weights.filter(|((_, host), _)| host == child).map(|(_, weight)| weight).collect())
    }

    /// Counts replies at every SLR, of which there should be none, and at the client.
    pub fn watch(&self) -> Result<Vec<Watch<'_>>> {
        let rules =
            || SUBNETS.map(|net| ("replies", format!("{} saddr {net}", if net.contains(':') { "ip6" } else { "ip" })));
        ["c1", AS].into_iter().chain(SITES).map(|node| Watch::start(&self.lab, node, &rules())).collect()
    }

    /// Packets that a router counted under a reason.
    pub fn reason(&self, node: &str, reason: &str) -> Result<u64> {
        let counters = self.show_all(node, "counters")?;
        let found = counters.iter().find(|counter| counter["reason"] == reason);
        found.and_then(|counter| counter["packets"].as_u64()).with_context(|| format!("{node} has no {reason}"))
    }
}

fn daemon_of(node: &str) -> &'static str {
    if HOSTS.contains(&node) { "hostd" } else { "slr-router" }
}
