//! `hostd doctor` and `slr-router doctor` on a site that is well, and with one thing wrong at a time: each is named, and the command that
//! is told mends it.

use std::time::Duration;

use serde_json::Value;
use slr_testkit::{holds_within, require_root};
use xtask::pair::{Kind, Pair, PairOptions, SLRS};
use xtask::site::program;

const SOON: Duration = Duration::from_secs(10);
/// What is wrong, where, and the check that has to find it.
const FAULTS: [(&str, &str, &str); 10] = [
    ("h1", "reverse path", "sysctl -q -w net.ipv4.conf.to-site.rp_filter=1"),
    ("h1", "firewall", FIREWALL),
    ("h1", "ways", "ip route add blackhole 10.1.1.2/32"),
    ("h1", "ways", "ip -6 route add unreachable fd00:1:2::2/128"),
    ("h1", "addresses", "ip address add 192.0.2.77/32 dev to-site"),
    ("h1", "mtu", "ip link set to-site mtu 1300"),
    ("slr1", "firewall", FIREWALL),
    ("slr1", "ways", "ip route add prohibit 10.1.2.2/32"),
    ("slr1", "addresses", "ip address add 2001:db8:100::77/128 dev to-internet"),
    ("slr1", "mtu", "ip link set to-internet mtu 1290"),
];
const FIREWALL: &str = "nft add table inet f && nft add chain inet f in '{ type filter hook input priority 0; }' && \
                        nft add rule inet f in meta l4proto '{ icmp, ipv6-icmp }' drop";

/// What a node's doctor says: exit code and answer.
fn examine(pair: &Pair, node: &str) -> (i32, Value) {
    let program = program(if SLRS.contains(&node) { "slr-router" } else { "hostd" }).unwrap();
    let config = pair.config_path(node);
    let words = [program.to_str().unwrap(), "doctor", config.to_str().unwrap(), "--json"];
    let output = pair.lab().exec(node, &words).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let answer = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{node}: {error}: {said}"));
    (output.status.code().unwrap(), answer)
}

fn is_well(pair: &Pair, node: &str) -> bool {
    examine(pair, node).0 == 0
}

#[test]
fn what_is_wrong_is_named_and_its_fix_mends_it() {
    require_root();
    let mut pair = Pair::up("doctor", PairOptions::new(Kind::Spare)).unwrap();
    for node in SLRS.into_iter().chain(["h1"]) {
        let (code, answer) = examine(&pair, node);
        assert_eq!(code, 0, "{node} is well: {answer:#}");
        assert!(answer["well"].as_array().unwrap().len() >= 8, "{answer:#}");
    }
    for (node, check, fault) in FAULTS {
        pair.lab().sh(node, fault).unwrap();
        let (code, answer) = examine(&pair, node);
        let findings = answer["findings"].as_array().unwrap();
        assert_eq!((code, findings.len()), (1, 1), "{fault}: {answer:#}");
        assert_eq!(findings[0]["check"], check, "{fault}: {answer:#}");
        println!("{node}: {}\n    {}", findings[0]["what"].as_str().unwrap(), findings[0]["fix"].as_str().unwrap());
        pair.lab().sh(node, findings[0]["fix"].as_str().unwrap()).unwrap();
        assert!(holds_within(SOON, || is_well(&pair, node)), "{fault}: its fix mends it: {:#}", examine(&pair, node).1);
    }

    // What only its operator can start again.
    let checks = |pair: &Pair, node: &str| -> Vec<String> {
        let (_, answer) = examine(pair, node);
        let findings = answer["findings"].as_array().unwrap().clone();
        findings.iter().map(|finding| finding["check"].as_str().unwrap().to_owned()).collect()
    };
    let processes = pair.lab().processes().unwrap();
    // The one of IPv6 would hear for both.
    for echo in processes.iter().filter(|process| process.node == "h1" && process.name.starts_with("echo")) {
        pair.lab().sh("h1", &format!("kill -9 {}", echo.pid)).unwrap();
    }
    assert!(
        holds_within(SOON, || checks(&pair, "h1").contains(&"services".to_owned())),
        "{:#}",
        examine(&pair, "h1").1
    );
    for node in ["h2", "slr2"] {
        pair.daemon(node).unwrap().kill().unwrap();
        assert!(holds_within(SOON, || checks(&pair, node) == ["daemon"]), "{:#}", examine(&pair, node).1);
        pair.start(node).unwrap();
        assert!(holds_within(SOON, || is_well(&pair, node)), "{:#}", examine(&pair, node).1);
    }
}
