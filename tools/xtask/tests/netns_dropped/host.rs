//! At a host. Hosts take tunnels of the site's routers alone, so what a client can draw itself comes in a router's name: a network that
//! lets such packets in from outside is not set up as docs/failure-model.md asks.

use slr_dataplane::reason::{HostReason, Verdict};
use slr_testkit::packet::{Packet, pkt};
use slr_testkit::{eventually, require_root};
use xtask::site::{Site, SiteOptions, VIRTUAL};

use super::{CLIENT, CLIENT6, Drawn, SOON, assert_all_are_found, assert_all_are_placed};

/// Whose tunnels the hosts take, and where; and the third host, which has no IPv4 tunnel address.
const ROUTER: [&str; 2] = ["10.1.255.7", "fd00:1:ff::7"];
const HOST: [&str; 2] = ["10.1.11.2", "fd00:1:11::2"];
const HOST_V6: &str = "fd00:1:13::2";

/// Drops that no client's packets draw here.
const LEFT_OUT: [(&str, &str); 1] = [("unset", "a bug in the program")];

/// A client's datagram behind these headers.
fn content(outer: Packet) -> Packet {
    outer.ipv4(CLIENT, VIRTUAL[0]).udp(40_000, 7).payload_len(100)
}

fn router() -> Packet {
    pkt().ipv4(ROUTER[0], HOST[0])
}

fn dropped() -> Vec<Drawn> {
    let by = |reason, packet: &Packet| Drawn::by(reason, packet).at("h1");
    let chain = |headers| (0..headers).fold(router(), |packet, _| packet.ipv4(ROUTER[0], HOST[0]));
    let from_v6 = || pkt().ipv6(ROUTER[1], HOST[1]);
    let to_v6_alone = pkt().ipv6(ROUTER[1], HOST_V6).ipv4(ROUTER[0], HOST[0]);
    vec![
        by("drop_stranger", &content(pkt().ipv4("10.0.102.100", HOST[0]))),
        by("drop_stranger", &content(pkt().ipv4(CLIENT, HOST[0]))),
        by("drop_malformed_outer", &content(from_v6().length(2_000))).from("site"),
        by("drop_malformed_outer", &from_v6().length(2_000).ipv6(CLIENT6, VIRTUAL[1]).udp(40_000, 7))
            .of(CLIENT6)
            .from("site"),
        by("drop_malformed_inner", &router().ipv4(CLIENT, VIRTUAL[0]).length(2_000).udp(40_000, 7)),
        by("drop_tunnel_fragment", &content(router().fragment(0, true))),
        by(
            "drop_tunnel_fragment",
            &from_v6().fragment_header(0, true, 1).ipv6(CLIENT6, VIRTUAL[1]).udp(40_000, 7).payload_len(64),
        )
        .of(CLIENT6),
        by("drop_not_served", &router().ipv4(CLIENT, "10.9.9.9").udp(40_000, 7)),
        by("drop_chain_deep", &content(chain(4))),
        by("drop_relay_unlisted", &content(router().ipv4(ROUTER[0], "10.9.9.9"))),
        by("drop_keepalive", &router().ipv4(CLIENT, HOST[0]).udp(40_000, 6_101).payload_len(64)),
        by("drop_ecn", &content(router().tos(3))),
        // The address that it claims to be of is the one that finds it; and who sent it.
        by("drop_spoofed_source", &router().ipv4(VIRTUAL[0], VIRTUAL[0]).udp(40_000, 7)).of(VIRTUAL[0]),
        by("drop_spoofed_source", &router().ipv4(VIRTUAL[0], VIRTUAL[0]).udp(40_000, 7)).of(ROUTER[0]),
        by("drop_relay_rewrite", &content(to_v6_alone)).at("h3"),
    ]
}

#[test]
fn what_a_host_drops_of_a_client_is_found_by_its_address_alone() {
    require_root();
    let mut options = SiteOptions::default();
    options.hosts[2].address = HOST_V6.to_owned();
    let site = Site::up("droppedh", options).unwrap();
    // The router tells each host of the others, in its own time.
    eventually(SOON, "h3 knows h1", || site.show_host("h3", "peers").unwrap().to_string().contains(HOST[0]));
    let drawn = dropped();
    let drops = HostReason::ALL.iter().filter(|reason| reason.verdict() == Verdict::Drop);
    assert_all_are_placed(drops.map(|reason| reason.name()), drawn.iter(), &LEFT_OUT);
    assert_all_are_found(&site, &drawn);
}
