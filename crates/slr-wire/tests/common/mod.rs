//! Strategies for messages, and the largest ones.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;

use ipnet::IpNet;
use proptest::prelude::*;
use slr_model::{
    Advert, ClassName, FlowKey, HostState, Loads, NodeName, Protocol, Role, Service, ServiceAdvert, ServiceKey,
    VirtualSubnet, Weight,
};
use slr_wire::*;

pub fn name() -> impl Strategy<Value = NodeName> {
    "[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?".prop_map(|text| text.parse().expect("a node's name"))
}

fn text(max: usize) -> impl Strategy<Value = String> {
    "[ -~äß→]{0,40}".prop_filter("within the bound", move |text| text.len() <= max)
}

fn net() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        (any::<u32>(), 1u8..=32).prop_map(|(bits, len)| IpNet::new(Ipv4Addr::from(bits).into(), len).unwrap().trunc()),
        (any::<u128>(), 1u8..=128)
            .prop_map(|(bits, len)| IpNet::new(Ipv6Addr::from(bits).into(), len).unwrap().trunc()),
    ]
}

fn subnet() -> impl Strategy<Value = VirtualSubnet> {
    net().prop_filter_map("a virtual subnet", |net| VirtualSubnet::new(net).ok())
}

fn service_key() -> impl Strategy<Value = ServiceKey> {
    let service = (prop::sample::select(Protocol::ALL), 1u16..)
        .prop_map(|(protocol, port)| Service { protocol, port: NonZeroU16::new(port).unwrap() });
    (subnet(), prop::option::of(service)).prop_map(|(subnet, service)| ServiceKey { subnet, service })
}

fn loads() -> impl Strategy<Value = Loads> {
    prop::collection::btree_map("[a-z][a-z0-9_]{0,31}", -1e300..1e300f64, 0..=Loads::MAX).prop_map(|values| {
        let mut loads = Loads::new();
        for (name, value) in values {
            loads.set(name.parse().unwrap(), value).unwrap();
        }
        loads
    })
}

fn weight() -> impl Strategy<Value = Weight> {
    (0..=Weight::MAX).prop_map(|weight| Weight::new(weight).unwrap())
}

fn service_advert() -> impl Strategy<Value = ServiceAdvert> {
    (service_key(), prop::sample::select(HostState::ALL), text(160), loads(), any::<u64>(), weight()).prop_map(
        |(key, state, reason, loads, flows, weight)| ServiceAdvert { key, state, reason, loads, flows, weight },
    )
}

pub fn advert(services_max: usize) -> impl Strategy<Value = Advert> {
    (loads(), prop::collection::vec(service_advert(), 0..=services_max)).prop_map(|(loads, services)| {
        let mut keys = BTreeSet::new();
        Advert { loads, services: services.into_iter().filter(|service| keys.insert(service.key)).collect() }
    })
}

fn tunnel_addresses() -> impl Strategy<Value = Vec<IpAddr>> {
    (prop::option::of(0x0a00_0000u32..0x0aff_ffff), prop::option::of(any::<u64>())).prop_map(|(v4, v6)| {
        let v6 = v6.map(|low| Ipv6Addr::from(0x2001_0db8 << 96 | u128::from(low)).into());
        v4.map(|bits| Ipv4Addr::from(bits).into()).into_iter().chain(v6).collect()
    })
}

fn sources() -> impl Strategy<Value = Vec<IpNet>> {
    prop::collection::vec(net(), 0..=bounds::TUNNEL_SOURCES_MAX)
}

fn edition() -> impl Strategy<Value = Edition> {
    (name(), 1u64.., 1u64..).prop_map(|(publisher, incarnation, generation)| Edition {
        publisher,
        incarnation,
        generation,
    })
}

fn ring_key() -> impl Strategy<Value = RingKey> {
    let class = "[a-z0-9-]{1,63}".prop_map(|text| text.parse().expect("a class's name"));
    (service_key(), prop::option::of(class)).prop_map(|(service, class)| RingKey { service, class })
}

pub fn rings(rings_max: usize, weights_max: usize) -> impl Strategy<Value = Rings> {
    let weights = prop::collection::btree_map(name(), weight(), 0..=weights_max);
    let rings = prop::collection::btree_map(ring_key(), weights, 0..=rings_max);
    let removed = prop::collection::btree_set(ring_key(), 0..=rings_max);
    (edition(), prop::option::of(edition()), rings, removed).prop_map(|(edition, base, rings, removed)| Rings {
        edition,
        base,
        rings,
        removed,
    })
}

fn hello() -> impl Strategy<Value = Message> {
    (1u64.., 1u64.., text(64), prop::sample::select(Role::ALL), tunnel_addresses(), sources(), any::<bool>()).prop_map(
        |(incarnation, session, software, role, tunnel_addresses, tunnel_sources, answers_asks)| {
            Message::Hello(Hello {
                incarnation,
                session,
                software,
                role,
                tunnel_addresses,
                tunnel_sources,
                answers_asks,
            })
        },
    )
}

fn welcome() -> impl Strategy<Value = Message> {
    (1u64.., 10u32..=60_000, 1u32..=500_000, 10u32..=60_000, sources()).prop_map(
        |(session, advert_interval_ms, longer_ms, ack_interval_ms, tunnel_sources)| {
            let silent_after_ms = advert_interval_ms + longer_ms;
            Message::Welcome(Welcome { session, advert_interval_ms, silent_after_ms, ack_interval_ms, tunnel_sources })
        },
    )
}

fn roster() -> impl Strategy<Value = Message> {
    let nodes = prop::collection::btree_map(name(), tunnel_addresses(), 0..20);
    (any::<u64>(), nodes).prop_map(|(generation, nodes)| {
        let nodes = nodes.into_iter().map(|(name, tunnel_addresses)| RosterNode { name, tunnel_addresses }).collect();
        Message::Roster(Roster { generation, nodes }.split().unwrap().remove(0))
    })
}

fn flow() -> impl Strategy<Value = FlowKey> {
    let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)];
    // Real ones: no IPv6 address here is an IPv4 address in disguise.
    let global = |address: u128| Ipv6Addr::from(address | 1 << 127);
    let ends = prop_oneof![
        (any::<[u8; 4]>(), any::<[u8; 4]>()).prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
        (any::<u128>(), any::<u128>()).prop_map(move |(a, b)| (global(a).into(), global(b).into())),
    ];
    (ends, 1u16.., 1u16.., protocol).prop_map(|((client, address), from, to, protocol)| {
        FlowKey::new((client, from).into(), (address, to).into(), protocol).unwrap()
    })
}

fn mirror() -> impl Strategy<Value = Message> {
    let kind = prop_oneof![Just(MirrorKind::New), Just(MirrorKind::Proven), Just(MirrorKind::Forgotten)];
    let flows = prop::collection::vec(flow(), 1..25).prop_map(|mut flows| {
        flows.sort_by_key(|flow| !flow.is_ipv4());
        flows
    });
    let hosts = prop::collection::btree_map(name(), flows, 0..5);
    let says = (any::<bool>(), any::<bool>());
    (1u64.., kind, any::<u32>(), says, hosts).prop_map(|(sequence, kind, age_ms, (complete, lagging), hosts)| {
        Message::Mirror(Mirror { sequence, kind, age_ms, complete, lagging, hosts })
    })
}

fn flow_keys() -> impl Strategy<Value = Message> {
    let server = prop_oneof![
        any::<u32>().prop_map(|v4| IpAddr::from(Ipv4Addr::from(v4))),
        any::<u128>().prop_map(|v6| IpAddr::from(Ipv6Addr::from(v6)))
    ];
    let keys = prop::collection::btree_map((net(), server), any::<[u8; KEY_LEN]>(), 0..20);
    (1u32.., keys).prop_map(|(epoch, keys)| {
        let keys = keys.into_iter().map(|((subnet, server), key)| FlowKeyGrant { subnet, server, key }).collect();
        Message::FlowKeys(FlowKeys { epoch, keys })
    })
}

pub fn message() -> impl Strategy<Value = Message> {
    let code = any::<u32>().prop_map(Code::from_number);
    let action = prop_oneof![Just(Action::Drain), Just(Action::Undrain)];
    let outcome = prop_oneof![Just(Ok(())), text(160).prop_map(Err)];
    prop_oneof![
        hello(),
        welcome(),
        (code, text(160), text(160)).prop_map(|(code, reason, remedy)| Message::Refused(Refused {
            code,
            reason,
            remedy
        })),
        (advert(4), 1u64.., any::<bool>()).prop_map(|(advert, sequence, full)| Message::Advert(
            AdvertPart::split(&advert, sequence, full).unwrap().remove(0)
        )),
        (1u64..).prop_map(|sequence| Message::Ack(Ack { sequence })),
        text(160).prop_map(|reason| Message::Withdraw(Withdraw { reason })),
        (1u64.., action, text(160)).prop_map(|(id, action, requested_by)| Message::Order(Order {
            id,
            action,
            requested_by
        })),
        (1u64.., outcome).prop_map(|(id, outcome)| Message::Ordered(Ordered { id, outcome })),
        Just(Message::Ask(Ask)),
        mirror(),
        prop::collection::vec(flow(), 1..25).prop_map(|flows| Message::WhoHas(WhoHas::split(flows).remove(0))),
        prop::collection::vec((flow(), prop::option::of(name())), 1..12)
            .prop_map(|answers| Message::Has(Has::split(answers).remove(0))),
        (any::<u64>(), any::<bool>()).prop_map(|(sequence, resync)| Message::MirrorAck(MirrorAck { sequence, resync })),
        prop::collection::vec(flow(), 1..25).prop_map(|flows| Message::Claims(Claims::split(flows).remove(0))),
        flow_keys(),
        (1u32..).prop_map(|epoch| Message::FlowEpoch(FlowEpoch { epoch })),
        roster(),
        rings(3, 8).prop_map(|rings| Message::Rings(rings.split().unwrap().remove(0))),
        (prop::option::of(edition()), prop::option::of(name()), any::<bool>(), any::<bool>()).prop_map(
            |(held, follows, joining, resync)| Message::RingsAck(RingsAck { held, follows, joining, resync })
        ),
    ]
}

/// As many rings with as many weights each, under the longest names.
pub fn large_publication(rings: u16, weights: usize) -> Rings {
    let ring: BTreeMap<NodeName, Weight> =
        (0..weights).map(|n| (format!("{n:063}").parse().unwrap(), Weight::new((n % 1_001) as u16).unwrap())).collect();
    let key = |n: u16| RingKey {
        service: format!("tcp/{}@2001:db8::/32", n + 1).parse().unwrap(),
        class: Some("c".repeat(ClassName::MAX_LEN).parse().unwrap()),
    };
    Rings {
        edition: Edition { publisher: "a".parse().unwrap(), incarnation: 1, generation: 1 },
        base: None,
        rings: (0..rings).map(|n| (key(n), ring.clone())).collect(),
        removed: BTreeSet::new(),
    }
}

/// The most services, loads and text that a node may have.
pub fn largest_advert() -> Advert {
    let mut loads = Loads::new();
    for n in 0..Loads::MAX {
        loads.set(format!("l{n:031}").parse().unwrap(), 0.1 + n as f64).unwrap();
    }
    let service = |n: u16| ServiceAdvert {
        key: format!("tcp/{}@2001:db8:1:2:3:4:5:6/128", n + 60_000).parse().unwrap(),
        state: HostState::Down,
        reason: "r".repeat(bounds::REASON_MAX),
        loads: loads.clone(),
        flows: u64::MAX,
        weight: Weight::new(Weight::MAX).unwrap(),
    };
    Advert { loads: loads.clone(), services: (0..bounds::SERVICES_MAX as u16).map(service).collect() }
}
