//! A flood of tuples that look like handshakes, four times what the flow table holds, must not cost one idle flow its host.

use std::net::Ipv4Addr;

use slr_dataplane::reason::RouterReason;
use slr_dataplane::router::{Desired, Host, Link, Route, Router, RouterOptions, Subnet, XdpVerdict};
use slr_model::{HostState, Weight};
use slr_testkit::packet::{ACK, PSH, SYN, pkt};

const CAPACITY: u32 = 100_000;
const IDLE_FLOWS: u32 = 10_000;
const VIRTUAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);

fn desired(weights: [u16; 4]) -> Desired {
    let link = Link {
        destination: "02:00:00:00:00:01".parse().unwrap(),
        source: "02:00:00:00:00:02".parse().unwrap(),
        ifindex: 0,
        mtu: 1500,
    };
    let name = |n: usize| format!("h{n}").parse().unwrap();
    let hosts = (1..=4).map(|n| Host {
        name: name(n),
        address: format!("10.1.0.{n}").parse().unwrap(),
        state: HostState::Active,
        link: Some(link),
    });
    let members = weights.iter().enumerate().map(|(i, weight)| (name(i + 1), Weight::new(*weight).unwrap()));
    Desired {
        sources: vec!["10.1.255.0/24".parse().unwrap()],
        hosts: hosts.collect(),
        subnets: vec![Subnet {
            prefix: "192.0.2.0/24".parse().unwrap(),
            account: 1,
            listed_only: false,
            orphan: slr_model::OrphanPolicy::Ring,
            echo: Default::default(),
            classes: Vec::new(),
            routes: vec![Route::to(members.collect())],
        }],
        ..Desired::default()
    }
}

fn frame(client: u32, port: u16, flags: u8, seq: u32) -> Vec<u8> {
    pkt()
        .eth([2, 0, 0, 0, 0, 9], [2, 0, 0, 0, 0, 8])
        .ipv4(Ipv4Addr::from(client), VIRTUAL)
        .tcp(port, 80)
        .flags(flags)
        .seq(seq)
        .build()
}

/// Where a packet goes: the outer destination.
fn host_of(router: &Router, packet: &[u8]) -> Ipv4Addr {
    let run = router.test_run(packet).unwrap();
    assert_eq!(run.verdict, XdpVerdict::Tx);
    Ipv4Addr::from(<[u8; 4]>::try_from(&run.packet[30..34]).unwrap())
}

fn count(router: &Router, reason: RouterReason) -> u64 {
    router.reasons().unwrap().into_iter().find(|(r, _)| *r == reason).unwrap().1.packets
}

#[test]
fn idle_flows_survive_a_flood_of_four_times_the_table() {
    slr_testkit::require_root();
    let options = RouterOptions { flows_per_family: CAPACITY, ..RouterOptions::default() };
    let (mut router, _) = Router::load(&options).unwrap();
    router.apply(&desired([100, 100, 100, 100])).unwrap();

    // 10,000 clients shake hands, say something, and fall silent.
    let idle: Vec<(u32, Ipv4Addr)> = (0..IDLE_FLOWS)
        .map(|n| {
            let client = 0x0a00_0000 + n * 7;
            let host = host_of(&router, &frame(client, 4000, SYN, 100));
            assert_eq!(host_of(&router, &frame(client, 4000, ACK, 101)), host, "the handshake stays on its host");
            (client, host)
        })
        .collect();
    assert_eq!(count(&router, RouterReason::FwdPromoted), u64::from(IDLE_FLOWS));

    // From all over the address space, two packets each, four times what fits; the weights change in between.
    for n in 0..4 * CAPACITY {
        let client = 0x6400_0000u32.wrapping_add(n.wrapping_mul(2_654_435_761) >> 4);
        for (flags, seq) in [(SYN, n), (ACK, n.wrapping_add(1))] {
            router.test_run(&frame(client, 1024 + (n % 60_000) as u16, flags, seq)).unwrap();
        }
        if n % CAPACITY == CAPACITY / 2 {
            let weights = [[10, 100, 100, 100], [100, 10, 100, 100], [100, 100, 10, 0], [0, 100, 100, 10]];
            let applied = router.apply(&desired(weights[(n / CAPACITY) as usize])).unwrap();
            assert!(applied.slots_moved > 0, "the weights must have moved something, or this tests nothing");
        }
    }
    assert!(
        count(&router, RouterReason::FwdTableFull) > 0,
        "the flood must have filled the table, or this tests nothing"
    );

    let lost =
        idle.iter().filter(|(client, host)| host_of(&router, &frame(*client, 4000, ACK | PSH, 101)) != *host).count();
    assert_eq!(lost, 0, "of {IDLE_FLOWS} idle flows");
}
