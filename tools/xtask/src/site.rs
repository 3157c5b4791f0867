//! A running site: the lab's `one-site` topology with `slr-router` on slr1 and `hostd` on every host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use slr_testkit::holds_within;
use slr_testkit::lab::{Lab, Process, ScopedLab};
use slr_testkit::topology::Topology;

mod config;
mod life;
mod trust;

pub use config::{HostEntry, HostLines, SiteOptions};
pub use life::footprint;
pub use trust::{Authority, Files, TRUST_DOMAIN};

/// The hosts of `one-site`.
pub const HOSTS: [&str; 3] = ["h1", "h2", "h3"];
/// A virtual address of each family in the first pair of subnets.
pub const VIRTUAL: [&str; 2] = ["192.0.2.10", "2001:db8:100::10"];
/// And in the second pair.
pub const VIRTUAL_OTHER: [&str; 2] = ["198.51.100.20", "2001:db8:200::20"];
/// The clients' further addresses.
pub const CLIENT_RANGES: [(&str, [&str; 2]); 2] =
    [("c1", ["10.0.101.0/24", "fd00:0:101::/120"]), ("c2", ["10.0.102.0/24", "fd00:0:102::/120"])];

/// How long a daemon may take until it says that it serves.
const READY: Duration = Duration::from_secs(20);

/// A site with its daemons.
pub struct Site {
    lab: ScopedLab,
    options: SiteOptions,
    authority: Option<Authority>,
    router: Option<Process>,
    hostd: BTreeMap<String, Process>,
}

/// Where a node's things are.
pub struct Place {
    pins: PathBuf,
    socket: PathBuf,
    cgroup: PathBuf,
    hosts: PathBuf,
    state: PathBuf,
    files: Files,
}

/// The site's authority, with a certificate for each node.
fn certificates(lab: &Lab, options: &SiteOptions) -> Result<Authority> {
    let authority = Authority::init(&lab.dir().join("trust"), TRUST_DOMAIN)?;
    let subnets: Vec<&str> = options.subnets.iter().map(|(_, prefix)| prefix.as_str()).collect();
    let router = ["10.1.1.2/32", "fd00:1:1::2/128", "10.1.255.0/24", "fd00:1:ff::/64"];
    authority.issue("site", "slr1", &router, &subnets, &[])?;
    for node in HOSTS {
        let number = node.trim_start_matches('h');
        let tunnels = [format!("10.1.1{number}.2/32"), format!("fd00:1:1{number}::2/128")];
        authority.issue("host", node, &[&tunnels[0], &tunnels[1]], &subnets, &[])?;
    }
    Ok(authority)
}

/// A program of this workspace, beside the running one.
pub fn program(name: &str) -> Result<PathBuf> {
    let me = env::current_exe().context("where this program is")?;
    let beside = me.ancestors().skip(1).take(2).map(|dir| dir.join(name)).find(|path| path.is_file());
    beside.with_context(|| {
        format!("{name} is not beside {}: `cargo build --release --workspace` builds it", me.display())
    })
}

impl Site {
    /// Bring the lab up, start the daemons, wait until every host can be reached through the SLR.
    pub fn up(prefix: &str, options: SiteOptions) -> Result<Self> {
        let lab = Lab::scoped(&Topology::one_site(), prefix)?;
        let authority = if options.listed { None } else { Some(certificates(&lab, &options)?) };
        let mut site = Self { lab, options, authority, router: None, hostd: BTreeMap::new() };
        for host in HOSTS {
            site.start_hostd(host)?;
        }
        site.start_router()?;
        Ok(site)
    }

    /// The lab below.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// What the site was brought up with; write it anew with [`Site::write_config`].
    pub fn options_mut(&mut self) -> &mut SiteOptions {
        &mut self.options
    }

    /// Who issues the nodes' certificates.
    pub fn authority(&self) -> Result<&Authority> {
        self.authority.as_ref().context("this site's hosts are listed: it has no certificates")
    }

    /// A node's certificate files.
    pub fn files(&self, node: &str) -> Files {
        let none =
            || Files { ca: "".into(), certificate: "".into(), key: "".into(), crl: "".into(), flow_secret: "".into() };
        self.authority.as_ref().map_or_else(none, |authority| authority.files(node))
    }

    fn socket(&self, node: &str) -> PathBuf {
        self.lab.dir().join(format!("{node}.sock"))
    }

    /// Where a node's configuration is.
    pub fn config_path(&self, node: &str) -> PathBuf {
        self.lab.dir().join(format!("{node}.toml"))
    }

    /// Where the router's hosts file is.
    pub fn hosts_path(&self) -> PathBuf {
        self.lab.dir().join("hosts.toml")
    }

    /// Write the configuration of a node from the options.
    pub fn write_config(&self, node: &str) -> Result<()> {
        let place = Place {
            pins: self.lab.pin_dir(node),
            socket: self.socket(node),
            cgroup: self.lab.cgroup_dir(node)?,
            hosts: self.hosts_path(),
            state: self.lab.dir().join(format!("{node}-state")),
            files: self.files(node),
        };
        let text = if node == "slr1" {
            fs::write(&place.hosts, config::hosts(&self.options))?;
            config::router(&self.options, &place)
        } else {
            config::hostd(&self.options, node, &place)
        };
        fs::write(self.config_path(node), text).with_context(|| format!("configuration of {node}"))
    }

    fn start(&self, node: &str, program: &Path) -> Result<Process> {
        let name = program.file_name().and_then(|name| name.to_str()).unwrap_or("daemon").to_owned();
        let mut command = Command::new(program);
        command.args(["run", "--config"]).arg(self.config_path(node)).env("SLR_LOG", "info");
        self.lab.spawn(node, &name, command)
    }

    /// Start hostd on a host and wait until it answers.
    pub fn start_hostd(&mut self, node: &str) -> Result<()> {
        self.start_hostd_program(node, &program("hostd")?)
    }

    /// Start slr-router and wait until it has resolved every host that is not down.
    pub fn start_router(&mut self) -> Result<()> {
        self.start_router_program(&program("slr-router")?)
    }

    /// The same with another build of it.
    pub fn start_router_program(&mut self, program: &Path) -> Result<()> {
        self.write_config("slr1")?;
        let process = self.start("slr1", program)?;
        self.await_daemon("slr1", "slr-router", &process, |site| {
            site.hosts_up().is_ok_and(|up| up > 0 && site.all_up()) && site.is_served()
        })?;
        self.router = Some(process);
        Ok(())
    }

    fn await_daemon(&self, node: &str, name: &str, process: &Process, ready: impl Fn(&Self) -> bool) -> Result<()> {
        let serves = holds_within(READY, || !process.is_alive() || ready(self));
        ensure!(process.is_alive(), "{name} on {node} ended: {}", process.log_tail());
        ensure!(serves, "{name} on {node} does not serve after {READY:?}: {}", process.log_tail());
        Ok(())
    }

    fn hosts_up(&self) -> Result<usize> {
        let hops = self.show("hops")?;
        let hops = hops.as_array().context("hops are a list")?;
        Ok(hops.iter().filter(|hop| hop["up"] == Value::Bool(true)).count())
    }

    /// Whether every host that should take new flows does, for all its services.
    pub fn is_served(&self) -> bool {
        if self.options.listed {
            return true;
        }
        // Those that all sites have; more of them where a test adds some.
        let services = self.options.hosts.len() * self.options.subnets.len() * 3;
        let active = |states: Value| {
            states.as_array().is_some_and(|all| all.len() >= services && all.iter().all(|s| s["state"] == "active"))
        };
        self.show("states").is_ok_and(active)
    }

    fn all_up(&self) -> bool {
        let expected = self.options.hosts.iter().filter(|host| host.state != "down").count();
        self.hosts_up().is_ok_and(|up| up >= expected)
    }

    /// The router's process.
    pub fn router(&self) -> Result<&Process> {
        self.router.as_ref().context("slr-router was not started")
    }

    /// A host's hostd.
    pub fn hostd(&self, node: &str) -> Result<&Process> {
        self.hostd.get(node).with_context(|| format!("no hostd was started on {node}"))
    }

    /// `slr-router show WHAT --json`.
    pub fn show(&self, what: &str) -> Result<Value> {
        self.ask("slr1", "slr-router", &["show", what, "--json"])
    }

    /// `hostd show WHAT --json` on a host.
    pub fn show_host(&self, node: &str, what: &str) -> Result<Value> {
        self.ask(node, "hostd", &["show", what, "--json"])
    }

    fn ask(&self, node: &str, name: &str, words: &[&str]) -> Result<Value> {
        let output = self.tell(node, name, words)?;
        ensure!(output.1, "{name} {} on {node}: {}", words.join(" "), output.0);
        serde_json::from_str(&output.0).with_context(|| format!("JSON of {name} {}", words.join(" ")))
    }

    /// A command to a daemon; what it printed, and whether it succeeded.
    pub fn tell(&self, node: &str, name: &str, words: &[&str]) -> Result<(String, bool)> {
        let output = self.command(node, name, words)?.output().with_context(|| format!("start {name}"))?;
        let text = if output.status.success() { output.stdout } else { [output.stdout, output.stderr].concat() };
        Ok((String::from_utf8_lossy(&text).into_owned(), output.status.success()))
    }

    /// A command to a daemon, to be started by the caller.
    pub fn command(&self, node: &str, name: &str, words: &[&str]) -> Result<Command> {
        let mut command = self.lab.command(node, program(name)?)?;
        command.args(words).arg("--socket").arg(self.socket(node));
        Ok(command)
    }

    /// Have the router read its configuration again; what it answered, and whether it accepted.
    pub fn reload(&self) -> Result<(String, bool)> {
        self.tell("slr1", "slr-router", &["reload"])
    }

    /// Packets counted under a reason by the router, or by a host's hostd.
    pub fn reason(&self, node: &str, reason: &str) -> Result<u64> {
        let counters = if node == "slr1" { self.show("counters")? } else { self.show_host(node, "counters")? };
        let counters = counters.as_array().context("counters are a list")?;
        let Some(found) = counters.iter().find(|counter| counter["reason"] == reason) else {
            bail!("{node} has no reason {reason}")
        };
        found["packets"].as_u64().context("packets are a number")
    }

    /// The sum of all drops at a node, by reason, where not zero.
    pub fn drops(&self, node: &str) -> Result<Vec<(String, u64)>> {
        let counters = if node == "slr1" { self.show("counters")? } else { self.show_host(node, "counters")? };
        let counters = counters.as_array().context("counters are a list")?;
        let drops = counters.iter().filter_map(|counter| {
            let reason = counter["reason"].as_str()?;
            let packets = counter["packets"].as_u64()?;
            // What a host has said by way of a client is taken out of the traffic, and read: nobody misses it.
            let is_drop = reason.starts_with("drop") && reason != "drop_advert_taken";
            (is_drop && packets > 0).then(|| (reason.to_owned(), packets))
        });
        Ok(drops.collect())
    }
}
