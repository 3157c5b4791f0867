use super::*;

const GOOD: &str = r#"
hosts = "hosts.toml"

[node]
name = "slr-1"
tier = "as"

[tunnel]
addresses = ["10.1.0.1", "fd00:1::1"]
sources = ["10.1.255.0/24", "fd00:1:ff::/64"]

[[upstream]]
name = "net-1"
prefixes = ["10.9.255.0/24"]

[dataplane]
interfaces = ["wan0"]
xdp = "generic"
tcp_idle_s = 600

[[subnet]]
name = "web"
prefix = "192.0.2.0/24"
account = 42
services = ["tcp/80", "udp/7"]
orphan = "drop"
echo = "forward"
key_mask = ["client-address"]
"#;

#[test]
fn a_good_file_becomes_settings() {
    let settings = Settings::parse("c.toml", GOOD).unwrap();
    assert_eq!((settings.name.as_str(), settings.tier), ("slr-1", Tier::As));
    assert_eq!(settings.hosts_file.as_deref(), Some(Path::new("hosts.toml")));
    assert_eq!(settings.admin_socket, Path::new(DEFAULT_SOCKET));
    assert_eq!(settings.dataplane.pin_path, Path::new(DEFAULT_PIN_PATH));
    assert_eq!((settings.dataplane.xdp, settings.dataplane.sweep.tcp_idle_s), (Xdp::Generic, 600));
    assert_eq!(settings.dataplane.flows_per_family, 1 << 20);
    assert_eq!(settings.dataplane.limits, router::Config::default());
    let subnet = &settings.subnets[0];
    assert_eq!((subnet.account, subnet.orphan, subnet.echo), (42, OrphanPolicy::Drop, EchoPolicy::Forward));
    assert_eq!(subnet.services.as_ref().map(Vec::len), Some(2));
    settings.require_interfaces().unwrap();
}

#[test]
fn little_is_enough() {
    let settings = Settings::parse("c.toml", "[node]\nname = \"slr-1\"").unwrap();
    assert_eq!(settings.tier, Tier::Site);
    assert!(settings.require_interfaces().unwrap_err().to_string().contains("interfaces = [\"eth0\"]"));
    assert!(settings.load_hosts(None).unwrap_err().to_string().contains("--hosts"));
}

/// One edit of the good file, the line that the refusal must show, what it must say, and the remedy it must give.
const REFUSED: &[(&str, &str, &str, &str, &str)] = &[
    ("tier = \"as\"", "teir = \"as\"", "6 | teir", "unknown field `teir`", "expected"),
    ("tier = \"as\"", "tier = \"planet\"", "6 | tier", "\"planet\" is not a tier", "network, as, site"),
    ("name = \"slr-1\"", "name = \"SLR\"", "5 | name", "\"SLR\" is not a node name", "expected a-z"),
    ("10.1.0.1", "127.0.0.1", "9 | addresses", "127.0.0.1 cannot be a tunnel address", "write a unicast address"),
    ("10.1.0.1", "192.0.2.9", "9 | addresses", "192.0.2.9 lies in subnet web", "outside every virtual subnet"),
    ("fd00:1::1", "10.1.0.1", "9 | addresses", "10.1.0.1 is listed twice", "remove one"),
    ("10.1.255.0/24", "10.1.255.1/24", "10 | sources", "10.1.255.1/24 has bits set", "write 10.1.255.0/24"),
    ("fd00:1:ff::/64", "10.2.0.0/24", "10 | sources", "both IPv4 source prefixes", "keep one prefix a family"),
    ("10.9.255.0/24\"", "0.0.0.0/0\"", "14 | prefixes", "would accept tunnels from everyone", "write the prefix"),
    ("[\"10.9.255.0/24\"]", "[]", "14 | prefixes", "upstream net-1 has no prefix", "list the prefixes"),
    ("\"10.9.255.0/24\"", "\"10.9.0.0/24\", \"10.9.0.0/24\"", "14 | prefixes", "and again for net-1", "remove one"),
    ("wan0", "a-name-that-is-too-long", "17 | interfaces", "cannot be an interface", "1 to 15 characters"),
    ("[\"wan0\"]", "[\"a\", \"a\"]", "17 | interfaces", "interface a is listed twice", "remove one"),
    ("generic", "offload", "18 | xdp", "unknown variant `offload`", "`auto`, `native`, `generic`"),
    (
        "tcp_idle_s = 600",
        "tcp_idle_s = 1",
        "19 | tcp_idle_s",
        "tcp_idle_s is 1",
        "60 to 604800, or nothing for the default of 14400",
    ),
    (
        "tcp_idle_s = 600",
        "flows_per_family = 99999999999",
        "19 | flows",
        "flows_per_family is 99999999999",
        "1024 to 16777216",
    ),
    ("tcp_idle_s = 600", "seed = -1", "19 | seed", "-1", "expected u64"),
    (
        "192.0.2.0/24",
        "192.0.2.1/24",
        "23 | prefix",
        "192.0.2.1/24 has bits set behind its prefix",
        "write 192.0.2.0/24",
    ),
    ("udp/7", "sctp/7", "25 | services", "\"sctp/7\" is not a service", "such as tcp/80"),
    ("udp/7", "tcp/80", "25 | services", "subnet web lists tcp/80 twice", "remove one"),
    ("[\"tcp/80\", \"udp/7\"]", "[]", "25 | services", "subnet web serves nothing", "leave the line out"),
    (
        "orphan = \"drop\"",
        "orphan = \"chains\"",
        "26 | orphan",
        "\"chains\" is not an orphan policy",
        "chain, chain-udp, search-udp, ring, drop",
    ),
    ("client-address", "client", "28 | key_mask", "\"client\" is not a key field", "client-address, client-port"),
    ("\"web\"", "\"w b\"", "22 | name", "\"w b\" cannot name a subnet", "without blanks"),
];

#[test]
fn what_is_wrong_is_shown_with_its_line_and_a_remedy() {
    Settings::parse("c.toml", GOOD).unwrap();
    for (good, bad, line, message, remedy) in REFUSED {
        let text = GOOD.replacen(good, bad, 1);
        assert_ne!(text, GOOD, "{good:?} is not in the sample");
        let shown = Settings::parse("c.toml", &text).expect_err(bad).to_string();
        for expected in [line, message, remedy] {
            assert!(shown.contains(expected), "{bad}: expected {expected:?} in\n{shown}");
        }
    }
}

const CONTROLLED: &str = r#"
[node]
name = "slr-1"

[control]
listen = ["10.1.0.1:6100"]
ca = "ca.pem"
certificate = "slr-1.pem"
key = "slr-1-key.pem"
silent_after_ms = 2400

[[peer]]
name = "slr-2"
addresses = ["10.1.0.2:6100"]

[keepalive]
lost_after = 3

[policy]
budget = 0.1

[metrics]
listen = "off"

[[subnet]]
name = "web"
prefix = "192.0.2.0/24"
services = ["tcp/80", "udp/7"]
cost = "1.0 / weight"
aggregate = "max_load"

[[subnet.class]]
name = "partners"
clients = ["10.0.0.0/8"]

[[subnet.rule]]
class = "partners"
services = ["tcp/80"]
policy = "least-cost"
"#;

#[test]
fn a_control_plane_becomes_settings() {
    let settings = Settings::parse("c.toml", CONTROLLED).unwrap();
    let control = settings.control.as_ref().unwrap();
    assert_eq!((control.silent_after.as_millis(), control.advert_interval.as_millis()), (2_400, 1_000));
    assert_eq!((control.peers[0].name.as_str(), control.crl.as_ref()), ("slr-2", None));
    assert_eq!((settings.keepalive.lost_after, settings.damping.budget, settings.metrics), (3, 0.1, None));
    let subnet = &settings.subnets[0];
    assert_eq!((subnet.policy.cost.to_string().as_str(), subnet.policy.damping.budget), ("1.0 / weight", 0.1));
    assert_eq!(subnet.rules[0].policy.placement, slr_model::PlacementPolicy::LeastCost);
    assert_eq!(subnet.classes[0].clients[0].to_string(), "10.0.0.0/8");
    assert!(settings.load_hosts(None).unwrap().is_empty(), "with certificates no hosts file is needed");
}

/// As above, of the control plane.
const CONTROL_REFUSED: &[(&str, &str, &str, &str, &str)] = &[
    ("[\"10.1.0.1:6100\"]", "[]", "6 | listen", "the router listens nowhere", "hosts reach this router at"),
    ("10.1.0.1:6100", "10.1.0.1", "6 | listen", "invalid socket address", ""),
    ("silent_after_ms = 2400", "silent_after_ms = 500", "10 | silent_after_ms", "is 500", "write 2000 to 600000"),
    (
        "silent_after_ms = 2400",
        "flow_secret = \"/nowhere\"",
        "10 | flow_secret",
        "/nowhere cannot be read",
        "make it with slr-ca flow-secret",
    ),
    ("slr-2", "slr-1", "13 | name", "peer slr-1 is this router itself", "correct the name"),
    ("[\"10.1.0.2:6100\"]", "[]", "14 | addresses", "peer slr-2 has no address", "write where it listens"),
    ("lost_after = 3", "lost_after = 0", "17 | lost_after", "lost_after is 0", "write 1 to 50"),
    ("budget = 0.1", "budget = 2", "20 | budget", "budget is 2", "0.005 to 1"),
    ("\"off\"", "\"here\"", "23 | listen", "\"here\" is no address", "or \"off\""),
    ("1.0 / weight", "1.0 / wait", "29 | cost", "nothing is called wait", "docs/policy.md"),
    ("1.0 / weight", "1.0 /", "29 | cost", "", "docs/policy.md"),
    ("max_load", "load", "30 | aggregate", "nothing is called load", "docs/policy.md"),
    ("10.0.0.0/8", "fd00::/8", "34 | clients", "clients in fd00::/8 have no packets", "the subnet's own family"),
    ("10.0.0.0/8", "10.0.0.1/8", "34 | clients", "has bits set behind its prefix", "write 10.0.0.0/8"),
    ("class = \"partners\"", "class = \"guests\"", "37 | class", "has no class guests", "add [[subnet.class]]"),
    ("services = [\"tcp/80\"]", "services = [\"tcp/81\"]", "38 | services", "tcp/81 is not served", "add it to"),
    ("least-cost", "cheapest", "39 | policy", "\"cheapest\" is not a placement policy", "weighted, least-cost"),
];

#[test]
fn what_is_wrong_with_a_control_plane_is_shown_with_its_line_and_a_remedy() {
    for (good, bad, line, message, remedy) in CONTROL_REFUSED {
        let text = CONTROLLED.replacen(good, bad, 1);
        assert_ne!(text, CONTROLLED, "{good:?} is not in the sample");
        let shown = Settings::parse("c.toml", &text).expect_err(bad).to_string();
        for expected in [line, message, remedy] {
            assert!(shown.contains(expected), "{bad}: expected {expected:?} in\n{shown}");
        }
    }
}

#[test]
fn two_rules_do_not_decide_about_one_packet_and_routers_need_a_channel() {
    let twice = format!("{CONTROLLED}\n[[subnet.rule]]\nclass = \"partners\"\nservices = [\"tcp/80\"]\n");
    let shown = Settings::parse("c.toml", &twice).unwrap_err().to_string();
    assert!(shown.contains("another rule decides about class partners and tcp/80 already"), "{shown}");
    let alone = "[node]\nname = \"slr-1\"\n[[parent]]\nname = \"as-1\"\naddresses = [\"10.9.1.2:6100\"]\n";
    let shown = Settings::parse("c.toml", alone).unwrap_err().to_string();
    assert!(shown.contains("4 | name") && shown.contains("there is no [control]"), "{shown}");
}

#[test]
fn subnets_that_stand_in_each_others_way_are_refused_together() {
    let text = format!("{GOOD}\n[[subnet]]\nname = \"web\"\nprefix = \"192.0.2.0/24\"\n");
    let shown = Settings::parse("c.toml", &text).unwrap_err().to_string();
    assert!(
        shown.contains("two subnets are called web") && shown.contains("have the same prefix 192.0.2.0/24"),
        "{shown}"
    );
    let nested = format!("{GOOD}\n[[subnet]]\nname = \"one\"\nprefix = \"192.0.2.9/32\"\n");
    Settings::parse("c.toml", &nested).unwrap();
}

#[test]
fn a_refusal_reads_like_this() {
    let text = GOOD.replace("tcp_idle_s = 600", "tcp_idle_s = 1");
    let shown = Settings::parse("/etc/slr-router/slr-router.toml", &text).unwrap_err().to_string();
    let golden = "\
error: tcp_idle_s is 1
  --> /etc/slr-router/slr-router.toml:19:14
   |
19 | tcp_idle_s = 1
   |              ^ write 60 to 604800, or nothing for the default of 14400";
    assert_eq!(shown, golden);
}

const ANNOUNCED: &str = r#"
[node]
name = "slr-1"

[admin]
socket = "/run/a/b.sock"

[announce]
table = 7000
protocol = 62
metric = 10
metric_lowered = 20
on_stop = "withdraw"
away_s = 60
"#;

#[test]
fn announcements_become_settings_and_cannot_change_while_the_daemon_runs() {
    let settings = Settings::parse("c.toml", ANNOUNCED).unwrap();
    let announce = settings.announce.as_ref().unwrap();
    assert_eq!((announce.table, announce.protocol, announce.metric, announce.metric_lowered), (7000, 62, 10, 20));
    assert_eq!((announce.on_stop, announce.away.as_secs()), (announce::OnStop::Withdraw, 60));
    assert_eq!(announce.mark, Path::new("/run/a/b.announce"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    std::fs::write(&path, ANNOUNCED.replace("table = 7000", "table = 7001")).unwrap();
    let shown = Settings::load_for_reload(&path, &settings).unwrap_err().to_string();
    assert!(shown.contains("[announce] cannot change while the daemon runs"), "{shown}");
}

/// As above, of announcements.
const ANNOUNCE_REFUSED: &[(&str, &str, &str, &str, &str)] = &[
    ("7000", "254", "9 | table", "table 254 is one that every packet", "such as 6100"),
    ("7000", "0", "9 | table", "table is 0", "write 1 to"),
    ("62", "12", "10 | protocol", "protocol 12 is another program's", "such as 61"),
    ("62", "256", "10 | protocol", "protocol is 256", "write 1 to 255"),
    ("metric = 10", "metric = 30", "12 | metric_lowered", "metric_lowered is 20, and metric 30", "must be greater"),
    ("\"withdraw\"", "\"leave\"", "13 | on_stop", "unknown variant `leave`", "`keep` or `withdraw`"),
    ("away_s = 60", "away_s = 0", "14 | away_s", "away_s is 0", "write 1 to 86400"),
    ("away_s = 60", "away_ms = 60", "14 | away_ms", "unknown field `away_ms`", "away_s"),
];

#[test]
fn what_is_wrong_with_announcements_is_shown_with_its_line_and_a_remedy() {
    for (good, bad, line, message, remedy) in ANNOUNCE_REFUSED {
        let text = ANNOUNCED.replacen(good, bad, 1);
        assert_ne!(text, ANNOUNCED, "{good:?} is not in the sample");
        let shown = Settings::parse("c.toml", &text).expect_err(bad).to_string();
        for expected in [line, message, remedy] {
            assert!(shown.contains(expected), "{bad}: expected {expected:?} in\n{shown}");
        }
    }
}
