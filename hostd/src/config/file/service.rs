//! `[[service]]` and `[[load]]` as they are written. Which fields go with which kind is checked later, where the complaint can
//! point at the field.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;

use serde::Deserialize;
use slr_model::Weight;
use toml::Spanned;

use crate::load::{Resource, Share};

/// `[[service]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    pub subnet: Spanned<String>,
    pub service: Option<Spanned<slr_model::Service>>,
    #[serde(default)]
    pub weight: Weight,
    pub load: Option<Spanned<String>>,
    pub check: Option<Spanned<Check>>,
}

/// What a check tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckKind {
    Tcp,
    Http,
    Udp,
    Command,
}

/// `[service.check]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    pub kind: CheckKind,
    pub address: Option<Spanned<IpAddr>>,
    pub port: Option<Spanned<NonZeroU16>>,
    pub path: Option<Spanned<String>>,
    pub host: Option<Spanned<String>>,
    pub status: Option<Spanned<Vec<u16>>>,
    pub send: Option<Spanned<String>>,
    pub send_hex: Option<Spanned<String>>,
    pub expect: Option<Spanned<String>>,
    pub expect_hex: Option<Spanned<String>>,
    pub command: Option<Spanned<Vec<String>>>,
    pub interval_ms: Option<Spanned<u64>>,
    pub timeout_ms: Option<Spanned<u64>>,
    pub rise: Option<Spanned<u64>>,
    pub fall: Option<Spanned<u64>>,
}

/// Where a load value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    Cpu,
    Pressure,
    Connections,
    Command,
    Http,
}

/// `[[load]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    pub name: Spanned<slr_model::LoadName>,
    pub source: SourceKind,
    pub cgroup: Option<Spanned<PathBuf>>,
    pub cpus: Option<Spanned<f64>>,
    pub resource: Option<Spanned<Resource>>,
    pub share: Option<Spanned<Share>>,
    pub command: Option<Spanned<Vec<String>>>,
    pub url: Option<Spanned<String>>,
    pub pointer: Option<Spanned<String>>,
    pub interval_ms: Option<Spanned<u64>>,
    pub timeout_ms: Option<Spanned<u64>>,
    pub stale_after_ms: Option<Spanned<u64>>,
}
