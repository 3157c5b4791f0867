//! The router's configuration: `slr-router.toml`, checked whole.
//!
//! [`file`] is the file as written, [`check`] turns it into [`Settings`] or into complaints on its lines. The hosts that
//! serve the subnets stand in a file of their own ([`crate::hosts`]), because other programs write it.

pub mod announce;
mod check;
mod control;
mod file;
mod fixed;
mod policy;
#[cfg(test)]
mod shipped;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use ipnet::IpNet;
use slr_daemon::config::{ConfigError, load_checked};
use slr_dataplane::router;
use slr_model::{EchoPolicy, KeyMask, NodeName, OrphanPolicy, Service, Tier, VirtualSubnet};

pub use check::{family, unusable};
pub use control::{Control, Keepalive, Neighbour};
pub use file::Xdp;
pub use policy::{Class, Rule};
use slr_policy::{Damping, Expression, Policy};

use crate::hosts::{self, Host};

/// Where the configuration is looked for when none is named.
pub const DEFAULT_CONFIG: &str = "/etc/slr-router/slr-router.toml";
/// Where the daemon answers when the configuration names no place.
pub const DEFAULT_SOCKET: &str = "/run/slr-router/admin.sock";
/// Where programs, maps and links are pinned when the configuration names no place.
pub const DEFAULT_PIN_PATH: &str = "/sys/fs/bpf/slr-router";

/// A checked configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// This router's name.
    pub name: NodeName,
    /// Where in the hierarchy it stands.
    pub tier: Tier,
    /// Addresses at which upstream routers reach us with tunnels.
    pub tunnel_addresses: Vec<IpAddr>,
    /// Prefixes of outer source addresses, at most one a family.
    pub sources: Vec<IpNet>,
    /// Routers that may send us tunnels.
    pub upstreams: Vec<Upstream>,
    /// Interfaces, limits, time-outs.
    pub dataplane: Dataplane,
    /// The hosts file, resolved against the configuration's folder.
    pub hosts_file: Option<PathBuf>,
    /// Who connects, and how silence is read; `None`: nobody does, all hosts stand in the hosts file.
    pub control: Option<Control>,
    /// How the ways to hosts are probed.
    pub keepalive: Keepalive,
    /// What the routers around are told; `None`: nothing.
    pub announce: Option<announce::Announce>,
    /// How fast shares may change.
    pub damping: Damping,
    /// Where metrics are served; `None`: nowhere.
    pub metrics: Option<SocketAddr>,
    /// Where it can be read over HTTP.
    pub api: slr_daemon::api::Settings,
    /// Where the daemon answers.
    pub admin_socket: PathBuf,
    /// The virtual subnets, in the order of the file.
    pub subnets: Vec<Subnet>,
}

/// A router of the tier above.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// Its name, for people.
    pub name: NodeName,
    /// Prefixes that its tunnels come from.
    pub prefixes: Vec<IpNet>,
}

/// What the data plane is given.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataplane {
    /// Interfaces that XDP is attached to.
    pub interfaces: Vec<String>,
    /// How.
    pub xdp: Xdp,
    /// Folder of the pins, on a bpf file system.
    pub pin_path: PathBuf,
    /// Room for pinned flows, per family.
    pub flows_per_family: u32,
    /// Room for flows that have not yet shown two ends, per family.
    pub new_flows_per_family: u32,
    /// Limits that may change while packets flow.
    pub limits: router::Config,
    /// When a flow is forgotten.
    pub sweep: router::SweepPolicy,
}

/// A virtual subnet and how it is served.
#[derive(Clone, Debug, PartialEq)]
pub struct Subnet {
    /// Its name, for people and for the hosts file.
    pub name: String,
    /// The range of virtual addresses.
    pub prefix: VirtualSubnet,
    /// Whom its traffic is charged to.
    pub account: u32,
    /// What it serves; `None`: everything.
    pub services: Option<Vec<Service>>,
    /// What happens to a mid-flow packet that nobody knows.
    pub orphan: OrphanPolicy,
    /// What happens to an echo request.
    pub echo: EchoPolicy,
    /// Which fields take part in placement.
    pub key_mask: KeyMask,
    /// F, and how fast shares follow it.
    pub policy: Policy,
    /// G: what is advertised upwards.
    pub aggregate: Expression,
    /// Clients that rules speak of.
    pub classes: Vec<Class>,
    /// Packets that are placed by a rule of their own.
    pub rules: Vec<Rule>,
}

impl Settings {
    /// Reads and checks a configuration file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        load_checked(path, |file| check::settings(file, folder, None))
    }

    /// Like [`Settings::load`], for a daemon that runs with `running`: what it cannot change is refused at its line.
    pub fn load_for_reload(path: &Path, running: &Self) -> Result<Self, ConfigError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        load_checked(path, |file| check::settings(file, folder, Some(running)))
    }

    /// Like [`Settings::load`], of text; `origin` is the name that errors show.
    #[cfg(any(test, fuzzing))]
    pub fn parse(origin: &str, text: &str) -> Result<Self, ConfigError> {
        slr_daemon::config::parse_checked(origin, text, |file| check::settings(file, Path::new(""), None))
    }

    /// Reads and checks the hosts file: `instead` if given, else the one that the configuration names, if it does. With
    /// certificates it needs none: hosts say themselves what they serve.
    pub fn load_hosts(&self, instead: Option<&Path>) -> Result<Vec<Host>> {
        match instead.or(self.hosts_file.as_deref()) {
            Some(path) => Ok(hosts::load(path, self)?),
            None if self.control.is_some() => Ok(Vec::new()),
            None => bail!(
                "nobody can serve: add [control], so that hosts with certificates can say what they serve, or \
                 hosts = \"hosts.toml\" above the configuration's first [table], or name a hosts file with --hosts"
            ),
        }
    }

    /// What a daemon needs and a replay does not.
    pub fn require_interfaces(&self) -> Result<()> {
        if self.dataplane.interfaces.is_empty() {
            bail!(
                "the configuration names no interface: add interfaces = [\"eth0\"] under [dataplane], with the interfaces at \
                 which clients' packets and upstream tunnels arrive"
            );
        }
        Ok(())
    }
}

impl From<Xdp> for router::XdpMode {
    fn from(xdp: Xdp) -> Self {
        match xdp {
            Xdp::Auto => Self::Auto,
            Xdp::Native => Self::Native,
            Xdp::Generic => Self::Generic,
        }
    }
}
