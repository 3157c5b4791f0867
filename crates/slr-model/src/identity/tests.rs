use super::*;

const H1: &str = "slr://example.net/host/h1";

fn h1() -> Identity {
    Identity {
        trust_domain: "example.net".to_owned(),
        role: Role::Host,
        name: "h1".parse().unwrap(),
        tunnels: vec!["10.1.11.2/32".parse().unwrap(), "2001:db8:1::2/128".parse().unwrap()],
        subnets: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8:aa::/64".parse().unwrap()],
    }
}

#[test]
fn an_identity_reads_what_it_writes() {
    let uris = h1().uris();
    assert_eq!(uris[0], H1);
    assert_eq!(uris[1], "slr://example.net/host/h1?tunnel=10.1.11.2/32");
    assert_eq!(uris[4], "slr://example.net/host/h1?subnet=2001:db8:aa::/64");
    assert_eq!(Identity::from_uris(uris.iter().map(String::as_str)).unwrap(), h1());
    let backwards = Identity::from_uris(uris.iter().rev().map(String::as_str)).unwrap();
    assert_eq!(backwards.uris().len(), uris.len(), "the order of the URIs does not matter");
    assert!(uris.iter().all(|uri| uri.len() <= Identity::URI_MAX));
}

#[test]
fn foreign_uris_and_unknown_claims_are_passed_over() {
    let read =
        Identity::from_uris(["https://example.net/", H1, "spiffe://x/y", "slr://example.net/host/h1?later=1"]).unwrap();
    assert_eq!((read.tunnels.len(), read.subnets.len()), (0, 0));
}

#[test]
fn refusals_say_what_is_wrong() {
    let table: [(&[&str], &str); 14] = [
        (&[], "the certificate names no node"),
        (&["https://example.net/host/h1"], "the certificate names no node"),
        (&["slr://example.net/host/h1?tunnel=10.0.0.1/32"], "the certificate names no node"),
        (&[H1, H1], "the certificate is for two nodes"),
        (
            &[H1, "slr://example.net/host/h2"],
            "for two nodes, \"slr://example.net/host/h1\" and \"slr://example.net/host/h2\"",
        ),
        (&[H1, "slr://example.net/host/h2?subnet=192.0.2.0/24"], "the certificate is for two nodes"),
        (&["slr://example.net/h1"], "is not slr://TRUST-DOMAIN/ROLE/NAME"),
        (&["slr://example.net/host/h1/x"], "is not slr://TRUST-DOMAIN/ROLE/NAME"),
        (&["slr:///host/h1"], "\"\" is not a trust domain"),
        (&["slr://Example/host/h1"], "\"Example\" is not a trust domain"),
        (&["slr://example.net/king/h1"], "\"king\" is not a role: expected one of host, site, as, network"),
        (&["slr://example.net/host/H1"], "\"H1\" is not a node name"),
        (&[H1, "slr://example.net/host/h1?tunnel"], "perhaps with ?tunnel=PREFIX"),
        (&[H1, "slr://example.net/host/h1?subnet=192.0.2.1/24"], "write 192.0.2.0/24 for the subnet"),
    ];
    for (uris, message) in table {
        let error = Identity::from_uris(uris.iter().copied()).unwrap_err().to_string();
        assert!(error.contains(message), "{uris:?}: {error}");
    }
}

#[test]
fn a_tunnel_is_a_unicast_prefix() {
    for bad in ["10.0.0.1", "10.0.0.1/24", "0.0.0.0/0", "::/0", "224.0.0.0/8", "127.0.0.1/32", "::1/128", "x", ""] {
        assert!(matches!(parse_tunnel(bad), Err(IdentityError::Tunnel { .. })), "{bad}");
    }
    for good in ["10.0.0.1/32", "10.0.0.0/24", "2001:db8::/64"] {
        assert_eq!(parse_tunnel(good).unwrap().to_string(), good);
    }
}

#[test]
fn sizes_are_bounded_before_anything_is_read() {
    let long = format!("{H1}?subnet={}", "1".repeat(Identity::URI_MAX));
    assert_eq!(Identity::from_uris([H1, long.as_str()]), Err(IdentityError::TooLong { bytes: long.len() }));
    let subnet = format!("{H1}?subnet=192.0.2.0/24");
    let many = std::iter::once(H1).chain(std::iter::repeat_n(subnet.as_str(), Identity::SUBNETS_MAX));
    assert_eq!(Identity::from_uris(many.clone()).unwrap().subnets.len(), Identity::SUBNETS_MAX);
    let error = Identity::from_uris(many.chain([subnet.as_str()])).unwrap_err();
    assert_eq!(error, IdentityError::TooMany { what: "subnet claims", max: Identity::SUBNETS_MAX });
    let tunnel = format!("{H1}?tunnel=10.0.0.1/32");
    let many = std::iter::once(H1).chain(std::iter::repeat_n(tunnel.as_str(), Identity::TUNNELS_MAX + 1));
    assert_eq!(
        Identity::from_uris(many).unwrap_err(),
        IdentityError::TooMany { what: "tunnel claims", max: Identity::TUNNELS_MAX }
    );
    let endless = std::iter::repeat("https://example.net/");
    assert_eq!(
        Identity::from_uris(endless).unwrap_err(),
        IdentityError::TooMany { what: "URIs", max: Identity::URIS_MAX }
    );
}

#[test]
fn errors_quote_little_and_no_control_characters() {
    let hostile = format!("slr://{}\u{1b}[2J\n{}/host/h1", "é".repeat(30), "x".repeat(100));
    let message = Identity::from_uris([hostile.as_str()]).unwrap_err().to_string();
    assert!(!message.chars().any(char::is_control), "{message:?}");
    assert!(message.len() < 400, "{message}");
    assert!(quoted(&"é".repeat(300)).len() <= Identity::QUOTED_MAX);
}

#[test]
fn claims_cover_their_parts_and_nothing_else() {
    let identity = h1();
    assert!(identity.allows_tunnel_address("10.1.11.2".parse().unwrap()));
    assert!(!identity.allows_tunnel_address("10.1.11.3".parse().unwrap()));
    assert!(identity.allows_tunnel_prefix("2001:db8:1::2/128".parse().unwrap()));
    assert!(!identity.allows_tunnel_prefix("2001:db8:1::/64".parse().unwrap()));
    assert!(identity.allows_subnet("192.0.2.128/25".parse().unwrap()));
    assert!(!identity.allows_subnet("192.0.0.0/16".parse().unwrap()));
    assert!(!identity.allows_subnet("198.51.100.0/24".parse().unwrap()));
}

#[test]
fn each_tier_has_the_one_below_as_children() {
    let children: Vec<_> = Role::ALL.iter().map(|role| role.child()).collect();
    assert_eq!(children, [None, Some(Role::Host), Some(Role::Site), Some(Role::As)]);
}
