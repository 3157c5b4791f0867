//! Sessions between hosts and a router over real sockets: what is said arrives, on both families.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use common::{Domain, Host, Router, advert};
use slr_control::{CommandError, HubEvent, Target, TrustFiles};
use slr_model::{HostState, Role};
use slr_session::conversation::{ChildEvent, ChildPhase, ParentEvent};
use slr_wire::{Action, Code, Roster, RosterNode};
use tokio::sync::oneshot;

fn advert_of(event: &HubEvent) -> Option<(bool, f64)> {
    match event {
        HubEvent::Child { event: ParentEvent::Advert(advertised), .. } => {
            Some((advertised.full, advertised.advert.loads.get("load")?))
        }
        _ => None,
    }
}

#[tokio::test]
async fn adverts_arrive_on_both_families() {
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        let home = Domain::new("example.net");
        let mut router = Router::start(&home.node(Role::Site, "r1"), Role::Site, listen);
        let mut host = Host::start(&home.node(Role::Host, "h1"), router.target(Role::Site, "r1"));
        let id = router.welcome().await;
        assert_eq!(host.welcomed().await.advert_interval_ms, common::INTERVAL_MS);
        host.offer.send_replace(Some(advert(0.25)));
        assert_eq!(router.until("the full advert", advert_of).await, (true, 0.25));
        assert_eq!(router.until("a datagram", advert_of).await, (false, 0.25));
        host.offer.send_replace(Some(advert(0.75)));
        router.until("the new load", |event| advert_of(event).filter(|&(_, load)| load == 0.75)).await;
        let views = router.hub.connections();
        assert_eq!((views.len(), views[0].id, views[0].certificate.identity.name.as_str()), (1, id, "h1"));
        let status = host.link.status();
        assert_eq!((status.phase, status.heard, status.remote), (ChildPhase::Open, true, Some(router.address)));
    }
}

#[tokio::test]
async fn a_change_of_state_arrives_at_once() {
    let home = Domain::new("example.net");
    let mut router = Router::start(&home.node(Role::Site, "r1"), Role::Site, "127.0.0.1:0");
    let host = Host::start(&home.node(Role::Host, "h1"), router.target(Role::Site, "r1"));
    host.offer.send_replace(Some(advert(0.5)));
    router.welcome().await;
    router.until("the full advert", advert_of).await;
    let mut down = advert(0.5);
    down.services[0].state = HostState::Down;
    down.services[0].reason = "http: status 500".to_owned();
    host.offer.send_replace(Some(down));
    let reason = router
        .until("the change", |event| match event {
            HubEvent::Child { event: ParentEvent::Advert(news), .. } if news.full => {
                Some(news.advert.services[0].reason.clone())
            }
            _ => None,
        })
        .await;
    assert_eq!(reason, "http: status 500");
}

#[tokio::test]
async fn orders_are_answered_and_rosters_arrive() {
    let home = Domain::new("example.net");
    let mut router = Router::start(&home.node(Role::Site, "r1"), Role::Site, "127.0.0.1:0");
    let mut host = Host::start(&home.node(Role::Host, "h1"), router.target(Role::Site, "r1"));
    let id = router.welcome().await;
    let answer = router.hub.order(id, Action::Drain, "admin@r1").unwrap();
    let order = host
        .until("the order", |event| match event {
            ChildEvent::Order(order) => Some(order.clone()),
            _ => None,
        })
        .await;
    assert_eq!((order.action, order.requested_by.as_str()), (Action::Drain, "admin@r1"));
    host.link.ordered(order.id, Err("no such service".to_owned()));
    assert_eq!(answer.await.unwrap(), Err("no such service".to_owned()));
    // More than one frame.
    let nodes: Vec<_> = (0..2_000u32)
        .map(|i| RosterNode {
            name: format!("host-{i:04}.site-a.example.net").parse().unwrap(),
            tunnel_addresses: vec![std::net::Ipv4Addr::from(0x0a01_0000 + i).into()],
        })
        .collect();
    let roster = Roster { generation: 5, nodes };
    router.hub.set_roster(id, Arc::new(roster.clone())).unwrap();
    let arrived = host
        .until("the roster", |event| match event {
            ChildEvent::Roster(roster) => Some(roster.clone()),
            _ => None,
        })
        .await;
    assert_eq!(arrived, roster);
}

#[tokio::test]
async fn a_withdrawal_is_no_loss() {
    let home = Domain::new("example.net");
    let mut router = Router::start(&home.node(Role::Site, "r1"), Role::Site, "127.0.0.1:0");
    let mut host = Host::start(&home.node(Role::Host, "h1"), router.target(Role::Site, "r1"));
    let id = router.welcome().await;
    host.welcomed().await;
    host.link.withdraw("drained");
    let reason = router
        .until("the withdrawal", |event| match event {
            HubEvent::Child { event: ParentEvent::Withdrawn { reason }, .. } => Some(reason.clone()),
            _ => None,
        })
        .await;
    assert_eq!(reason, "drained");
    host.link.finished().await;
    router.ended().await;
    assert_eq!(router.hub.order(id, Action::Drain, "x").unwrap_err(), CommandError::Ended);
    assert!(router.hub.connections().is_empty());
}

#[tokio::test]
async fn a_refused_child_learns_why() {
    let home = Domain::new("example.net");
    let mut router = Router::start(&home.node(Role::Site, "r1"), Role::Site, "127.0.0.1:0");
    let mut host = Host::start(&home.node(Role::Host, "h1"), router.target(Role::Site, "r1"));
    let id = router.until("a hello", common::hello).await;
    let refused = slr_wire::Refused::new(Code::NameInUse, "h1 is there already", "give one of them another name");
    router.hub.refuse(id, refused.clone()).unwrap();
    let heard = host
        .until("the refusal", |event| match event {
            ChildEvent::Refused(refused) => Some(refused.clone()),
            _ => None,
        })
        .await;
    assert_eq!(heard, refused);
    // It tries again, for somebody may have done something about it.
    router.welcome().await;
    host.welcomed().await;
}

#[tokio::test]
async fn a_host_that_dies_is_lost_and_one_that_returns_is_heard() {
    let home = Domain::new("example.net");
    let mut router = Router::start(&home.node(Role::Site, "r1"), Role::Site, "[::1]:0");
    let files = home.node(Role::Host, "h1");
    let host = Host::start(&files, router.target(Role::Site, "r1"));
    router.welcome().await;
    drop(host);
    router.ended().await;
    let mut host = Host::start(&files, router.target(Role::Site, "r1"));
    router.welcome().await;
    host.welcomed().await;
}

#[tokio::test]
async fn a_router_that_restarts_is_found_again() {
    let home = Domain::new("example.net");
    let files = home.node(Role::Site, "r1");
    let mut router = Router::start(&files, Role::Site, "127.0.0.1:0");
    let (address, target) = (router.address, router.target(Role::Site, "r1"));
    let mut host = Host::start(&home.node(Role::Host, "h1"), target);
    router.welcome().await;
    host.welcomed().await;
    router.hub.close(Code::Restart, "restarting").await;
    assert!(host.lost().await.contains("restart"));
    drop(router);
    // The port is free when the last task of the old one has gone.
    let mut router = None;
    common::eventually("the port", || {
        let settings = common::hub_settings(Role::Site, &address.to_string(), vec![]);
        router = slr_control::Hub::start(settings, common::load(&files)).ok();
        router.is_some()
    })
    .await;
    let (hub, events) = router.unwrap();
    let mut router = Router { hub, events, address };
    router.welcome().await;
    host.welcomed().await;
}

/// A router whose process ends without a word once the sender is dropped: everything of it goes, and nothing runs meanwhile.
fn mortal_router(files: &TrustFiles) -> (SocketAddr, oneshot::Sender<()>, JoinHandle<()>) {
    let (files, (kill, killed), (tell, told)) = (files.clone(), oneshot::channel(), std::sync::mpsc::channel());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let thread = std::thread::spawn(move || {
        runtime.block_on(async {
            let mut router = Router::start(&files, Role::Site, "127.0.0.1:0");
            tell.send(router.address).unwrap();
            router.welcome().await;
            let _ = killed.await;
        });
    });
    (told.recv().unwrap(), kill, thread)
}

#[tokio::test]
async fn a_host_learns_at_once_that_its_router_was_killed_and_replaced() {
    let home = Domain::new("example.net");
    let files = home.node(Role::Site, "r1");
    let (address, kill, thread) = mortal_router(&files);
    let target = Target { role: Role::Site, name: "r1".parse().unwrap(), addresses: vec![address] };
    let mut host = Host::start(&home.node(Role::Host, "h1"), target);
    host.offer.send_replace(Some(advert(0.5)));
    host.welcomed().await;
    drop(kill);
    thread.join().unwrap();
    let mut next = Router::start(&files, Role::Site, &address.to_string());
    assert_eq!(host.lost().await, "the other node does not know the connection: it restarted");
    next.welcome().await;
    host.welcomed().await;
}
