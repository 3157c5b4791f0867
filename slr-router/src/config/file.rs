//! The configuration file as it is written: names, nesting and types, before anything is checked across fields.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;
use slr_model::{EchoPolicy, KeyMask, NodeName, OrphanPolicy, Service, Tier, VirtualSubnet};
use toml::Spanned;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub node: Node,
    pub hosts: Option<PathBuf>,
    #[serde(default)]
    pub tunnel: Tunnel,
    #[serde(default)]
    pub upstream: Vec<Upstream>,
    #[serde(default)]
    pub dataplane: Dataplane,
    #[serde(default)]
    pub admin: Admin,
    #[serde(default)]
    pub subnet: Vec<Subnet>,
}

/// `[node]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    pub name: NodeName,
    #[serde(default = "site")]
    pub tier: Tier,
}

fn site() -> Tier {
    Tier::Site
}

/// `[tunnel]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tunnel {
    pub addresses: Vec<Spanned<IpAddr>>,
    pub sources: Vec<Spanned<IpNet>>,
}

/// `[[upstream]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    pub name: Spanned<NodeName>,
    pub prefixes: Spanned<Vec<Spanned<IpNet>>>,
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

/// `[dataplane]`. Numbers are checked against their bounds later, hence the spans.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dataplane {
    pub interfaces: Vec<Spanned<String>>,
    pub xdp: Xdp,
    pub pin_path: Option<Spanned<PathBuf>>,
    pub flows_per_family: Option<Spanned<u64>>,
    pub new_flows_per_family: Option<Spanned<u64>>,
    pub seed: u64,
    pub promote_per_s: Option<Spanned<u64>>,
    pub promote_burst: Option<Spanned<u64>>,
    pub icmp_per_s: Option<Spanned<u64>>,
    pub icmp_burst: Option<Spanned<u64>>,
    pub pmtu_expiry_s: Option<Spanned<u64>>,
    pub pmtu_floor: Option<Spanned<u64>>,
    pub tcp_idle_s: Option<Spanned<u64>>,
    pub udp_idle_s: Option<Spanned<u64>>,
    pub closing_s: Option<Spanned<u64>>,
    pub unproven_s: Option<Spanned<u64>>,
    pub pressure_percent: Option<Spanned<u64>>,
}

/// `[admin]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    pub socket: Option<Spanned<PathBuf>>,
}

/// `[[subnet]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subnet {
    pub name: Spanned<String>,
    pub prefix: Spanned<VirtualSubnet>,
    #[serde(default)]
    pub account: u32,
    pub services: Option<Spanned<Vec<Spanned<Service>>>>,
    #[serde(default)]
    pub orphan: OrphanPolicy,
    #[serde(default)]
    pub echo: EchoPolicy,
    #[serde(default)]
    pub key_mask: KeyMask,
}
