//! Every event in every state of a child.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use slr_model::HostState;
use slr_session::conversation::{Child, ChildPhase};
use slr_wire::*;

use crate::common::*;

const PHASES: [ChildPhase; 5] =
    [ChildPhase::Waiting, ChildPhase::Connecting, ChildPhase::Greeting, ChildPhase::Open, ChildPhase::Ended];

/// A child in that phase, its outputs taken.
fn child_in(phase: ChildPhase, now: Instant) -> Child {
    let mut child = new_child(now);
    if phase != ChildPhase::Waiting {
        child.handle_timeout(now);
    }
    if matches!(phase, ChildPhase::Greeting | ChildPhase::Open | ChildPhase::Ended) {
        child.handle_connected(now);
    }
    if matches!(phase, ChildPhase::Open | ChildPhase::Ended) {
        child.offer(now, advert(&[("tcp/80@192.0.2.0/24", HostState::Active)])).unwrap();
        child.handle_message(now, Channel::Stream, Message::Welcome(welcome(1)));
    }
    if phase == ChildPhase::Ended {
        child.withdraw("stopped");
    }
    assert_eq!(child.phase(), phase);
    while child.poll_output().is_some() {}
    child
}

type Event = (String, Box<dyn Fn(&mut Child, Instant)>);

fn events() -> Vec<Event> {
    let mut events: Vec<Event> = vec![
        ("connected".into(), Box::new(|child, now| child.handle_connected(now))),
        ("connect failed".into(), Box::new(|child, now| child.handle_connect_failed(now, "no answer"))),
        ("closed".into(), Box::new(|child, now| child.handle_closed(now, Some(Code::Restart), "restart"))),
        ("timeout early".into(), Box::new(|child, now| child.handle_timeout(now - MS))),
        ("timeout".into(), Box::new(|child, now| child.handle_timeout(now + Duration::from_secs(5)))),
        (
            "same offer".into(),
            Box::new(|child, now| {
                child.offer(now, advert(&[("tcp/80@192.0.2.0/24", HostState::Active)])).unwrap();
            }),
        ),
        (
            "other offer".into(),
            Box::new(|child, now| {
                child.offer(now, advert(&[("tcp/80@192.0.2.0/24", HostState::Draining)])).unwrap();
            }),
        ),
        ("ordered".into(), Box::new(|child, _| child.ordered(1, Ok(())))),
        ("tell_epoch()".into(), Box::new(|child, _| child.tell_epoch(7))),
        ("withdraw".into(), Box::new(|child, _| child.withdraw("stopped"))),
        ("bad frame".into(), Box::new(|child, now| child.handle_frame(now, &[0xff]))),
        ("unknown frame".into(), Box::new(|child, now| child.handle_frame(now, &[0xa2, 0x38, 0x01, 0x00]))),
        ("bad datagram".into(), Box::new(|child, now| child.handle_datagram(now, &[0xff]))),
        ("ask in a frame".into(), Box::new(|child, now| child.handle_message(now, Channel::Stream, Message::Ask(Ask)))),
        (
            "ack in a frame".into(),
            Box::new(|child, now| {
                child.handle_message(now, Channel::Stream, Message::Ack(Ack { sequence: 1 }));
            }),
        ),
        (
            "welcome of another".into(),
            Box::new(|child, now| {
                child.handle_message(now, Channel::Stream, Message::Welcome(welcome(9)));
            }),
        ),
    ];
    for message in messages() {
        let name = word(&message);
        let act = move |child: &mut Child, now| child.handle_message(now, channel_of(&message), message.clone());
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
            let mut child = child_in(phase, now);
            act(&mut child, now);
            let outputs: Vec<_> =
                std::iter::from_fn(|| child.poll_output()).map(|o| output_word(o, child_word)).collect();
            let next = child.phase();
            let next = if next == phase { "=".into() } else { format!("{next:?}") };
            writeln!(table, "{phase:?} | {name} | {next} | {}", outputs.join(", ")).unwrap();
        }
    }
    compare("child_table.txt", &table);
}
