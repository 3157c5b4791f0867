//! Messages and names that the tables use, and outputs as words.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use slr_model::{Advert, HostState, Loads, Role, ServiceAdvert, Weight};
use slr_session::conversation::{BackoffSettings, Child, ChildEvent, ChildSettings, Output, ParentEvent, PeerEvent};
use slr_wire::*;

pub const MS: Duration = Duration::from_millis(1);

pub fn child_settings() -> ChildSettings {
    ChildSettings {
        incarnation: 5,
        first_session: 1,
        software: "hostd 0.1".into(),
        role: Role::Host,
        tunnel_addresses: vec!["10.1.11.2".parse().unwrap()],
        tunnel_sources: Vec::new(),
        backoff: BackoffSettings::default(),
    }
}

pub fn new_child(now: Instant) -> Child {
    Child::new(child_settings(), 1, now)
}

pub fn hello(role: Role) -> Hello {
    Hello {
        incarnation: 5,
        session: 1,
        software: "hostd 0.1".into(),
        role,
        tunnel_addresses: vec!["10.1.11.2".parse().unwrap()],
        tunnel_sources: Vec::new(),
        answers_asks: true,
    }
}

pub fn welcome(session: u64) -> Welcome {
    Welcome {
        session,
        advert_interval_ms: 400,
        silent_after_ms: 1_000,
        ack_interval_ms: 800,
        tunnel_sources: vec!["10.1.0.0/24".parse().unwrap()],
    }
}

pub fn service(key: &str, state: HostState) -> ServiceAdvert {
    ServiceAdvert {
        key: key.parse().unwrap(),
        state,
        reason: String::new(),
        loads: Loads::new(),
        flows: 0,
        weight: Weight::default(),
    }
}

pub fn advert(services: &[(&str, HostState)]) -> Advert {
    let services = services.iter().map(|&(key, state)| service(key, state)).collect();
    Advert { loads: Loads::new(), services }
}

pub fn part(sequence: u64, full: bool) -> Message {
    let advert = advert(&[("tcp/80@192.0.2.0/24", HostState::Active)]);
    Message::Advert(AdvertPart::split(&advert, sequence, full).unwrap().remove(0))
}

pub fn edition(publisher: &str, incarnation: u64, generation: u64) -> Edition {
    Edition { publisher: publisher.parse().unwrap(), incarnation, generation }
}

/// One of each message, each of a kind that its channel carries.
pub fn messages() -> Vec<Message> {
    let rings = Rings { edition: edition("a", 1, 1), base: None, rings: Default::default(), removed: BTreeSet::new() };
    let roster = Roster { generation: 3, nodes: Vec::new() };
    vec![
        Message::Hello(hello(Role::Host)),
        Message::Welcome(welcome(1)),
        Message::Refused(Refused::new(Code::NameInUse, "two nodes use h1", "rename one")),
        part(7, true),
        part(8, false),
        Message::Ack(Ack { sequence: 1 }),
        Message::Withdraw(Withdraw { reason: "stopped".into() }),
        Message::Order(Order { id: 1, action: Action::Drain, requested_by: "operator".into() }),
        Message::Ordered(Ordered { id: 1, outcome: Ok(()) }),
        Message::Roster(roster.split().unwrap().remove(0)),
        Message::Rings(rings.split().unwrap().remove(0)),
        Message::RingsAck(RingsAck::default()),
        Message::Ask(Ask),
        Message::Claims(Claims { flows: vec!["tcp 198.51.100.7:40000 > 192.0.2.9:80".parse().unwrap()] }),
        Message::FlowKeys(FlowKeys { epoch: 7, keys: Vec::new() }),
        Message::FlowEpoch(FlowEpoch { epoch: 7 }),
    ]
}

pub fn channel_of(message: &Message) -> Channel {
    if message.travels(Channel::Stream) { Channel::Stream } else { Channel::Datagram }
}

pub fn word(message: &Message) -> String {
    let full = matches!(message, Message::Advert(part) if part.full);
    format!("{}{}", if full { "full-" } else { "" }, message.kind())
}

/// An output as a word; events of each end have their own.
pub fn output_word<E>(output: Output<E>, event_word: impl Fn(E) -> String) -> String {
    match output {
        Output::Connect { session } => format!("connect {session}"),
        Output::SendStream(message) => format!("stream {}", word(&message)),
        Output::SendDatagram(message) => format!("datagram {}", word(&message)),
        Output::Close { code, .. } => format!("close({code})"),
        Output::Event(event) => event_word(event),
    }
}

pub fn child_word(event: ChildEvent) -> String {
    match event {
        ChildEvent::Welcomed(_) => "welcomed".into(),
        ChildEvent::Heard(heard) => format!("heard {heard}"),
        ChildEvent::Roster(roster) => format!("roster {}", roster.generation),
        ChildEvent::Order(order) => format!("order {}", order.id),
        ChildEvent::FlowKeys(keys) => format!("flow-keys {}", keys.epoch),
        ChildEvent::Epoch(epoch) => format!("epoch {epoch}"),
        ChildEvent::Refused(refused) => format!("refused({})", refused.code),
        ChildEvent::Lost { .. } => "lost".into(),
    }
}

pub fn parent_word(event: ParentEvent) -> String {
    match event {
        ParentEvent::Hello(_) => "hello".into(),
        ParentEvent::Advert(news) => format!("advert {}", news.sequence),
        ParentEvent::Withdrawn { .. } => "withdrawn".into(),
        ParentEvent::Claimed { flows } => format!("claimed {}", flows.len()),
        ParentEvent::Epoch(epoch) => format!("epoch {epoch}"),
        ParentEvent::Ordered { id, outcome } => format!("ordered {id} {}", outcome.is_ok()),
        ParentEvent::Ended { .. } => "ended".into(),
    }
}

pub fn peer_word(event: PeerEvent) -> String {
    match event {
        PeerEvent::Met(_) => "met".into(),
        PeerEvent::Message(message) => format!("message {}", message.kind()),
        PeerEvent::Refused(refused) => format!("refused({})", refused.code),
        PeerEvent::Lost { retry_at, .. } => format!("lost{}", if retry_at.is_some() { "" } else { " for good" }),
    }
}

/// A table compared with the file that holds it; `SLR_REWRITE=1` in the environment writes the file instead. Read what it
/// changed before you commit it.
pub fn compare(file: &str, found: &str) {
    let path = format!("{}/tests/conversation/{file}", env!("CARGO_MANIFEST_DIR"));
    let found: String = found.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    if std::env::var_os("SLR_REWRITE").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    let (expected, found): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    for (row, (expected, found)) in expected.iter().zip(&found).enumerate() {
        assert_eq!(found, expected, "line {} of {path}", row + 1);
    }
    assert_eq!(found.len(), expected.len(), "rows in {path}");
}
