//! The daemons' configurations for a pair, as an operator would write them.

use std::fmt::Write;

use anyhow::Result;

use super::{HOSTS, Kind, Pair, SLRS, SUBNETS};

/// Services of each subnet: nginx, the UDP echo, and whatever else a test starts.
pub const SERVICES: usize = 3;

/// What a host's load is to each SLR of `two-slr`, as two clusters would see it whose clients ask for different things. Weights
/// are the inverse: each gives the host that it sees least of 4 of 7 flows, the other cluster gives it 1.
pub fn load_seen(slr: &str, host: &str) -> f64 {
    let place = HOSTS.iter().position(|other| *other == host).expect("a host");
    let loads = [1.0, 0.5, 0.25];
    if slr == SLRS[0] { loads[place] } else { loads[HOSTS.len() - 1 - place] }
}

/// Equal shares in a cluster; two clusters go by what each sees.
pub fn cost(kind: Kind, slr: &str) -> String {
    if kind.is_apart() { format!("loads.seen_by_{slr}") } else { "1.0 / weight".to_owned() }
}

fn number(node: &str) -> &str {
    node.trim_start_matches(|c: char| c.is_ascii_alphabetic())
}

/// A node's own addresses.
fn addresses(node: &str) -> [String; 2] {
    let site = if SLRS.contains(&node) { "" } else { "1" };
    let number = number(node);
    [format!("10.1.{site}{number}.2"), format!("fd00:1:{site}{number}::2")]
}

/// Outer sources of an SLR.
fn sources(slr: &str) -> [String; 2] {
    let (v4, v6) = if slr == SLRS[0] { (254, "fe") } else { (255, "ff") };
    [format!("10.1.{v4}.0/24"), format!("fd00:1:{v6}::/64")]
}

/// What its certificate says of tunnels.
pub fn claims(node: &str) -> Vec<String> {
    let [v4, v6] = addresses(node);
    let own = [format!("{v4}/32"), format!("{v6}/128")].into_iter();
    if SLRS.contains(&node) { own.chain(sources(node)).collect() } else { own.collect() }
}

fn listening(slr: &str) -> String {
    let [v4, v6] = addresses(slr);
    format!("[\"{v4}:6100\", \"[{v6}]:6100\"]")
}

fn neighbour(kind: &str, name: &str) -> String {
    format!("\n[[{kind}]]\nname = \"{name}\"\naddresses = {}\n", listening(name))
}

/// A node's configuration.
pub fn text(pair: &Pair, node: &str) -> Result<String> {
    let mut text = if SLRS.contains(&node) { router(pair, node) } else { hostd(pair, node)? };
    text += pair.options.tables.get(node).map_or("", String::as_str);
    Ok(text)
}

fn router(pair: &Pair, slr: &str) -> String {
    let mut text = format!(
        "[node]\nname = \"{slr}\"\n\n[tunnel]\naddresses = {:?}\nsources = {:?}\n\n[dataplane]\n\
         interfaces = [\"to-internet\"]\nxdp = \"native\"\npin_path = {:?}\nflows_per_family = 100000\n\n[admin]\n\
         socket = {:?}\n\n[policy]\ncost = \"{}\"\nbudget = 1.0\nslow_start_s = 0\n\n[control]\nlisten = {}\n\
         {}state_dir = {:?}\n\n[announce]\n{}\n",
        addresses(slr),
        sources(slr),
        pair.lab.pin_dir(slr),
        pair.socket(slr),
        cost(pair.options.kind, slr),
        listening(slr),
        pair.authority.files(slr).router_toml(),
        pair.lab.dir().join(format!("{slr}-state")),
        pair.options.announce,
    );
    let apart = pair.options.kind.is_apart();
    for other in SLRS.into_iter().filter(|other| *other != slr) {
        text += &neighbour(if apart { "neighbour" } else { "peer" }, other);
    }
    for (name, subnet) in ["web4", "web6"].iter().zip(SUBNETS) {
        let _ = write!(text, "\n[[subnet]]\nname = \"{name}\"\nprefix = \"{subnet}\"\n");
        if apart {
            // Where a flow's first SLR has placed it by another ring, its datagrams have to be searched for, too; and where the
            // slot has never had its host, asked about.
            text += "orphan = \"search-udp\"\n";
        }
    }
    text
}

fn hostd(pair: &Pair, host: &str) -> Result<String> {
    let apart = pair.options.kind.is_apart();
    let mut text = format!(
        "[host]\nname = \"{host}\"\n{}\n[tunnel]\naddresses = {:?}\n\n[dataplane]\ninterfaces = [\"to-site\"]\n\
         xdp = \"native\"\npin_path = {:?}\ncgroup = {:?}\n\n[admin]\nsocket = {:?}\n\n[drain]\non_stop_s = 0\n\n[control]\n\
         {}state_dir = {:?}\n",
        if apart { "load = \"0.5\"\n" } else { "" },
        addresses(host),
        pair.lab.pin_dir(host),
        pair.lab.cgroup_dir(host)?,
        pair.socket(host),
        pair.authority.files(host).toml(),
        pair.lab.dir().join(format!("{host}-state")),
    );
    for slr in SLRS {
        text += &neighbour("parent", slr);
        if apart {
            let load = load_seen(slr, host);
            let _ = write!(
                text,
                "\n[[load]]\nname = \"seen_by_{slr}\"\nsource = \"command\"\ncommand = [\"/bin/echo\", \"{load}\"]\n"
            );
        }
    }
    let checks = [
        ("tcp/80", r#"{ kind = "http", path = "/who" }"#),
        ("udp/7", r#"{ kind = "udp", send = "well?", expect = "well?", interval_ms = 1000, timeout_ms = 1000 }"#),
    ];
    for (name, subnet) in ["web4", "web6"].iter().zip(SUBNETS) {
        let _ = write!(
            text,
            "\n[[subnet]]\nname = \"{name}\"\nprefix = \"{subnet}\"\n\n[[service]]\nsubnet = \"{name}\"\n"
        );
        for (service, check) in checks {
            let _ = write!(text, "\n[[service]]\nsubnet = \"{name}\"\nservice = \"{service}\"\ncheck = {check}\n");
        }
    }
    Ok(text)
}
