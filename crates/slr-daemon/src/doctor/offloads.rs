//! What a card does to frames before XDP sees them. Judged only; see [`super::machine::features`] and [`super::machine::links`].

use serde_json::Value;

use super::{Finding, Severity, finding};

/// Offloads of a card, by their names for `ethtool -k`, and by those for `ethtool -K`.
const MERGE: [(&str, &str); 2] = [("large-receive-offload", "lro"), ("rx-gro-hw", "rx-gro-hw")];
const STRIP: (&str, &str) = ("rx-vlan-offload", "rxvlan");

/// Offloads of an interface that XDP cannot work with: merged segments are larger than what a tunnel takes, and a tag that was taken off is
/// missing in what is sent back. `features`: what `ethtool --json -k` has of it.
pub fn offloads(links: &Value, interface: &str, features: &Value) -> Vec<Finding> {
    let is_on = |name: &str| features[0][name]["active"] == true;
    let mut found = Vec::new();
    for (name, word) in MERGE.into_iter().filter(|(name, _)| is_on(name)) {
        let what = format!(
            "{name} is on: {interface} merges segments before XDP sees them, into datagrams that fit no tunnel; many drivers then refuse \
             native XDP"
        );
        found.push(finding(Severity::Broken, what, format!("ethtool -K {interface} {word} off")));
    }
    if is_on(STRIP.0) && has_vlans(links, interface) {
        let what = format!(
            "{} is on: {interface} takes VLAN tags off before XDP sees them, and what XDP sends back there has none",
            STRIP.0
        );
        found.push(finding(Severity::Broken, what, format!("ethtool -K {interface} {} off", STRIP.1)));
    }
    found
}

/// Is there a VLAN on top of it?
fn has_vlans(links: &Value, interface: &str) -> bool {
    let is_one = |link: &Value| link["link"] == *interface && link["linkinfo"]["info_kind"] == "vlan";
    links.as_array().into_iter().flatten().any(is_one)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fixes(links: &Value, on: &[&str]) -> Vec<String> {
        let names = ["large-receive-offload", "rx-gro-hw", "rx-vlan-offload", "generic-receive-offload"];
        let features: serde_json::Map<String, Value> = names
            .iter()
            .map(|name| ((*name).to_owned(), json!({ "active": on.contains(name), "fixed": false })))
            .collect();
        offloads(links, "eth0", &json!([features])).into_iter().map(|finding| finding.fix).collect()
    }

    #[test]
    fn what_changes_frames_before_xdp_is_named() {
        let plain =
            json!([{ "ifname": "eth0" }, { "ifname": "v7", "link": "eth1", "linkinfo": { "info_kind": "vlan" } }]);
        assert!(
            fixes(&plain, &["generic-receive-offload", "rx-vlan-offload"]).is_empty(),
            "the stack's own, and no VLAN"
        );
        assert_eq!(fixes(&plain, &["large-receive-offload"]), ["ethtool -K eth0 lro off"]);
        assert_eq!(fixes(&plain, &["rx-gro-hw"]), ["ethtool -K eth0 rx-gro-hw off"]);
        let vlan = json!([{ "ifname": "v7", "link": "eth0", "linkinfo": { "info_kind": "vlan" } }]);
        assert_eq!(fixes(&vlan, &["rx-vlan-offload"]), ["ethtool -K eth0 rxvlan off"]);
        assert!(fixes(&vlan, &[]).is_empty());
    }
}
