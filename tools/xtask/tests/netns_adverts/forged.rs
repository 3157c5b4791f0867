//! Words that are not to be believed: each is refused by a reason of its own, counted, and changes nothing.

use std::net::IpAddr;

use slr_testkit::packet::pkt;
use slr_testkit::{eventually, require_root};
use slr_wire::{AdvertKey, FlowAdvert};

use crate::scene::{CLIENT, OTHER_CLIENT, SOON, Scene, answered, datagram, tunnel_address};

const PORT: u16 = 51_001;
/// Who sends what is forged: the client itself, or the other one.
const HONEST: &str = "c1";
const HOSTILE: &str = "c2";

/// Sends it out of the client's machine and waits until it is counted.
fn refused(scene: &Scene, node: &str, what: &str, datagram: &[u8], reason: &str) {
    let before = scene.packets(reason);
    scene.send(node, datagram);
    eventually(SOON, what, || scene.packets(reason) == before + 1);
}

/// The answer to a request with this advertisement, as the client would send it.
fn answer(advert: &FlowAdvert, key: &AdvertKey) -> Vec<u8> {
    datagram(advert.client, advert.virtual_address, &answered(advert, key))
}

#[test]
fn what_is_forged_is_refused_at_the_first_packet_and_changes_nothing() {
    require_root();
    let mut scene = Scene::up("forged");
    for family in [0, 1] {
        let (own, other) = (scene.advert("h1", family, PORT), scene.advert("h2", family, PORT));
        let (key, others) = (scene.key(&own), scene.key(&other));
        let good = answered(&own, &key);
        let (client, to) = (own.client, own.virtual_address);
        let mut bent = good.clone();
        *bent.last_mut().unwrap() ^= 1;
        refused(&scene, HONEST, "a forged MAC", &datagram(client, to, &bent), "drop_advert_mac");
        refused(&scene, HONEST, "another node's key", &answer(&own, &others), "drop_advert_mac");
        let late = FlowAdvert { epoch: own.epoch + 2, ..own.clone() };
        refused(&scene, HONEST, "another epoch", &answer(&late, &scene.key(&late)), "drop_advert_epoch");
        let cut = &good[..good.len() - 1];
        refused(&scene, HONEST, "a byte too short", &datagram(client, to, cut), "drop_advert_length");
        let long = [&good[..], &[0; 600]].concat();
        refused(&scene, HONEST, "too long", &datagram(client, to, &long), "drop_advert_length");
        let packet = pkt().ip(client, to);
        let fragment = match client {
            IpAddr::V4(_) => packet.id(7).fragment(0, true).next(1),
            IpAddr::V6(_) => packet.fragment_header(0, true, 7).next(58),
        };
        refused(&scene, HONEST, "a fragment", &fragment.payload(&good).build(), "drop_advert_fragment");
        assert_eq!(scene.pinned_to(family, PORT), None);
    }
    let own = scene.advert("h1", 0, PORT);
    let key = scene.key(&own);
    let foreign = datagram(OTHER_CLIENT.parse().unwrap(), own.virtual_address, &answered(&own, &key));
    refused(&scene, HOSTILE, "another client", &foreign, "drop_advert_ends");
    assert_eq!(scene.counted("owned"), [0; 4]);
    assert_eq!(scene.pinned_to(0, PORT), None);

    // The same bytes are good once.
    scene.send(HONEST, &answer(&own, &key));
    eventually(SOON, "the flow pinned", || scene.pinned_to(0, PORT).as_deref() == Some("h1"));
    refused(&scene, HONEST, "the same again", &answer(&own, &key), "drop_advert_replayed");
    assert_eq!(scene.counted("owned"), [1, 0, 1, 0]);
}

#[test]
fn what_is_authentic_takes_no_flow_from_a_host_that_has_it_and_speaks_for_no_other() {
    require_root();
    let mut scene = Scene::up("owners");
    let own = scene.advert("h1", 0, PORT);
    scene.echo(&own);
    eventually(SOON, "the flow pinned", || scene.pinned_to(0, PORT).as_deref() == Some("h1"));
    // A server that was taken over has its own keys: it gets no flow that another one has.
    let greedy = scene.advert("h2", 0, PORT);
    scene.echo(&greedy);
    eventually(SOON, "refused: owned", || scene.counted("owned") == [1, 0, 1, 1]);
    assert_eq!(scene.pinned_to(0, PORT).as_deref(), Some("h1"));
    // Names and addresses that are no host's here, as if the secret were known.
    for (what, advert) in [
        ("nobody", FlowAdvert { node: "h9".parse().unwrap(), ..scene.advert("h2", 0, PORT + 1) }),
        ("another host's address", FlowAdvert { server: tunnel_address("h1"), ..scene.advert("h2", 0, PORT + 1) }),
    ] {
        let before = scene.counted("unknown_host")[3];
        scene.send(HONEST, &answer(&advert, &scene.key(&advert)));
        eventually(SOON, what, || scene.counted("unknown_host")[3] == before + 1);
    }
    // A subnet that the certificate does not have any more.
    let site = &scene.site;
    site.authority().unwrap().renew("h3", &["--subnet", "2001:db8:100::/48"]).unwrap();
    eventually(SOON, "its services refused", || {
        let states = site.show("states").unwrap();
        let of =
            |state: &&serde_json::Value| state["host"] == "h3" && state["service"].to_string().contains("192.0.2.");
        states.as_array().unwrap().iter().filter(of).count() == 0
    });
    let foreign = scene.advert("h3", 0, PORT + 2);
    scene.echo(&foreign);
    eventually(SOON, "refused: not allowed", || scene.counted("not_allowed")[3] == 1);
    assert_eq!([scene.pinned_to(0, PORT + 1), scene.pinned_to(0, PORT + 2)], [None, None]);
    assert_eq!(CLIENT[0].parse::<IpAddr>().unwrap(), own.client);
}
