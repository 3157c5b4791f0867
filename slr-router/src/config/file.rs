//! The configuration file as it is written: names, nesting and types, before anything is checked across fields.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;
use slr_model::{
    ClassName, EchoPolicy, KeyMask, NodeName, OrphanPolicy, PlacementPolicy, Service, Tier, VirtualSubnet,
};
use toml::Spanned;

use super::announce::OnStop;

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
    pub control: Option<Spanned<Control>>,
    #[serde(default)]
    pub peer: Vec<Neighbour>,
    #[serde(default)]
    pub parent: Vec<Neighbour>,
    #[serde(default)]
    pub neighbour: Vec<Neighbour>,
    #[serde(default)]
    pub keepalive: Keepalive,
    pub announce: Option<Spanned<Announce>>,
    #[serde(default)]
    pub policy: Policy,
    #[serde(default)]
    pub metrics: Metrics,
    #[serde(default)]
    pub api: slr_daemon::api::File,
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
    pub cost: Option<Spanned<String>>,
    pub policy: Option<PlacementPolicy>,
    pub aggregate: Option<Spanned<String>>,
    #[serde(default)]
    pub class: Vec<Class>,
    #[serde(default)]
    pub rule: Vec<Spanned<Rule>>,
}

/// `[[subnet.class]]`: some of its clients.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    pub name: Spanned<ClassName>,
    pub clients: Spanned<Vec<Spanned<IpNet>>>,
}

/// `[[subnet.rule]]`: packets of a class, or to some ports, that are placed by a rule of their own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub class: Option<Spanned<ClassName>>,
    #[serde(default)]
    pub services: Vec<Spanned<Service>>,
    pub hosts: Option<Spanned<Vec<Spanned<NodeName>>>>,
    pub cost: Option<Spanned<String>>,
    pub policy: Option<PlacementPolicy>,
    pub key_mask: Option<KeyMask>,
}

/// `[control]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    pub listen: Spanned<Vec<Spanned<SocketAddr>>>,
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub crl: Option<PathBuf>,
    pub state_dir: Option<PathBuf>,
    pub advert_interval_ms: Option<Spanned<u64>>,
    pub silent_after_ms: Option<Spanned<u64>>,
    pub vanish_window_ms: Option<Spanned<u64>>,
    pub adopt_hold_s: Option<Spanned<u64>>,
    pub forget_after_s: Option<Spanned<u64>>,
    pub ask_others: Option<bool>,
    pub flow_secret: Option<Spanned<PathBuf>>,
    pub flow_key_rotation_s: Option<Spanned<u64>>,
}

/// `[[peer]]`, `[[parent]]` and `[[neighbour]]`: another router.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Neighbour {
    pub name: Spanned<NodeName>,
    pub addresses: Spanned<Vec<SocketAddr>>,
}

/// `[keepalive]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keepalive {
    pub interval_ms: Option<Spanned<u64>>,
    pub reply_wait_ms: Option<Spanned<u64>>,
    pub lost_after: Option<Spanned<u64>>,
}

/// `[policy]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    pub cost: Option<Spanned<String>>,
    pub policy: PlacementPolicy,
    pub aggregate: Option<Spanned<String>>,
    pub interval_ms: Option<Spanned<u64>>,
    pub smoothing: Option<Spanned<f64>>,
    pub load_lag_ms: Option<Spanned<u64>>,
    pub step: Option<Spanned<f64>>,
    pub hysteresis: Option<Spanned<f64>>,
    pub budget: Option<Spanned<f64>>,
    pub slow_start_s: Option<Spanned<u64>>,
    pub slow_start_from: Option<Spanned<f64>>,
}

/// `[metrics]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    pub listen: Option<Spanned<String>>,
}

/// `[announce]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Announce {
    pub table: Option<Spanned<u64>>,
    pub protocol: Option<Spanned<u64>>,
    pub metric: Option<Spanned<u64>>,
    pub metric_lowered: Option<Spanned<u64>>,
    pub announce_after_ms: Option<Spanned<u64>>,
    pub withdraw_after_ms: Option<Spanned<u64>>,
    pub lowered_ms: Option<Spanned<u64>>,
    pub on_stop: OnStop,
    pub away_s: Option<Spanned<u64>>,
    pub mark: Option<PathBuf>,
}
