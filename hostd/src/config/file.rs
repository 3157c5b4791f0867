//! The configuration file as it is written: names, nesting and types, before anything is checked across fields.

mod service;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;
use slr_dataplane::host::XdpMode;
use slr_model::{NodeName, VirtualSubnet};
use toml::Spanned;

pub use service::{Check, CheckKind, Load, Service, SourceKind};

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub host: Host,
    pub tunnel: Tunnel,
    pub dataplane: Dataplane,
    #[serde(default)]
    pub admin: Admin,
    pub control: Option<Spanned<Control>>,
    #[serde(default)]
    pub parent: Vec<Parent>,
    #[serde(default)]
    pub drain: Drain,
    #[serde(default)]
    pub metrics: Metrics,
    #[serde(default)]
    pub api: slr_daemon::api::File,
    #[serde(default)]
    pub echo: Echo,
    #[serde(default)]
    pub router: Vec<Router>,
    #[serde(default)]
    pub site_host: Vec<SiteHost>,
    #[serde(default)]
    pub subnet: Vec<Subnet>,
    #[serde(default)]
    pub service: Vec<Service>,
    #[serde(default)]
    pub load: Vec<Load>,
}

/// `[host]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    pub name: NodeName,
    pub load: Option<Spanned<String>>,
}

/// `[tunnel]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tunnel {
    pub addresses: Spanned<Vec<Spanned<IpAddr>>>,
    pub path_mtu: Option<Spanned<u16>>,
    pub chain_headers: Option<Spanned<u8>>,
}

/// How XDP is attached.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Xdp {
    /// In the driver where it can, else in the stack.
    #[default]
    Auto,
    /// In the driver, or not at all.
    Native,
    /// In the stack: any device, at a third of the speed.
    Generic,
}

impl From<Xdp> for XdpMode {
    fn from(xdp: Xdp) -> Self {
        match xdp {
            Xdp::Auto => Self::Auto,
            Xdp::Native => Self::Native,
            Xdp::Generic => Self::Generic,
        }
    }
}

/// `[dataplane]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dataplane {
    pub interfaces: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    pub xdp: Xdp,
    pub pin_path: Option<Spanned<PathBuf>>,
    pub cgroup: Option<Spanned<PathBuf>>,
}

/// `[admin]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    pub socket: PathBuf,
}

impl Default for Admin {
    fn default() -> Self {
        Self { socket: super::DEFAULT_SOCKET.into() }
    }
}

/// `[[router]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Router {
    pub name: Spanned<NodeName>,
    pub prefixes: Spanned<Vec<Spanned<IpNet>>>,
}

/// `[[site_host]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteHost {
    pub name: Spanned<NodeName>,
    pub addresses: Spanned<Vec<Spanned<IpAddr>>>,
}

/// `[[subnet]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subnet {
    pub name: Spanned<String>,
    pub prefix: Spanned<VirtualSubnet>,
    pub interface: Option<Spanned<String>>,
    pub stall_ms: Option<Spanned<u64>>,
}

/// `[control]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub crl: Option<PathBuf>,
    pub state_dir: Option<PathBuf>,
}

/// `[[parent]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    pub name: Spanned<NodeName>,
    pub addresses: Spanned<Vec<SocketAddr>>,
}

/// `[drain]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    pub on_stop_s: Option<Spanned<u64>>,
    pub settle_ms: Option<Spanned<u64>>,
}

/// `[echo]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Echo {
    pub per_client_s: Option<Spanned<u64>>,
    pub per_host_s: Option<Spanned<u64>>,
}

/// `[metrics]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    pub listen: Option<Spanned<String>>,
}
