//! What is measured: two routers of one cluster, and behind both what stands for clients and hosts.
//!
//! ```text
//!   [far] gen-a 10.1.1.2 ═ wan0 10.1.1.1 [slr-a] lan0 10.1.0.1 ═ lan0 10.1.0.2 [slr-b] wan0 10.1.2.1 ═ gen-b 10.1.2.2 [far]
//! ```
//!
//! Hosts are listed, not connected: nobody answers there, as no flow here needs an answer. All of it is gone when the value is.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use slr_ca::{Authority, IssueRequest, Moment};
use slr_daemon::admin;
use slr_dataplane::bench::Pinned;
use slr_model::{NodeName, Role};
use slr_testkit::holds_within;
use slr_testkit::netns::NetNs;
use tempfile::TempDir;

use super::relay::Relay;
use crate::process::Process;

/// The routers; new flows come to the first.
pub const ROUTERS: [&str; 2] = ["slr-a", "slr-b"];
/// What they serve.
const SUBNETS: [&str; 2] = ["192.0.2.0/24", "2001:db8:aa::/64"];
/// Listed hosts: a batch of flows has some of each.
const HOSTS: usize = 100;
/// The end of the first router's cable that frames are sent into.
pub const GENERATOR: &str = "gen-a";
/// Link-layer addresses of a router's end of a cable, and of the other end.
pub const WAN_MAC: &str = "02:00:00:00:01:01";
/// See [`WAN_MAC`].
pub const FAR_MAC: &str = "02:00:00:00:01:02";
/// Where the relay listens, beside the second router.
const RELAY: &str = "10.1.0.9:6100";
const DAY: Duration = Duration::from_secs(86_400);
const PATIENCE: Duration = Duration::from_secs(30);

/// How many flows the tables have room for, in each family.
#[derive(Clone, Copy, Debug)]
pub struct Tables(u64);

impl Tables {
    /// Twice the flows that come, so that no chain of a hash is longer than in production. A table of more is none that a router
    /// can be given.
    pub fn of(flows: u64) -> Result<Self> {
        const MOST: u64 = 1 << 24;
        ensure!(flows <= MOST, "{flows} flows do not fit a router's table of {MOST}: fewer a second, or for less time");
        Ok(Self((flows * 2).clamp(1 << 16, MOST)))
    }
}

/// Both, running.
pub struct Pair {
    folder: TempDir,
    namespaces: [NetNs; 2],
    far: NetNs,
    daemons: Vec<Process>,
    _relay: Option<Relay>,
}

impl Pair {
    /// Namespaces, certificates, configurations, and both daemons until they answer.
    pub fn start(program: &Path, tables: Tables, round_trip_ms: u32) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("slr-bench-").tempdir().context("temporary folder")?;
        let (namespaces, far) = ([NetNs::new()?, NetNs::new()?], NetNs::new()?);
        cables(&namespaces, &far)?;
        let mut pair = Self { folder, namespaces, far, daemons: Vec::new(), _relay: None };
        let bpffs = pair.path("bpf");
        fs::create_dir(&bpffs)?;
        let mounted = Command::new("mount").args(["-t", "bpf", "bpf"]).arg(&bpffs).status().context("start mount")?;
        ensure!(mounted.success(), "no bpf file system can be mounted at {}", bpffs.display());
        let mut authority = Authority::init(&pair.path("ca"), "bench.example", 30 * DAY, 20 * DAY)?;
        if round_trip_ms > 0 {
            let one_way = Duration::from_millis(round_trip_ms.into()) / 2;
            pair._relay = Some(Relay::start(&pair.namespaces[1], RELAY, "10.1.0.2:6100", one_way)?);
        }
        for router in 0..2 {
            pair.certify(&mut authority, router)?;
            fs::write(pair.path(&format!("{router}-hosts.toml")), hosts())?;
            fs::write(pair.path(&format!("{router}.toml")), pair.configuration(router, tables, round_trip_ms > 0))?;
            pair.daemons.push(pair.run(program, router)?);
        }
        for (router, name) in ROUTERS.iter().enumerate() {
            let serves = holds_within(PATIENCE, || pair.ask(router, "mirror").is_ok());
            ensure!(serves, "{name} does not serve:\n{}", pair.describe());
        }
        Ok(pair)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn certify(&self, authority: &mut Authority, router: usize) -> Result<()> {
        let tunnels = [format!("10.1.0.{}/32", router + 1), format!("10.1.25{router}.0/24")];
        let request = IssueRequest {
            role: Role::Site,
            name: ROUTERS[router].parse::<NodeName>()?,
            tunnels: tunnels.iter().map(|tunnel| tunnel.parse()).collect::<Result<_, _>>()?,
            subnets: SUBNETS.iter().map(|subnet| subnet.parse().expect("written here")).collect(),
            valid_for: 10 * DAY,
            now: Moment::now(),
        };
        authority.issue(request, &self.path("nodes")).map(drop)
    }

    /// As shipped, but for the tables' sizes, budgets that no load here exceeds, and a shorter life of silent UDP flows: flows
    /// that speak are told of each 10 s instead of each minute.
    fn configuration(&self, router: usize, tables: Tables, relayed: bool) -> String {
        let (name, nodes) = (ROUTERS[router], self.path("nodes"));
        let peer = if relayed { RELAY.to_owned() } else { format!("10.1.0.{}:6100", 2 - router) };
        format!(
            r#"
hosts = {:?}

[node]
name = "{name}"

[tunnel]
addresses = ["10.1.0.{}"]
sources = ["10.1.25{router}.0/24"]

[dataplane]
interfaces = ["wan0"]
xdp = "native"
pin_path = {:?}
flows_per_family = {}
promote_per_s = 10000000
promote_burst = 10000000
udp_idle_s = 30

[admin]
socket = {:?}

[control]
listen = ["10.1.0.{}:6100"]
ca = {:?}
certificate = {:?}
key = {:?}
crl = {:?}
state_dir = {:?}

[[peer]]
name = "{}"
addresses = ["{peer}"]

[[subnet]]
name = "web4"
prefix = "{}"

[[subnet]]
name = "web6"
prefix = "{}"
"#,
            self.path(&format!("{router}-hosts.toml")),
            router + 1,
            self.pins(router),
            tables.0,
            self.socket(router),
            router + 1,
            nodes.join(slr_ca::CA_FILE),
            nodes.join(format!("{name}.pem")),
            nodes.join(format!("{name}-key.pem")),
            nodes.join(slr_ca::CRL_FILE),
            self.path(&format!("{router}-state")),
            ROUTERS[1 - router],
            SUBNETS[0],
            SUBNETS[1],
        )
    }

    fn run(&self, program: &Path, router: usize) -> Result<Process> {
        let log = File::create(self.log(router)).context("a router's log")?;
        let mut command = self.namespaces[router].command(program);
        command.args(["run", "--config"]).arg(self.path(&format!("{router}.toml"))).env("SLR_LOG", "info");
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Process::start(command)
    }

    fn pins(&self, router: usize) -> PathBuf {
        self.path("bpf").join(ROUTERS[router])
    }

    fn socket(&self, router: usize) -> PathBuf {
        self.path(&format!("{router}.sock"))
    }

    fn log(&self, router: usize) -> PathBuf {
        self.path(&format!("{router}.log"))
    }

    /// What `slr-router show WHAT --json` prints, without a process for each question.
    pub fn ask(&self, router: usize, what: &str) -> Result<Value> {
        Ok(admin::request(self.socket(router), &json!({ "show": what }))?)
    }

    /// A router's flow tables.
    pub fn tables(&self, router: usize) -> Result<Pinned> {
        Ok(Pinned::open(&self.pins(router))?)
    }

    /// A router's process.
    pub fn pid(&self, router: usize) -> u32 {
        self.daemons[router].pid()
    }

    /// Where clients and hosts are.
    pub fn far(&self) -> &NetNs {
        &self.far
    }

    /// What is known, for messages.
    pub fn describe(&self) -> String {
        let tail = |router: usize| {
            let log = fs::read_to_string(self.log(router)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            format!("{}:\n{}\n", ROUTERS[router], lines[lines.len().saturating_sub(20)..].join("\n"))
        };
        tail(0) + &tail(1)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.daemons.clear();
        let unmounted = Command::new("umount").arg(self.path("bpf")).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.path("bpf").display());
        }
    }
}

/// The hosts file. Their link-layer address is given: nobody there would answer who asks for it.
fn hosts() -> String {
    let host = |n: usize| {
        format!(
            "[[host]]\nname = \"h{n:03}\"\naddress = \"10.20.0.{}\"\nsubnets = [\"web4\", \"web6\"]\nmac = \"{FAR_MAC}\"\n",
            n + 1
        )
    };
    (0..HOSTS).map(host).collect()
}

fn cables(namespaces: &[NetNs; 2], far: &NetNs) -> Result<()> {
    let path = |ns: &NetNs| format!("/proc/{}/fd/{}", std::process::id(), ns.as_fd().as_raw_fd());
    let [a, b] = namespaces;
    a.ip_batch(&format!(
        "link add lan0 type veth peer name lan0 netns {}\naddr add 10.1.0.1/24 dev lan0\nlink set lan0 up\n",
        path(b)
    ))?;
    b.ip_batch("addr add 10.1.0.2/24 dev lan0\naddr add 10.1.0.9/24 dev lan0\nlink set lan0 up\n")?;
    for (router, end) in [(a, GENERATOR), (b, "gen-b")] {
        let net = if end == GENERATOR { "10.1.1" } else { "10.1.2" };
        // Without IPv6 addresses the ends are silent.
        router.ip_batch(&format!(
            "link add wan0 address {WAN_MAC} type veth peer name {end} address {FAR_MAC} netns {}\n\
             link set wan0 addrgenmode none\n\
             addr add {net}.1/24 dev wan0\n\
             link set wan0 up\n",
            path(far)
        ))?;
        far.ip_batch(&format!("link set {end} addrgenmode none\naddr add {net}.2/24 dev {end}\nlink set {end} up\n"))?;
        router.ip(&format!("route add 10.20.0.0/16 via {net}.2"))?;
    }
    Ok(())
}
