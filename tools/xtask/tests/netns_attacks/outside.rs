//! What comes over the network: from a client, and from a machine whose address is a router's.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use slr_testkit::packet::{ACK, Packet, pkt};
use slr_testkit::{eventually, require_root};
use xtask::carried::{Carried, carried};
use xtask::flood::{self, Plan};
use xtask::pair::{HOSTS, Pair, SLRS, VIRTUAL};
use xtask::raw::RawSender;
use xtask::site::CLIENT_RANGES;

use crate::scene::{SOON, Scene, packets, sum};

/// The client that attacks.
const HOSTILE: &str = "c2";
/// What a lab forwards on two busy cores, some ten times over as chains; and four times what is asked about.
const FLOOD_PER_S: u32 = 4_000;
const FLOOD_FOR: Duration = Duration::from_secs(3);
/// A busy machine's links lose some.
const ARRIVE_PERCENT: u64 = 95;
/// Orphans that a CPU holds at once, and each second: SLR_HELD_BURST, SLR_HELD_PER_S.
const HELD_BURST: f64 = 1_000.0;
const HELD_PER_S: f64 = 1_000.0;
/// Bytes on links of the site for each of the attacker's: 18.8 for a chain through three hosts and on to its end, which crosses nine
/// links with up to four headers of 20 bytes; and the part that is asked about goes on to its host.
const INSIDE_MAX: f64 = 22.0;
/// One more than SLR_CHAIN_HEADERS.
const DEEP: usize = 5;
/// Packets of each attack that is no flood.
const PACKETS: u64 = 50;

/// What the site's links carry in the time of a flood, to and from SLRs, site and hosts, without one.
fn inside_without(pair: &Pair) -> u64 {
    let before = inside(pair);
    thread::sleep(FLOOD_FOR); // the time of the measurement
    inside(pair) - before
}

/// What they have carried so far.
fn inside(pair: &Pair) -> u64 {
    let ends = [
        ("internet", "slr1"),
        ("internet", "slr2"),
        ("internet", "site"),
        ("site", "h1"),
        ("site", "h2"),
        ("site", "h3"),
    ];
    ends.iter().map(|(node, other)| carried(pair.lab(), node, other).unwrap().sum()).sum()
}

fn outside(pair: &Pair) -> Carried {
    carried(pair.lab(), HOSTILE, "internet").unwrap()
}

/// ACKs of tuples that nobody knows. All are searched for among hosts; of what comes to a chain's end a bounded part is asked
/// about, and answered with a reset. So the network never carries more back to a client than came from there.
fn flood_of_acks(pair: &Pair) {
    let (_, ranges) = CLIENT_RANGES.iter().find(|(client, _)| *client == HOSTILE).unwrap();
    let plan = Plan {
        from: ranges.iter().map(|range| range.parse().unwrap()).collect(),
        to: VIRTUAL.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 80)).collect(),
        per_s: FLOOD_PER_S,
        lasts: FLOOD_FOR,
        seed: slr_testkit::seed::announced_seed("flood of ACKs"),
    };
    let counts = || {
        let ends = ["drop_orphan_held", "drop_orphan_limit"].map(|reason| sum(pair, &SLRS, reason));
        (packets(pair, "slr1", "fwd_orphan_chain"), sum(pair, &HOSTS, "relay_chain"), ends)
    };
    let usual = inside_without(pair);
    let (before, links, client) = (counts(), inside(pair), outside(pair));
    let sent = flood::run(pair.lab(), HOSTILE, &plan).unwrap();
    assert_eq!(sent.refused, 0, "{sent:?}");
    let ended = |now: (u64, u64, [u64; 2])| now.2.iter().sum::<u64>() - before.2.iter().sum::<u64>();
    let most_of_them = sent.segments * ARRIVE_PERCENT / 100;
    eventually(SOON, "the ends of the chains", || ended(counts()) >= most_of_them);
    let reset = SLRS.map(|slr| finals(pair, slr)).iter().sum::<u64>();
    let after = counts();
    let [held, limited] = [after.2[0] - before.2[0], after.2[1] - before.2[1]];
    let (chains, relayed) = (after.0 - before.0, after.1 - before.1);
    println!(
        "{sent:?}: {chains} chains, {relayed} relayed, {held} held, {limited} limited, {reset} sent on to be reset"
    );
    assert!((most_of_them..=sent.segments).contains(&chains), "{chains} chains of {sent:?}");
    assert!(held + limited <= chains && reset <= held, "each ends once, and only what is asked about is reset");
    let cpus = thread::available_parallelism().unwrap().get() as f64;
    // The flood may have taken longer to arrive than to be sent.
    let most = cpus * (HELD_BURST + HELD_PER_S * (FLOOD_FOR.as_secs_f64() + 1.0));
    let all_may_be_held = sent.segments as f64 <= most;
    assert!(held > 0 && (held as f64) < most, "{held} held, {limited} limited, {most} may be held");
    assert!(limited > 0 || all_may_be_held, "{held} held, {limited} limited, {most} may be held");

    let (client, links) = (outside(pair) - client, (inside(pair) - links).saturating_sub(usual));
    let [back, factor] = [client.received, links].map(|bytes| bytes as f64 / client.sent as f64);
    println!("bytes for each of the attacker's: {back:.2} back to it, {factor:.1} over the site's links");
    assert!(back < 1.0, "amplification: {client:?}");
    assert!(factor < INSIDE_MAX, "{factor} bytes inside for each of the attacker's");
}

/// Packets that went on marked final.
fn finals(pair: &Pair, slr: &str) -> u64 {
    pair.show(slr, "recovery").unwrap()["search"]["finals"].as_u64().unwrap()
}

/// A tunnel header of either family.
fn header(outer: Packet, from: &str, to: &str) -> Packet {
    outer.ip(from.parse().unwrap(), to.parse().unwrap())
}

/// A segment of nobody's connection.
fn orphan(outer: Packet) -> Packet {
    outer.ipv4("10.0.102.9", VIRTUAL[0]).tcp(40_000, 80).flags(ACK).seq(7).ack(9)
}

/// Sends so many of a packet from a node, and waits until as many are counted there under the reason, and no more.
fn refused(pair: &Pair, from: &str, packet: &Packet, at: &str, reason: &str) {
    let before = packets(pair, at, reason);
    let datagram = packet.build();
    let send = || {
        let sender = RawSender::open().unwrap();
        (0..PACKETS).for_each(|_| sender.send(&datagram).unwrap());
    };
    pair.lab().with_netns(from, send).unwrap();
    eventually(SOON, &format!("{reason} at {at}"), || packets(pair, at, reason) >= before + PACKETS);
    assert_eq!(packets(pair, at, reason), before + PACKETS, "{reason} at {at}");
}

/// Chains and ends of chains of who is no router and no host of the site, to a host and to an SLR.
fn chains_of_strangers(pair: &Pair) {
    let client = outside(pair);
    for (stranger, host, next, slr) in [
        ("10.0.2.2", "10.1.11.2", "10.1.12.2", "10.1.1.2"),
        ("fd00:0:2::2", "fd00:1:11::2", "fd00:1:12::2", "fd00:1:1::2"),
    ] {
        let router = if stranger.contains(':') { "fd00:1:fe::7" } else { "10.1.254.7" };
        let chain = |to: &str| orphan(header(header(pkt(), stranger, to), router, next));
        refused(pair, HOSTILE, &chain(host), "h1", "drop_stranger");
        refused(pair, HOSTILE, &chain(slr), "slr1", "drop_tunnel_stranger");
        let end = header(pkt(), stranger, slr);
        let end = if stranger.contains(':') { end.flow_label(3 << 16 | 0x12) } else { end.id(3) };
        refused(pair, HOSTILE, &orphan(end), "slr1", "drop_tunnel_stranger");
    }
    let client = outside(pair) - client;
    assert!(client.received < client.sent / 10, "strangers are not answered: {client:?}");
}

/// From a registered router, with a header more than any router sends.
fn chains_too_deep(pair: &Pair) {
    for (router, hosts) in [
        ("10.1.254.7", ["10.1.11.2", "10.1.12.2", "10.1.13.2"]),
        ("fd00:1:fe::7", ["fd00:1:11::2", "fd00:1:12::2", "fd00:1:13::2"]),
    ] {
        let deep = hosts.iter().cycle().take(DEEP).fold(pkt(), |outer, host| header(outer, router, host));
        refused(pair, "slr1", &orphan(deep), "h1", "drop_chain_deep");
    }
}

#[test]
fn what_comes_from_outside_is_refused_and_counted_and_no_healthy_flow_moves() {
    require_root();
    let scene = Scene::up("attacks");
    flood_of_acks(&scene.pair);
    chains_of_strangers(&scene.pair);
    chains_too_deep(&scene.pair);
    scene.assert_untouched();
}
