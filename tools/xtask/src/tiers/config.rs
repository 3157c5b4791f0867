//! The daemons' configurations for `two-tiers`, as an operator would write them.

use std::fmt::Write;

use anyhow::{Context, Result};

use super::{SUBNETS, Tiers};

/// Where a node is, and with whom it connects.
pub struct Place {
    pub role: &'static str,
    interface: &'static str,
    addresses: [&'static str; 2],
    /// Outer sources; hosts have none.
    sources: Option<[&'static str; 2]>,
    parents: &'static [&'static str],
    peers: &'static [&'static str],
}

impl Place {
    /// What its certificate says of tunnels.
    pub fn claims(&self) -> Vec<String> {
        let [v4, v6] = self.addresses;
        let own = [format!("{v4}/32"), format!("{v6}/128")];
        own.into_iter().chain(self.sources.into_iter().flatten().map(str::to_owned)).collect()
    }
}

/// The topology file has the plan.
pub fn place(node: &str) -> Option<Place> {
    let router = |role, interface, addresses, sources, parents, peers| Place {
        role,
        interface,
        addresses,
        sources: Some(sources),
        parents,
        peers,
    };
    let host = |interface, addresses, parents| Place {
        role: "host",
        interface,
        addresses,
        sources: None,
        parents,
        peers: &[],
    };
    Some(match node {
        "as1" => {
            let sources = ["10.9.255.0/24", "fd00:9:ff::/64"];
            router("as", "to-internet", ["10.9.1.2", "fd00:9:1::2"], sources, &[], &[])
        }
        "slr1" => {
            let sources = ["10.1.254.0/24", "fd00:1:fe::/64"];
            router("site", "to-site_a", ["10.1.1.2", "fd00:1:1::2"], sources, &["as1"], &["slr2"])
        }
        "slr2" => {
            let sources = ["10.1.255.0/24", "fd00:1:ff::/64"];
            router("site", "to-site_a", ["10.1.2.2", "fd00:1:2::2"], sources, &["as1"], &["slr1"])
        }
        "slr3" => {
            let sources = ["10.2.255.0/24", "fd00:2:ff::/64"];
            router("site", "to-site_b", ["10.2.1.2", "fd00:2:1::2"], sources, &["as1"], &[])
        }
        "h1" => host("to-site_a", ["10.1.11.2", "fd00:1:11::2"], &["slr1", "slr2"]),
        "h2" => host("to-site_a", ["10.1.12.2", "fd00:1:12::2"], &["slr1", "slr2"]),
        "h3" => host("to-site_b", ["10.2.11.2", "fd00:2:11::2"], &["slr3"]),
        _ => return None,
    })
}

fn listening(place: &Place) -> String {
    format!("[\"{}:6100\", \"[{}]:6100\"]", place.addresses[0], place.addresses[1])
}

/// A node's configuration.
pub fn text(tiers: &Tiers, node: &str) -> Result<String> {
    let place = place(node).with_context(|| format!("{node} has no daemon"))?;
    let mut text = format!(
        "[tunnel]\naddresses = {:?}\n{}\n[admin]\nsocket = {:?}\n\n[dataplane]\ninterfaces = [{:?}]\nxdp = \"native\"\n\
         pin_path = {:?}\n",
        place.addresses,
        place.sources.map(|sources| format!("sources = {sources:?}\n")).unwrap_or_default(),
        tiers.socket(node),
        place.interface,
        tiers.lab.pin_dir(node),
    );
    match place.sources {
        Some(_) => router(&mut text, node, &place),
        None => {
            let cgroup = tiers.lab.cgroup_dir(node)?;
            let _ = write!(
                text,
                "cgroup = {cgroup:?}\n\n[host]\nname = \"{node}\"\n\n[drain]\non_stop_s = 0\n\n[control]\n"
            );
        }
    }
    let files = tiers.authority.files(node);
    let _ = writeln!(
        text,
        "{}state_dir = {:?}",
        if place.sources.is_some() { files.router_toml() } else { files.toml() },
        tiers.lab.dir().join(format!("{node}-state"))
    );
    for (kind, names) in [("parent", place.parents), ("peer", place.peers)] {
        for name in names {
            let address = listening(&self::place(name).context("a neighbour")?);
            let _ = write!(text, "\n[[{kind}]]\nname = \"{name}\"\naddresses = {address}\n");
        }
    }
    for (net, name) in SUBNETS.iter().zip(["web4", "web6"]) {
        let _ = write!(text, "\n[[subnet]]\nname = \"{name}\"\nprefix = \"{net}\"\n");
        if place.sources.is_none() {
            let _ = write!(
                text,
                "\n[[service]]\nsubnet = \"{name}\"\nservice = \"tcp/80\"\ncheck = {{ kind = \"http\", path = \"/who\" }}\n"
            );
        }
    }
    if place.sources.is_none() {
        let command = format!("[\"/bin/cat\", {:?}]", tiers.load_path(node));
        let _ =
            write!(text, "\n[[load]]\nname = \"set\"\nsource = \"command\"\ncommand = {command}\ninterval_ms = 300\n");
    }
    Ok(text)
}

fn router(text: &mut String, node: &str, place: &Place) {
    // The AS is to follow the sites' weights exactly, and to show the loads all the same; the sites follow loads.
    let policy = match place.role {
        "as" => "cost = \"(1.0 + 0.0 * load) / weight\"\nbudget = 1.0\nslow_start_s = 0\n",
        _ => "cost = \"max(load, 0.1) / weight\"\nslow_start_s = 0\n",
    };
    let _ = write!(
        text,
        "flows_per_family = 100000\n\n[node]\nname = \"{node}\"\ntier = \"{}\"\n\n[policy]\n{policy}\n[control]\nlisten = {}\n",
        place.role,
        listening(place)
    );
}
