//! The keys that a host is granted: its own, for what its certificate has, and no others.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::SystemTime;

use slr_control::{ChildLink, Endpoint, Target, Trust, TrustFiles};
use slr_model::Role;
use slr_session::conversation::{BackoffSettings, ChildEvent, ChildSettings};
use slr_testkit::require_root;
use slr_wire::{FlowKeys, FlowSecret};
use tokio::sync::{mpsc, watch};

use crate::scene::Scene;

/// A host that nobody has heard of so far.
const NAME: &str = "h9";
const TUNNELS: [&str; 2] = ["10.1.19.2", "fd00:1:19::2"];
/// Part of a subnet of the router's, and one that it does not serve.
const SUBNETS: [&str; 2] = ["192.0.2.128/25", "203.0.113.0/24"];

/// Connects as that host, and waits for its first keys.
async fn granted(files: TrustFiles) -> FlowKeys {
    let endpoint = Endpoint::dialling(Trust::load(files).unwrap()).unwrap();
    let parent =
        Target { role: Role::Site, name: "slr1".parse().unwrap(), addresses: vec!["10.1.1.2:6100".parse().unwrap()] };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let settings = ChildSettings {
        incarnation: u64::try_from(now.as_millis()).unwrap(),
        first_session: 1,
        software: "granted".to_owned(),
        role: Role::Host,
        tunnel_addresses: TUNNELS.map(|address| address.parse::<IpAddr>().unwrap()).into(),
        tunnel_sources: Vec::new(),
        backoff: BackoffSettings::default(),
    };
    let (_offer, offered) = watch::channel(None);
    let (sender, mut events) = mpsc::channel(64);
    let _link = ChildLink::spawn(endpoint, parent, settings, 1, offered, sender);
    loop {
        if let ChildEvent::FlowKeys(keys) = events.recv().await.expect("the link lives").event {
            return keys;
        }
    }
}

#[test]
fn a_host_is_granted_its_own_keys_and_no_others() {
    require_root();
    let scene = Scene::up("grants");
    let authority = scene.site.authority().unwrap();
    let tunnels = ["10.1.19.2/32", "fd00:1:19::2/128"];
    let files = authority.issue("host", NAME, &tunnels, &SUBNETS, &[]).unwrap();
    let secret: FlowSecret = std::fs::read_to_string(&files.flow_secret).unwrap().parse().unwrap();
    let (ca, certificate, key, crl) = (files.ca, files.certificate, files.key, Some(files.crl));
    let files = TrustFiles { ca, certificate, key, crl, require_fresh_crl: false };
    let keys = scene.site.lab().with_netns("h1", move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(granted(files))
    });
    let keys = keys.unwrap();
    assert_eq!(keys.epoch, scene.epoch());
    let of: BTreeSet<_> = keys.keys.iter().map(|grant| (grant.subnet.to_string(), grant.server)).collect();
    assert_eq!(of, TUNNELS.map(|at| (SUBNETS[0].to_owned(), at.parse::<IpAddr>().unwrap())).into());
    let master = secret.master(keys.epoch);
    for grant in &keys.keys {
        assert_eq!(grant.key(), master.key(&NAME.parse().unwrap(), grant.server, grant.subnet));
    }
}
