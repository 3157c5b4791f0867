//! The members of a cluster: one connection between each two, dialled by the smaller name, opened again when it is lost.

mod common;

use std::sync::Arc;

use common::{Domain, Router, hub_settings};
use slr_control::{HubEvent, Target};
use slr_model::Role;
use slr_session::conversation::PeerEvent;
use slr_wire::{Code, Message, RingsAck};

fn met(event: &HubEvent) -> Option<String> {
    match event {
        HubEvent::Peer { name, event: PeerEvent::Met(_), .. } => Some(name.to_string()),
        _ => None,
    }
}

fn lost(event: &HubEvent) -> Option<String> {
    match event {
        HubEvent::Peer { event: PeerEvent::Lost { why, .. }, .. } => Some(why.clone()),
        _ => None,
    }
}

/// Two routers that know each other.
fn cluster(home: &Domain, listen: &str) -> [Router; 2] {
    let mut r1 = Router::start(&home.node(Role::Site, "r1"), Role::Site, listen);
    let r2 =
        Router::with(&home.node(Role::Site, "r2"), hub_settings(Role::Site, listen, vec![r1.target(Role::Site, "r1")]));
    r1.hub.set_peers(vec![r2.target(Role::Site, "r2")]);
    [r1, r2]
}

#[tokio::test]
async fn peers_meet_and_exchange_messages() {
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        let home = Domain::new("example.net");
        let [mut r1, mut r2] = cluster(&home, listen);
        assert_eq!(r1.until("r2", met).await, "r2");
        assert_eq!(r2.until("r1", met).await, "r1");
        let beat = Arc::new(Message::RingsAck(RingsAck { held: None, follows: None, joining: true, resync: false }));
        let is_message =
            |event: &HubEvent| matches!(event, HubEvent::Peer { event: PeerEvent::Message(_), .. }).then_some(());
        r1.hub.send_to_peer(&"r2".parse().unwrap(), beat.clone()).unwrap();
        r2.until("the message", is_message).await;
        r2.hub.send_to_peer(&"r1".parse().unwrap(), beat).unwrap();
        r1.until("the answer", is_message).await;
    }
}

#[tokio::test]
async fn a_peer_that_restarts_is_met_again() {
    let home = Domain::new("example.net");
    let [mut r1, mut r2] = cluster(&home, "127.0.0.1:0");
    r1.until("r2", met).await;
    r2.until("r1", met).await;
    let refused = slr_wire::Refused::new(Code::Restart, "restarting", "");
    r2.hub.refuse_peer(&"r1".parse().unwrap(), refused).unwrap();
    r1.until("the loss", lost).await;
    assert_eq!(r1.until("r2 again", met).await, "r2");
}

#[tokio::test]
async fn a_renewal_opens_the_connection_anew() {
    let home = Domain::new("example.net");
    let [mut r1, mut r2] = cluster(&home, "127.0.0.1:0");
    r1.until("r2", met).await;
    r2.until("r1", met).await;
    for name in ["r2", "r1"] {
        home.renew(name);
        assert!(r1.until("the loss", lost).await.contains("renewed"), "{name}");
        r1.until("r2 again", met).await;
        r2.until("r1 again", met).await;
    }
}

#[tokio::test]
async fn who_is_no_member_any_more_is_let_go() {
    let home = Domain::new("example.net");
    let [mut r1, mut r2] = cluster(&home, "127.0.0.1:0");
    r1.until("r2", met).await;
    r2.until("r1", met).await;
    r2.hub.set_peers(vec![]);
    let why = r1.until("the loss", lost).await;
    assert!(why.contains("not in the cluster") || why.contains("cluster has changed"), "{why}");
    assert!(r2.refusal().await.contains("site r1 is not in the cluster of r2; name r1 among the peers"));
    r2.hub.set_peers(vec![Target { role: Role::Site, name: "r1".parse().unwrap(), addresses: vec![r1.address] }]);
    assert_eq!(r1.until("r2 again", met).await, "r2");
}
