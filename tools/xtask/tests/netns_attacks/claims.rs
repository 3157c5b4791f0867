//! What a host says that was taken over: with a good certificate, over a good connection.

use std::net::IpAddr;
use std::thread;
use std::time::SystemTime;

use nix::sys::signal::Signal;
use slr_control::{ChildLink, Endpoint, Target, Trust, TrustFiles};
use slr_model::{FlowKey, Role};
use slr_session::conversation::{BackoffSettings, ChildEvent, ChildSettings};
use slr_testkit::{eventually, require_root};
use tokio::sync::{mpsc, oneshot, watch};

use crate::scene::{SOON, Scene};

/// Connects to the preferred SLR as h1, with that host's certificate, and claims flows. Holds the connection until `over`.
async fn claim_as_h1(files: TrustFiles, flows: Vec<FlowKey>, over: oneshot::Receiver<()>) {
    let endpoint = Endpoint::dialling(Trust::load(files).unwrap()).unwrap();
    let parent =
        Target { role: Role::Site, name: "slr1".parse().unwrap(), addresses: vec!["10.1.1.2:6100".parse().unwrap()] };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let addresses = ["10.1.11.2", "fd00:1:11::2"];
    let settings = ChildSettings {
        incarnation: u64::try_from(now.as_millis()).unwrap(),
        first_session: 1,
        software: "hostile".to_owned(),
        role: Role::Host,
        tunnel_addresses: addresses.map(|address| address.parse::<IpAddr>().unwrap()).into(),
        tunnel_sources: Vec::new(),
        backoff: BackoffSettings::default(),
    };
    let (_offer, offered) = watch::channel(None);
    let (sender, mut events) = mpsc::channel(64);
    let link = ChildLink::spawn(endpoint, parent, settings, 1, offered, sender);
    while !matches!(events.recv().await.expect("the link lives").event, ChildEvent::Welcomed(_)) {}
    link.claim(flows.into());
    let _ = over.await;
}

#[test]
fn a_host_that_was_taken_over_gets_no_flow_of_another_and_none_outside_its_certificate() {
    require_root();
    let scene = Scene::up("claims");
    let pair = &scene.pair;
    let of = |is_own: bool| {
        let all = scene.placed.iter().filter(move |(_, host)| (*host == "h1") == is_own);
        all.map(|(flow, _)| *flow).collect::<Vec<_>>()
    };
    let (own, others) = (of(true), of(false));
    assert!(!own.is_empty() && !others.is_empty(), "flows on h1 and elsewhere: {:?}", scene.placed);
    let foreign: Vec<FlowKey> =
        (1..=10).map(|n| format!("tcp 10.0.1.2:{n} > 198.51.100.20:80").parse().unwrap()).collect();
    let claims = || pair.show("slr1", "recovery").unwrap()["claims"].clone();
    let counted = || {
        let claims = claims();
        [&claims["known"], &claims["refused"]["owned"], &claims["refused"]["not_allowed"], &claims["pinned"]]
            .map(|count| count.as_u64().unwrap())
    };
    let before = counted();
    let grown = || {
        let now = counted();
        [0, 1, 2, 3].map(|at| now[at] - before[at])
    };

    // Whoever has a host's machine has its key; the daemon is in its way.
    pair.daemon("h1").unwrap().signal(Signal::SIGKILL).unwrap();
    let all = [own.clone(), others.clone(), foreign.clone()].concat();
    let files = pair.files("h1");
    let (ca, certificate, key, crl) = (files.ca, files.certificate, files.key, Some(files.crl));
    let files = TrustFiles { ca, certificate, key, crl, require_fresh_crl: false };
    let (over, until_over) = oneshot::channel();
    thread::scope(|scope| {
        let attacker = scope.spawn(|| {
            pair.lab().with_netns("h1", move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(claim_as_h1(files, all, until_over));
            })
        });
        let expected = [own.len(), others.len(), foreign.len()].map(|flows| flows as u64);
        eventually(SOON, "all claims counted", || grown().iter().sum::<u64>() >= expected.iter().sum());
        println!("known, owned, not_allowed, pinned: {:?}", grown());
        assert_eq!(grown(), [expected[0], expected[1], expected[2], 0]);
        drop(over);
        attacker.join().unwrap().unwrap();
    });
    scene.assert_untouched();
}
