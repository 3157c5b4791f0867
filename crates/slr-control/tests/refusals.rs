//! Who is not let in, and that both ends know why and what to do.

mod common;

use std::time::Duration;

use common::{DAY, Domain, Host, Router};
use slr_ca::Moment;
use slr_control::{Target, TrustFiles};
use slr_model::Role;

const LISTEN: [&str; 2] = ["127.0.0.1:0", "[::1]:0"];

/// Lets a node dial a router and returns what each end says of it.
async fn meet(router: &TrustFiles, router_role: Role, node: &TrustFiles, node_role: Role, listen: &str) -> [String; 2] {
    let mut router = Router::start(router, router_role, listen);
    let target = router.target(router_role, "r1");
    let mut node = Host::with_role(node, target, node_role);
    [router.refusal().await, node.lost().await]
}

fn assert_both(ends: [String; 2], router: &[&str], node: &[&str]) {
    for (said, expected) in [(&ends[0], router), (&ends[1], node)] {
        for words in expected {
            assert!(said.contains(words), "expected {words:?}: {said}");
        }
    }
}

#[tokio::test]
async fn another_trust_domains_node() {
    for listen in LISTEN {
        let (home, other) = (Domain::new("example.net"), Domain::new("example.org"));
        let ends =
            meet(&home.node(Role::Site, "r1"), Role::Site, &other.node(Role::Host, "h1"), Role::Host, listen).await;
        // The one that dials is the first to look.
        let remedy = "use certificates of one slr-ca on both";
        assert_both(
            ends,
            &["our certificate is another trust domain's", remedy],
            &["certificate is another trust domain's", remedy],
        );
    }
}

/// The node has both authorities' certificates, the router only its own: now the router is the one that refuses.
#[tokio::test]
async fn an_untrusted_node_that_trusts_us() {
    for listen in LISTEN {
        let (home, other) = (Domain::new("example.net"), Domain::new("example.org"));
        let mut node = other.node(Role::Host, "h1");
        let router = home.node(Role::Site, "r1");
        let both = [std::fs::read(&node.ca).unwrap(), std::fs::read(&router.ca).unwrap()].concat();
        node.ca = other.path().join("both.pem");
        std::fs::write(&node.ca, both).unwrap();
        // Without lists, so that the router's certificate is not refused for want of its authority's.
        node.crl = None;
        let ends = meet(&router, Role::Site, &node, Role::Host, listen).await;
        // The router's is good for the node, by its authority; but it is of another trust domain by name.
        assert_both(
            ends,
            &["slr://example.net/site/r1 is of another trust domain than example.org", "issue it a certificate"],
            &["slr://example.net/site/r1 is of another trust domain than example.org", "issue it a certificate"],
        );
    }
}

/// Two authorities for one trust domain: the names are right, the signatures are not.
#[tokio::test]
async fn an_authority_of_the_same_name() {
    let (home, other) = (Domain::new("example.net"), Domain::new("example.net"));
    let ends =
        meet(&home.node(Role::Site, "r1"), Role::Site, &other.node(Role::Host, "h1"), Role::Host, LISTEN[0]).await;
    assert_both(ends, &["is another trust domain's"], &["is another trust domain's", "one slr-ca"]);
}

#[tokio::test]
async fn an_expired_node() {
    for listen in LISTEN {
        let home = Domain::new("example.net");
        let past = Moment::now().before(DAY * 2);
        let node = home.node_valid(Role::Host, "h1", past, DAY);
        let ends = meet(&home.node(Role::Site, "r1"), Role::Site, &node, Role::Host, listen).await;
        assert_both(
            ends,
            &["the other node's certificate has expired", "slr-ca renew"],
            &["says that our certificate has expired", "renew ours with slr-ca renew"],
        );
    }
}

#[tokio::test]
async fn an_expired_router() {
    let home = Domain::new("example.net");
    let past = Moment::now().before(DAY * 2);
    let router = home.node_valid(Role::Site, "r1", past, DAY);
    let ends = meet(&router, Role::Site, &home.node(Role::Host, "h1"), Role::Host, LISTEN[0]).await;
    assert_both(ends, &["says that our certificate has expired"], &["the other node's certificate has expired"]);
}

#[tokio::test]
async fn a_revoked_node() {
    for listen in LISTEN {
        let home = Domain::new("example.net");
        let (router, node) = (home.node(Role::Site, "r1"), home.node(Role::Host, "h1"));
        home.revoke("h1", &["r1"]);
        let ends = meet(&router, Role::Site, &node, Role::Host, listen).await;
        assert_both(
            ends,
            &["the other node's certificate is revoked", "issue it a new one with slr-ca issue"],
            &["says that our certificate is revoked", "slr-ca issue"],
        );
    }
}

#[tokio::test]
async fn a_revoked_router() {
    let home = Domain::new("example.net");
    let (router, node) = (home.node(Role::Site, "r1"), home.node(Role::Host, "h1"));
    home.revoke("r1", &["h1"]);
    let ends = meet(&router, Role::Site, &node, Role::Host, LISTEN[0]).await;
    assert_both(ends, &["says that our certificate is revoked"], &["the other node's certificate is revoked"]);
}

#[tokio::test]
async fn a_node_of_a_wrong_tier() {
    let home = Domain::new("example.net");
    let router = home.node(Role::Site, "r1");
    for (role, name) in [(Role::As, "a1"), (Role::Network, "n1")] {
        let ends = meet(&router, Role::Site, &home.node(role, name), role, LISTEN[0]).await;
        let why = format!("{name} is of role {role}, and site r1 takes connections from host or site");
        assert_both(ends, &[&why, "the right --role"], &["the other node refuses us", &why, "the right --role"]);
    }
}

/// Whoever is of the router's own tier must be in its cluster.
#[tokio::test]
async fn a_stranger_of_the_same_tier() {
    let home = Domain::new("example.net");
    let (router, node) = (home.node(Role::Site, "r1"), home.node(Role::Site, "r9"));
    let ends = meet(&router, Role::Site, &node, Role::Site, LISTEN[0]).await;
    let why = "site r9 is not in the cluster of r1";
    assert_both(ends, &[why, "name r9 among the peers of r1"], &["refuses us", why, "name r9 among the peers"]);
}

#[tokio::test]
async fn a_router_of_another_name_or_tier() {
    let home = Domain::new("example.net");
    let (router, node) = (home.node(Role::Site, "r1"), home.node(Role::Host, "h1"));
    for (role, name) in [(Role::Site, "r2"), (Role::As, "r1")] {
        let mut router = Router::start(&router, Role::Site, LISTEN[1]);
        let target = Target { role, name: name.parse().unwrap(), addresses: vec![router.address] };
        let mut node = Host::start(&node, target);
        let why = format!("the certificate is for site r1, and {role} {name} was dialled");
        let ends = [router.refusal().await, node.lost().await];
        assert_both(ends, &[&why, "correct the name"], &[&why, "correct the name"]);
    }
}

#[tokio::test]
async fn a_list_past_its_time_refuses_only_where_that_is_asked_for() {
    let home = Domain::new("example.net");
    let (mut router, node) = (home.node(Role::Site, "r1"), home.node(Role::Host, "h1"));
    {
        let mut ca = slr_ca::Authority::open(&home.path().join("ca")).unwrap();
        ca.sign_crl(Duration::from_secs(1)).unwrap();
        ca.copy_crl(&home.files_of("r1")).unwrap();
    }
    let list_ends = std::time::Instant::now() + Duration::from_millis(2_100);
    tokio::time::sleep_until(list_ends.into()).await;
    let mut lenient = Router::start(&router, Role::Site, LISTEN[0]);
    let _host = Host::start(&node, lenient.target(Role::Site, "r1"));
    lenient.welcome().await;
    router.require_fresh_crl = true;
    let ends = meet(&router, Role::Site, &node, Role::Host, LISTEN[0]).await;
    assert_both(ends, &["cannot be checked against the revocation list", "slr-ca sign-crl"], &["slr-ca sign-crl"]);
}

#[tokio::test]
async fn nobody_answers() {
    let home = Domain::new("example.net");
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let target =
        Target { role: Role::Site, name: "r1".parse().unwrap(), addresses: vec![silent.local_addr().unwrap()] };
    let mut host = Host::start(&home.node(Role::Host, "h1"), target);
    assert!(host.lost().await.contains("no connection within 5 s"));
}
