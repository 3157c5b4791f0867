//! The shipped example and what is refused.

use super::*;

const EXAMPLE: &str = include_str!("../../etc/hostd.toml");
const UNIT: &str = include_str!("../../etc/hostd.service");

const GOOD: &str = r#"
[host]
name = "h1"
[tunnel]
addresses = ["10.1.11.2", "fd00:1:11::2"]
[dataplane]
interfaces = ["eth0"]
[[router]]
name = "slr1"
prefixes = ["10.1.255.0/24", "fd00:1:ff::/64"]
[[site_host]]
name = "h2"
addresses = ["10.1.12.2"]
[[subnet]]
name = "web4"
prefix = "192.0.2.0/24"
[[subnet]]
name = "web6"
prefix = "2001:db8:100::/48"
[[subnet]]
name = "dns"
prefix = "198.51.100.0/24"
interface = "slr-dns"
"#;

#[test]
fn the_shipped_example_is_a_configuration() {
    let settings = Settings::parse("hostd.toml", EXAMPLE).unwrap_or_else(|error| panic!("{error}"));
    assert!(settings.tunnel_v4.is_some() && settings.tunnel_v6.is_some());
    assert!(!settings.routers.is_empty() && !settings.site_hosts.is_empty() && settings.subnets.len() > 1);
}

#[test]
fn the_unit_runs_what_the_command_line_takes() {
    let field = |name: &str| {
        let prefix = format!("{name}=");
        UNIT.lines().find_map(|line| line.strip_prefix(&*prefix)).unwrap_or_else(|| panic!("no {name} in the unit"))
    };
    use clap::Parser;
    for name in ["ExecStart", "ExecStartPre"] {
        let words = field(name).split_whitespace().skip(1);
        crate::cli::Cli::try_parse_from(std::iter::once("hostd").chain(words))
            .unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    assert_eq!(field("Type"), "notify");
    assert_eq!(field("ExecReload"), "/usr/local/sbin/hostd reload");
    assert_eq!(field("RuntimeDirectoryPreserve"), "yes", "sysctls to restore are remembered there");
    assert!(DEFAULT_SOCKET.starts_with(&format!("/run/{}/", field("RuntimeDirectory"))));
}

#[test]
fn subnets_are_grouped_by_interface() {
    let settings = Settings::parse("x", GOOD).unwrap_or_else(|error| panic!("{error}"));
    let prefixes = |names: &[&str]| names.iter().map(|n| n.parse().unwrap()).collect::<Vec<VirtualSubnet>>();
    let expected = BTreeMap::from([
        ("slr-0".to_owned(), prefixes(&["192.0.2.0/24", "2001:db8:100::/48"])),
        ("slr-dns".to_owned(), prefixes(&["198.51.100.0/24"])),
    ]);
    assert_eq!(settings.groups(), expected);
    assert_eq!(settings.chain_headers, 3);
}

#[test]
fn each_mistake_is_refused_with_its_line() {
    let table = [
        ("\"10.1.11.2\", \"fd00:1:11::2\"", "", "no tunnel address"),
        ("\"fd00:1:11::2\"", "\"10.1.11.3\"", "a second tunnel address"),
        ("10.1.11.2", "224.0.0.1", "no address that a tunnel can end at"),
        ("10.1.11.2", "192.0.2.7", "lies in virtual subnet"),
        ("[\"eth0\"]", "[]", "no interface"),
        ("[\"eth0\"]", "[\"eth0\", \"eth0\"]", "interface given twice"),
        ("[\"eth0\"]", "[\"a/b\"]", "is no interface name"),
        ("interface = \"slr-dns\"", "interface = \"eth0\"", "one at which tunnels arrive"),
        ("interface = \"slr-dns\"", "interfaces = \"x\"", "unknown field"),
        ("\"dns\"", "\"web4\"", "subnet name given twice"),
        ("198.51.100.0/24", "192.0.2.128/25", "overlaps"),
        ("198.51.100.0/24", "198.51.100.1/24", "bits set behind its prefix"),
        ("10.1.255.0/24", "10.1.255.1/24", "no prefix that a router sends from"),
        ("[\"10.1.12.2\"]", "[]", "no address"),
        ("[dataplane]", "path_mtu = 1000\n[dataplane]", "below what IPv6 asks"),
        ("[dataplane]", "chain_headers = 4\n[dataplane]", "not a chain's length"),
        ("[dataplane]", "[dataplane]\npin_path = \"sys\"", "not an absolute path"),
    ];
    for (from, to, message) in table {
        assert!(GOOD.contains(from), "{from}");
        let text = GOOD.replacen(from, to, 1);
        let error = Settings::parse("x.toml", &text).expect_err(message).to_string();
        assert!(error.contains(message) && error.contains("x.toml:"), "{to:?} gave:\n{error}");
    }
}
