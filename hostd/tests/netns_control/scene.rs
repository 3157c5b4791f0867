//! A gateway with a parent, clients and a tunneller; a host with hostd and servers. Everything goes with the scene.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use slr_ca::{Authority, IssueRequest, Moment};
use slr_control::TrustFiles;
use slr_model::Role;
use slr_testkit::lab::{Lab, Process, ScopedLab};
use slr_testkit::topology::Topology;
use slr_testkit::{eventually, holds_within};
use socket2::{Domain, Socket, Type};

use crate::parent::{Parent, Tells};
use crate::tunneller::Tunneller;

const TOPOLOGY: &str = r#"
name = "hostc"
[[node]]
name = "gw"
forward = true
sysctl = { "net.ipv6.ip_nonlocal_bind" = 1 } # for the clients' addresses, which are local by a route
routes = ["local 10.0.9.0/24 dev lo", "local fd00:9::/64 dev lo"]
[[node]]
name = "h"
routes = ["default via 10.1.11.1", "default via fd00:1:11::1"]
[[link]]
a = { node = "gw", addresses = ["10.1.11.1/24", "fd00:1:11::1/64"] }
b = { node = "h", addresses = ["10.1.11.2/24", "fd00:1:11::2/64"] }
"#;

pub const ROUTER: &str = "10.1.255.7";
pub const HOST: &str = "10.1.11.2";
pub const WEB4: &str = "tcp/80@192.0.2.0/24";
pub const WEB6: &str = "tcp/80@2001:db8:100::/48";
pub const DNS4: &str = "udp/53@192.0.2.0/24";
pub const DNS6: &str = "udp/53@2001:db8:100::/48";
/// A client and a virtual address of each family.
pub const PAIRS: [(&str, &str); 2] = [("10.0.9.9", "192.0.2.10"), ("fd00:9::9", "2001:db8:100::10")];
pub const PATIENCE: Duration = Duration::from_secs(20);
const DAY: Duration = Duration::from_secs(86_400);

/// Services with the checks that are tried in most tests, at the shipped intervals.
pub const SERVICES: &str = r#"
[[service]]
subnet = "web4"
service = "tcp/80"
check = { kind = "http", path = "/health" }
[[service]]
subnet = "web6"
service = "tcp/80"
check = { kind = "http", path = "/health" }
[[service]]
subnet = "web4"
service = "udp/53"
check = { kind = "udp", send = "ping", expect = "ping" }
[[service]]
subnet = "web6"
service = "udp/53"
check = { kind = "udp", send = "ping", expect = "ping" }
"#;

pub struct Scene {
    pub parent: Option<Parent>,
    hostd: Option<Process>,
    _tunneller: Tunneller,
    folder: tempfile::TempDir,
    pub lab: ScopedLab,
}

impl Scene {
    /// Everything but hostd, which [`Scene::start`] starts with a configuration.
    pub fn new() -> Self {
        slr_testkit::require_root();
        let lab = Lab::scoped(&Topology::parse("hostc", TOPOLOGY).unwrap(), "hostc").unwrap();
        let folder = tempfile::tempdir().unwrap();
        certificates(folder.path());
        let tunneller = lab
            .with_netns("gw", || Tunneller::start("clients", ROUTER.parse().unwrap(), HOST.parse().unwrap()).unwrap());
        let up = "link set clients up mtu 1500\nroute replace 192.0.2.0/24 dev clients\nroute replace 2001:db8::/32 dev clients";
        lab.netns("gw").unwrap().ip_batch(up).unwrap();
        let mut scene = Self { parent: None, hostd: None, _tunneller: tunneller.unwrap(), folder, lab };
        scene.start_parent(Tells { sources: vec!["10.1.255.0/24".parse().unwrap()], ..Tells::default() });
        scene
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn start_parent(&mut self, tells: Tells) {
        self.parent = None;
        let listen = "10.1.11.1:6100".parse().unwrap();
        self.parent = Some(Parent::start(
            self.lab.netns("gw").unwrap().clone(),
            files(self.folder.path(), "slr1"),
            listen,
            tells,
        ));
    }

    pub fn parent(&self) -> &Parent {
        self.parent.as_ref().expect("the parent runs")
    }

    fn config(&self) -> PathBuf {
        self.folder().join("hostd.toml")
    }

    fn socket(&self) -> PathBuf {
        self.folder().join("admin.sock")
    }

    pub fn write_config(&self, more: &str) {
        let TrustFiles { ca, certificate, key, .. } = files(self.folder(), "h");
        let head = format!(
            "[tunnel]\naddresses = [\"{HOST}\", \"fd00:1:11::2\"]\n\
             [dataplane]\ninterfaces = [\"to-gw\"]\npin_path = {:?}\ncgroup = {:?}\n[admin]\nsocket = {:?}\n\
             [control]\nca = {ca:?}\ncertificate = {certificate:?}\nkey = {key:?}\nstate_dir = \"state\"\n\
             [[parent]]\nname = \"slr1\"\naddresses = [\"10.1.11.1:6100\"]\n\
             [[subnet]]\nname = \"web4\"\nprefix = \"192.0.2.0/24\"\n\
             [[subnet]]\nname = \"web6\"\nprefix = \"2001:db8:100::/48\"\n",
            self.lab.pin_dir("h").join("hostd"),
            self.lab.cgroup_dir("h").unwrap(),
            self.socket(),
        );
        let host = if more.contains("[host]") { "" } else { "[host]\nname = \"h\"\n" };
        std::fs::write(self.config(), format!("{host}{head}{more}")).unwrap();
    }

    /// Starts hostd with the written configuration and waits until it answers.
    pub fn start(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hostd"));
        command.arg("run").arg("--config").arg(self.config());
        let process = self.lab.spawn("h", "hostd", command).unwrap();
        eventually(PATIENCE, "hostd to answer", || {
            assert!(process.is_alive(), "hostd ended:\n{}", process.log_tail());
            self.ask(&["show", "subnets"]).status.success()
        });
        self.hostd = Some(process);
    }

    pub fn hostd(&self) -> &Process {
        self.hostd.as_ref().expect("hostd runs")
    }

    /// Waits for hostd's end.
    pub fn ended(&mut self) {
        let process = self.hostd.take().expect("hostd runs");
        process.wait_exit(PATIENCE).unwrap_or_else(|| panic!("hostd does not end:\n{}", process.log_tail()));
    }

    pub fn kill(&mut self) {
        self.hostd().signal(Signal::SIGKILL).unwrap();
        self.ended();
    }

    /// A `hostd` command line, asking at our socket where one asks.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = self.lab.command("h", env!("CARGO_BIN_EXE_hostd")).unwrap();
        command.args(words);
        if words[0] != "check" {
            command.arg("--socket").arg(self.socket());
        } else {
            command.arg(self.config());
        }
        command
    }

    pub fn ask(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    pub fn show(&self, topic: &str) -> Vec<Value> {
        let output = self.ask(&["show", topic, "--json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What the metrics endpoint answers, once its page has sessions in it.
    pub fn get(&self, path: &str) -> String {
        let ask = || {
            self.lab.with_netns("h", || {
                let mut stream = TcpStream::connect("127.0.0.1:9402").unwrap();
                write!(stream, "GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                answer
            })
        };
        let is_fresh = |answer: &str| path != "/metrics" || answer.contains("state=\"connected\"} 1");
        let mut answer = String::new();
        eventually(PATIENCE, "a fresh page", || {
            answer = ask().unwrap();
            is_fresh(&answer)
        });
        answer
    }

    /// Waits until the parent has heard this state of all these services.
    pub fn await_state(&self, services: &[&str], state: slr_model::HostState) {
        let all = || services.iter().all(|service| self.parent().state(service) == Some(state));
        assert!(
            holds_within(PATIENCE, all),
            "{services:?} {state}: {:#?}\n{}",
            self.parent().heard(),
            self.hostd().log_tail()
        );
    }

    /// A TCP listener on the host's wildcard address, both families.
    pub fn listener(&self, port: u16) -> TcpListener {
        self.lab.with_netns("h", || TcpListener::bind(("::", port)).unwrap()).unwrap()
    }

    /// A client's connection through the tunnel.
    pub fn connect(&self, client: &str, to: &str, port: u16) -> TcpStream {
        let (client, to): (IpAddr, IpAddr) = (client.parse().unwrap(), to.parse().unwrap());
        let domain = if to.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = self.lab.with_netns("gw", || Socket::new(domain, Type::STREAM, None).unwrap()).unwrap();
        socket.bind(&SocketAddr::new(client, 0).into()).unwrap();
        socket.connect_timeout(&SocketAddr::new(to, port).into(), PATIENCE).unwrap();
        socket.into()
    }
}

/// A trust domain with the parent and the host.
fn certificates(folder: &Path) {
    let mut ca = Authority::init(&folder.join("ca"), "test.example", 30 * DAY, DAY).unwrap();
    let mut issue = |role, name: &str, tunnels: &[&str], subnets: &[&str]| {
        let request = IssueRequest {
            role,
            name: name.parse().unwrap(),
            tunnels: tunnels.iter().map(|net| net.parse().unwrap()).collect(),
            subnets: subnets.iter().map(|net| net.parse().unwrap()).collect(),
            valid_for: DAY,
            now: Moment::now(),
        };
        ca.issue(request, &folder.join(name)).unwrap();
    };
    issue(Role::Host, "h", &["10.1.11.2/32", "fd00:1:11::2/128"], &["192.0.2.0/24", "2001:db8:100::/48"]);
    issue(Role::Host, "other", &["10.1.12.2/32"], &["192.0.2.0/24"]);
    issue(Role::Site, "slr1", &["10.1.255.0/24"], &[]);
}

/// Where `issue` put the files of a node.
pub fn files(folder: &Path, name: &str) -> TrustFiles {
    let dir = folder.join(name);
    TrustFiles {
        ca: dir.join("ca.pem"),
        certificate: dir.join(format!("{name}.pem")),
        key: dir.join(format!("{name}-key.pem")),
        crl: None,
        require_fresh_crl: false,
    }
}
