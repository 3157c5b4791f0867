//! Golden vectors: the bytes of each message as every version reads and writes them. `docs/wire.md` shows the same.

use std::collections::{BTreeMap, BTreeSet};

use slr_model::{Advert, HostState, Loads, Role, ServiceAdvert, Weight};
use slr_wire::*;

fn hello(answers_asks: bool) -> Message {
    Message::Hello(Hello {
        incarnation: 1_795_000_000,
        session: 2,
        software: "hostd 0.1.0".into(),
        role: Role::Host,
        tunnel_addresses: vec!["10.1.11.2".parse().unwrap(), "2001:db8:11::2".parse().unwrap()],
        tunnel_sources: vec!["10.1.0.0/24".parse().unwrap()],
        answers_asks,
    })
}

fn welcome() -> Message {
    Message::Welcome(Welcome {
        session: 2,
        advert_interval_ms: 400,
        silent_after_ms: 1_000,
        ack_interval_ms: 800,
        tunnel_sources: vec!["10.1.0.0/24".parse().unwrap()],
    })
}

fn advert() -> Message {
    let mut node = Loads::new();
    node.set("load".parse().unwrap(), 0.5).unwrap();
    let mut own = Loads::new();
    own.set("queue".parse().unwrap(), 12.0).unwrap();
    let web = ServiceAdvert {
        key: "tcp/80@192.0.2.0/24".parse().unwrap(),
        state: HostState::Draining,
        reason: "operator".into(),
        loads: own,
        flows: 300,
        weight: Weight::new(150).unwrap(),
    };
    let rest = ServiceAdvert {
        key: "any@2001:db8:1::/48".parse().unwrap(),
        state: HostState::Active,
        reason: String::new(),
        loads: Loads::new(),
        flows: 0,
        weight: Weight::ZERO,
    };
    let advert = Advert { loads: node, services: vec![web, rest] };
    Message::Advert(AdvertPart::split(&advert, 7, true).unwrap().remove(0))
}

fn edition(generation: u64) -> Edition {
    Edition { publisher: "slr-a".parse().unwrap(), incarnation: 9, generation }
}

fn rings() -> Message {
    let key = |text: &str, class: Option<&str>| RingKey {
        service: text.parse().unwrap(),
        class: class.map(|class| class.parse().unwrap()),
    };
    let ring = |weights: &[(&str, u16)]| -> RingWeights {
        weights.iter().map(|&(name, weight)| (name.parse().unwrap(), Weight::new(weight).unwrap())).collect()
    };
    let rings = Rings {
        edition: edition(5),
        base: Some(edition(4)),
        rings: BTreeMap::from([
            (key("tcp/80@192.0.2.0/24", None), ring(&[("h1", 100), ("h2", 1_000)])),
            (key("tcp/80@192.0.2.0/24", Some("internal")), ring(&[("h2", 0)])),
        ]),
        removed: BTreeSet::from([key("udp/53@192.0.2.0/24", None)]),
    };
    Message::Rings(rings.split().unwrap().remove(0))
}

fn roster() -> Message {
    let node = RosterNode { name: "h2".parse().unwrap(), tunnel_addresses: vec!["10.1.12.2".parse().unwrap()] };
    Message::Roster(Roster { generation: 3, nodes: vec![node] }.split().unwrap().remove(0))
}

/// Envelopes, without the length that a frame has in front.
fn vectors() -> Vec<(Message, &'static str)> {
    vec![
        (
            hello(false),
            "0a3908c08df6d70610021a0b686f73746420302e312e3020012a040a010b022a1020010db800110000000000000000000232080a040a0100001018",
        ),
        (
            hello(true),
            "0a3b08c08df6d70610021a0b686f73746420302e312e3020012a040a010b022a1020010db800110000000000000000000232080a040a01000010183801",
        ),
        (welcome(), "1215080210900318e80722080a040a010000101828a006"),
        (
            Message::Refused(Refused::new(Code::NameInUse, "two nodes use h1", "rename one")),
            "1a200805121074776f206e6f646573207573652068311a0a72656e616d65206f6e65",
        ),
        (
            advert(),
            "22690807180120012a0f0a046c6f616411000000000000e03f32340a0e0a080a04c000020010181006185010021a086f70657261746f7222100a05717565756511000000000000284028ac02309601321a0a160a140a1020010db800010000000000000000000010301001",
        ),
        (Message::Ack(Ack { sequence: 7 }), "2a020807"),
        (Message::Withdraw(Withdraw { reason: "stopped".into() }), "32090a0773746f70706564"),
        (
            Message::Order(Order { id: 1, action: Action::Drain, requested_by: "alice".into() }),
            "3a0b080110011a05616c696365",
        ),
        (
            Message::Ordered(Ordered { id: 1, outcome: Err("a drain is under way".into()) }),
            "421808011a146120647261696e20697320756e64657220776179",
        ),
        (roster(), "4a1008031801220a0a02683212040a010c02"),
        (
            rings(),
            "52770a0b0a05736c722d6110091805120b0a05736c722d611009180420012a0268312a026832321b0a100a0e0a080a04c0000200101810061850120200011a0364e80732220a1a0a0e0a080a04c00002001018100618501208696e7465726e616c1201011a01003a100a0e0a080a04c0000200101810111835",
        ),
        (
            Message::RingsAck(RingsAck {
                held: Some(edition(5)),
                follows: Some("slr-a".parse().unwrap()),
                joining: true,
                resync: true,
            }),
            "5a180a0b0a05736c722d61100918051205736c722d6118012001",
        ),
        (Message::Ask(Ask), "6200"),
        (
            Message::Claims(Claims {
                flows: vec![
                    "tcp 198.51.100.7:40000 > 192.0.2.9:80".parse().unwrap(),
                    "udp [2001:db8::7]:40000 > [2001:db8:1::9]:53".parse().unwrap(),
                ],
            }),
            "6a360a0dc6336407c00002099c40005006122520010db800000000000000000000000720010db80001000000000000000000099c40003511",
        ),
        (
            Message::Mirror(Mirror {
                sequence: 7,
                kind: MirrorKind::New,
                age_ms: 21,
                complete: true,
                lagging: false,
                hosts: BTreeMap::from([
                    ("h1".parse().unwrap(), vec!["tcp 198.51.100.7:40000 > 192.0.2.9:80".parse().unwrap()]),
                    ("h2".parse().unwrap(), vec!["udp [2001:db8::7]:40000 > [2001:db8:1::9]:53".parse().unwrap()]),
                ]),
            }),
            "724a08071001181520012a130a026831120dc6336407c00002099c400050062a2b0a0268321a2520010db800000000000000000000000720010db80001000000000000000000099c40003511",
        ),
        (
            Message::Mirror(Mirror {
                sequence: 8,
                kind: MirrorKind::Proven,
                age_ms: 150,
                complete: false,
                lagging: true,
                hosts: BTreeMap::from([(
                    "h1".parse().unwrap(),
                    vec!["tcp 198.51.100.7:40000 > 192.0.2.9:80".parse().unwrap()],
                )]),
            }),
            "721e080810021896012a130a026831120dc6336407c00002099c400050063001",
        ),
        (Message::MirrorAck(MirrorAck { sequence: 7, resync: true }), "7a0408071001"),
        (
            Message::WhoHas(WhoHas {
                flows: vec![
                    "tcp 198.51.100.7:40000 > 192.0.2.9:80".parse().unwrap(),
                    "tcp [2001:db8::7]:40000 > [2001:db8:1::9]:80".parse().unwrap(),
                ],
            }),
            "8201360a0dc6336407c00002099c40005006122520010db800000000000000000000000720010db80001000000000000000000099c40005006",
        ),
        (
            Message::Has(Has {
                hosts: BTreeMap::from([
                    (None, vec!["tcp 198.51.100.7:40000 > 192.0.2.9:80".parse().unwrap()]),
                    (
                        Some("h2".parse().unwrap()),
                        vec!["tcp [2001:db8::7]:40000 > [2001:db8:1::9]:80".parse().unwrap()],
                    ),
                ]),
            }),
            "8a013e0a0f120dc6336407c00002099c400050060a2b0a0268321a2520010db800000000000000000000000720010db80001000000000000000000099c40005006",
        ),
        (
            Message::FlowKeys(FlowKeys {
                epoch: 7,
                keys: vec![FlowKeyGrant {
                    subnet: "192.0.2.0/24".parse().unwrap(),
                    server: "10.1.11.2".parse().unwrap(),
                    key: 0x103d_61fc_f043_4253_3d0c_de0b_c918_dc13_u128.to_be_bytes(),
                }],
            }),
            "920126080712220a080a04c0000200101812040a010b021a10103d61fcf04342533d0cde0bc918dc13",
        ),
        (Message::FlowEpoch(FlowEpoch { epoch: 7 }), "9a01020807"),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn bytes_are_what_they_always_were() {
    for (message, bytes) in vectors() {
        let frame = message.encode_frame().unwrap();
        assert_eq!(frame[..4], (frame.len() as u32 - 4).to_be_bytes());
        assert_eq!(hex(&frame[4..]), bytes, "{}", message.kind());
        assert_eq!(Message::decode(&frame[4..]), Ok(message));
    }
}

#[test]
fn each_message_has_a_vector_and_the_documentation_shows_it() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/wire.md")).unwrap();
    let shown: String = text.split_whitespace().collect();
    let mut kinds = BTreeSet::new();
    for (message, bytes) in vectors() {
        kinds.insert(message.kind());
        assert!(shown.contains(bytes), "docs/wire.md does not show the vector of {}", message.kind());
    }
    assert_eq!(kinds.len(), 19);
}

#[test]
fn the_documentation_names_every_code() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/wire.md")).unwrap();
    for code in Code::all() {
        let row = format!("| {} | {code} |", code.number());
        assert!(text.contains(&row), "docs/wire.md has no row \"{row}\"");
    }
}
