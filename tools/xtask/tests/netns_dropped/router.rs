//! At a router.

use std::fs;

use slr_dataplane::reason::{RouterReason, Verdict};
use slr_model::{KeyMask, Protocol};
use slr_testkit::packet::{ACK, Packet, SYN, pkt};
use slr_testkit::{eventually, require_root};
use slr_wire::{FlowAdvert, FlowSecret};
use xtask::raw::RawSender;
use xtask::site::{Site, SiteOptions, VIRTUAL, VIRTUAL_OTHER};

use super::{CLIENT, CLIENT6, Drawn, SOON, TIMES, assert_all_are_found, assert_all_are_placed};

/// Where the router takes tunnels.
const TUNNEL: &str = "10.1.1.2";
/// An upstream router, as the configuration has it, and one that it has not.
const UPSTREAM: &str = "10.0.102.200";
const STRANGER: &str = "10.0.102.100";
/// No host has the second pair of subnets, and nothing is answered there; and hardly any ICMP message is answered at all.
const CONTROL: &str = r#"
[[upstream]]
name = "up"
prefixes = ["10.0.102.128/25"]

[[subnet]]
name = "bare4"
prefix = "198.51.100.0/24"
account = 1
orphan = "drop"
echo = "drop"
"#;
const DATAPLANE: &str = "icmp_per_s = 1\nicmp_burst = 1\n";
/// More than both CPUs' budgets have for one client's network.
const FLOOD: u16 = 15_000;

/// Drops that no client's packets draw here.
const LEFT_OUT: [(&str, &str); 2] = [
    ("unset", "a bug in the program"),
    ("drop_headroom", "the driver's doing: attached to such a one, every packet's end"),
];

fn v4() -> Packet {
    pkt().ipv4(CLIENT, VIRTUAL[0])
}

fn v6() -> Packet {
    pkt().ipv6(CLIENT6, VIRTUAL[1])
}

/// A client's datagram in the tunnel of somebody.
fn tunnel(outer: Packet) -> Packet {
    outer.ipv4(CLIENT, VIRTUAL[0]).udp(40_000, 7).payload_len(100)
}

fn upstream() -> Packet {
    pkt().ipv4(UPSTREAM, TUNNEL)
}

/// Not what a virtual address is for.
fn datagrams() -> Vec<Drawn> {
    let many = (0..9).fold(v6(), |packet, _| packet.destination_options(&[]));
    vec![
        Drawn::by("drop_port_zero", &v4().tcp(0, 80).flags(ACK)),
        Drawn::by("drop_port_zero", &v6().udp(40_000, 0)).of(CLIENT6),
        Drawn::by("drop_protocol", &v4().next(132).payload_len(20)),
        // Another tunnel of its own, to no tunnel address.
        Drawn::by("drop_protocol", &v4().ipv4("10.9.9.9", "10.9.9.8").udp(1, 2)),
        Drawn::by("drop_truncated_l4", &v4().next(6).payload_len(7)),
        Drawn::by("drop_ext_headers", &many.tcp(40_000, 80).flags(ACK)).of(CLIENT6),
        Drawn::by("drop_fragment", &v4().fragment(1_480, false).next(17).payload_len(64)),
        Drawn::by("drop_too_big", &v4().udp(40_000, 7).payload_len(1_460)),
        Drawn::by("drop_malformed_ip", &v6().length(2_000).udp(40_000, 7).payload_len(100)).of(CLIENT6).from("site"),
        Drawn::by("drop_martian", &pkt().ipv4("240.0.0.1", VIRTUAL[0]).udp(40_000, 7)).of("240.0.0.1"),
        Drawn::by("drop_icmp_type", &v4().icmp(13, 0, [0; 4]).payload_len(12)),
        Drawn::by("drop_icmp_type", &v6().icmp(130, 0, [0; 4]).payload_len(16)).of(CLIENT6),
        Drawn::by("drop_icmp_limit", &v4().echo_request(1, 2)).after(vec![v4().echo_request(1, 1).build()]),
    ]
}

/// What is sent where no host is, or nothing is answered.
fn bare() -> Vec<Drawn> {
    let to = || pkt().ipv4(CLIENT, VIRTUAL_OTHER[0]);
    let orphan = |port| to().tcp(port, 80).flags(ACK);
    vec![
        Drawn::by("drop_no_active_host", &to().tcp(40_000, 80).flags(SYN)),
        Drawn::by("drop_echo", &to().echo_request(1, 1)),
        Drawn::by("drop_orphan", &to().fragment(0, true).tcp(40_001, 80).flags(ACK).payload_len(76)),
        Drawn::by("drop_orphan_held", &orphan(40_002)),
    ]
}

/// ICMP errors: about what no virtual host sent, and, forged, about tunnels of the router's.
fn errors() -> Vec<Drawn> {
    let foreign = pkt().ipv4("192.0.2.77", "198.18.0.1").udp(1, 2).build();
    let tunnel = pkt().ipv4("10.1.255.7", "10.1.13.2").df().length(1_500).next(4).payload_len(8).build();
    let needs = |mtu| pkt().ipv4(CLIENT, "10.1.255.7").too_big(mtu, &tunnel);
    let mut learned = Drawn::by("drop_pmtu_learned", &needs(1_400));
    learned.datagrams.truncate(1); // once is enough
    vec![
        Drawn::by("drop_icmp_quote", &v4().port_unreachable(&foreign)),
        Drawn::by("drop_pmtu_refused", &needs(68)),
        learned,
        Drawn::by("drop_pmtu_known", &needs(1_400)),
    ]
}

/// What comes in a tunnel: in a stranger's, or in an upstream's and wrong.
fn tunnels() -> Vec<Drawn> {
    let keepalive = upstream().ipv4(CLIENT, TUNNEL).udp(40_000, 6_101).payload_len(64);
    let cut = upstream().ipv4(CLIENT, VIRTUAL[0]).length(2_000).udp(40_000, 7).payload_len(100);
    vec![
        Drawn::by("drop_tunnel_stranger", &tunnel(pkt().ipv4(STRANGER, TUNNEL))),
        Drawn::by("drop_tunnel_stranger", &pkt().ipv4(CLIENT, TUNNEL).ipv4("10.9.9.9", VIRTUAL[0]).udp(1, 7)),
        Drawn::by("drop_tunnel_fragment", &tunnel(upstream().fragment(0, true))),
        Drawn::by("drop_tunnel_inner", &upstream().ipv4(CLIENT, "10.9.9.9").udp(40_000, 7)),
        Drawn::by("drop_tunnel_nested", &tunnel(upstream().ipv4(UPSTREAM, VIRTUAL[0]))),
        Drawn::by("drop_ecn", &tunnel(upstream().tos(3))),
        Drawn::by("drop_keepalive", &keepalive),
        Drawn::by("drop_malformed_ip", &cut),
        // By who sent it as well.
        Drawn::by("drop_tunnel_inner", &upstream().ipv4(CLIENT, "10.9.9.9").udp(40_000, 7)).of(UPSTREAM),
    ]
}

/// Answers to augmented echoes: as hosts had them made, which clients send back, and such as no host makes.
fn adverts(secret: &FlowSecret, epoch: u32) -> Vec<Drawn> {
    let advert = |serial| FlowAdvert {
        client: CLIENT.parse().unwrap(),
        virtual_address: VIRTUAL[0].parse().unwrap(),
        prefix_len: 24,
        server: "10.1.11.2".parse().unwrap(),
        node: "h1".parse().unwrap(),
        epoch,
        serial,
        mask: KeyMask::ALL,
        flows: vec![(40_000, 8_080, Protocol::Tcp)],
    };
    let signed = |advert: &FlowAdvert| advert.encode(&advert.key(&secret.master(advert.epoch))).unwrap().to_vec();
    let forged = advert(1).encode(&advert(1).key(&FlowSecret::new([0xee; FlowSecret::LEN]).master(epoch))).unwrap();
    let answer = |outer: Packet, bytes: &[u8]| outer.echo_reply(1, 1).payload([&[0; 56], bytes].concat());
    let answers = |serials: std::ops::Range<u16>| {
        serials.map(|serial| answer(v4(), &signed(&advert(serial.into()))).build()).collect::<Vec<_>>()
    };
    let by = |reason, advert: &FlowAdvert| Drawn::by(reason, &answer(v4(), &signed(advert)));
    let mut version = signed(&advert(2));
    version[4] = 9;
    let taken = Drawn { datagrams: answers(10..10 + TIMES as u16), ..by("drop_advert_taken", &advert(10)) };
    let limit = Drawn { datagrams: answers(100 + FLOOD..100 + FLOOD + 100), ..by("drop_advert_limit", &advert(1)) };
    vec![
        Drawn::by("drop_advert_fragment", &answer(v4().fragment(0, true), &signed(&advert(3)))),
        Drawn::by("drop_advert_length", &answer(v4(), &[signed(&advert(4)), vec![0]].concat())),
        Drawn::by("drop_advert_form", &answer(v4(), &version)),
        by("drop_advert_ends", &FlowAdvert { client: "10.0.102.8".parse().unwrap(), ..advert(5) }),
        by("drop_advert_epoch", &FlowAdvert { epoch: epoch + 1_000, ..advert(6) }),
        Drawn::by("drop_advert_mac", &answer(v4(), &forged)),
        taken,
        Drawn { datagrams: answers(10..10 + TIMES as u16), ..by("drop_advert_replayed", &advert(10)) },
        limit.after(answers(100..100 + FLOOD)),
    ]
}

/// Of more flows than the daemon keeps packets of.
fn flood() -> Drawn {
    let orphan = |port| pkt().ipv4(CLIENT, VIRTUAL_OTHER[0]).tcp(port, 80).flags(ACK);
    let first = (1..FLOOD).map(|port| orphan(port).build()).collect();
    Drawn::by("drop_orphan_limit", &orphan(FLOOD)).after(first)
}

/// A packet of a flow that began before its host could not be reached any more.
fn waits_for_its_host() -> Drawn {
    Drawn::by("drop_hop_unusable", &v4().udp(40_003, 7))
}

#[test]
fn what_a_router_drops_while_its_host_cannot_be_reached_is_found_too() {
    require_root();
    let site = Site::up("droppedu", SiteOptions::default().listed()).unwrap();
    let begin = || {
        let (sender, flow) = (RawSender::open().unwrap(), waits_for_its_host());
        flow.datagrams.iter().for_each(|datagram| sender.send(datagram).unwrap());
    };
    site.lab().with_netns("c2", begin).unwrap();
    eventually(SOON, "a pinned flow", || site.reason("slr1", "fwd_promoted").unwrap() > 0);
    site.lab().sh("slr1", "ip route del default via 10.1.1.1").unwrap();
    let up = || site.show("hops").unwrap().as_array().unwrap().iter().any(|hop| hop["up"] == true);
    eventually(SOON, "hosts without a way to them", || !up());
    assert_all_are_found(&site, &[waits_for_its_host()]);
}

#[test]
fn what_a_router_drops_of_a_client_is_found_by_its_address_alone() {
    require_root();
    let mut options =
        SiteOptions { control: CONTROL.to_owned(), dataplane: DATAPLANE.to_owned(), ..SiteOptions::default() };
    options.subnets.truncate(2);
    let site = Site::up("dropped", options).unwrap();
    let secret = fs::read_to_string(site.files("slr1").flow_secret).unwrap().parse().unwrap();
    let epoch = site.show("recovery").unwrap()["flow_epoch"].as_u64().unwrap().try_into().unwrap();
    let mut drawn: Vec<_> =
        [datagrams(), bare(), errors(), tunnels(), adverts(&secret, epoch)].into_iter().flatten().collect();
    drawn.push(flood());
    let drops = RouterReason::ALL.iter().filter(|reason| reason.verdict() == Verdict::Drop);
    let elsewhere = [waits_for_its_host()];
    assert_all_are_placed(drops.map(|reason| reason.name()), drawn.iter().chain(&elsewhere), &LEFT_OUT);
    assert_all_are_found(&site, &drawn);
}
