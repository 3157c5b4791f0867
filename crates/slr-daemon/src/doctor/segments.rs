//! Whether clients send segments that fit the tunnel: the MSS of each reply's SYN is lowered where it leaves. Judged only.

use serde_json::Value;

use super::{Finding, Severity, finding};

/// An interface without the program that lowers the MSS. `filters`: what `tc -json filter show … egress` has of it.
pub fn unclamped(interface: &str, filters: &Value, program: &str, fix: &str) -> Option<Finding> {
    let is_ours = |filter: &Value| filter["options"]["prog"]["name"] == *program;
    let is_there = filters.as_array().into_iter().flatten().any(is_ours);
    (!is_there).then(|| {
        let what = format!(
            "nothing lowers the MSS of what leaves by {interface}: clients send segments that do not fit the tunnel, and wait for each to be \
             refused; replies are not counted either"
        );
        finding(Severity::Broken, what, fix)
    })
}

/// A path MTU in the configuration that the interfaces do not have.
pub fn path_mtu(links: &Value, interfaces: &[String], configured: Option<u16>) -> Option<Finding> {
    let configured = configured?;
    let mtu_of = |name: &String| links.as_array()?.iter().find(|link| link["ifname"] == *name)?["mtu"].as_u64();
    let (least, name) = interfaces.iter().filter_map(|name| Some((mtu_of(name)?, name))).min()?;
    (u64::from(configured) > least).then(|| {
        let what = format!(
            "path_mtu is {configured} and {name} takes {least} bytes: the MSS that clients are told is too large for the tunnel"
        );
        finding(Severity::Broken, what, format!("set path_mtu = {least} or less in the configuration, then: hostd reload"))
    })
}

/// Default routes that leave by an interface without the program. `routes`: what `ip -json route show default` has, of one family.
pub fn other_ways_out(links: &Value, interfaces: &[String], routes: &Value) -> Vec<Finding> {
    let mut found = Vec::new();
    for route in routes.as_array().into_iter().flatten() {
        let Some(device) = route["dev"].as_str() else { continue };
        if !is_over(links, interfaces, device) {
            let what = format!(
                "the default route leaves by {device}, which is not among the configured interfaces: the MSS of replies is not lowered there, \
                 and they are not counted"
            );
            found.push(finding(
                Severity::Broken,
                what,
                format!("add {device:?} to interfaces in the configuration, then: hostd reload"),
            ));
        }
    }
    found
}

/// Does what leaves by `device` leave by one of the interfaces: itself, the link below it, a member of it?
fn is_over(links: &Value, interfaces: &[String], device: &str) -> bool {
    let is_one = |name: &str| interfaces.iter().any(|own| own == name);
    let below = |link: &Value| {
        let is_it = link["ifname"] == *device && link["link"].as_str().is_some_and(is_one);
        is_it || link["master"] == *device && link["ifname"].as_str().is_some_and(is_one)
    };
    is_one(device) || links.as_array().into_iter().flatten().any(below)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_program_is_known_by_its_name() {
        let there = json!([{ "kind": "bpf" }, { "kind": "bpf", "options": { "prog": { "name": "slr_host_egress" } } }]);
        assert_eq!(unclamped("eth0", &there, "slr_host_egress", "x"), None);
        for filters in [json!([]), json!([{ "kind": "bpf", "options": { "prog": { "name": "other" } } }])] {
            assert_eq!(unclamped("eth0", &filters, "slr_host_egress", "x").unwrap().fix, "x");
        }
    }

    #[test]
    fn a_path_mtu_is_no_larger_than_the_narrowest_link() {
        let links = json!([{ "ifname": "a", "mtu": 1500 }, { "ifname": "b", "mtu": 9000 }]);
        let names = ["a".to_owned(), "b".to_owned()];
        for (configured, is_found) in [(None, false), (Some(1500), false), (Some(1501), true)] {
            assert_eq!(path_mtu(&links, &names, configured).is_some(), is_found, "{configured:?}");
        }
    }

    #[test]
    fn replies_leave_by_a_configured_interface_or_one_on_top_of_it() {
        let links = json!([{ "ifname": "a", "master": "bond0" }, { "ifname": "v7", "link": "a" }, { "ifname": "b" }]);
        for (device, is_found) in [("a", false), ("bond0", false), ("v7", false), ("b", true)] {
            let routes = json!([{ "dst": "default", "dev": device }]);
            assert_eq!(!other_ways_out(&links, &["a".to_owned()], &routes).is_empty(), is_found, "{device}");
        }
    }
}
