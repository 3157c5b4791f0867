//! The hosts file: who serves which subnet, with what weight and in what state.
//!
//! A file of its own, so that a deployment tool can rewrite it and send SIGHUP without touching the configuration.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use serde::Deserialize;
use slr_daemon::config::{Complaint, ConfigError, load_checked};
use slr_model::{HopId, HostState, MacAddr, NodeName, VirtualSubnet, Weight};
use toml::Spanned;

use crate::config::{Settings, family, unusable};

/// A next hop, as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// Its name; placement is keyed on it.
    pub name: NodeName,
    /// Its tunnel address.
    pub address: IpAddr,
    /// Its MAC, if it is not to be asked for by ARP or neighbour discovery.
    pub mac: Option<MacAddr>,
    /// The subnets it serves.
    pub subnets: Vec<VirtualSubnet>,
    /// Its share of new flows.
    pub weight: Weight,
    /// Whether it takes new flows, keeps what it has, or neither.
    pub state: HostState,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    host: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Spanned<NodeName>,
    address: Spanned<IpAddr>,
    mac: Option<Spanned<MacAddr>>,
    subnets: Vec<Spanned<String>>,
    #[serde(default)]
    weight: Weight,
    #[serde(default)]
    state: HostState,
}

/// Reads and checks a hosts file against the configuration that it belongs to.
pub fn load(path: &Path, settings: &Settings) -> Result<Vec<Host>, ConfigError> {
    load_checked(path, |file| check(file, settings))
}

/// Like [`load`], of text; `origin` is the name that errors show.
#[cfg(any(test, fuzzing))]
pub fn parse(origin: &str, text: &str, settings: &Settings) -> Result<Vec<Host>, ConfigError> {
    slr_daemon::config::parse_checked(origin, text, |file| check(file, settings))
}

fn check(file: File, settings: &Settings) -> Result<Vec<Host>, Vec<Complaint>> {
    let mut found = Vec::new();
    duplicates(&file.host, &mut found);
    let hosts = file.host.iter().map(|entry| host(entry, settings, &mut found)).collect();
    if found.is_empty() { Ok(hosts) } else { Err(found) }
}

fn duplicates(entries: &[Entry], found: &mut Vec<Complaint>) {
    let (mut names, mut addresses) = (BTreeSet::new(), BTreeMap::new());
    for (index, entry) in entries.iter().enumerate() {
        let (name, address) = (entry.name.get_ref(), entry.address.get_ref());
        if !names.insert(name) {
            found.push(Complaint::new(
                entry.name.span(),
                format!("two hosts are called {name}"),
                "give each its own name: flows are placed by it",
            ));
        }
        if let Some(first) = addresses.insert(address, name) {
            found.push(Complaint::new(
                entry.address.span(),
                format!("hosts {first} and {name} have the same address {address}"),
                "give each its own, or list all subnets in one entry",
            ));
        }
        if index == usize::from(HopId::MAX) {
            found.push(Complaint::new(
                entry.name.span(),
                format!("more than {} hosts", HopId::MAX),
                "the kernel's table holds no more; put a router of the next tier in front of them",
            ));
        }
    }
}

fn host(entry: &Entry, settings: &Settings, found: &mut Vec<Complaint>) -> Host {
    check_address(entry, settings, found);
    if let Some(mac) = &entry.mac
        && (mac.get_ref().is_multicast() || mac.get_ref().is_zero())
    {
        found.push(Complaint::new(
            mac.span(),
            format!("{} cannot be a host's MAC address", mac.get_ref()),
            "write the address of its interface, or leave the line out to have it resolved",
        ));
    }
    Host {
        name: entry.name.get_ref().clone(),
        address: *entry.address.get_ref(),
        mac: entry.mac.as_ref().map(|mac| *mac.get_ref()),
        subnets: served(entry, settings, found),
        weight: entry.weight,
        state: entry.state,
    }
}

fn check_address(entry: &Entry, settings: &Settings, found: &mut Vec<Complaint>) {
    let (name, address) = (entry.name.get_ref(), *entry.address.get_ref());
    let mut refuse =
        |message: String, remedy: String| found.push(Complaint::new(entry.address.span(), message, remedy));
    if let Some(why) = unusable(address) {
        refuse(format!("{address} cannot be the address of host {name}: {why}"), "write its tunnel address".into());
    } else if settings.tunnel_addresses.contains(&address) {
        refuse(
            format!("host {name} has this router's own tunnel address {address}"),
            "write the host's own address".into(),
        );
    } else if let Some(subnet) = settings.subnets.iter().find(|s| s.prefix.contains(address)) {
        refuse(
            format!(
                "the address of host {name}, {address}, lies in virtual subnet {} ({})",
                subnet.name, subnet.prefix
            ),
            "write the host's own address: a tunnel to a virtual address would come back here".into(),
        );
    } else if !settings.sources.iter().any(|net| net.addr().is_ipv4() == address.is_ipv4()) {
        let family = family(address);
        refuse(
            format!("host {name} is reached by {family}, but there is no {family} source prefix"),
            format!("add an {family} prefix to sources under [tunnel] in the router's configuration"),
        );
    }
}

/// The subnets that an entry names, by name or prefix.
fn served(entry: &Entry, settings: &Settings, found: &mut Vec<Complaint>) -> Vec<VirtualSubnet> {
    let mut served = Vec::new();
    for text in &entry.subnets {
        match find(text.get_ref(), settings) {
            None => found.push(Complaint::new(
                text.span(),
                format!("host {} serves {:?}, which is no subnet of this router", entry.name.get_ref(), text.get_ref()),
                known(settings),
            )),
            Some(prefix) if served.contains(&prefix) => {
                let message = format!("host {} lists {prefix} twice", entry.name.get_ref());
                found.push(Complaint::new(text.span(), message, "remove one"));
            }
            Some(prefix) => served.push(prefix),
        }
    }
    served
}

fn find(text: &str, settings: &Settings) -> Option<VirtualSubnet> {
    let named = |prefix: Option<VirtualSubnet>| {
        settings.subnets.iter().find(|s| s.name == text || Some(s.prefix) == prefix).map(|s| s.prefix)
    };
    named(text.parse().ok())
}

/// Subnets shown in a remedy: more would not be read.
const KNOWN_SHOWN: usize = 8;

fn known(settings: &Settings) -> String {
    let names: Vec<String> =
        settings.subnets.iter().take(KNOWN_SHOWN).map(|s| format!("{} ({})", s.name, s.prefix)).collect();
    match (names.is_empty(), settings.subnets.len() > KNOWN_SHOWN) {
        (true, _) => "add the subnet to the router's configuration first".into(),
        (false, more) => format!("write one of {}{}", names.join(", "), if more { ", …" } else { "" }),
    }
}
