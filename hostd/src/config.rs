//! The host's configuration: `hostd.toml`, checked whole.
//!
//! [`file`] is the file as written, [`check`] turns it into [`Settings`] or into complaints on its lines.

mod check;
mod file;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use slr_daemon::config::{ConfigError, load_checked};
use slr_dataplane::host::XdpMode;
use slr_model::{NodeName, ServiceKey, VirtualSubnet, Weight};
use slr_session::echoes::Rates;

use crate::health::{Check, Checked};
use crate::load::{Formulas, Source};

/// Where the configuration is looked for when none is named.
pub const DEFAULT_CONFIG: &str = "/etc/hostd/hostd.toml";
/// Where the daemon answers when the configuration names no place.
pub const DEFAULT_SOCKET: &str = "/run/hostd/admin.sock";
/// Where programs, maps and links are pinned when the configuration names no place.
pub const DEFAULT_PIN_PATH: &str = "/sys/fs/bpf/hostd";
/// Where what outlives the daemon is kept when the configuration names no place.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/hostd";
/// How long a client that owes something may be silent when the subnet says nothing else: longer than a delayed acknowledgement
/// (Linux: 40 ms), much shorter than a retransmission (200 ms). docs/measuring.md has what other values cost and gain.
pub const DEFAULT_STALL: Duration = Duration::from_millis(50);
/// Echoes a second to one client when the configuration does not say: 1,600 flows behind one translator's address.
pub const DEFAULT_ECHOES_PER_CLIENT: u32 = 100;
/// And to all clients: 11 Mbit/s.
pub const DEFAULT_ECHOES_PER_HOST: u32 = 4_000;
/// The virtual-subnet interface of subnets that name none.
pub const DEFAULT_INTERFACE: &str = "slr-0";

/// A checked configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// This host's name.
    pub name: NodeName,
    /// Where tunnels to this host end.
    pub tunnel_v4: Option<Ipv4Addr>,
    /// The same, IPv6.
    pub tunnel_v6: Option<Ipv6Addr>,
    /// Bytes that fit the narrowest link between routers and this host; `None`: those of the interfaces.
    pub path_mtu: Option<u16>,
    /// Tunnel headers that the longest chain puts before a client's segment.
    pub chain_headers: u8,
    /// Interfaces at which tunnels arrive and replies leave.
    pub interfaces: Vec<String>,
    /// How XDP is attached.
    pub xdp: XdpMode,
    /// Folder of the pins, on a bpf file system.
    pub pin_path: PathBuf,
    /// Whose UDP sockets get virtual sources; `None`: everybody's, the root of cgroup v2.
    pub cgroup: Option<PathBuf>,
    /// Where the daemon answers.
    pub admin_socket: PathBuf,
    /// Registered routers, with the prefixes their tunnels come from.
    pub routers: Vec<(NodeName, Vec<IpNet>)>,
    /// The site's other hosts, with their tunnel addresses.
    pub site_hosts: Vec<(NodeName, Vec<IpAddr>)>,
    /// Virtual subnets, in the order of the file.
    pub subnets: Vec<Subnet>,
    /// Whom this host tells what it serves; `None`: nobody.
    pub control: Option<Control>,
    /// What it says it serves: the services of the file, and each subnet without one as a whole.
    pub services: Vec<Served>,
    /// Where load values come from.
    pub sources: Vec<Source>,
    /// What is made of them.
    pub formulas: Formulas,
    /// How it stops.
    pub drain: Drain,
    /// Where metrics are read; `None`: nowhere.
    pub metrics: Option<SocketAddr>,
    /// Where it can be read over HTTP.
    pub api: slr_daemon::api::Settings,
    /// How many echoes clients of stalled flows are sent.
    pub echoes: Rates,
}

/// A virtual subnet that this host serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Its name, for people.
    pub name: String,
    /// The range; every address of it is this host's.
    pub prefix: VirtualSubnet,
    /// The virtual-subnet interface that it is on.
    pub interface: String,
    /// How long a client that owes something may be silent, at least, before it is asked; zero: it is not.
    pub stall: Duration,
}

/// `[control]` and the routers that are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Certificate of the trust domain's authority.
    pub ca: PathBuf,
    /// This host's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Certificates that are no longer good.
    pub crl: Option<PathBuf>,
    /// Folder of what outlives the daemon.
    pub state_dir: PathBuf,
    /// All SLRs of the cluster above.
    pub parents: Vec<Parent>,
}

/// An SLR that this host registers with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Its name, which its certificate must say.
    pub name: NodeName,
    /// Where it listens, tried in turn.
    pub addresses: Vec<SocketAddr>,
}

/// A service that this host says it serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// Which.
    pub key: ServiceKey,
    /// Its share beside other hosts, before any load is looked at.
    pub weight: Weight,
    /// How it is checked; `None`: it is taken to be well.
    pub check: Option<Check>,
}

/// `[drain]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// How long the daemon drains when it is told to end; zero: it ends at once, and says nothing.
    pub on_stop: Duration,
    /// How long after the last router has heard of a drain new flows may still come.
    pub settle: Duration,
}

impl Settings {
    /// Reads and checks a configuration file. Paths in it are relative to its folder.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        load_checked(path, |file| check::settings(file, folder))
    }

    /// The ranges of the virtual subnets.
    pub fn prefixes(&self) -> Vec<VirtualSubnet> {
        self.subnets.iter().map(|subnet| subnet.prefix).collect()
    }

    /// The health checks.
    pub fn checks(&self) -> Vec<Checked> {
        let checked = |served: &Served| Some(Checked { key: served.key, check: served.check.clone()? });
        self.services.iter().filter_map(checked).collect()
    }

    /// Like [`Settings::load`], of text; `origin` is the name that errors show.
    #[cfg(any(test, fuzzing))]
    pub fn parse(origin: &str, text: &str) -> Result<Self, ConfigError> {
        slr_daemon::config::parse_checked(origin, text, |file| check::settings(file, Path::new("/etc/hostd")))
    }

    /// Virtual subnets by the interface that they are on.
    pub fn groups(&self) -> BTreeMap<String, Vec<VirtualSubnet>> {
        let mut groups = BTreeMap::<_, Vec<_>>::new();
        for subnet in &self.subnets {
            groups.entry(subnet.interface.clone()).or_default().push(subnet.prefix);
        }
        groups
    }
}
