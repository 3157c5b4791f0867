//! Rules that stand in the way and are no routes: of policy routing, and the firewall's own reverse-path filter. Judged only.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::{Finding, Severity, finding};

/// A rule of policy routing that refuses what goes to an address, whoever sends it. `rules`: what `ip -json rule show` has.
pub fn refused(name: &str, address: IpAddr, rules: &Value) -> Option<Finding> {
    let is_refusal = |rule: &&Value| {
        let action = rule["action"].as_str().unwrap_or_default();
        let is_plain = rule["src"] == "all" && ["iif", "oif", "fwmark"].iter().all(|word| rule.get(word).is_none());
        matches!(action, "prohibit" | "unreachable" | "blackhole")
            && is_plain
            && destination(rule).is_some_and(|net| net.contains(&address))
    };
    let rule = rules.as_array()?.iter().find(is_refusal)?;
    let (action, priority) = (rule["action"].as_str()?, rule["priority"].as_u64()?);
    let what = format!("a rule of policy routing ({priority}: {action}) is in the way to {name} at {address}");
    let family = if address.is_ipv4() { "" } else { "-6 " };
    Some(finding(Severity::Broken, what, format!("ip {family}rule delete priority {priority}")))
}

fn destination(rule: &Value) -> Option<IpNet> {
    let address: IpAddr = rule["dst"].as_str()?.parse().ok()?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let len = rule["dstlen"].as_u64().map_or(Some(whole), |len| u8::try_from(len).ok())?;
    IpNet::new(address, len).ok()
}

/// Rules of nftables that drop what would not be answered by the interface it came in on (`fib saddr . iif`), as the strict
/// reverse-path filter does.
pub fn reverse_path(ruleset: &Value) -> Vec<Finding> {
    let rules = ruleset["nftables"].as_array().into_iter().flatten().filter_map(|entry| entry.get("rule"));
    let is_filter = |step: &Value| {
        let flags = step["match"]["left"]["fib"]["flags"].as_array();
        let has = |name: &str| flags.is_some_and(|flags| flags.iter().any(|flag| flag == name));
        has("saddr") && has("iif") && (step["match"]["right"] == false || step["match"]["right"] == 0)
    };
    let mut found = Vec::new();
    for rule in rules {
        let steps = rule["expr"].as_array().map(Vec::as_slice).unwrap_or_default();
        if !steps.iter().any(is_filter) || !steps.iter().any(|step| step.get("drop").is_some()) {
            continue;
        }
        let [family, table, chain] = ["family", "table", "chain"].map(|field| rule[field].as_str().unwrap_or_default());
        let what = format!(
            "a rule of nftables is a strict reverse-path filter (table {family} {table}, chain {chain}): what comes out of a tunnel is dropped, \
             unless the way back to the client is the same"
        );
        let handle = rule["handle"].as_u64().unwrap_or_default();
        found.push(finding(
            Severity::Broken,
            what,
            format!("nft delete rule {family} {table} {chain} handle {handle}"),
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_that_refuse_an_address() {
        let rules = json!([
            { "priority": 0, "src": "all", "table": "local" },
            { "priority": 5, "src": "10.2.0.0", "srclen": 16, "dst": "10.1.1.2", "action": "prohibit" },
            { "priority": 6, "src": "all", "iif": "eth1", "dst": "10.1.1.2", "action": "prohibit" },
            { "priority": 7, "src": "all", "dst": "10.1.1.0", "dstlen": 24, "action": "blackhole" },
            { "priority": 8, "src": "all", "dst": "fd00::2", "action": "unreachable" },
        ]);
        let fix = |address: &str| refused("slr1", address.parse().unwrap(), &rules).map(|finding| finding.fix);
        assert_eq!(fix("10.1.1.2").unwrap(), "ip rule delete priority 7", "not those of other senders");
        assert_eq!(fix("10.1.2.2"), None);
        assert_eq!(fix("fd00::2").unwrap(), "ip -6 rule delete priority 8");
        assert_eq!(fix("fd00::3"), None);
    }

    #[test]
    fn a_reverse_path_filter_among_the_rules() {
        let of = |flags: Value, right: Value, verdict: &str| {
            let step = json!({ "match": { "op": "==", "left": { "fib": { "result": "oif", "flags": flags } }, "right": right } });
            json!({ "nftables": [{ "rule": { "family": "inet", "table": "t", "chain": "c", "handle": 4,
                     "expr": [step, { verdict: null }] } }] })
        };
        let found = reverse_path(&of(json!(["saddr", "iif"]), json!(false), "drop"));
        assert_eq!(found[0].fix, "nft delete rule inet t c handle 4");
        assert_eq!(reverse_path(&of(json!(["saddr"]), json!(false), "drop")), [], "the loose one");
        assert_eq!(reverse_path(&of(json!(["saddr", "iif"]), json!(false), "accept")), []);
        assert_eq!(reverse_path(&of(json!(["saddr", "iif"]), json!(true), "drop")), []);
    }
}
