//! What conversations do over time.

use std::time::{Duration, Instant};

use slr_model::{FlowKey, HostState, Role};
use slr_session::conversation::{Child, ChildEvent, ChildPhase, Output, Parent, ParentEvent, ParentPhase};
use slr_wire::*;

use crate::common::*;

const WEB: &str = "tcp/80@192.0.2.0/24";
const DNS: &str = "udp/53@2001:db8:1::/64";

fn outputs(child: &mut Child) -> Vec<Output<ChildEvent>> {
    std::iter::from_fn(|| child.poll_output()).collect()
}

/// An open child that offers one active service; its first full advert is out.
fn open_child(now: Instant) -> Child {
    let mut child = new_child(now);
    child.offer(now, advert(&[(WEB, HostState::Active)])).unwrap();
    child.handle_timeout(now);
    child.handle_connected(now);
    child.handle_message(now, Channel::Stream, Message::Welcome(welcome(1)));
    let sent = outputs(&mut child);
    assert!(sent.iter().any(|output| matches!(output, Output::SendStream(Message::Advert(part)) if part.full)));
    child
}

/// Runs the child's timers until `end`; what it sent and told meanwhile, with the times.
fn run(child: &mut Child, mut now: Instant, end: Instant) -> Vec<(Instant, Output<ChildEvent>)> {
    let mut all = Vec::new();
    while let Some(at) = child.poll_timeout().filter(|&at| at <= end) {
        now = now.max(at);
        child.handle_timeout(now);
        all.extend(outputs(child).into_iter().map(|output| (now, output)));
    }
    all
}

fn sequences(sent: &[(Instant, Output<ChildEvent>)]) -> Vec<u64> {
    let sequence = |output: &Output<ChildEvent>| match output {
        Output::SendDatagram(Message::Advert(part)) => Some(part.sequence),
        _ => None,
    };
    sent.iter().filter_map(|(_, output)| sequence(output)).collect()
}

#[test]
fn adverts_keep_their_interval_and_their_order() {
    let begin = Instant::now();
    let mut child = open_child(begin);
    let mut sent = Vec::new();
    for second in 0..4 {
        // The parent hears, so the child goes on.
        let end = begin + Duration::from_secs(second + 1);
        sent.extend(run(&mut child, begin, end));
        let sequence = *sequences(&sent).last().unwrap();
        child.handle_datagram(end, &Message::Ack(Ack { sequence }).encode_datagram().unwrap());
    }
    let numbers = sequences(&sent);
    assert_eq!(numbers, (2..2 + numbers.len() as u64).collect::<Vec<_>>());
    assert_eq!(numbers.len(), 10, "one every 400 ms in four seconds");
    assert!(sent.windows(2).all(|pair| pair[1].0 - pair[0].0 == 400 * MS));
}

#[test]
fn a_change_of_state_goes_out_at_once_and_a_change_of_load_does_not() {
    let now = Instant::now();
    let mut child = open_child(now);
    let mut busy = advert(&[(WEB, HostState::Active)]);
    busy.services[0].flows = 900;
    child.offer(now, busy).unwrap();
    assert_eq!(outputs(&mut child), []);
    for (services, count) in [
        (&[(WEB, HostState::Draining)][..], 1),
        (&[(WEB, HostState::Draining), (DNS, HostState::Active)], 2),
        (&[(DNS, HostState::Active)], 1),
    ] {
        child.offer(now, advert(services)).unwrap();
        let sent = outputs(&mut child);
        let [Output::SendStream(Message::Advert(part))] = &sent[..] else { panic!("{sent:?}") };
        assert_eq!((part.full, part.services.len()), (true, count));
    }
}

#[test]
fn a_flapping_service_is_told_at_a_bounded_rate_and_ends_up_right() {
    let begin = Instant::now();
    let mut child = open_child(begin);
    let mut full = Vec::new();
    for change in 0..1_000u32 {
        let now = begin + change * MS;
        let state = if change % 2 == 0 { HostState::Down } else { HostState::Active };
        child.offer(now, advert(&[(WEB, state)])).unwrap();
        full.extend(outputs(&mut child));
    }
    let mut sent: Vec<_> = full.into_iter().map(|output| (begin, output)).collect();
    sent.extend(run(&mut child, begin + 1_000 * MS, begin + 1_300 * MS));
    let full: Vec<&AdvertPart> = sent
        .iter()
        .filter_map(|(_, output)| match output {
            Output::SendStream(Message::Advert(part)) => Some(part),
            _ => None,
        })
        .collect();
    assert!((8..=21).contains(&full.len()), "{} full adverts in a second", full.len());
    let last = sent.iter().rev().find_map(|(_, output)| match output {
        Output::SendStream(Message::Advert(part)) | Output::SendDatagram(Message::Advert(part)) => Some(part),
        _ => None,
    });
    assert_eq!(last.unwrap().services[0].state, HostState::Active);
}

#[test]
fn a_parent_that_acknowledges_nothing_is_unheard_and_then_left() {
    let begin = Instant::now();
    let mut child = open_child(begin);
    let told: Vec<_> = run(&mut child, begin, begin + Duration::from_secs(20))
        .into_iter()
        .filter_map(|(at, output)| match output {
            Output::Event(event) => Some((at - begin, event)),
            _ => None,
        })
        .collect();
    let [(unheard, ChildEvent::Heard(false)), (lost, ChildEvent::Lost { code: Some(Code::Silence), .. }), ..] =
        &told[..]
    else {
        panic!("{told:?}")
    };
    // Three, then eight acknowledgements of 800 ms each.
    assert!((2_000 * MS..3_200 * MS).contains(unheard), "{unheard:?}");
    assert!((6_000 * MS..7_200 * MS).contains(lost), "{lost:?}");
}

#[test]
fn a_child_that_was_stopped_for_a_minute_is_not_unheard() {
    let begin = Instant::now();
    let mut child = open_child(begin);
    let later = begin + Duration::from_secs(60);
    child.handle_timeout(later);
    let sent = outputs(&mut child);
    assert!(matches!(&sent[..], [Output::SendDatagram(Message::Advert(_))]), "{sent:?}");
    assert_eq!(child.phase(), ChildPhase::Open);
    assert!(child.poll_timeout().unwrap() > later);
}

#[test]
fn refusals_that_need_somebody_are_tried_again_less_often() {
    let begin = Instant::now();
    let waits = |code: Code| -> Vec<Duration> {
        let mut child = new_child(begin);
        let mut now = begin;
        (0..8)
            .map(|_| {
                now = child.poll_timeout().unwrap();
                child.handle_timeout(now);
                child.handle_connected(now);
                child.handle_message(now, Channel::Stream, Message::Refused(Refused::new(code, "no", "do something")));
                outputs(&mut child);
                child.poll_timeout().unwrap() - now
            })
            .collect()
    };
    let (soon, late) = (waits(Code::Restart), waits(Code::Revoked));
    assert!(soon[0] <= 200 * MS && soon.iter().all(|&wait| wait <= 5_000 * MS), "{soon:?}");
    assert!(late[0] >= 500 * MS && late[7] >= 15_000 * MS && late.iter().all(|&wait| wait <= 30_000 * MS), "{late:?}");
}

#[test]
fn a_successor_is_a_later_session_with_the_same_offer() {
    let now = Instant::now();
    let mut child = open_child(now);
    let mut next = child.successor(now);
    next.handle_timeout(now);
    next.handle_connected(now);
    let sent = outputs(&mut next);
    let [Output::Connect { session }, Output::SendStream(Message::Hello(hello))] = &sent[..] else {
        panic!("{sent:?}")
    };
    assert!(*session > child.session() && hello.session == *session && hello.incarnation == 5);
    next.handle_message(now, Channel::Stream, Message::Welcome(welcome(*session)));
    assert!(outputs(&mut next).iter().any(|output| matches!(output, Output::SendStream(Message::Advert(_)))));
}

/// An open parent's end, with an ack interval of 800 ms.
fn open_parent(now: Instant) -> Parent {
    let mut parent = Parent::new(Role::Host, now);
    parent.handle_message(now, Channel::Stream, Message::Hello(hello(Role::Host)));
    parent.welcome(now, welcome(0));
    while parent.poll_output().is_some() {}
    parent
}

fn parent_outputs(parent: &mut Parent) -> Vec<Output<ParentEvent>> {
    std::iter::from_fn(|| parent.poll_output()).collect()
}

#[test]
fn acknowledgements_are_at_most_one_an_interval_and_name_the_newest() {
    let begin = Instant::now();
    let mut parent = open_parent(begin);
    let mut acks = Vec::new();
    for sequence in 1..=30 {
        let now = begin + 100 * MS * sequence as u32;
        parent.handle_timeout(now);
        parent.handle_message(now, Channel::Datagram, part(sequence, false));
        for output in parent_outputs(&mut parent) {
            if let Output::SendDatagram(Message::Ack(ack)) = output {
                acks.push((now, ack.sequence));
            }
        }
    }
    assert!(acks.len() >= 3 && acks.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 800 * MS), "{acks:?}");
    assert!(acks.windows(2).all(|pair| pair[1].1 - pair[0].1 >= 7), "{acks:?}");
    // The last advert is acknowledged even if none follows.
    let due = parent.poll_timeout().unwrap();
    parent.handle_timeout(due);
    assert_eq!(parent_outputs(&mut parent), [Output::SendDatagram(Message::Ack(Ack { sequence: 30 }))]);
}

#[test]
fn parts_of_a_full_advert_are_told_as_one_and_loads_come_with_every_part() {
    let now = Instant::now();
    let mut parent = open_parent(now);
    let mut large = advert(&[]);
    large.loads.set("load".parse().unwrap(), 0.5).unwrap();
    large.services = (1..=700).map(|port| service(&format!("tcp/{port}@192.0.2.0/24"), HostState::Active)).collect();
    for service in &mut large.services {
        service.reason = "r".repeat(150);
    }
    let parts = AdvertPart::split(&large, 1, true).unwrap();
    assert!(parts.len() > 1);
    for part in parts {
        parent.handle_frame(now, &Message::Advert(part).encode_frame().unwrap()[4..]);
    }
    let told: Vec<_> = parent_outputs(&mut parent)
        .into_iter()
        .filter_map(|output| match output {
            Output::Event(ParentEvent::Advert(news)) => Some(news),
            _ => None,
        })
        .collect();
    assert_eq!(told.len(), 1);
    assert!(told[0].full && told[0].advert == large);
    let parts = AdvertPart::split(&large, 2, false).unwrap();
    for part in parts.into_iter().skip(1) {
        parent.handle_datagram(now, &Message::Advert(part).encode_datagram().unwrap());
        let news = parent_outputs(&mut parent).into_iter().find_map(|output| match output {
            Output::Event(ParentEvent::Advert(news)) => Some(news),
            _ => None,
        });
        assert_eq!(news.unwrap().advert.loads.get("load"), Some(0.5));
    }
    assert_eq!(parent.counters().limited, 0);
}

#[test]
fn a_flood_of_datagrams_is_not_decoded() {
    let now = Instant::now();
    let mut parent = open_parent(now);
    let datagram = part(1, false).encode_datagram().unwrap();
    for _ in 0..10_000 {
        parent.handle_datagram(now, &datagram);
    }
    let told = parent_outputs(&mut parent).len();
    assert!(told <= 20 && parent.counters().limited >= 9_980, "{told} told, {:?}", parent.counters());
    for _ in 0..10_000 {
        parent.handle_frame(now, &[0xa2, 0x38, 0x01, 0x00]);
    }
    assert_eq!(parent.phase(), ParentPhase::Ended);
}

#[test]
fn rosters_are_spaced_and_the_newest_one_arrives() {
    let begin = Instant::now();
    let mut parent = open_parent(begin);
    let roster = |generation| Roster { generation, nodes: Vec::new() };
    for generation in 1..=500 {
        parent.set_roster(begin, &roster(generation)).unwrap();
    }
    let sent = |parent: &mut Parent| -> Vec<u64> {
        let generation = |output| match output {
            Output::SendStream(Message::Roster(part)) => Some(part.generation),
            _ => None,
        };
        parent_outputs(parent).into_iter().filter_map(generation).collect()
    };
    assert_eq!(sent(&mut parent), [1]);
    let due = parent.poll_timeout().unwrap();
    assert_eq!(due, begin + Duration::from_secs(1));
    parent.handle_timeout(due);
    assert_eq!(sent(&mut parent), [500]);
    parent.set_roster(due + Duration::from_secs(5), &roster(500)).unwrap();
    assert_eq!(sent(&mut parent), [0u64; 0], "it was sent before");
}

#[test]
fn asks_are_answered_at_once_at_a_bounded_rate_and_do_not_count_as_unheard() {
    let begin = Instant::now();
    let mut child = open_child(begin);
    let ask = Message::Ask(Ask).encode_datagram().unwrap();
    child.handle_datagram(begin, &ask);
    let sent = outputs(&mut child);
    assert!(matches!(&sent[..], [Output::SendDatagram(Message::Advert(_))]), "{sent:?}");
    let mut answers = 0;
    for at_ms in 1..=400 {
        child.handle_datagram(begin + at_ms * MS, &ask);
        for output in outputs(&mut child) {
            match output {
                Output::SendDatagram(Message::Advert(_)) => answers += 1,
                other => panic!("{other:?}: asks come faster than acknowledgements"),
            }
        }
    }
    assert!((8..=16).contains(&answers), "{answers} adverts for 400 asks");
    assert_eq!(child.phase(), ChildPhase::Open);
}

#[test]
fn a_load_that_changes_much_goes_out_before_its_time_and_noise_does_not() {
    let begin = Instant::now();
    let mut child = new_child(begin);
    let loaded = |value: f64| {
        let mut said = advert(&[(WEB, HostState::Active)]);
        said.loads.set("load".parse().unwrap(), value).unwrap();
        said
    };
    child.offer(begin, loaded(0.5)).unwrap();
    child.handle_timeout(begin);
    child.handle_connected(begin);
    let slow = Welcome { advert_interval_ms: 10_000, silent_after_ms: 25_000, ..welcome(1) };
    child.handle_message(begin, Channel::Stream, Message::Welcome(slow));
    // Whatever chance has made of the first one's time, it is over.
    run(&mut child, begin, begin + 10_000 * MS);
    let told = begin + 10_000 * MS;
    child.handle_datagram(told, &Message::Ask(Ask).encode_datagram().unwrap());
    outputs(&mut child);
    child.offer(told, loaded(0.55)).unwrap();
    assert!(child.poll_timeout().unwrap() > told + 400 * MS, "a tenth is noise");
    child.offer(told, loaded(0.8)).unwrap();
    let sent = run(&mut child, told, told + 400 * MS);
    assert_eq!((sequences(&sent).len(), sent[0].0), (1, told + 400 * MS));
}

fn flows(number: u16) -> Vec<FlowKey> {
    (1..=number).map(|port| format!("tcp 198.51.100.7:{port} > 192.0.2.9:80").parse().unwrap()).collect()
}

#[test]
fn claims_are_sent_at_a_rate_that_the_parent_takes_and_beside_adverts() {
    let begin = Instant::now();
    let mut child = open_child(begin);
    outputs(&mut child);
    let mut parent = open_parent(begin);
    let (mut told, mut taken) = (0, 0);
    // A burst of 10,000 flows takes more datagrams than may be sent at once; the rest waits for the flows' next packets.
    for at_ms in 0..1_000 {
        let now = begin + at_ms * MS;
        child.claim(now, &flows(10_000));
        for output in outputs(&mut child) {
            let Output::SendDatagram(message @ Message::Claims(_)) = output else { continue };
            told += 1;
            parent.handle_datagram(now, &message.encode_datagram().unwrap());
        }
        for output in std::iter::from_fn(|| parent.poll_output()) {
            taken += u32::from(matches!(output, Output::Event(ParentEvent::Claimed { .. })));
        }
    }
    assert!((96..=96 * 5).contains(&told), "{told} datagrams in a second");
    assert_eq!(taken, told, "the parent takes all of them");
    assert_eq!(parent.counters().limited, 0);

    // Who sends more is limited, and its adverts are heard all the same.
    let claims = Message::Claims(Claims::split(flows(1)).remove(0)).encode_datagram().unwrap();
    let later = begin + Duration::from_secs(10);
    (0..1_000).for_each(|_| parent.handle_datagram(later, &claims));
    assert!(parent.counters().limited >= 800, "{:?}", parent.counters());
    let said = Message::Advert(AdvertPart::split(&advert(&[(WEB, HostState::Active)]), 9, false).unwrap().remove(0));
    std::iter::from_fn(|| parent.poll_output()).for_each(drop);
    parent.handle_datagram(later, &said.encode_datagram().unwrap());
    let heard = std::iter::from_fn(|| parent.poll_output()).any(|o| matches!(o, Output::Event(ParentEvent::Advert(_))));
    assert!(heard, "an advert after a flood of claims");
}
