use super::*;

const CONFIG: &str = r#"
[node]
name = "slr-1"
[tunnel]
addresses = ["10.1.0.1"]
sources = ["10.1.255.0/24"]
[[subnet]]
name = "web"
prefix = "192.0.2.0/24"
[[subnet]]
name = "web6"
prefix = "2001:db8:1::/64"
"#;

const GOOD: &str = r#"
[[host]]
name = "h1"
address = "10.1.11.2"
mac = "02:00:00:00:11:02"
subnets = ["web", "2001:db8:1::/64"]

[[host]]
name = "h2"
address = "10.1.12.2"
subnets = ["web"]
weight = 250
state = "draining"
"#;

fn settings() -> Settings {
    Settings::parse("c.toml", CONFIG).unwrap()
}

#[test]
fn a_good_file_becomes_hosts() {
    let hosts = parse("h.toml", GOOD, &settings()).unwrap();
    assert_eq!(hosts.len(), 2);
    assert_eq!(hosts[0].subnets, ["192.0.2.0/24".parse().unwrap(), "2001:db8:1::/64".parse().unwrap()]);
    assert_eq!((hosts[0].weight, hosts[0].state), (Weight::default(), HostState::Active));
    assert_eq!(hosts[0].mac, Some(MacAddr([2, 0, 0, 0, 0x11, 2])));
    assert_eq!((hosts[1].weight.get(), hosts[1].state, hosts[1].mac), (250, HostState::Draining, None));
    assert_eq!(parse("h.toml", "", &settings()).unwrap(), []);
}

#[test]
fn what_is_wrong_is_shown_with_its_line_and_a_remedy() {
    let table = [
        ("\"h1\"", "\"h2\"", "9 | name", "two hosts are called h2", "give each its own name"),
        ("10.1.12.2", "10.1.11.2", "10 | address", "hosts h1 and h2 have the same address", "give each its own"),
        ("10.1.12.2", "10.1.0.1", "10 | address", "router's own tunnel address", "write the host's own"),
        ("10.1.12.2", "0.0.0.0", "10 | address", "it is the unspecified address", "write its tunnel address"),
        ("10.1.12.2", "192.0.2.7", "10 | address", "lies in virtual subnet web", "write the host's own"),
        ("10.1.12.2", "fd00::2", "10 | address", "there is no IPv6 source prefix", "add an IPv6 prefix to sources"),
        ("02:00:00:00:11:02", "01:00:5e:00:00:01", "5 | mac", "cannot be a host's MAC", "leave the line out"),
        ("02:00:00:00:11:02", "02-00", "5 | mac", "\"02-00\" is not a MAC address", "such as 02:00:00:00:00:01"),
        ("[\"web\"]", "[\"wbe\"]", "11 | subnets", "serves \"wbe\", which is no subnet", "web (192.0.2.0/24), web6"),
        ("\"web\", \"2001", "\"web6\", \"2001", "6 | subnets", "h1 lists 2001:db8:1::/64 twice", "remove one"),
        ("250", "2500", "12 | weight", "2500 is not a weight", "0 (no new flows) to 1000"),
        ("draining", "gone", "13 | state", "\"gone\" is not a host state", "active, draining, down"),
        ("weight", "wieght", "12 | wieght", "unknown field `wieght`", "expected"),
        ("address = \"10.1.12.2\"", "", "8 |", "missing field `address`", "address"),
    ];
    for (good, bad, line, message, remedy) in table {
        let text = GOOD.replacen(good, bad, 1);
        assert_ne!(text, GOOD, "{good:?} is not in the sample");
        let shown = parse("h.toml", &text, &settings()).expect_err(bad).to_string();
        for expected in [line, message, remedy] {
            assert!(shown.contains(expected), "{bad}: expected {expected:?} in\n{shown}");
        }
    }
}
