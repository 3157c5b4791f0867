//! Connections that no host of their slot has: the chain ends at a router, which asks others. A neighbour that knows the flow has it sent
//! on to its host; a flow that nobody knows is reset at once, not left hanging.

use std::io::Read;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use serde_json::Value;
use slr_testkit::acceptance::allowed;
use slr_testkit::packet::{ACK, pkt};
use slr_testkit::{eventually, require_root};
use socket2::{Domain, Protocol, Socket, Type};
use xtask::pair::{Kind, Pair, PairOptions, VIRTUAL};
use xtask::traffic;

use crate::scene::{ANNOUNCE, SOON, await_chains, move_to_slr2, neighbours, pinned_to, recovery};

/// Of each kind.
const FLOWS: usize = 40;

/// Flows over IPv6 that speak five times a second, all pinned at the first router.
fn begin_flows(pair: &Pair) -> (traffic::Running, u64) {
    let words = format!(
        "--target {} --flow keepalive={FLOWS} --think 200ms --path /who --flow interactive={FLOWS} --interval 200ms \
         --http-port 8080 --timeout 20s --stall-timeout 20s --duration 120s",
        VIRTUAL[1]
    );
    let running = traffic::start(pair.lab(), "c1", &words).unwrap();
    let all = |pair: &Pair| ["h1", "h2", "h3"].map(|host| pinned_to(pair, "slr1", host)).iter().sum::<u64>();
    eventually(SOON, "flows at the first router", || all(pair) >= 2 * FLOWS as u64);
    let on_h1 = pinned_to(pair, "slr1", "h1");
    assert!(on_h1 > 2, "{on_h1} of {} flows are on h1", 2 * FLOWS);
    (running, on_h1)
}

fn assert_all_went_on(running: traffic::Running) {
    running.interrupt().unwrap();
    let report = running.finish().unwrap();
    report.assert_clean("flows that moved to the other router");
    assert_eq!((report.total("reset"), report.total("changed_server")), (0, 0));
    assert_eq!(report.total("started"), 2 * FLOWS as u64, "flows had to start again");
}

#[test]
fn a_flow_that_no_host_of_its_slot_has_is_found_by_asking_the_neighbour() {
    require_root();
    let pair = neighbours("whohas");
    let (running, on_h1) = begin_flows(&pair);
    move_to_slr2(&pair);
    eventually(SOON, "flows of h1 at the second router", || pinned_to(&pair, "slr2", "h1") >= on_h1);
    eventually(SOON, "all flows at the second router", || {
        ["h1", "h2", "h3"].map(|host| pinned_to(&pair, "slr2", host)).iter().sum::<u64>() >= 2 * FLOWS as u64
    });
    let (asked, answered) = (recovery(&pair, "slr2"), recovery(&pair, "slr1"));
    println!("asked: {asked}\nanswered: {answered}");
    assert!(asked["rungs"]["whohas"].as_u64().unwrap() >= on_h1, "{asked}");
    assert!(answered["search"]["answered"].as_u64().unwrap() >= on_h1, "{answered}");
    assert_eq!((&asked["search"]["nobody"], &asked["search"]["finals"]), (&Value::from(0), &Value::from(0)));
    assert_all_went_on(running);
}

#[test]
fn a_flow_whose_host_is_not_known_here_goes_through_the_neighbour_that_knows_it() {
    require_root();
    let pair = neighbours("through");
    let (running, on_h1) = begin_flows(&pair);
    // h1 is a host of the first router alone from now on.
    pair.lab()
        .sh("slr2", "nft add table inet t; nft 'add chain inet t i { type filter hook input priority 0; }'")
        .unwrap();
    pair.lab().sh("slr2", "nft add rule inet t i ip saddr 10.1.11.2 udp dport 6100 drop").unwrap();
    pair.lab().sh("slr2", "nft add rule inet t i ip6 saddr fd00:1:11::2 udp dport 6100 drop").unwrap();
    eventually(SOON, "h1 is forgotten by the second router", || {
        let _ = pair.tell("slr2", &["remove", "h1"]);
        let hops = pair.show("slr2", "hops").unwrap();
        hops.as_array().unwrap().iter().all(|hop| hop["host"] != "h1")
    });
    move_to_slr2(&pair);
    eventually(SOON, "flows that go through the neighbour", || pinned_to(&pair, "slr2", "slr1") >= on_h1);
    let before = packets(&pair, "slr1", "fwd_established");
    eventually(SOON, "packets of these", || packets(&pair, "slr1", "fwd_established") > before + 10 * on_h1);
    assert_all_went_on(running);
}

fn packets(pair: &Pair, slr: &str, reason: &str) -> u64 {
    let counters = pair.show(slr, "counters").unwrap();
    let found = counters.as_array().unwrap().iter().find(|counter| counter["reason"] == reason);
    found.and_then(|counter| counter["packets"].as_u64()).unwrap_or_default()
}

/// Sends a segment of a connection that does not exist, and waits for the answer: how long it took.
fn reset_after(pair: &Pair, port: u16) -> Option<Duration> {
    pair.lab()
        .with_netns("c1", || {
            let own = local_address(VIRTUAL[0]);
            let segment =
                pkt().ipv4(own.to_string().as_str(), VIRTUAL[0]).tcp(port, 80).flags(ACK).seq(7).ack(9).build();
            let out = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255))).unwrap();
            let mut answers = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP)).unwrap();
            answers.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
            let begun = Instant::now();
            let to = SocketAddrV4::new(VIRTUAL[0].parse().unwrap(), 0);
            out.send_to(&segment, &to.into()).unwrap();
            let mut bytes = [0; 2048];
            while begun.elapsed() < Duration::from_secs(3) {
                let len = answers.read(&mut bytes).ok()?;
                let header = usize::from(bytes[0] & 0xf) * 4;
                let Some(tcp) = bytes[..len].get(header..header + 20) else { continue };
                let is_ours = u16::from_be_bytes([tcp[2], tcp[3]]) == port && bytes[12..16] == to.ip().octets();
                if is_ours && tcp[13] & 4 != 0 {
                    return Some(begun.elapsed());
                }
            }
            None
        })
        .unwrap()
}

fn local_address(to: &str) -> std::net::IpAddr {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect((to, 9)).unwrap();
    socket.local_addr().unwrap().ip()
}

#[test]
fn a_connection_that_nobody_has_is_reset_at_once() {
    require_root();
    for (kind, what) in [(Kind::TwoSlr, "a neighbour was asked"), (Kind::Spare, "a peer was asked")] {
        let pair = match kind {
            Kind::TwoSlr => neighbours("nobody"),
            kind => {
                let pair = Pair::up("nobody2", PairOptions { announce: ANNOUNCE.to_owned(), ..PairOptions::new(kind) });
                let pair = pair.unwrap();
                await_chains(&pair);
                eventually(SOON, "peers that have met", || {
                    pair.show("slr1", "mirror").unwrap()["peers"][0]["told"]["state"] == "warm"
                });
                pair
            }
        };
        let reset = |port| {
            let counters = |node: &str| pair.tell(node, &["show", "counters"]).unwrap_or_default();
            let all = || ["slr1", "slr2", "h1", "h2", "h3"].map(|node| format!("{node}:\n{}", counters(node))).concat();
            reset_after(&pair, port).unwrap_or_else(|| panic!("{what}: no reset\n{}", all()))
        };
        let took: Vec<_> = (50_000..50_010).map(reset).collect();
        println!("{what}: reset after {took:?}");
        // Somebody was really asked: of two peers it is the other one that ends the chain, and asks.
        let sum = |field: &str| {
            ["slr1", "slr2"].map(|slr| recovery(&pair, slr)["search"][field].as_u64().unwrap()).iter().sum::<u64>()
        };
        assert_eq!((sum("nobody"), sum("finals")), (10, 10), "{what}");
        assert!(sum("denied") >= 10, "{what}: each was asked about, some twice if the answer was late");
        let longest = took.iter().max().unwrap();
        assert!(*longest < allowed(Duration::from_millis(500)), "{what}: {longest:?}");
    }
}
