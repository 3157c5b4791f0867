//! Two SLRs in front of the same hosts, behind a router that runs BIRD: the lab's topologies `spare`, `two-slr`, `ecmp`, `nat` and `filtered`,
//! with a daemon on every node that has one.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use slr_testkit::holds_within;
use slr_testkit::lab::{Lab, Process, ScopedLab};
use slr_testkit::topology::Topology;

use crate::site::{Authority, Files, TRUST_DOMAIN, program};

mod config;
mod shares;

/// The SLRs; in `spare` the first is preferred.
pub const SLRS: [&str; 2] = ["slr1", "slr2"];
/// The hosts.
pub const HOSTS: [&str; 3] = ["h1", "h2", "h3"];
/// Virtual subnets, one a family, and an address in each.
pub const SUBNETS: [&str; 2] = ["192.0.2.0/24", "2001:db8:100::/48"];
/// See [`SUBNETS`].
pub const VIRTUAL: [&str; 2] = ["192.0.2.10", "2001:db8:100::10"];

/// How long sessions, announcements and BGP may take, all together.
const READY: Duration = Duration::from_secs(40);

/// How the two SLRs stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One cluster, one SLR preferred.
    Spare,
    /// Two clusters that see different loads, so that their rings differ; the first SLR is preferred.
    TwoSlr,
    /// One cluster, both active.
    Ecmp,
    /// As [`Kind::TwoSlr`], with the clients behind a translator.
    Nat,
    /// As [`Kind::TwoSlr`], with clients that drop echo requests.
    Filtered,
}

impl Kind {
    /// The topology's name.
    pub fn topology(self) -> &'static str {
        match self {
            Self::Spare => "spare",
            Self::TwoSlr => "two-slr",
            Self::Ecmp => "ecmp",
            Self::Nat => "nat",
            Self::Filtered => "filtered",
        }
    }

    /// Whether the two are of two clusters, that see different loads.
    pub fn is_apart(self) -> bool {
        matches!(self, Self::TwoSlr | Self::Nat | Self::Filtered)
    }

    /// The node that flows come from.
    pub fn client(self) -> &'static str {
        if self == Self::Nat { "lan" } else { "c1" }
    }
}

/// What may differ between pairs.
#[derive(Clone, Debug)]
pub struct PairOptions {
    /// How they stand to each other.
    pub kind: Kind,
    /// Lines of the routers' `[announce]`.
    pub announce: String,
    /// Lines at the end of a node's configuration, such as tables of its own.
    pub tables: BTreeMap<String, String>,
}

impl PairOptions {
    /// As an operator would begin.
    pub fn new(kind: Kind) -> Self {
        Self { kind, announce: String::new(), tables: BTreeMap::new() }
    }
}

/// The pair with its daemons.
pub struct Pair {
    lab: ScopedLab,
    options: PairOptions,
    authority: Authority,
    daemons: BTreeMap<String, Process>,
}

impl Pair {
    /// Brings everything up, and waits until both SLRs place flows on every host and announce, and the internet router sends
    /// packets as the kind wants it.
    pub fn up(prefix: &str, options: PairOptions) -> Result<Self> {
        let topology = Topology::shipped(options.kind.topology()).context("a shipped topology")?;
        let lab = Lab::scoped(&topology, prefix)?;
        let authority = Authority::init(&lab.dir().join("trust"), TRUST_DOMAIN)?;
        let mut pair = Self { lab, options, authority, daemons: BTreeMap::new() };
        for node in SLRS.into_iter().chain(HOSTS) {
            let role = if SLRS.contains(&node) { "site" } else { "host" };
            let claims = config::claims(node);
            let claims: Vec<&str> = claims.iter().map(String::as_str).collect();
            pair.authority.issue(role, node, &claims, &SUBNETS, &[])?;
            pair.start(node)?;
        }
        let expected: &[&str] = if pair.options.kind == Kind::Ecmp { &SLRS } else { &SLRS[..1] };
        let serves =
            |pair: &Self, slr: &str| pair.is_served(slr) && pair.is_weighed(slr) && pair.is_announced(slr, "normal");
        let ready = |pair: &Self| SLRS.iter().all(|slr| serves(pair, slr)) && pair.is_routed(expected);
        let is_ready = holds_within(READY, || pair.ended().is_some() || ready(&pair));
        if let Some(node) = pair.ended() {
            anyhow::bail!("the daemon of {node} ended: {}", pair.daemon(node)?.log_tail());
        }
        ensure!(is_ready, "the pair does not serve after {READY:?}:\n{}", pair.describe());
        Ok(pair)
    }

    fn ended(&self) -> Option<&str> {
        self.daemons.iter().find(|(_, process)| !process.is_alive()).map(|(node, _)| node.as_str())
    }

    /// What is known, for messages.
    pub fn describe(&self) -> String {
        let birdc = |node: &str, words: &[&str]| self.birdc(node, words).unwrap_or_else(|error| format!("{error:#}"));
        let told =
            |node: &str, what: &str| self.tell(node, &["show", what]).unwrap_or_else(|error| format!("{error:#}"));
        let mut text = birdc("internet", &["show", "protocols"]) + &birdc("internet", &["show", "route", "all"]);
        for slr in SLRS {
            text +=
                &format!("{slr}:\n{}{}{}", told(slr, "announce"), told(slr, "states"), birdc(slr, &["show", "route"]));
        }
        text
    }

    /// How the two stand to each other.
    pub fn kind(&self) -> Kind {
        self.options.kind
    }

    /// Who issues the certificates.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The lab below.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Starts a node's daemon.
    pub fn start(&mut self, node: &str) -> Result<()> {
        let path = self.config_path(node);
        fs::write(&path, config::text(self, node)?).with_context(|| format!("configuration of {node}"))?;
        let mut command = Command::new(program(daemon_of(node))?);
        command.args(["run", "--config"]).arg(path).env("SLR_LOG", "info");
        let process = self.lab.spawn(node, daemon_of(node), command)?;
        self.daemons.insert(node.to_owned(), process);
        Ok(())
    }

    /// Starts the watchdog of an SLR.
    pub fn start_watchdog(&self, slr: &str) -> Result<Process> {
        let mut command = Command::new(program("slr-router")?);
        command.args(["watchdog", "--config"]).arg(self.config_path(slr)).env("SLR_LOG", "info");
        self.lab.spawn(slr, "watchdog", command)
    }

    /// A node's daemon.
    pub fn daemon(&self, node: &str) -> Result<&Process> {
        self.daemons.get(node).with_context(|| format!("no daemon was started on {node}"))
    }

    /// Where a node's configuration is.
    pub fn config_path(&self, node: &str) -> PathBuf {
        self.lab.dir().join(format!("{node}.toml"))
    }

    /// A node's certificate files.
    pub fn files(&self, node: &str) -> Files {
        self.authority.files(node)
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

    /// `show WHAT --json`.
    pub fn show(&self, node: &str, what: &str) -> Result<Value> {
        let text = self.tell(node, &["show", what, "--json"])?;
        serde_json::from_str(&text).with_context(|| format!("JSON of show {what} on {node}"))
    }

    /// A command to a node's BIRD; what it answered.
    pub fn birdc(&self, node: &str, words: &[&str]) -> Result<String> {
        let socket = self.lab.service_dir(node, "bird").join("bird.ctl");
        let mut command = self.lab.command(node, "birdc")?;
        let output = command.arg("-s").arg(socket).args(words).output().context("start birdc")?;
        ensure!(
            output.status.success(),
            "birdc {} on {node}: {}",
            words.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Whether an SLR places flows on every host, for all its services.
    pub fn is_served(&self, slr: &str) -> bool {
        let services = HOSTS.len() * SUBNETS.len() * config::SERVICES;
        let is_active = |states: Value| {
            states.as_array().is_some_and(|all| all.len() >= services && all.iter().all(|s| s["state"] == "active"))
        };
        self.show(slr, "states").is_ok_and(is_active)
    }

    /// What an SLR announces each subnet as, as its kernel's table says it, and why.
    pub fn announced(&self, slr: &str) -> Result<Vec<(String, String)>> {
        let answer = self.show(slr, "announce")?;
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let subnets = answer["subnets"].as_array().context("subnets are a list")?;
        Ok(subnets.iter().map(|subnet| (word(&subnet["announced"]), word(&subnet["reason"]))).collect())
    }

    /// Whether an SLR announces every subnet at this level.
    pub fn is_announced(&self, slr: &str, level: &str) -> bool {
        self.announced(slr).is_ok_and(|all| all.len() == SUBNETS.len() && all.iter().all(|(is, _)| is == level))
    }

    /// Which SLRs the internet router's kernel sends packets of each virtual subnet to.
    pub fn next_hops(&self) -> Result<[Vec<&'static str>; 2]> {
        let table = |family: &str| self.lab.sh("internet", &format!("ip -json {family} route show proto bird"));
        let of = |text: String, subnet: &str| -> Result<Vec<&'static str>> {
            let routes: Value = serde_json::from_str(&text).context("JSON of ip route")?;
            let all = routes.as_array().into_iter().flatten().filter(|route| route["dst"] == subnet);
            let devices = all.flat_map(|route| {
                let several = route["nexthops"].as_array().into_iter().flatten().map(|hop| &hop["dev"]);
                several.chain([&route["dev"]]).filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
            });
            let devices: Vec<String> = devices.collect();
            Ok(SLRS.into_iter().filter(|slr| devices.contains(&format!("to-{slr}"))).collect())
        };
        Ok([of(table("-4")?, SUBNETS[0])?, of(table("-6")?, SUBNETS[1])?])
    }

    /// Whether these SLRs, and no other, get the packets of both subnets.
    pub fn is_routed(&self, slrs: &[&str]) -> bool {
        self.next_hops().is_ok_and(|hops| hops.iter().all(|hops| hops == slrs))
    }

    /// Waits until these SLRs get the packets of both subnets; how long that took.
    pub fn await_routed(&self, slrs: &[&str], limit: Duration) -> Result<Duration> {
        let since = Instant::now();
        ensure!(
            holds_within(limit, || self.is_routed(slrs)),
            "packets do not go to {slrs:?} after {limit:?} but to {:?}:\n{}",
            self.next_hops()?,
            self.describe()
        );
        Ok(since.elapsed())
    }
}

fn daemon_of(node: &str) -> &'static str {
    if HOSTS.contains(&node) { "hostd" } else { "slr-router" }
}
