//! Answers to augmented echoes: what it costs to find out that one is forged, and that one is authentic but not new. One that is
//! taken costs as much as the latter, and the record that the daemon reads.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use slr_dataplane::reason::RouterReason;
use slr_dataplane::router::{Router, XdpVerdict};
use slr_model::{KeyMask, Protocol};
use slr_testkit::packet::pkt;
use slr_wire::{FlowAdvert, FlowSecret};

use super::case::{Case, other};
use super::packets::{GATEWAY_MAC, ROUTER_MAC, Service};
use super::scene::{Scene, V4_IN_V4, V6_IN_V6};

const DROP: u32 = 1;
const EPOCH: u32 = 7;
/// Data of an ordinary echo, before the advertisement.
const ORDINARY: [u8; 56] = [0; 56];

fn secret() -> FlowSecret {
    FlowSecret::new([0x11; FlowSecret::LEN])
}

/// What a router has to know to take them.
pub fn accept(router: &Router) -> Result<()> {
    Ok(router.set_advert_masters(&[(EPOCH, *secret().master(EPOCH).bytes())])?)
}

/// The answer of a client to what the service's host has told it, signed with its key or with none.
fn answer(service: Service, is_forged: bool) -> Vec<u8> {
    let (client, virtual_address): (IpAddr, IpAddr) = match service {
        Service::V4(address) => ("100.64.0.1".parse().expect("an address"), address.into()),
        Service::V6(address) => ("2001:db8:c::1".parse().expect("an address"), address.into()),
    };
    let advert = FlowAdvert {
        client,
        virtual_address,
        prefix_len: 24,
        server: "10.1.0.1".parse().expect("an address"),
        node: "h1".parse().expect("a name"),
        epoch: EPOCH,
        serial: 1,
        mask: KeyMask::ALL,
        flows: vec![(40_000, 80, Protocol::Tcp)],
    };
    let mut bytes = advert.encode(&advert.key(&secret().master(EPOCH))).expect("within bounds");
    if is_forged {
        bytes[FlowAdvert::LEN - 1] ^= 1;
    }
    let frame = pkt().eth(ROUTER_MAC, GATEWAY_MAC).ip(client, virtual_address);
    frame.echo_reply(1, 1).payload([&ORDINARY[..], &bytes[..]].concat()).build()
}

/// Takes each of what is sent again later.
pub fn prepare(scene: &Scene) -> Result<()> {
    for service in [V4_IN_V4, V6_IN_V6] {
        let run = scene.router.test_run(&answer(service, false))?;
        ensure!(run.verdict == XdpVerdict::Drop, "an advertisement went on its way: {:?}", run.verdict);
    }
    Ok(())
}

/// Forged ones, and authentic ones.
pub fn cases() -> Vec<Case> {
    let case = |name, what, service, is_forged, reason| Case {
        verdict: DROP,
        ..other(name, what, service, answer(service, is_forged), reason)
    };
    vec![
        case("advert v4, forged", "answer with a wrong MAC", V4_IN_V4, true, RouterReason::DropAdvertMac),
        case("advert v6, forged", "answer with a wrong MAC", V6_IN_V6, true, RouterReason::DropAdvertMac),
        case("advert v4, authentic", "the same again", V4_IN_V4, false, RouterReason::DropAdvertReplayed),
        case("advert v6, authentic", "the same again", V6_IN_V6, false, RouterReason::DropAdvertReplayed),
    ]
}
