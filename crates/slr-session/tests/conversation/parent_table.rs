//! Every event in every state of a parent's end.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use slr_model::Role;
use slr_session::conversation::{Parent, ParentPhase};
use slr_wire::*;

use crate::common::*;

const PHASES: [ParentPhase; 4] =
    [ParentPhase::Greeting, ParentPhase::Introduced, ParentPhase::Open, ParentPhase::Ended];

/// A parent's end in that phase, its outputs taken. An open one has given an order and heard an advert.
fn parent_in(phase: ParentPhase, now: Instant) -> Parent {
    let mut parent = Parent::new(Role::Host, now);
    if phase != ParentPhase::Greeting {
        parent.handle_message(now, Channel::Stream, Message::Hello(hello(Role::Host)));
    }
    if matches!(phase, ParentPhase::Open | ParentPhase::Ended) {
        parent.welcome(now, welcome(0));
        assert_eq!(parent.order(now, Action::Drain, "operator"), Ok(1));
        parent.handle_message(now, Channel::Stream, part(1, true));
    }
    if phase == ParentPhase::Ended {
        parent.handle_closed(None, "lost");
    }
    assert_eq!(parent.phase(), phase);
    while parent.poll_output().is_some() {}
    parent
}

type Event = (String, Box<dyn Fn(&mut Parent, Instant)>);

fn events() -> Vec<Event> {
    let mut events: Vec<Event> = vec![
        ("welcome()".into(), Box::new(|parent, now| parent.welcome(now, welcome(0)))),
        ("refuse()".into(), Box::new(|parent, _| parent.refuse(Refused::new(Code::Revoked, "revoked", "renew")))),
        (
            "order()".into(),
            Box::new(|parent, now| {
                let _ = parent.order(now, Action::Undrain, "operator");
            }),
        ),
        (
            "set_roster()".into(),
            Box::new(|parent, now| {
                parent.set_roster(now, &Roster { generation: 4, nodes: Vec::new() }).unwrap();
            }),
        ),
        ("ask()".into(), Box::new(|parent, _| parent.ask())),
        ("grant()".into(), Box::new(|parent, _| parent.grant(FlowKeys { epoch: 7, keys: Vec::new() }))),
        ("tell_epoch()".into(), Box::new(|parent, _| parent.tell_epoch(7))),
        ("closed".into(), Box::new(|parent, _| parent.handle_closed(None, "lost"))),
        ("timeout early".into(), Box::new(|parent, now| parent.handle_timeout(now + MS))),
        ("timeout".into(), Box::new(|parent, now| parent.handle_timeout(now + Duration::from_secs(5)))),
        ("bad frame".into(), Box::new(|parent, now| parent.handle_frame(now, &[0xff]))),
        ("unknown frame".into(), Box::new(|parent, now| parent.handle_frame(now, &[0xa2, 0x38, 0x01, 0x00]))),
        ("bad datagram".into(), Box::new(|parent, now| parent.handle_datagram(now, &[0xff]))),
        (
            "advert in a frame".into(),
            Box::new(|parent, now| parent.handle_message(now, Channel::Stream, part(8, false))),
        ),
        (
            "full advert again".into(),
            Box::new(|parent, now| parent.handle_message(now, Channel::Stream, part(1, true))),
        ),
        (
            "hello of a site SLR".into(),
            Box::new(|parent, now| {
                parent.handle_message(now, Channel::Stream, Message::Hello(hello(Role::Site)));
            }),
        ),
        (
            "answer to no order".into(),
            Box::new(|parent, now| {
                parent.handle_message(now, Channel::Stream, Message::Ordered(Ordered { id: 77, outcome: Ok(()) }));
            }),
        ),
    ];
    for message in messages() {
        let name = word(&message);
        let act = move |parent: &mut Parent, now| parent.handle_message(now, channel_of(&message), message.clone());
        events.push((name, Box::new(act)));
    }
    events
}

#[test]
fn every_event_in_every_state() {
    let now = Instant::now();
    let mut table = String::new();
    for (name, act) in events() {
        for phase in PHASES {
            let mut parent = parent_in(phase, now);
            act(&mut parent, now);
            let outputs: Vec<_> =
                std::iter::from_fn(|| parent.poll_output()).map(|o| output_word(o, parent_word)).collect();
            let next = parent.phase();
            let next = if next == phase { "=".into() } else { format!("{next:?}") };
            writeln!(table, "{phase:?} | {name} | {next} | {}", outputs.join(", ")).unwrap();
        }
    }
    compare("parent_table.txt", &table);
}
