//! A gateway with clients and a tunneller, a host with hostd. Everything goes with the scene.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use slr_testkit::lab::{Lab, Process, ScopedLab};
use slr_testkit::topology::Topology;
use slr_testkit::{eventually, packet::pkt};
use socket2::{Domain, Socket, Type};

use crate::tunneller::{RawSender, Tunneller};

const TOPOLOGY: &str = r#"
name = "hostd"
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

pub const US4: &str = "10.1.11.2";
pub const US6: &str = "fd00:1:11::2";
pub const ROUTER4: &str = "10.1.255.7";
pub const ROUTER6: &str = "fd00:1:ff::7";
pub const PROBER4: &str = "10.0.9.1";
pub const PROBER6: &str = "fd00:9::1";
pub const C4: &str = "10.0.9.9";
pub const C6: &str = "fd00:9::9";
/// Addresses of two subnets of each family.
pub const VIRTUAL: [(&str, &str); 4] =
    [(C4, "192.0.2.10"), (C4, "198.51.100.77"), (C6, "2001:db8:100::10"), (C6, "2001:db8:200:7::1")];

pub const SUBNETS: [(&str, &str, &str); 4] = [
    ("web4", "192.0.2.0/24", "slr-0"),
    ("web6", "2001:db8:100::/48", "slr-0"),
    ("dns4", "198.51.100.0/24", "slr-dns"),
    ("dns6", "2001:db8:200::/48", "slr-dns"),
];

pub const PATIENCE: Duration = Duration::from_secs(10);

pub struct Scene {
    tunneller: Option<Tunneller>,
    tunnellers: u32,
    hostd: Option<Process>,
    folder: tempfile::TempDir,
    pub lab: ScopedLab,
    pub xdp: &'static str,
}

impl Scene {
    /// Network, tunneller, and hostd running.
    pub fn new() -> Self {
        Self::with_xdp("native")
    }

    pub fn with_xdp(xdp: &'static str) -> Self {
        slr_testkit::require_root();
        let lab = Lab::scoped(&Topology::parse("hostd", TOPOLOGY).unwrap(), "hostd").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut scene = Self { tunneller: None, tunnellers: 0, hostd: None, folder, lab, xdp };
        scene.write_config(&SUBNETS);
        scene.start();
        scene.tunnel_over(ROUTER4, US4);
        scene
    }

    /// From now on clients' datagrams come from this router to this address of the host.
    pub fn tunnel_over(&mut self, router: &str, host: &str) {
        self.tunneller = None;
        let (router, host) = (router.parse().unwrap(), host.parse().unwrap());
        self.tunnellers += 1;
        let interface = format!("clients{}", self.tunnellers);
        self.tunneller =
            Some(self.lab.with_netns("gw", || Tunneller::start(&interface, router, host)).unwrap().unwrap());
        let routes = ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"];
        let routes: String = routes.iter().map(|net| format!("route replace {net} dev {interface}\n")).collect();
        let up = format!("link set {interface} up mtu 1500\n{routes}");
        self.lab.netns("gw").unwrap().ip_batch(&up).unwrap();
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("hostd.toml")
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("admin.sock")
    }

    pub fn pins(&self) -> PathBuf {
        self.lab.pin_dir("h").join("hostd")
    }

    pub fn write_config(&self, subnets: &[(&str, &str, &str)]) {
        let mut text = format!(
            "[host]\nname = \"h\"\n[tunnel]\naddresses = [\"{US4}\", \"{US6}\"]\n\
             [dataplane]\ninterfaces = [\"to-gw\"]\nxdp = \"{}\"\npin_path = {:?}\ncgroup = {:?}\n[admin]\nsocket = {:?}\n\
             [[router]]\nname = \"slr1\"\nprefixes = [\"10.1.255.0/24\", \"fd00:1:ff::/64\"]\n",
            self.xdp,
            self.pins(),
            self.lab.cgroup_dir("h").unwrap(),
            self.socket(),
        );
        for (name, prefix, interface) in subnets {
            text += &format!("[[subnet]]\nname = \"{name}\"\nprefix = \"{prefix}\"\ninterface = \"{interface}\"\n");
        }
        std::fs::write(self.config(), text).unwrap();
    }

    /// Starts hostd and waits until it answers.
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

    /// Sends hostd a signal and waits for its end.
    pub fn end(&mut self, signal: Signal) {
        let process = self.hostd.take().expect("hostd runs");
        process.signal(signal).unwrap();
        process.wait_exit(PATIENCE).unwrap_or_else(|| panic!("hostd does not end:\n{}", process.log_tail()));
    }

    pub fn hostd(&self) -> &Process {
        self.hostd.as_ref().expect("hostd runs")
    }

    /// Runs `hostd` with these words, asking at our socket where one asks.
    pub fn ask(&self, words: &[&str]) -> Output {
        let mut command = self.lab.command("h", env!("CARGO_BIN_EXE_hostd")).unwrap();
        command.args(words);
        if words[0] == "show" || words[0] == "reload" {
            command.arg("--socket").arg(self.socket());
        }
        command.output().unwrap()
    }

    pub fn show(&self, topic: &str) -> Vec<Value> {
        let output = self.ask(&["show", topic, "--json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Packets that ended with this reason.
    pub fn count(&self, reason: &str) -> u64 {
        let counters = self.show("counters");
        let counter = counters.iter().find(|counter| counter["reason"] == reason).expect("a reason");
        counter["packets"].as_u64().unwrap()
    }

    /// Reasons for which packets were dropped.
    pub fn drops(&self) -> Vec<String> {
        let dropped = |c: &Value| c["verdict"] == "drop" && c["packets"] != 0;
        self.show("counters").into_iter().filter(dropped).map(|c| c["reason"].to_string()).collect()
    }

    /// A field of a subnet.
    pub fn subnet(&self, name: &str, field: &str) -> u64 {
        self.show("subnets").iter().find(|s| s["name"] == name).expect("a subnet")[field].as_u64().unwrap()
    }

    /// A client's UDP socket that takes answers from this virtual address only.
    pub fn udp_client(&self, client: &str, to: &str, port: u16) -> UdpSocket {
        let (client, to): (IpAddr, IpAddr) = (client.parse().unwrap(), to.parse().unwrap());
        let socket = self.lab.with_netns("gw", || UdpSocket::bind(SocketAddr::new(client, 0)).unwrap()).unwrap();
        socket.connect(SocketAddr::new(to, port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        socket
    }

    /// A TCP listener on the host's wildcard address, both families.
    pub fn listener(&self) -> TcpListener {
        self.lab.with_netns("h", || TcpListener::bind("[::]:0").unwrap()).unwrap()
    }

    /// A client's connection.
    pub fn connect(&self, client: &str, to: &str, port: u16) -> TcpStream {
        let (client, to): (IpAddr, IpAddr) = (client.parse().unwrap(), to.parse().unwrap());
        let domain = if to.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = self.lab.with_netns("gw", || Socket::new(domain, Type::STREAM, None).unwrap()).unwrap();
        socket.bind(&SocketAddr::new(client, 0).into()).unwrap();
        socket.connect_timeout(&SocketAddr::new(to, port).into(), PATIENCE).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.into()
    }

    /// Sends a keepalive through the tunnel and returns what comes back to the prober, and from where.
    pub fn keepalive(&self, outer: (&str, &str), prober: &str, us: &str) -> Option<(Vec<u8>, SocketAddr)> {
        let (router, host): (IpAddr, IpAddr) = (outer.0.parse().unwrap(), outer.1.parse().unwrap());
        let (prober, us): (IpAddr, IpAddr) = (prober.parse().unwrap(), us.parse().unwrap());
        let mut body = b"SLRK\x01\x01\0\0".to_vec();
        body.extend([7; 16]);
        let answer = self.lab.with_netns("gw", || {
            let socket = UdpSocket::bind(SocketAddr::new(prober, 0)).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            let port = socket.local_addr().unwrap().port();
            let datagram = pkt().ip(prober, us).udp(port, 6101).payload(&body).build();
            RawSender::new().unwrap().tunnel(router, host, &datagram).unwrap();
            let mut answer = [0; 100];
            socket.recv_from(&mut answer).ok().map(|(len, from)| (answer[..len].to_vec(), from))
        });
        answer.unwrap()
    }

    pub fn on_host(&self, script: &str) -> String {
        self.lab.sh("h", script).unwrap()
    }
}
