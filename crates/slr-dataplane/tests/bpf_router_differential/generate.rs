//! Random sequences of packets and changes.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::plan::{Body, CLASSES, Change, Damage, Event, FragmentPlan, ISN, Plan, Routing, SERVICES, Tunnel};

fn port() -> impl Strategy<Value = (u16, u16)> {
    (prop_oneof![9 => select(vec![40000, 40001, 40002]), 1 => Just(0u16)], select(vec![80, 81, 53]))
}

fn tcp() -> impl Strategy<Value = Body> {
    // SYN; ACK; and mixtures that stacks send or attackers do.
    let flags = select(vec![2u8, 2, 2, 16, 16, 16, 24, 17, 4, 20, 18, 3, 6, 0, 1, 0xc2]);
    let seq =
        select(vec![ISN, ISN, ISN + 1, ISN + 1, ISN + 1001, ISN + 0x1_0000, ISN + 0x1_0001, ISN - 1, 0x9000_0000]);
    (port(), flags, seq).prop_map(|((port, vport), flags, seq)| Body::Tcp { port, vport, flags, seq })
}

fn body() -> impl Strategy<Value = Body> {
    let reply = (0..4usize, any::<bool>(), port(), prop::bool::weighted(0.9), 0..80usize).prop_map(
        |(kind, udp, (port, vport), same_address, quoted)| Body::ReplyError {
            kind,
            udp,
            port,
            vport,
            same_address,
            quoted,
        },
    );
    let sizes = || select(vec![0u16, 595, 596, 1200, 1279, 1280, 1281, 1400, 1499, 1500, 1501, 65000]);
    let tunnel = (0..4usize, 0..3usize, 0..4usize, sizes(), sizes())
        .prop_map(|(kind, host, source, len, mtu)| Body::TunnelError { kind, host, source, len, mtu });
    let to_port = select(vec![6101u16, 6101, 6101, 6101, 6101, 6101, 6100]);
    let kind = select(vec![1u8, 1, 1, 1, 1, 1, 2]);
    let cut = prop_oneof![4 => Just(0usize), 1 => 0..40usize];
    let keepalive = (prop::bool::weighted(0.9), to_port, kind, cut)
        .prop_map(|(for_us, port, kind, cut)| Body::Keepalive { for_us, port, kind, cut });
    prop_oneof![
        4 => keepalive,
        12 => tcp(),
        6 => port().prop_map(|(port, vport)| Body::Udp { port, vport }),
        3 => (0..3u16).prop_map(Body::Echo),
        4 => reply,
        2 => tunnel,
        1 => any::<u8>().prop_map(Body::Icmp),
        1 => select(vec![0u8, 1, 4, 41, 43, 44, 47, 50, 51, 58, 59, 60, 132, 255]).prop_map(Body::Protocol),
    ]
}

fn tunnel() -> impl Strategy<Value = Tunnel> {
    let rare = prop::bool::weighted(0.05);
    (
        any::<bool>(),
        prop_oneof![8 => 0..2usize, 1 => Just(2)],
        prop_oneof![9 => Just(0usize), 1 => Just(1)],
        0..4u8,
        rare,
    )
        .prop_map(|(v6, from, to, tos, in_fragment)| Tunnel { v6, from, to, tos, in_fragment })
}

fn plan() -> impl Strategy<Value = Plan> {
    let tags = prop_oneof![6 => Just(vec![]), 2 => vec(select(vec![0x8100u16, 0x88a8]), 1..4)];
    let tunnels = prop_oneof![7 => Just(vec![]), 2 => vec(tunnel(), 1..2), 1 => vec(tunnel(), 2..3)];
    let headers = prop_oneof![6 => Just(vec![]), 2 => vec(0..4u8, 1..9)];
    let fragment = prop_oneof![
        6 => Just(FragmentPlan::Whole),
        1 => (1..3u16).prop_map(FragmentPlan::First),
        1 => (1..3u16).prop_map(FragmentPlan::Later),
    ];
    let payload = prop_oneof![8 => 0..64usize, 2 => 1150..1520usize];
    let padding = prop_oneof![8 => Just(0usize), 1 => 1..20usize];
    let damage = prop_oneof![
        6 => Just(vec![]),
        1 => vec((0..140usize, any::<u8>()).prop_map(|(at, value)| Damage::Byte(at, value)), 1..3),
        1 => (14..140usize).prop_map(|at| vec![Damage::Cut(at)]),
    ];
    let who = (
        any::<bool>(),
        prop_oneof![15 => 0..3usize, 1 => 3..6usize],
        0..10usize,
        select(vec![0u8, 1, 2, 3, 0xb8, 0xff]),
        any::<bool>(),
    );
    ((prop::bool::weighted(0.03), tags, tunnels, who), (headers, fragment, body(), payload, padding, damage)).prop_map(
        |(
            (to_group, tags, tunnels, (v6, client, to, tos, df)),
            (headers, fragment, body, payload, padding, damage),
        )| Plan {
            to_group,
            tags,
            tunnels,
            v6,
            client,
            to,
            tos,
            headers,
            df,
            fragment,
            body,
            payload,
            padding,
            damage,
        },
    )
}

/// Few flows, mostly well-behaved packets: these meet again, are promoted, pinned, followed by errors and fragments.
fn tame_plan() -> impl Strategy<Value = Plan> {
    let flags = select(vec![2u8, 2, 2, 16, 16, 16, 24, 17, 4]);
    // A SYN's own number most of the time; for an ACK, the window's both ends and beyond.
    let seq = select(vec![ISN, ISN, ISN, ISN + 1, ISN + 1, ISN + 500, ISN + 0x1_0000, ISN + 0x1_0001]);
    let tcp = (flags, seq).prop_map(|(flags, seq)| Body::Tcp { port: 40000, vport: 80, flags, seq });
    let error = (0..4usize, any::<bool>()).prop_map(|(kind, udp)| {
        let vport = if udp { 53 } else { 80 };
        Body::ReplyError { kind, udp, port: 40000, vport, same_address: true, quoted: 60 }
    });
    let body = prop_oneof![6 => tcp, 3 => Just(Body::Udp { port: 40000, vport: 53 }), 1 => error];
    let fragment = prop_oneof![
        8 => Just(FragmentPlan::Whole),
        1 => Just(FragmentPlan::First(1)),
        1 => Just(FragmentPlan::Later(1)),
    ];
    let to = select(vec![0usize, 0, 0, 1, 2, 3, 4, 4]);
    let payload = prop_oneof![9 => 0..64usize, 1 => 1200..1500usize];
    let padding = prop_oneof![8 => Just(0usize), 1 => 1..20usize];
    let from_upstream = Tunnel { v6: false, from: 0, to: 0, tos: 0, in_fragment: false };
    let tunnels = prop_oneof![9 => Just(vec![]), 1 => Just(vec![from_upstream])];
    (any::<bool>(), to, body, fragment, any::<bool>(), payload, padding, tunnels).prop_map(
        |(v6, to, body, fragment, df, payload, padding, tunnels)| Plan {
            to_group: false,
            tags: vec![],
            tunnels,
            v6,
            client: 0,
            to,
            tos: 0,
            headers: vec![],
            df,
            fragment,
            body,
            payload,
            padding,
            damage: vec![],
        },
    )
}

fn routing() -> impl Strategy<Value = Routing> {
    let whose = || (prop::option::of(0..CLASSES.len()), prop::option::of(0..SERVICES.len()));
    prop_oneof![
        1 => any::<bool>().prop_map(Routing::ListedOnly),
        4 => (whose(), 0..8u8, 1..16u8)
            .prop_map(|((class, service), hosts, mask)| Routing::Route { class, service, hosts, mask }),
        2 => whose().prop_map(|(class, service)| Routing::NoRoute { class, service }),
        2 => (0..CLASSES.len(), any::<u8>()).prop_map(|(class, clients)| Routing::Class { class, clients }),
        1 => (0..CLASSES.len()).prop_map(Routing::NoClass),
        1 => Just(Routing::EchoForward),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => prop::array::uniform3(0..4u16).prop_map(Change::Weights),
        3 => (0..3usize, 0..3u8).prop_map(|(host, state)| Change::State(host, state)),
        1 => (0..3usize).prop_map(Change::Remove),
        1 => (0..3usize).prop_map(Change::Rename),
        1 => Just(Change::Unlink),
        1 => (0..3usize, select(vec![1280u16, 1400, 1500, 2000])).prop_map(|(host, mtu)| Change::Mtu(host, mtu)),
        1 => (7..9u64).prop_map(Change::Seed),
        1 => (0..3u8).prop_map(Change::AddSubnet),
        1 => (0..16usize).prop_map(Change::RemoveSubnet),
        6 => (select(vec![0usize, 1, 6, 7, 14, 15, 14, 15]), routing()).prop_map(|(subnet, what)| Change::Routing(subnet, what)),
        2 => Just(Change::Restore),
    ]
}

/// A sequence that one router and one model go through.
pub fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        30 => plan().prop_map(Event::Packet),
        80 => tame_plan().prop_map(Event::Packet),
        2 => vec(any::<u8>(), 14..200).prop_map(Event::Noise),
        3 => change().prop_map(Event::Change),
    ];
    vec(event, 1..150)
}
