//! Packet counters at a node of the lab: what really passed there, told by the kernel's netfilter and not by a program of
//! ours.

use anyhow::{Context, Result};
use slr_testkit::lab::Lab;

/// nft's sets of every virtual address of a site, by family.
pub const VIRTUAL_V4: &str = "{ 192.0.2.0/24, 198.51.100.0/24 }";
/// See [`VIRTUAL_V4`].
pub const VIRTUAL_V6: &str = "{ 2001:db8:100::/48, 2001:db8:200::/48 }";

/// Named counters of packets as they enter a node, before anything there has changed them.
#[derive(Debug)]
pub struct Watch<'a> {
    lab: &'a Lab,
    node: &'a str,
}

impl<'a> Watch<'a> {
    /// Count at a node; several rules (name, nft match) may feed one counter. One watch per node.
    pub fn start(lab: &'a Lab, node: &'a str, rules: &[(&str, String)]) -> Result<Self> {
        let mut table = String::from("table inet watch {\n");
        let mut names: Vec<&str> = rules.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            table.push_str(&format!("counter {name} {{}}\n"));
        }
        table.push_str("chain prerouting { type filter hook prerouting priority -300;\n");
        for (name, packets) in rules {
            table.push_str(&format!("{packets} counter name {name}\n"));
        }
        table.push_str("}\n}");
        lab.sh(node, &format!("echo '{table}' | nft --file -"))?;
        Ok(Self { lab, node })
    }

    /// The watch that was started at a node.
    pub fn at(lab: &'a Lab, node: &'a str) -> Self {
        Self { lab, node }
    }

    /// At the SLR: `replies` counts packets from virtual addresses, of which there should be none.
    pub fn way_back(lab: &'a Lab) -> Result<Self> {
        let rules = [("replies", format!("ip saddr {VIRTUAL_V4}")), ("replies", format!("ip6 saddr {VIRTUAL_V6}"))];
        Self::start(lab, "slr1", &rules)
    }

    /// At a client: `virtual` counts packets from virtual addresses; `strangers` what answers from the service's port with
    /// another source, and anything at all from an address inside the site.
    pub fn client(lab: &'a Lab, node: &'a str, service: &str) -> Result<Self> {
        let rules = [
            ("virtual", format!("ip saddr {VIRTUAL_V4}")),
            ("virtual", format!("ip6 saddr {VIRTUAL_V6}")),
            ("strangers", format!("ip saddr != {VIRTUAL_V4} {service}")),
            ("strangers", format!("ip6 saddr != {VIRTUAL_V6} {service}")),
            ("strangers", "ip saddr 10.1.0.0/16".to_owned()),
            ("strangers", "ip6 saddr fd00:1::/32".to_owned()),
        ];
        Self::start(lab, node, &rules)
    }

    /// At the site's router: packets from the SLR by what is in what, for instance `v6_in_v4`.
    pub fn tunnels(lab: &'a Lab) -> Result<Self> {
        let (v4, v6) = ("ip saddr 10.1.255.0/24 ip protocol", "ip6 saddr fd00:1:ff::/64 ip6 nexthdr");
        let rules = [
            ("v4_in_v4", format!("{v4} 4")),
            ("v6_in_v4", format!("{v4} 41")),
            ("v4_in_v6", format!("{v6} 4")),
            ("v6_in_v6", format!("{v6} 41")),
        ];
        Self::start(lab, "site", &rules)
    }

    /// What a counter says now.
    pub fn packets(&self, name: &str) -> Result<u64> {
        let text = self.lab.sh(self.node, &format!("nft list counter inet watch {name}"))?;
        let mut words = text.split_whitespace().skip_while(|word| *word != "packets");
        words.nth(1).and_then(|number| number.parse().ok()).with_context(|| format!("nft's counter {name}"))
    }
}
