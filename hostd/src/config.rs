//! The host's configuration: `hostd.toml`, checked whole.
//!
//! [`file`] is the file as written, [`check`] turns it into [`Settings`] or into complaints on its lines.

mod check;
mod file;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use slr_daemon::config::{ConfigError, load_checked};
use slr_dataplane::host::XdpMode;
use slr_model::{NodeName, VirtualSubnet};

/// Where the configuration is looked for when none is named.
pub const DEFAULT_CONFIG: &str = "/etc/hostd/hostd.toml";
/// Where the daemon answers when the configuration names no place.
pub const DEFAULT_SOCKET: &str = "/run/hostd/admin.sock";
/// Where programs, maps and links are pinned when the configuration names no place.
pub const DEFAULT_PIN_PATH: &str = "/sys/fs/bpf/hostd";
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
}

impl Settings {
    /// Reads and checks a configuration file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        load_checked(path, check::settings)
    }

    /// Like [`Settings::load`], of text; `origin` is the name that errors show.
    #[cfg(test)]
    pub fn parse(origin: &str, text: &str) -> Result<Self, ConfigError> {
        slr_daemon::config::parse_checked(origin, text, check::settings)
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
