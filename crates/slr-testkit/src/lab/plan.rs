//! From a topology to command lines, without running any: what `ip` is asked to do and which kernel settings are made.

use crate::emulator::LinkConfig;
use crate::topology::{End, Link, Node, Topology};
use std::fmt::Write;
use std::path::Path;

/// The name of the namespace and cgroup of the link emulator.
pub(super) const EMULATOR_NODE: &str = "emu";

/// Settings before any interface exists, because interfaces copy them: no spoof filter (replies leave by other ways than
/// requests come), no duplicate address detection (addresses are usable at once), nothing learnt or sent unasked.
const DEFAULTS: [(&str, &str); 10] = [
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.default.rp_filter", "0"),
    ("net.ipv4.conf.all.send_redirects", "0"),
    ("net.ipv4.conf.default.send_redirects", "0"),
    ("net.ipv6.conf.all.accept_dad", "0"),
    ("net.ipv6.conf.default.accept_dad", "0"),
    ("net.ipv6.conf.default.dad_transmits", "0"),
    ("net.ipv6.conf.all.accept_ra", "0"),
    ("net.ipv6.conf.default.accept_ra", "0"),
    ("net.ipv6.conf.default.router_solicitations", "0"),
];
const FORWARDING: [(&str, &str); 3] =
    [("net.ipv4.ip_forward", "1"), ("net.ipv6.conf.all.forwarding", "1"), ("net.ipv6.conf.default.forwarding", "1")];
/// The emulator's ends only carry frames: without IPv6 they do not speak up themselves.
const EMULATOR_SETTINGS: [(&str, &str); 2] =
    [("net.ipv6.conf.all.disable_ipv6", "1"), ("net.ipv6.conf.default.disable_ipv6", "1")];

/// `ip` lines for the namespaces, run outside of any.
pub(super) fn namespaces(topology: &Topology, run: &str) -> String {
    lines(super::state::all_netns(topology).map(|node| format!("netns add {run}-{node}")))
}

/// `ip` lines for the veth pairs, run outside; both ends are born in their namespaces.
pub(super) fn cables(topology: &Topology, run: &str) -> String {
    let emulator = format!("{run}-{EMULATOR_NODE}");
    let mut text = String::new();
    for (index, link) in topology.links.iter().enumerate() {
        let [a, b] = link.interfaces();
        let (near_a, near_b) = (format!("{run}-{}", link.a.node), format!("{run}-{}", link.b.node));
        let mac = |end: u8| format!("02:51:{:02x}:{:02x}:00:{end:02x}", index >> 8 & 0xff, index & 0xff);
        let mtu = link.mtu;
        let mut cable = |name: &str, mac: &str, namespace: &str, peer: &str, peer_mac: &str, peer_namespace: &str| {
            let peer = format!("peer name {peer}{peer_mac} mtu {mtu} netns {peer_namespace}");
            let _ = writeln!(text, "link add name {name} address {mac} mtu {mtu} netns {namespace} type veth {peer}");
        };
        if link.direct {
            cable(&a, &mac(0xa), &near_a, &b, &format!(" address {}", mac(0xb)), &near_b);
        } else {
            let [emu_a, emu_b] = emulator_interfaces(index);
            cable(&a, &mac(0xa), &near_a, &emu_a, "", &emulator);
            cable(&b, &mac(0xb), &near_b, &emu_b, "", &emulator);
        }
    }
    text
}

/// `ip` lines inside a node's namespace: interfaces up, addresses, routes.
pub(super) fn inside_node(topology: &Topology, node: &Node, pass_pin: &Path) -> String {
    let mut text = String::from("link set lo up\n");
    for (end, interface, _) in ends_of(topology, &node.name) {
        if end.xdp_pass {
            let _ = writeln!(text, "link set dev {interface} xdpdrv pinned {}", pass_pin.display());
        }
        let _ = writeln!(text, "link set {interface} up");
        for address in &end.addresses {
            let nodad = if address.addr().is_ipv6() { " nodad" } else { "" };
            let _ = writeln!(text, "address add {address} dev {interface}{nodad}");
        }
    }
    for route in &node.routes {
        let _ = writeln!(text, "route add {route}");
    }
    text
}

/// `ip` lines inside the emulator's namespace.
pub(super) fn inside_emulator(topology: &Topology, pass_pin: &Path) -> String {
    let pin = pass_pin.display();
    lines(all_emulator_interfaces(topology).flat_map(|interface| {
        [format!("link set dev {interface} xdpdrv pinned {pin}"), format!("link set {interface} up")]
    }))
}

/// Settings of a node before its interfaces exist.
pub(super) fn early_settings(node: &Node) -> Vec<(String, String)> {
    let forwarding = if node.forward { &FORWARDING[..] } else { &[] };
    DEFAULTS.iter().chain(forwarding).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(super) fn emulator_settings() -> Vec<(String, String)> {
    EMULATOR_SETTINGS.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The topology's own settings of a node, once its interfaces exist.
pub(super) fn late_settings(node: &Node) -> Vec<(String, String)> {
    node.sysctl.iter().map(|(key, value)| (key.clone(), value.to_string())).collect()
}

/// The ends at a node: end, interface name, other end's node.
pub(super) fn ends_of<'a>(topology: &'a Topology, node: &'a str) -> impl Iterator<Item = (&'a End, String, &'a str)> {
    let ends = topology.links.iter().flat_map(|link| {
        let [a, b] = link.interfaces();
        [(&link.a, a, link.b.node.as_str()), (&link.b, b, link.a.node.as_str())]
    });
    ends.filter(move |(end, ..)| end.node == node)
}

/// What the emulator is to emulate.
pub(super) fn emulated_links(topology: &Topology) -> Vec<LinkConfig> {
    let emulated = topology.links.iter().enumerate().filter(|(_, link)| !link.direct);
    let config = |(index, link): (usize, &Link)| {
        let [a, b] = emulator_interfaces(index);
        LinkConfig { a: (link.a.node.clone(), a), b: (link.b.node.clone(), b), shape: link.shape() }
    };
    emulated.map(config).collect()
}

/// The emulator's interfaces of the `index`th link of the topology.
pub(super) fn emulator_interfaces(index: usize) -> [String; 2] {
    [format!("l{index}a"), format!("l{index}b")]
}

pub(super) fn all_emulator_interfaces(topology: &Topology) -> impl Iterator<Item = String> {
    let emulated = topology.links.iter().enumerate().filter(|(_, link)| !link.direct);
    emulated.flat_map(|(index, _)| emulator_interfaces(index))
}

fn lines(items: impl Iterator<Item = String>) -> String {
    items.fold(String::new(), |text, line| text + &line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"
        name = "two"
        [[node]]
        name = "a"
        routes = ["default via 10.9.0.2", "default via fd09::2"]
        [[node]]
        name = "b"
        forward = true
        [[link]]
        a = { node = "a", addresses = ["10.9.0.1/24", "fd09::1/64"] }
        b = { node = "b", xdp_pass = true }
        mtu = 1400
    "#;

    #[test]
    fn an_emulated_link_is_two_cables_born_in_their_namespaces() {
        let two = Topology::parse("two", TWO).unwrap();
        let expected = "\
link add name to-b address 02:51:00:00:00:0a mtu 1400 netns r-a type veth peer name l0a mtu 1400 netns r-emu
link add name to-a address 02:51:00:00:00:0b mtu 1400 netns r-b type veth peer name l0b mtu 1400 netns r-emu
";
        assert_eq!(cables(&two, "r"), expected);
        assert_eq!(namespaces(&two, "r"), "netns add r-a\nnetns add r-b\nnetns add r-emu\n");
        assert_eq!(emulated_links(&two).len(), 1);
    }

    #[test]
    fn a_direct_link_is_one_cable() {
        let text = TWO.replace("mtu = 1400", "direct = true");
        let two = Topology::parse("two", &text).unwrap();
        let expected = "link add name to-b address 02:51:00:00:00:0a mtu 1500 netns r-a type veth \
                        peer name to-a address 02:51:00:00:00:0b mtu 1500 netns r-b\n";
        assert_eq!(cables(&two, "r"), expected);
        assert!(emulated_links(&two).is_empty() && inside_emulator(&two, Path::new("/p")).is_empty());
    }

    #[test]
    fn routes_come_last_when_their_next_hops_are_reachable() {
        let two = Topology::parse("two", TWO).unwrap();
        let expected = "\
link set lo up
link set to-b up
address add 10.9.0.1/24 dev to-b
address add fd09::1/64 dev to-b nodad
route add default via 10.9.0.2
route add default via fd09::2
";
        assert_eq!(inside_node(&two, &two.nodes[0], Path::new("/p")), expected);
        let expected = "link set lo up\nlink set dev to-a xdpdrv pinned /p\nlink set to-a up\n";
        assert_eq!(inside_node(&two, &two.nodes[1], Path::new("/p")), expected);
        assert!(early_settings(&two.nodes[1]).iter().any(|(key, _)| key == "net.ipv4.ip_forward"));
        assert!(!early_settings(&two.nodes[0]).iter().any(|(key, _)| key == "net.ipv4.ip_forward"));
    }
}
