//! The daemons' configurations for `one-site`, as an operator would write them.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::Place;

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
    /// What becomes of orphans, if not the default.
    pub orphan: Option<&'static str>,
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
    /// Whether hosts stand in the router's hosts file, and have no certificates.
    pub listed: bool,
    /// The router's `cost`, with certificates. The shipped one follows the machine's load, which is all hosts' load here.
    pub cost: Option<&'static str>,
    /// Lines for the router's `[control]`, and tables after it.
    pub control: String,
    /// `timeout_ms` of nginx's health check, if not the shipped one.
    pub check_timeout_ms: Option<u32>,
    /// For a host's configuration, in place of the load and services that all have.
    pub host_lines: BTreeMap<String, HostLines>,
}

/// What is special about a host.
#[derive(Clone, Debug, Default)]
pub struct HostLines {
    /// Lines for `[host]`.
    pub host: String,
    /// Tables at the end, such as `[[load]]`.
    pub tables: String,
    /// Its `[drain]`.
    pub on_stop_s: u32,
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
            orphan: None,
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
            listed: false,
            cost: Some("1.0 / weight"),
            control: String::new(),
            check_timeout_ms: None,
            host_lines: BTreeMap::new(),
        }
    }
}

impl SiteOptions {
    /// Hosts that the operator lists, without certificates.
    #[must_use]
    pub fn listed(mut self) -> Self {
        self.listed = true;
        self
    }

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

pub fn router(options: &SiteOptions, place: &Place) -> String {
    let hosts = if options.listed { format!("hosts = {:?}\n", place.hosts) } else { String::new() };
    let mut text = format!(
        r#"{hosts}
[node]
name = "slr1"
tier = "site"

[tunnel]
addresses = ["10.1.1.2", "fd00:1:1::2"]
sources = ["10.1.255.0/24", "fd00:1:ff::/64"]

[dataplane]
interfaces = ["to-site"]
xdp = "{}"
pin_path = {:?}
flows_per_family = {}
{}

[admin]
socket = {:?}
"#,
        options.xdp, place.pins, options.flows_per_family, options.dataplane, place.socket,
    );
    if !options.listed {
        let _ = write!(
            text,
            "\n[control]\nlisten = [\"10.1.1.2:6100\", \"[fd00:1:1::2]:6100\"]\n{}state_dir = {:?}\n{}\n",
            place.files.router_toml(),
            place.state,
            options.control
        );
        if let Some(cost) = options.cost {
            // What an operator's weights come to at once: nothing here is measured, so nothing is to be damped.
            let _ = write!(text, "\n[policy]\ncost = {cost:?}\nbudget = 1.0\nslow_start_s = 0\n");
        }
    }
    for (name, prefix) in &options.subnets {
        let _ = write!(text, "\n[[subnet]]\nname = \"{name}\"\nprefix = \"{prefix}\"\naccount = 1\n");
        if let Some(orphan) = options.orphan {
            let _ = writeln!(text, "orphan = {orphan:?}");
        }
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

pub fn hostd(options: &SiteOptions, node: &str, place: &Place) -> String {
    let number = node.trim_start_matches('h');
    let entry = options.hosts.iter().find(|host| host.name == node);
    let addresses = match entry.filter(|host| host.address.contains(':')) {
        Some(host) if !options.listed => format!("[{:?}]", host.address),
        _ => format!("[\"10.1.1{number}.2\", \"fd00:1:1{number}::2\"]"),
    };
    let lines = options.host_lines.get(node).cloned().unwrap_or_default();
    let path_mtu = options.path_mtu.map(|mtu| format!("path_mtu = {mtu}\n")).unwrap_or_default();
    let mut text = format!(
        r#"[host]
name = "{node}"
{}

[tunnel]
addresses = {addresses}
{path_mtu}
[dataplane]
interfaces = ["to-site"]
xdp = "{}"
pin_path = {:?}
cgroup = {:?}

[admin]
socket = {:?}
"#,
        lines.host, options.xdp, place.pins, place.cgroup, place.socket,
    );
    if options.listed {
        listed_peers(&mut text, options, node);
    } else {
        let _ = write!(
            text,
            "\n[control]\n{}state_dir = {:?}\n\n[[parent]]\nname = \"slr1\"\naddresses = [\"10.1.1.2:6100\", \
             \"[fd00:1:1::2]:6100\"]\n\n[drain]\non_stop_s = {}\n",
            place.files.toml(),
            place.state,
            lines.on_stop_s
        );
    }
    for (name, prefix) in &options.subnets {
        let _ = write!(text, "\n[[subnet]]\nname = \"{name}\"\nprefix = \"{prefix}\"\n");
        if !options.listed {
            services(&mut text, name, entry.map_or(100, |host| host.weight), options.check_timeout_ms);
        }
    }
    text + &lines.tables
}

/// nginx and the UDP echo, checked at their virtual addresses; and whatever else a test starts there, unchecked.
fn services(text: &mut String, subnet: &str, weight: u16, timeout_ms: Option<u32>) {
    let timeout = timeout_ms.map(|timeout_ms| format!(", timeout_ms = {timeout_ms}")).unwrap_or_default();
    let http = format!(r#"{{ kind = "http", path = "/who"{timeout} }}"#);
    let checks = [
        ("tcp/80", http.as_str()),
        ("udp/7", r#"{ kind = "udp", send = "well?", expect = "well?", interval_ms = 1000, timeout_ms = 1000 }"#),
    ];
    let _ = write!(text, "\n[[service]]\nsubnet = \"{subnet}\"\nweight = {weight}\n");
    for (service, check) in checks {
        let _ = write!(
            text,
            "\n[[service]]\nsubnet = \"{subnet}\"\nservice = \"{service}\"\nweight = {weight}\ncheck = {check}\n"
        );
    }
}

/// What parents would tell.
fn listed_peers(text: &mut String, options: &SiteOptions, node: &str) {
    text.push_str("\n[[router]]\nname = \"slr1\"\nprefixes = [\"10.1.255.0/24\", \"fd00:1:ff::/64\"]\n");
    for (n, host) in options.hosts.iter().enumerate().filter(|(_, host)| host.name != node) {
        let n = n + 1;
        let _ = write!(
            text,
            "\n[[site_host]]\nname = \"{}\"\naddresses = [\"10.1.1{n}.2\", \"fd00:1:1{n}::2\"]\n",
            host.name
        );
    }
}
