//! What TOML's types cannot say about a topology.

use super::{End, Link, Node, Service, Topology, shipped_file};
use crate::lab::{parse_listen, parse_size};
use std::collections::BTreeSet;

/// `to-` and this many characters are the 15 of an interface name.
const NODE_NAME_MAX: usize = 12;
const INTERFACE_NAME_MAX: usize = 15;
/// A delay beyond is a mistake in the unit.
const DELAY_MS_MAX: f64 = 60_000.0;
/// IPv4's minimum (RFC 791); IPv6 asks for 1280, which is the topology's own business.
const MTU_MIN: u16 = 68;

/// The first thing found that contradicts itself, in words.
pub(super) fn contradiction(topology: &Topology) -> Option<String> {
    let shared = topology.services.iter().find_map(|service| bad_service(service).map(|what| (service, what)));
    if let Some((service, what)) = shared {
        return Some(format!("service {:?}: {what}", service.name));
    }
    if let Some(name) = first_double(topology.services.iter().map(|service| service.name.as_str())) {
        return Some(format!("two services are named {name:?}"));
    }
    if let Some(name) = first_double(topology.nodes.iter().map(|node| node.name.as_str())) {
        return Some(format!("two nodes are named {name:?}"));
    }
    for node in &topology.nodes {
        if let Some(what) = bad_node(topology, node) {
            return Some(format!("node {:?}: {what}", node.name));
        }
    }
    topology.links.iter().find_map(|link| bad_link(topology, link).map(|what| format!("link {}: {what}", link.name())))
}

fn bad_node(topology: &Topology, node: &Node) -> Option<String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if node.name.is_empty() || node.name.len() > NODE_NAME_MAX || !node.name.chars().all(allowed) || node.name == "emu"
    {
        return Some(format!("a name is 1 to {NODE_NAME_MAX} of a-z, 0-9 and _, and not \"emu\""));
    }
    if let Some(name) = node.services.iter().find(|name| !topology.services.iter().any(|s| s.name == **name)) {
        return Some(format!("no [[service]] is named {name:?}"));
    }
    if let Some(name) = first_double(topology.services_of(node).map(|service| service.name.as_str())) {
        return Some(format!("two of its services are named {name:?}"));
    }
    if let Some(key) = node.sysctl.keys().find(|key| key.contains("..") || key.contains('/')) {
        return Some(format!("{key:?} is not a sysctl such as net.ipv4.ip_forward"));
    }
    let ends = topology.links.iter().flat_map(|link| [&link.a, &link.b].into_iter().zip(link.interfaces()));
    let interfaces: Vec<String> = ends.filter(|(end, _)| end.node == node.name).map(|(_, name)| name).collect();
    if let Some(name) = first_double(interfaces.iter().map(String::as_str)) {
        return Some(format!("two of its interfaces are named {name:?}; give one `interface = …`"));
    }
    node.own_services
        .iter()
        .find_map(|service| bad_service(service).map(|w| format!("service {:?}: {w}", service.name)))
}

fn bad_link(topology: &Topology, link: &Link) -> Option<String> {
    for end in [&link.a, &link.b] {
        if topology.node(&end.node).is_none() {
            return Some(format!("there is no node {:?}", end.node));
        }
        if let Some(what) = bad_interface(end) {
            return Some(what);
        }
    }
    if link.a.node == link.b.node {
        return Some("its two ends are the same node".to_owned());
    }
    if link.mtu < MTU_MIN {
        return Some(format!("mtu = {} is below IPv4's {MTU_MIN}", link.mtu));
    }
    if !(0.0..=DELAY_MS_MAX).contains(&link.delay_ms) {
        return Some(format!("delay_ms = {} is not between 0 and {DELAY_MS_MAX}", link.delay_ms));
    }
    if !(0.0..=100.0).contains(&link.loss_percent) {
        return Some(format!("loss_percent = {} is not between 0 and 100", link.loss_percent));
    }
    if !(link.rate_mbit.is_finite() && link.rate_mbit >= 0.0) {
        return Some(format!("rate_mbit = {} is not a rate", link.rate_mbit));
    }
    if link.direct && (link.delay_ms != 0.0 || link.loss_percent != 0.0 || link.rate_mbit != 0.0) {
        return Some("a direct link has no emulator, so no delay, loss or rate".to_owned());
    }
    None
}

fn bad_interface(end: &End) -> Option<String> {
    let name = end.interface.as_deref()?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let good = !name.is_empty() && name.len() <= INTERFACE_NAME_MAX && name.chars().all(allowed) && name != "lo";
    (!good).then(|| format!("interface = {name:?} is not 1 to {INTERFACE_NAME_MAX} letters, digits, - and _"))
}

fn bad_service(service: &Service) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if service.name.is_empty() || !service.name.chars().all(allowed) {
        return Some("a name is letters, digits, - and _".to_owned());
    }
    if service.command.is_empty() {
        return Some("its command is empty".to_owned());
    }
    let paths =
        service.files.keys().chain(service.shipped.keys()).chain(service.sparse.keys()).chain(&service.directories);
    if let Some(path) = paths.into_iter().find(|path| path.starts_with('/') || path.split('/').any(|part| part == ".."))
    {
        return Some(format!("the path {path:?} leaves the service's directory"));
    }
    if let Some(name) = service.shipped.values().find(|name| shipped_file(name).is_none()) {
        return Some(format!("no file {name:?} is shipped"));
    }
    if let Some(size) = service.sparse.values().find(|size| parse_size(size).is_none()) {
        return Some(format!("{size:?} is not a size such as \"100M\""));
    }
    let listen = service.listens.iter().find(|listen| parse_listen(listen).is_none())?;
    Some(format!("{listen:?} is not a listening port such as \"tcp4:80\" or \"udp6:7\""))
}

fn first_double<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = BTreeSet::new();
    names.into_iter().find(|name| !seen.insert(*name))
}
