use super::*;

const TWO: &str = r#"
name = "two"

[[node]]
name = "a"
sysctl = { "net.ipv4.ip_forward" = 1 }

[[node]]
name = "b"
services = ["sleep"]

[[node.service]]
name = "own"
command = ["sleep", "{dir}"]

[[link]]
a = { node = "a", addresses = ["10.9.0.1/24", "fd09::1/64"] }
b = { node = "b", addresses = ["10.9.0.2/24", "fd09::2/64"] }
delay_ms = 2.5
loss_percent = 1
rate_mbit = 10

[[service]]
name = "sleep"
command = ["sleep", "1000"]
listens = ["tcp4:80"]
"#;

fn error(text: &str) -> String {
    Topology::parse("x.toml", text).expect_err("this topology is wrong").to_string()
}

#[test]
fn the_shipped_topologies_are_consistent() {
    let two_tiers = Topology::shipped("two-tiers").unwrap();
    assert_eq!((two_tiers.nodes.len(), two_tiers.services.len()), (11, 3));
    assert_eq!(two_tiers.ipv4_of("slr3"), Some("10.2.1.2".parse().unwrap()));
    for name in ["spare", "two-slr", "ecmp"] {
        let pair = Topology::shipped(name).unwrap();
        assert_eq!((pair.name.as_str(), pair.nodes.len(), pair.links.len()), (name, 9, 8));
        let routers = ["internet", "slr1", "slr2"].map(|node| pair.services_of(pair.node(node).unwrap()).count());
        assert_eq!(routers, [1; 3], "BIRD runs on each");
    }
    let nat = Topology::shipped("nat").unwrap();
    assert_eq!(
        (nat.nodes.len(), nat.links.len()),
        (10, 9),
        "the clients behind the translator are a node of their own"
    );
    assert_eq!(Topology::shipped("filtered").unwrap().nodes.len(), 9);
    assert!(Topology::shipped("no-site").is_none());
    let one_site = Topology::one_site();
    assert_eq!(one_site.nodes.len(), 8);
    assert_eq!(one_site.ipv4_of("h2"), Some("10.1.12.2".parse().unwrap()));
    assert_eq!(one_site.ipv6_of("slr1"), Some("fd00:1:1::2".parse().unwrap()));
}

#[test]
fn what_is_written_is_what_is_read() {
    let two = Topology::parse("two.toml", TWO).unwrap();
    let link = two.link("b", "a").unwrap();
    assert_eq!(link.interfaces(), ["to-b", "to-a"]);
    assert_eq!((link.shape().delay_us, link.shape().loss, link.mtu), (2_500, 0.01, 1_500));
    assert_eq!(link.shape().rate_bps.unwrap().get(), 10_000_000);
    let services: Vec<_> = two.services_of(two.node("b").unwrap()).map(|service| &service.name).collect();
    assert_eq!(services, ["sleep", "own"]);
    assert_eq!(two.addresses_of("a").map(|a| a.to_string()).collect::<Vec<_>>(), ["10.9.0.1", "fd09::1"]);
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    for (known, unknown, line) in [
        ("delay_ms = 2.5", "delay = 2.5", 19),
        ("services = [\"sleep\"]", "kind = \"host\"", 10),
        ("listens = [\"tcp4:80\"]", "listen = 80", 26),
        ("name = \"two\"", "title = \"two\"", 2),
    ] {
        let message = error(&TWO.replace(known, unknown));
        assert!(message.contains("x.toml") && message.contains("unknown field"), "{message}");
        assert!(message.contains(&format!("line {line}")), "{unknown} is in line {line}: {message}");
    }
}

#[test]
fn contradictions_are_refused_by_name() {
    for (from, to, expected) in [
        ("node = \"b\"", "node = \"c\"", "link a-c: there is no node \"c\""),
        ("node = \"b\"", "node = \"a\"", "node \"a\": two of its interfaces are named \"to-a\""),
        ("name = \"b\"", "name = \"a\"", "two nodes are named \"a\""),
        ("name = \"b\"", "name = \"emu\"", "node \"emu\": a name is"),
        ("name = \"b\"", "name = \"a-b\"", "node \"a-b\": a name is"),
        ("services = [\"sleep\"]", "services = [\"nap\"]", "node \"b\": no [[service]] is named \"nap\""),
        ("name = \"own\"", "name = \"sleep\"", "two of its services are named \"sleep\""),
        ("loss_percent = 1", "loss_percent = 101", "loss_percent = 101 is not between"),
        ("delay_ms = 2.5", "delay_ms = -1", "delay_ms = -1 is not between"),
        ("delay_ms = 2.5", "direct = true", "a direct link has no emulator"),
        ("delay_ms = 2.5", "mtu = 67", "mtu = 67 is below"),
        ("\"tcp4:80\"", "\"tcp:80\"", "\"tcp:80\" is not a listening port"),
        ("[\"sleep\", \"1000\"]", "[]", "service \"sleep\": its command is empty"),
        ("delay_ms = 2.5", "", ""),
    ] {
        let text = TWO.replacen(from, to, 1);
        if expected.is_empty() {
            Topology::parse("x.toml", &text).unwrap();
        } else {
            let message = error(&text);
            assert!(message.contains(expected), "{expected:?} expected, got: {message}");
        }
    }
}

#[test]
fn a_topology_takes_over_what_it_does_not_replace() {
    let text = r#"
        name = "more"
        base = "one-site"
        [[node]]
        name = "h3"
        [[node]]
        name = "h4"
        [[link]]
        a = { node = "site", addresses = ["10.1.14.1/24"] }
        b = { node = "h4", addresses = ["10.1.14.2/24"] }
    "#;
    let more = Topology::parse("more.toml", text).unwrap();
    let base = Topology::one_site();
    assert_eq!((more.name.as_str(), more.nodes.len(), more.links.len()), ("more", 9, base.links.len() + 1));
    assert!(more.node("h3").unwrap().services.is_empty() && !more.node("h2").unwrap().services.is_empty());
    assert!(error("name = \"x\"\nbase = \"nowhere\"").contains("\"nowhere\" is no shipped topology"));
    let unknown = TWO.replace("listens = ", "shipped = { \"a.conf\" = \"bird/none.conf\" }\nlistens = ");
    assert!(error(&unknown).contains("no file \"bird/none.conf\" is shipped"));
}
