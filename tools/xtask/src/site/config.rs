//! The daemons' configurations for `one-site`, as an operator would write them.

use std::fmt::Write;
use std::path::Path;

/// A host in the router's hosts file.
#[derive(Clone, Debug)]
pub struct HostEntry {
    /// Node name.
    pub name: String,
    /// Tunnel address.
    pub address: String,
    /// Share of new flows.
    pub weight: u16,
    /// `active`, `draining` or `down`.
    pub state: &'static str,
}

/// What may differ between sites.
#[derive(Clone, Debug)]
pub struct SiteOptions {
    /// Hosts in order.
    pub hosts: Vec<HostEntry>,
    /// Virtual subnets: name and prefix.
    pub subnets: Vec<(String, String)>,
    /// `xdp` of both daemons.
    pub xdp: &'static str,
    /// `path_mtu` of every hostd, if not its interface's.
    pub path_mtu: Option<u16>,
    /// Capacity of the router's flow tables.
    pub flows_per_family: u32,
    /// Lines for the router's `[dataplane]`.
    pub dataplane: String,
}

impl Default for SiteOptions {
    fn default() -> Self {
        let host = |n: usize| HostEntry {
            name: format!("h{n}"),
            address: format!("10.1.1{n}.2"),
            weight: 100,
            state: "active",
        };
        let subnet = |name: &str, prefix: &str| (name.to_owned(), prefix.to_owned());
        Self {
            hosts: (1..=3).map(host).collect(),
            subnets: vec![
                subnet("web4", "192.0.2.0/24"),
                subnet("web6", "2001:db8:100::/48"),
                subnet("other4", "198.51.100.0/24"),
                subnet("other6", "2001:db8:200::/48"),
            ],
            xdp: "native",
            path_mtu: None,
            flows_per_family: 100_000,
            dataplane: String::new(),
        }
    }
}

impl SiteOptions {
    /// Hosts reached over IPv6 tunnels.
    #[must_use]
    pub fn over_v6(mut self) -> Self {
        for (n, host) in self.hosts.iter_mut().enumerate() {
            host.address = format!("fd00:1:1{}::2", n + 1);
        }
        self
    }

    /// Other weights, in the hosts' order.
    #[must_use]
    pub fn weights(mut self, weights: [u16; 3]) -> Self {
        for (host, weight) in self.hosts.iter_mut().zip(weights) {
            host.weight = weight;
        }
        self
    }
}

pub fn router(options: &SiteOptions, hosts: &Path, pins: &Path, socket: &Path) -> String {
    let mut text = format!(
        r#"hosts = "{}"

[node]
name = "slr1"
tier = "site"

[tunnel]
addresses = ["10.1.1.2", "fd00:1:1::2"]
sources = ["10.1.255.0/24", "fd00:1:ff::/64"]

[dataplane]
interfaces = ["to-site"]
xdp = "{}"
pin_path = "{}"
flows_per_family = {}
{}

[admin]
socket = "{}"
"#,
        hosts.display(),
        options.xdp,
        pins.display(),
        options.flows_per_family,
        options.dataplane,
        socket.display(),
    );
    for (name, prefix) in &options.subnets {
        let _ = write!(text, "\n[[subnet]]\nname = \"{name}\"\nprefix = \"{prefix}\"\naccount = 1\n");
    }
    text
}

pub fn hosts(options: &SiteOptions) -> String {
    let subnets: Vec<String> = options.subnets.iter().map(|(name, _)| format!("{name:?}")).collect();
    let mut text = String::new();
    for HostEntry { name, address, weight, state } in &options.hosts {
        let _ = write!(
            text,
            "[[host]]\nname = \"{name}\"\naddress = \"{address}\"\nsubnets = [{}]\nweight = {weight}\nstate = \"{state}\"\n\n",
            subnets.join(", ")
        );
    }
    text
}

pub fn hostd(options: &SiteOptions, node: &str, pins: &Path, socket: &Path, cgroup: &Path) -> String {
    let number = node.trim_start_matches('h');
    let path_mtu = options.path_mtu.map(|mtu| format!("path_mtu = {mtu}\n")).unwrap_or_default();
    let mut text = format!(
        r#"[host]
name = "{node}"

[tunnel]
addresses = ["10.1.1{number}.2", "fd00:1:1{number}::2"]
{path_mtu}
[dataplane]
interfaces = ["to-site"]
xdp = "{}"
pin_path = "{}"
cgroup = "{}"

[admin]
socket = "{}"

[[router]]
name = "slr1"
prefixes = ["10.1.255.0/24", "fd00:1:ff::/64"]
"#,
        options.xdp,
        pins.display(),
        cgroup.display(),
        socket.display(),
    );
    for (n, host) in options.hosts.iter().enumerate().filter(|(_, host)| host.name != node) {
        let n = n + 1;
        let _ = write!(
            text,
            "\n[[site_host]]\nname = \"{}\"\naddresses = [\"10.1.1{n}.2\", \"fd00:1:1{n}::2\"]\n",
            host.name
        );
    }
    for (name, prefix) in &options.subnets {
        let _ = write!(text, "\n[[subnet]]\nname = \"{name}\"\nprefix = \"{prefix}\"\n");
    }
    text
}
