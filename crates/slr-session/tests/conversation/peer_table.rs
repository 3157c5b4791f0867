//! Every event in every state of either end between peers.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use slr_model::Role;
use slr_session::conversation::{BackoffSettings, Peer, PeerPhase, PeerSettings, PeerSide};
use slr_wire::*;

use crate::common::*;

/// The dialing end's phases, then the accepting end's.
const PHASES: [(PeerSide, PeerPhase); 7] = [
    (PeerSide::Dials, PeerPhase::Waiting),
    (PeerSide::Dials, PeerPhase::Connecting),
    (PeerSide::Dials, PeerPhase::Greeting),
    (PeerSide::Dials, PeerPhase::Open),
    (PeerSide::Accepts, PeerPhase::Greeting),
    (PeerSide::Accepts, PeerPhase::Open),
    (PeerSide::Accepts, PeerPhase::Ended),
];

fn settings() -> PeerSettings {
    PeerSettings {
        incarnation: 5,
        first_session: 1,
        software: "slr-router 0.1".into(),
        role: Role::Site,
        tunnel_addresses: Vec::new(),
        tunnel_sources: Vec::new(),
        backoff: BackoffSettings::default(),
    }
}

/// A peer's end in that phase, its outputs taken.
fn peer_in((side, phase): (PeerSide, PeerPhase), now: Instant) -> Peer {
    let mut peer = match side {
        PeerSide::Dials => Peer::dial(settings(), 1, now),
        PeerSide::Accepts => Peer::accept(settings(), now),
    };
    if side == PeerSide::Dials && phase != PeerPhase::Waiting {
        peer.handle_timeout(now);
    }
    if side == PeerSide::Dials && matches!(phase, PeerPhase::Greeting | PeerPhase::Open) {
        peer.handle_connected(now);
    }
    if phase == PeerPhase::Open {
        peer.handle_message(now, Channel::Stream, Message::Hello(hello(Role::Site)));
    }
    if phase == PeerPhase::Ended {
        peer.handle_closed(now, None, "lost");
    }
    assert_eq!((peer.side(), peer.phase()), (side, phase));
    while peer.poll_output().is_some() {}
    peer
}

type Event = (String, Box<dyn Fn(&mut Peer, Instant)>);

fn events() -> Vec<Event> {
    let mut events: Vec<Event> = vec![
        ("connected".into(), Box::new(|peer, now| peer.handle_connected(now))),
        ("connect failed".into(), Box::new(|peer, now| peer.handle_connect_failed(now, "no answer"))),
        ("closed".into(), Box::new(|peer, now| peer.handle_closed(now, None, "lost"))),
        ("timeout early".into(), Box::new(|peer, now| peer.handle_timeout(now - MS))),
        ("timeout".into(), Box::new(|peer, now| peer.handle_timeout(now + Duration::from_secs(5)))),
        ("refuse()".into(), Box::new(|peer, now| peer.refuse(now, Refused::new(Code::Superseded, "newer", "")))),
        ("send(rings)".into(), Box::new(|peer, _| peer.send(messages().remove(10)))),
        ("send(beat)".into(), Box::new(|peer, _| peer.send(messages().remove(11)))),
        ("bad frame".into(), Box::new(|peer, now| peer.handle_frame(now, &[0xff]))),
        ("unknown frame".into(), Box::new(|peer, now| peer.handle_frame(now, &[0xa2, 0x38, 0x01, 0x00]))),
        ("bad datagram".into(), Box::new(|peer, now| peer.handle_datagram(now, &[0xff]))),
        (
            "rings in a datagram".into(),
            Box::new(|peer, now| {
                peer.handle_message(now, Channel::Datagram, messages().remove(10));
            }),
        ),
        (
            "hello of a site SLR".into(),
            Box::new(|peer, now| {
                peer.handle_message(now, Channel::Stream, Message::Hello(hello(Role::Site)));
            }),
        ),
        (
            "hello of an AS SLR".into(),
            Box::new(|peer, now| {
                peer.handle_message(now, Channel::Stream, Message::Hello(hello(Role::As)));
            }),
        ),
    ];
    for message in messages() {
        let name = word(&message);
        let act = move |peer: &mut Peer, now| peer.handle_message(now, channel_of(&message), message.clone());
        events.push((name, Box::new(act)));
    }
    events
}

#[test]
fn every_event_in_every_state() {
    let now = Instant::now();
    let mut table = String::new();
    for (name, act) in events() {
        for (side, phase) in PHASES {
            let mut peer = peer_in((side, phase), now);
            act(&mut peer, now);
            let outputs: Vec<_> =
                std::iter::from_fn(|| peer.poll_output()).map(|o| output_word(o, peer_word)).collect();
            let next = peer.phase();
            let next = if next == phase { "=".into() } else { format!("{next:?}") };
            writeln!(table, "{side:?} {phase:?} | {name} | {next} | {}", outputs.join(", ")).unwrap();
        }
    }
    compare("peer_table.txt", &table);
}

#[test]
fn of_two_names_one_dials() {
    let [a, b] = ["slr-a", "slr-b"].map(|name| name.parse().unwrap());
    assert_eq!((PeerSide::of(&a, &b), PeerSide::of(&b, &a)), (PeerSide::Dials, PeerSide::Accepts));
}
