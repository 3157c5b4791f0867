//! Topologies as data: what a TOML file says about nodes, links and services, checked before anything is created.
//!
//! ```
//! use slr_testkit::topology::Topology;
//! let two = Topology::parse("two.toml", r#"
//!     name = "two"
//!     [[node]]
//!     name = "a"
//!     [[node]]
//!     name = "b"
//!     [[link]]
//!     a = { node = "a", addresses = ["10.9.0.1/24", "fd09::1/64"] }
//!     b = { node = "b", addresses = ["10.9.0.2/24", "fd09::2/64"] }
//!     delay_ms = 5
//! "#).unwrap();
//! assert_eq!(two.links[0].name(), "a-b");
//! ```

mod check;
#[cfg(test)]
mod tests;

use crate::emulator::Shape;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU64;
use std::path::Path;

/// Why a topology was refused.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// The file cannot be read.
    #[error("cannot read topology {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not TOML, or not of this shape; the message holds line and column.
    #[error("topology {path}: {message}")]
    Parse {
        /// The file.
        path: String,
        /// Where and what.
        message: String,
    },
    /// Well-formed, but it contradicts itself.
    #[error("topology {path}: {what}")]
    Contradiction {
        /// The file.
        path: String,
        /// Which entry, and what about it.
        what: String,
    },
}

/// A whole topology.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// Its name, for people.
    pub name: String,
    /// A shipped topology that this one is but for its name and the nodes that it names again: those replace its.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// The nodes; each gets a network namespace and a cgroup of its own.
    #[serde(rename = "node", default)]
    pub nodes: Vec<Node>,
    /// The links between them.
    #[serde(rename = "link", default)]
    pub links: Vec<Link>,
    /// Services that nodes refer to by name.
    #[serde(rename = "service", default)]
    pub services: Vec<Service>,
}

/// A machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Lower-case letters, digits and `_`, at most 12 (`to-NAME` is an interface name); `emu` is taken.
    pub name: String,
    /// Names of shared services to start.
    #[serde(default)]
    pub services: Vec<String>,
    /// Services of this node alone: `[[node.service]]`.
    #[serde(rename = "service", default)]
    pub own_services: Vec<Service>,
    /// Forward packets, IPv4 and IPv6.
    #[serde(default)]
    pub forward: bool,
    /// Kernel settings of the namespace, set once its interfaces exist.
    #[serde(default)]
    pub sysctl: BTreeMap<String, Setting>,
    /// Arguments to `ip route add`, which tells the family from the addresses.
    #[serde(default)]
    pub routes: Vec<String>,
    /// Shell commands, run once the routes are in place.
    #[serde(default)]
    pub commands: Vec<String>,
}

/// A sysctl's value as TOML has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Setting {
    /// `= 1`
    Number(i64),
    /// `= "1024 65535"`
    Text(String),
}

/// A cable between two nodes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// One end.
    pub a: End,
    /// The other.
    pub b: End,
    /// Bytes of an IP packet, both ends.
    #[serde(default = "default_mtu")]
    pub mtu: u16,
    /// Initial delay, each way.
    #[serde(default)]
    pub delay_ms: f64,
    /// Initial loss, each way, 0 to 100.
    #[serde(default)]
    pub loss_percent: f64,
    /// Initial rate, each way; 0 or absent is unlimited.
    #[serde(default)]
    pub rate_mbit: f64,
    /// A bare veth pair without emulator: faster, and nothing about it can be changed but its MTU.
    #[serde(default)]
    pub direct: bool,
}

/// One end of a link.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// The node.
    pub node: String,
    /// Addresses with prefix length, any number of either family.
    #[serde(default)]
    pub addresses: Vec<IpNet>,
    /// The interface's name; `to-` and the other end's node if absent.
    #[serde(default)]
    pub interface: Option<String>,
    /// Attach a pass program here, so that the other end may `XDP_TX` and redirect into a direct link.
    #[serde(default)]
    pub xdp_pass: bool,
}

/// A long-running program on a node.
///
/// In `command`, `files` and `directories`, `{dir}` stands for the service's own directory on that node, `{node}` and
/// `{run}` for the names.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Unique on its node.
    pub name: String,
    /// Program and arguments; it must stay in the foreground.
    pub command: Vec<String>,
    /// Files to write beforehand, by path below `{dir}`.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// Files that the project ships, written as they are: by path below `{dir}`, which of them, such as
    /// `"bird/slr.conf"`.
    #[serde(default)]
    pub shipped: BTreeMap<String, String>,
    /// Directories to make beforehand, below `{dir}`.
    #[serde(default)]
    pub directories: Vec<String>,
    /// Files of zeros that take no space, by path, with sizes such as `"100M"`.
    #[serde(default)]
    pub sparse: BTreeMap<String, String>,
    /// Ports that are open once it is ready, such as `"tcp4:80"`, `"udp6:7"`.
    #[serde(default)]
    pub listens: Vec<String>,
}

/// Topologies that come with `tools/lab`.
const SHIPPED: [(&str, &str); 7] = [
    ("one-site.toml", include_str!("../../../tools/lab/topologies/one-site.toml")),
    ("two-tiers.toml", include_str!("../../../tools/lab/topologies/two-tiers.toml")),
    ("spare.toml", include_str!("../../../tools/lab/topologies/spare.toml")),
    ("two-slr.toml", include_str!("../../../tools/lab/topologies/two-slr.toml")),
    ("ecmp.toml", include_str!("../../../tools/lab/topologies/ecmp.toml")),
    ("nat.toml", include_str!("../../../tools/lab/topologies/nat.toml")),
    ("filtered.toml", include_str!("../../../tools/lab/topologies/filtered.toml")),
];
/// Configurations that the project ships: what runs in the lab is what an operator copies.
const SHIPPED_FILES: [(&str, &str); 2] = [
    ("bird/slr.conf", include_str!("../../../slr-router/etc/bird/slr.conf")),
    ("bird/upstream.conf", include_str!("../../../slr-router/etc/bird/upstream.conf")),
];
/// Services that come with it.
const SERVICES: &str = include_str!("../../../tools/lab/topologies/services.toml");

#[derive(Deserialize)]
struct Shipped {
    #[serde(rename = "service")]
    services: Vec<Service>,
}

fn default_mtu() -> u16 {
    1500
}

impl Topology {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self, TopologyError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| TopologyError::Read { path: path.display().to_string(), source })?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Checks a topology given as text; `path` is what errors call it.
    pub fn parse(path: &str, text: &str) -> Result<Self, TopologyError> {
        let mut topology: Self = toml::from_str(text)
            .map_err(|error| TopologyError::Parse { path: path.to_owned(), message: error.to_string() })?;
        if let Some(name) = topology.base.take() {
            let what = format!("base = {name:?} is no shipped topology");
            let base = Self::shipped(&name);
            topology.found_on(base.ok_or(TopologyError::Contradiction { path: path.to_owned(), what })?);
        }
        topology.add_shipped_services();
        match check::contradiction(&topology) {
            None => Ok(topology),
            Some(what) => Err(TopologyError::Contradiction { path: path.to_owned(), what }),
        }
    }

    /// The shipped topology of that name; its addresses are documented in its file under `tools/lab/topologies`.
    #[must_use]
    pub fn shipped(name: &str) -> Option<Self> {
        let (path, text) = SHIPPED.iter().find(|(path, _)| path.strip_suffix(".toml") == Some(name))?;
        // A test parses them all.
        Some(Self::parse(path, text).unwrap_or_else(|error| panic!("{error}")))
    }

    /// The shipped topology `one-site`.
    ///
    /// # Panics
    /// Never in a release: a test parses the shipped file.
    #[must_use]
    pub fn one_site() -> Self {
        Self::shipped("one-site").expect("one-site is shipped")
    }

    /// Takes over what the base has and this one does not replace.
    fn found_on(&mut self, mut base: Self) {
        for node in self.nodes.drain(..) {
            match base.nodes.iter_mut().find(|old| old.name == node.name) {
                Some(old) => *old = node,
                None => base.nodes.push(node),
            }
        }
        base.links.append(&mut self.links);
        base.services.append(&mut self.services);
        base.name = std::mem::take(&mut self.name);
        *self = base;
    }

    /// Services that nodes name and the file does not define may be shipped ones.
    fn add_shipped_services(&mut self) {
        let wanted = |name: &str| self.nodes.iter().any(|node| node.services.iter().any(|service| service == name));
        let known = |name: &str| self.services.iter().any(|service| service.name == name);
        let mut shipped: Shipped = toml::from_str(SERVICES).unwrap_or_else(|error| panic!("services.toml: {error}"));
        shipped.services.retain(|service| wanted(&service.name) && !known(&service.name));
        self.services.append(&mut shipped.services);
    }

    /// The node of that name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// The link between two nodes, whichever is A.
    #[must_use]
    pub fn link(&self, one: &str, other: &str) -> Option<&Link> {
        let joins =
            |link: &&Link| [&link.a.node, &link.b.node] == [one, other] || [&link.a.node, &link.b.node] == [other, one];
        self.links.iter().find(joins)
    }

    /// The services of a node, shared ones first.
    pub fn services_of<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = &'a Service> {
        let shared = node.services.iter().filter_map(|name| self.services.iter().find(|service| service.name == *name));
        shared.chain(&node.own_services)
    }

    /// The addresses of a node, in the order of its links.
    pub fn addresses_of<'a>(&'a self, node: &'a str) -> impl Iterator<Item = IpAddr> + 'a {
        let ends = self.links.iter().flat_map(|link| [&link.a, &link.b]);
        ends.filter(move |end| end.node == node).flat_map(|end| end.addresses.iter().map(IpNet::addr))
    }

    /// The first IPv4 address of a node.
    #[must_use]
    pub fn ipv4_of(&self, node: &str) -> Option<Ipv4Addr> {
        self.addresses_of(node).find_map(|address| match address {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        })
    }

    /// The first IPv6 address of a node.
    #[must_use]
    pub fn ipv6_of(&self, node: &str) -> Option<Ipv6Addr> {
        self.addresses_of(node).find_map(|address| match address {
            IpAddr::V6(v6) => Some(v6),
            IpAddr::V4(_) => None,
        })
    }
}

/// The text of a shipped file, by the name that services call it.
#[must_use]
pub fn shipped_file(name: &str) -> Option<&'static str> {
    SHIPPED_FILES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

impl Link {
    /// `A-B`, as `lab link` takes it.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}-{}", self.a.node, self.b.node)
    }

    /// The interface names at A and B.
    #[must_use]
    pub fn interfaces(&self) -> [String; 2] {
        let name = |end: &End, other: &End| end.interface.clone().unwrap_or_else(|| format!("to-{}", other.node));
        [name(&self.a, &self.b), name(&self.b, &self.a)]
    }

    /// The emulation it starts with.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be finite and not negative"
    )]
    pub fn shape(&self) -> Shape {
        Shape {
            delay_us: (self.delay_ms * 1e3).round() as u64,
            loss: self.loss_percent / 100.0,
            rate_bps: NonZeroU64::new((self.rate_mbit * 1e6).round() as u64),
            blackhole: false,
        }
    }
}

impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}
