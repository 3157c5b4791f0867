//! What is measured: a real slr-router with its data plane, and the simulated hosts, in two namespaces with a cable.
//!
//! ```text
//!   [router] 10.1.0.1, fd00:1::1  lan0 ═══ eth0  10.1.0.2, fd00:1::2 [hosts] 10.20.0.0/16, fd00:20::/32, all local
//! ```
//!
//! Even hosts have an IPv4 tunnel address, odd ones an IPv6 address. All of it is gone when the value is.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use slr_ca::{Authority, IssueRequest, Moment};
use slr_model::{NodeName, Role};
use slr_testkit::holds_within;
use slr_testkit::netns::NetNs;
use tempfile::TempDir;

use super::rings::Rings;
use super::swarm::{self, Answer};
use crate::process::Process;

/// The router's name.
pub const ROUTER: &str = "slr-1";
/// Its addresses.
pub const ROUTER_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1));
/// See [`ROUTER_V4`].
pub const ROUTER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 1));
/// What every host serves: two subnets, two services each.
pub const SERVICES: [&str; 4] =
    ["tcp/80@192.0.2.0/24", "tcp/443@192.0.2.0/24", "tcp/80@2001:db8:aa::/64", "tcp/443@2001:db8:aa::/64"];
const SUBNETS: [&str; 2] = ["192.0.2.0/24", "2001:db8:aa::/64"];
/// Most hosts: what the addresses below give, and the router's own bound.
pub const HOSTS_MAX: usize = 4_000;
const DAY: Duration = Duration::from_secs(86_400);
/// How long a daemon may take to answer, or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Name of a host.
pub fn host_name(index: usize) -> String {
    format!("h{index:04}")
}

/// A host's only address. Each IPv6 host is in a /64 of its own, as the router counts handshakes by /64.
pub fn address(index: usize) -> IpAddr {
    let number = u16::try_from(index).expect("HOSTS_MAX is less") + 1;
    if index.is_multiple_of(2) {
        let [high, low] = number.to_be_bytes();
        Ipv4Addr::new(10, 20, high, low).into()
    } else {
        Ipv6Addr::new(0xfd00, 0x20, number, 0, 0, 0, 0, 1).into()
    }
}

/// The site, with whatever of it runs.
pub struct Site {
    folder: TempDir,
    router: NetNs,
    hosts: NetNs,
    program: PathBuf,
    daemon: Option<Process>,
}

impl Site {
    /// Namespaces, certificates and configuration; nothing runs yet. `control`: lines for the router's `[control]`.
    pub fn new(program: &Path, hosts: usize, control: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("slr-bench-").tempdir().context("temporary folder")?;
        let (router, far) = (NetNs::new()?, NetNs::new()?);
        cable(&router, &far)?;
        let site = Self { folder, router, hosts: far, program: program.to_owned(), daemon: None };
        let bpffs = site.path("bpf");
        fs::create_dir(&bpffs)?;
        let mounted = Command::new("mount").args(["-t", "bpf", "bpf"]).arg(&bpffs).status().context("start mount")?;
        ensure!(mounted.success(), "no bpf file system can be mounted at {}", bpffs.display());
        site.certify(hosts)?;
        fs::write(site.path("router.toml"), site.configuration(control)).context("router.toml")?;
        Ok(site)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn certify(&self, hosts: usize) -> Result<()> {
        let subnets = || SUBNETS.iter().map(|subnet| subnet.parse().expect("written here")).collect();
        let mut authority = Authority::init(&self.path("ca"), "bench.example", 30 * DAY, 20 * DAY)?;
        let mut issue = |role, name: &str, tunnels: Vec<String>| -> Result<()> {
            let tunnels = tunnels.iter().map(|tunnel| tunnel.parse()).collect::<Result<_, _>>()?;
            let name: NodeName = name.parse()?;
            let request =
                IssueRequest { role, name, tunnels, subnets: subnets(), valid_for: 10 * DAY, now: Moment::now() };
            authority.issue(request, &self.path("nodes")).map(drop)
        };
        let own = ["10.1.0.1/32", "fd00:1::1/128", "10.1.255.0/24", "fd00:1:ff::/64"];
        issue(Role::Site, ROUTER, own.map(str::to_owned).to_vec())?;
        for index in 0..hosts {
            let address = address(index);
            let tunnel = format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 });
            issue(Role::Host, &host_name(index), vec![tunnel])?;
        }
        Ok(())
    }

    /// Everything that is not a place or a name is as shipped.
    fn configuration(&self, control: &str) -> String {
        let nodes = self.path("nodes");
        format!(
            r#"
[node]
name = "{ROUTER}"

[tunnel]
addresses = ["{ROUTER_V4}", "{ROUTER_V6}"]
sources = ["10.1.255.0/24", "fd00:1:ff::/64"]

[dataplane]
interfaces = ["lan0"]
xdp = "native"
pin_path = {:?}

[admin]
socket = {:?}

[control]
listen = ["{ROUTER_V4}:6100", "[{ROUTER_V6}]:6100"]
ca = {:?}
certificate = {:?}
key = {:?}
crl = {:?}
state_dir = {:?}
{control}

[[subnet]]
name = "web4"
prefix = "{}"

[[subnet]]
name = "web6"
prefix = "{}"
"#,
            self.pins(),
            self.path("admin.sock"),
            nodes.join(slr_ca::CA_FILE),
            nodes.join(format!("{ROUTER}.pem")),
            nodes.join(format!("{ROUTER}-key.pem")),
            nodes.join(slr_ca::CRL_FILE),
            self.path("state"),
            SUBNETS[0],
            SUBNETS[1],
        )
    }

    fn pins(&self) -> PathBuf {
        self.path("bpf").join("router")
    }

    /// Starts the router and waits until it answers.
    pub fn start_router(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log_path()).context("the router's log")?;
        let mut command = self.router.command(&self.program);
        command.args(["run", "--config"]).arg(self.path("router.toml")).env("SLR_LOG", "info");
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.daemon = Some(Process::start(command)?);
        let answers = holds_within(PATIENCE, || !self.router_is_alive() || self.show("hosts").is_ok());
        ensure!(answers && self.router_is_alive(), "the router does not serve:\n{}", self.log_tail());
        Ok(())
    }

    fn router_is_alive(&mut self) -> bool {
        self.daemon.as_mut().is_some_and(Process::is_alive)
    }

    /// Ends the router and waits for its end. Its data plane stays.
    pub fn end_router(&mut self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.router_pid()?)?), signal).context("end the router")?;
        ensure!(holds_within(PATIENCE, || !self.router_is_alive()), "the router does not end:\n{}", self.log_tail());
        self.daemon = None;
        Ok(())
    }

    /// The router's process.
    pub fn router_pid(&self) -> Result<u32> {
        self.daemon.as_ref().map(Process::pid).context("the router does not run")
    }

    /// `slr-router show WHAT --json`.
    pub fn show(&self, what: &str) -> Result<Value> {
        let mut command = self.router.command(&self.program);
        command.args(["show", what, "--json", "--socket"]).arg(self.path("admin.sock"));
        let output = command.output().context("start slr-router")?;
        ensure!(output.status.success(), "show {what}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).with_context(|| format!("JSON of show {what}"))
    }

    /// The rings in the kernel.
    pub fn rings(&self) -> Result<Rings> {
        Rings::open(&self.pins())
    }

    fn log_path(&self) -> PathBuf {
        self.path("router.log")
    }

    /// What the router has logged so far.
    pub fn log(&self) -> Result<String> {
        fs::read_to_string(self.log_path()).context("the router's log")
    }

    fn log_tail(&self) -> String {
        let log = self.log().unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Starts the simulated hosts.
    pub fn start_hosts(&self, hosts: usize) -> Result<Swarm> {
        let mut command = self.hosts.command(std::env::current_exe().context("where this program is")?);
        command.args(["control-hosts", "--hosts", &hosts.to_string(), "--trust"]).arg(self.path("nodes"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("start the hosts")?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let process = Process::of(child);
        let input = input.context("standard input is piped")?;
        let output = BufReader::new(output.context("standard output is piped")?);
        Ok(Swarm { input, output, process })
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.daemon = None;
        let unmounted = Command::new("umount").arg(self.path("bpf")).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.path("bpf").display());
        }
    }
}

/// The bench's end of the hosts' process.
pub struct Swarm {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    process: Process,
}

impl Swarm {
    /// Gives a command and waits until it is carried out.
    pub fn ask(&mut self, command: swarm::Command) -> Result<Answer> {
        self.tell(command)?;
        self.answer()
    }

    /// Gives a command. Its answer is to be read before the next one.
    pub fn tell(&mut self, command: swarm::Command) -> Result<()> {
        writeln!(self.input, "{}", serde_json::to_string(&command)?).context("the hosts have ended")
    }

    /// Waits until the last command is carried out.
    pub fn answer(&mut self) -> Result<Answer> {
        let mut line = String::new();
        self.output.read_line(&mut line).context("the hosts have ended")?;
        serde_json::from_str(&line).context("answer of the hosts")
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

fn cable(router: &NetNs, hosts: &NetNs) -> Result<()> {
    let far = std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(hosts));
    let far = format!("/proc/{}/fd/{far}", std::process::id());
    router.ip_batch(&format!(
        "link add lan0 type veth peer name eth0 netns {far}\n\
         addr add {ROUTER_V4}/24 dev lan0\n\
         addr add {ROUTER_V6}/64 dev lan0 nodad\n\
         link set lan0 up\n"
    ))?;
    hosts.ip_batch(
        "addr add 10.1.0.2/24 dev eth0\n\
         addr add fd00:1::2/64 dev eth0 nodad\n\
         link set eth0 up\n\
         route add default via 10.1.0.1\n\
         route add default via fd00:1::1\n\
         route add local 10.20.0.0/16 dev lo\n\
         route add local fd00:20::/32 dev lo\n",
    )?;
    router.ip_batch("route add 10.20.0.0/16 via 10.1.0.2\nroute add fd00:20::/32 via fd00:1::2\n")?;
    // IPv6 sockets bind to what is local by a route only if told so.
    hosts.with(|| fs::write("/proc/sys/net/ipv6/ip_nonlocal_bind", "1")).context("net.ipv6.ip_nonlocal_bind")
}
