use proptest::prelude::*;

use super::*;

/// As the terms of TCP have it.
const FLOWS_MAX: usize = 2_048;
const BYTES_MAX: usize = 3 << 20;

fn flow(n: usize) -> FlowKey {
    format!("tcp 198.51.{}.{}:40000 > 192.0.2.9:80", n / 250, n % 250 + 1).parse().unwrap()
}

fn datagram(n: usize) -> FlowKey {
    format!("udp 198.51.{}.{}:40000 > 192.0.2.9:443", n / 250, n % 250 + 1).parse().unwrap()
}

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

/// A search with these routers, and all that it wants done at a time.
fn search(routers: &[&str]) -> Search<usize> {
    let mut search = Search::default();
    routers.iter().for_each(|router| search.connected(&name(router)));
    search
}

fn outputs(search: &mut Search<usize>, now: Instant) -> Vec<Output<usize>> {
    std::iter::from_fn(|| search.poll_output(now)).collect()
}

/// Who is asked about what.
fn asked(outputs: &[Output<usize>]) -> Vec<(String, Vec<FlowKey>)> {
    let asks = outputs.iter().filter_map(|output| match output {
        Output::Ask { router, question } => Some((router.to_string(), question.flows.clone())),
        _ => None,
    });
    asks.collect()
}

fn answer(host: Option<&str>, flows: &[FlowKey]) -> Has {
    Has { hosts: BTreeMap::from([(host.map(name), flows.to_vec())]) }
}

#[test]
fn what_nobody_is_asked_about_waits_for_its_host_and_no_longer_than_a_second() {
    let now = Instant::now();
    let mut search = search(&["a"]);
    search.keep(now, flow(1), 7, 100);
    search.keep(now, flow(2), 8, 100);
    search.hold(now, flow(3), 9, 100);
    assert_eq!(asked(&outputs(&mut search, now)), [("a".to_owned(), vec![flow(3)])]);
    search.disconnected(&name("a"));
    let nobody = Output::Nobody { flow: flow(3), packets: vec![9] };
    assert_eq!(outputs(&mut search, now), [nobody], "only what was asked about is denied");
    (10..30).for_each(|segment| search.keep(now, flow(1), segment, 100));
    assert_eq!(search.told(&flow(1)), [7, 10, 11, 12, 13, 14, 15, 16], "in order, and so many");
    assert_eq!((search.told(&flow(1)), search.told(&flow(4))), (vec![], vec![]));
    search.handle_timeout(now + HOLD_FOR);
    assert_eq!((search.len(), search.told(&flow(2))), (0, vec![]));
    assert_eq!((search.counters().told, search.counters().unanswered), (1, 1));
}

#[test]
fn the_first_router_that_names_a_host_is_believed() {
    let now = Instant::now();
    let mut search = search(&["a", "b"]);
    search.hold(now, flow(1), 7, 100);
    let first = asked(&outputs(&mut search, now));
    assert_eq!(first, [("a".to_owned(), vec![flow(1)]), ("b".to_owned(), vec![flow(1)])]);
    search.handle_answer(&name("a"), &answer(None, &[flow(1)]));
    assert_eq!(outputs(&mut search, now), []);
    search.handle_answer(&name("b"), &answer(Some("h1"), &[flow(1)]));
    let found = Output::Found { flow: flow(1), router: name("b"), host: name("h1"), packets: vec![7] };
    assert_eq!(outputs(&mut search, now), [found]);
    search.handle_answer(&name("a"), &answer(Some("h2"), &[flow(1)]));
    assert_eq!(outputs(&mut search, now), [], "it is not looked for any more");
    assert_eq!((search.len(), search.poll_timeout()), (0, None));
}

#[test]
fn nobody_is_said_only_when_all_have_denied_or_left() {
    let now = Instant::now();
    let mut search = search(&["a", "b", "c"]);
    search.hold(now, flow(1), 7, 100);
    search.handle_answer(&name("a"), &answer(None, &[flow(1)]));
    search.handle_answer(&name("a"), &answer(None, &[flow(1)]));
    search.handle_answer(&name("stranger"), &answer(Some("h1"), &[flow(1)]));
    search.disconnected(&name("b"));
    assert!(outputs(&mut search, now).iter().all(|output| matches!(output, Output::Ask { .. })));
    search.handle_answer(&name("c"), &answer(None, &[flow(1), flow(2)]));
    assert_eq!(outputs(&mut search, now), [Output::Nobody { flow: flow(1), packets: vec![7] }]);
    assert_eq!(search.counters(), Counters { held: 1, nobody: 1, ..Counters::default() });
}

#[test]
fn with_nobody_to_ask_there_is_nobody() {
    let now = Instant::now();
    let mut search = search(&[]);
    search.hold(now, flow(1), 7, 100);
    assert_eq!(outputs(&mut search, now), [Output::Nobody { flow: flow(1), packets: vec![7] }]);
}

#[test]
fn who_does_not_answer_is_asked_again_and_silence_is_no_denial() {
    let begin = Instant::now();
    let mut search = search(&["a", "b"]);
    search.hold(begin, flow(1), 7, 100);
    outputs(&mut search, begin);
    search.handle_answer(&name("a"), &answer(None, &[flow(1)]));
    let mut asks = 0;
    while let Some(due) = search.poll_timeout() {
        assert!(due <= begin + HOLD_FOR);
        search.handle_timeout(due);
        for output in outputs(&mut search, due) {
            let Output::Ask { router, .. } = output else { panic!("{output:?}") };
            assert_eq!(router, name("b"));
            asks += 1;
        }
    }
    assert_eq!(asks, 9, "each 100 ms until the second is over");
    assert_eq!(search.counters(), Counters { held: 1, unanswered: 1, ..Counters::default() });
}

#[test]
fn questions_of_a_burst_travel_together() {
    let begin = Instant::now();
    let mut search = search(&["a"]);
    search.hold(begin, flow(1), 1, 100);
    assert_eq!(asked(&outputs(&mut search, begin)).len(), 1);
    for n in 2..50 {
        search.hold(begin, flow(n), n, 100);
        assert_eq!(outputs(&mut search, begin), []);
    }
    assert_eq!(search.poll_timeout(), Some(begin + ROUND));
    let asks = asked(&outputs(&mut search, begin + ROUND));
    assert_eq!((asks.len(), asks[0].1.len()), (1, 48));
}

#[test]
fn what_is_held_is_bounded_in_flows_and_bytes() {
    let now = Instant::now();
    let mut search = search(&["a"]);
    for n in 0..FLOWS_MAX + 3 {
        search.hold(now, flow(n), n, 100);
        search.hold(now, flow(n), n, 100);
    }
    let counters = search.counters();
    assert_eq!((search.len(), counters.held, counters.repeated), (FLOWS_MAX, FLOWS_MAX as u64, FLOWS_MAX as u64));
    assert_eq!(counters.refused, 6);
    let mut search = super::tests::search(&["a"]);
    (0..500).for_each(|n| search.hold(now, flow(n), n, 9_000));
    assert_eq!(search.len(), BYTES_MAX / 9_000);
    search.handle_timeout(now + HOLD_FOR);
    assert_eq!((search.len(), &search.loads, search.due.len()), (0, &Loads::default(), 0));
}

#[test]
fn a_udp_flows_first_flight_is_held_and_goes_on_in_order() {
    let now = Instant::now();
    for is_known in [true, false] {
        let mut search = search(&["a"]);
        (1..=3).for_each(|n| search.hold(now, datagram(1), n, 1_200));
        search.hold(now, datagram(2), 9, 100);
        let first = asked(&outputs(&mut search, now));
        assert_eq!(first, [("a".to_owned(), vec![datagram(1), datagram(2)])], "each flow is asked about once");
        search.handle_answer(&name("a"), &answer(is_known.then_some("h1"), &[datagram(1)]));
        let (flow, packets) = (datagram(1), vec![1, 2, 3]);
        let expected = match is_known {
            true => Output::Found { flow, router: name("a"), host: name("h1"), packets },
            false => Output::Nobody { flow, packets },
        };
        assert_eq!(outputs(&mut search, now), [expected]);
    }
}

#[test]
fn a_udp_flow_that_not_all_answer_about_is_placed_soon() {
    let begin = Instant::now();
    let mut search = search(&["a", "b"]);
    search.hold(begin, datagram(1), 1, 100);
    outputs(&mut search, begin);
    search.handle_answer(&name("a"), &answer(None, &[datagram(1)]));
    search.hold(begin + Duration::from_millis(30), datagram(1), 2, 100);
    let (mut asks, mut rest) = (0, Vec::new());
    while let Some(due) = search.poll_timeout().filter(|due| *due <= begin + HOLD_UDP_FOR) {
        search.handle_timeout(due);
        for output in outputs(&mut search, due) {
            match output {
                Output::Ask { router, .. } => {
                    assert_eq!(router, name("b"));
                    asks += 1;
                }
                other => rest.push((due - begin, other)),
            }
        }
    }
    // The later datagram does not make it longer.
    let expected = Output::Nobody { flow: datagram(1), packets: vec![1, 2] };
    assert_eq!((asks, rest), (12, vec![(HOLD_UDP_FOR, expected)]));
    assert_eq!(search.counters(), Counters { held: 1, unanswered: 1, ..Counters::default() });
}

#[test]
fn new_udp_flows_do_not_wait_long_for_a_router_that_has_fallen_silent() {
    let begin = Instant::now();
    let mut search = search(&["a", "b"]);
    let placed_after = |search: &mut Search<usize>, begin: Instant, flow: FlowKey| {
        search.hold(begin, flow, 1, 100);
        search.handle_answer(&name("a"), &answer(None, &[flow]));
        loop {
            let due = search.poll_timeout().unwrap();
            search.handle_timeout(due);
            if outputs(search, due).contains(&Output::Nobody { flow, packets: vec![1] }) {
                return due - begin;
            }
        }
    };
    assert_eq!(placed_after(&mut search, begin, datagram(1)), HOLD_UDP_FOR);
    let later = begin + 2 * HOLD_FOR;
    assert_eq!(placed_after(&mut search, later, datagram(2)), HOLD_UDP_FOR_SILENT, "b has let one pass");
    search.hold(later + HOLD_FOR, datagram(3), 1, 100);
    outputs(&mut search, later + HOLD_FOR);
    search.handle_answer(&name("b"), &answer(None, &[datagram(3)]));
    let again = later + 3 * HOLD_FOR;
    assert_eq!(placed_after(&mut search, again, datagram(4)), HOLD_UDP_FOR, "and answers again");
}

#[test]
fn a_late_answer_brings_a_placed_flow_back_and_a_late_denial_changes_nothing() {
    let begin = Instant::now();
    for (host, expected) in [
        (Some("h1"), vec![Output::Found { flow: datagram(1), router: name("a"), host: name("h1"), packets: vec![] }]),
        (None, vec![]),
    ] {
        let mut search = search(&["a"]);
        search.hold(begin, datagram(1), 1, 100);
        outputs(&mut search, begin);
        let placed = begin + HOLD_UDP_FOR;
        search.handle_timeout(placed);
        assert!(outputs(&mut search, placed).contains(&Output::Nobody { flow: datagram(1), packets: vec![1] }));
        // What comes before the pin is there is placed as well.
        search.hold(placed, datagram(1), 2, 100);
        assert_eq!(outputs(&mut search, placed), [Output::Unheld { packet: 2 }]);
        let late = placed + Duration::from_millis(110);
        search.handle_timeout(late);
        let again = asked(&outputs(&mut search, late));
        assert_eq!(again, [("a".to_owned(), vec![datagram(1)])], "it is still asked about");
        search.handle_answer(&name("a"), &answer(host, &[datagram(1)]));
        assert_eq!(outputs(&mut search, late), expected);
        assert_eq!((search.len(), &search.loads, search.poll_timeout()), (0, &Loads::default(), None));
    }
}

#[test]
fn a_turn_that_comes_late_reads_the_answers_before_it_gives_up() {
    let begin = Instant::now();
    let late = begin + HOLD_UDP_FOR + Duration::from_millis(30);
    for host in [Some("h1"), None] {
        let mut search = search(&["a"]);
        search.hold(begin, datagram(1), 1, 100);
        outputs(&mut search, begin);
        search.handle_timeout(late);
        assert_eq!(outputs(&mut search, late), []);
        assert_eq!(search.poll_timeout(), Some(late + ROUND));
        let (flow, packets) = (datagram(1), vec![1]);
        let expected = match host {
            Some(host) => {
                search.handle_answer(&name("a"), &answer(Some(host), &[flow]));
                Output::Found { flow, router: name("a"), host: name(host), packets }
            }
            None => {
                search.handle_timeout(late + ROUND);
                Output::Nobody { flow, packets }
            }
        };
        assert_eq!(outputs(&mut search, late + ROUND), [expected]);
    }
}

#[test]
fn no_datagram_is_dropped_for_want_of_room_and_segments_keep_theirs() {
    let now = Instant::now();
    let unheld = |search: &mut Search<usize>| {
        let outputs = outputs(search, now).into_iter();
        outputs.filter(|output| matches!(output, Output::Unheld { .. })).collect::<Vec<_>>()
    };
    let mut search = super::tests::search(&["a"]);
    (0..=DATAGRAMS_MAX).for_each(|n| search.hold(now, datagram(1), n, 100));
    assert_eq!(unheld(&mut search), [Output::Unheld { packet: DATAGRAMS_MAX }], "too many of one flow");
    (0..=FLOWS_MAX).for_each(|n| search.hold(now, datagram(n), n, 100));
    assert_eq!(unheld(&mut search).len(), 2, "one more of that flow, and a flow too many");
    assert_eq!((search.len(), search.counters().refused, search.counters().repeated), (FLOWS_MAX, 1, 2));
    let mut search = super::tests::search(&["a"]);
    (0..500).for_each(|n| search.hold(now, datagram(n / 20), n, 9_000));
    assert_eq!(unheld(&mut search).len(), 500 - BYTES_MAX / 9_000, "too many bytes");
    (0..500).for_each(|n| search.hold(now, flow(n), n, 1_500));
    assert_eq!(search.counters().held, 500 + (BYTES_MAX / 9_000).div_ceil(20) as u64, "of TCP all");
}

/// What may happen to a search of four flows, two of each protocol.
#[derive(Clone, Debug)]
enum Event {
    Packet { flow: usize },
    Answer { router: usize, host: bool, flow: usize },
    Connected { router: usize, is_up: bool },
    Wait { ms: u64 },
}

const ROUTERS: [&str; 3] = ["a", "b", "c"];

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..4_usize).prop_map(|flow| Event::Packet { flow }),
        3 => (0..3_usize, any::<bool>(), 0..4_usize).prop_map(|(router, host, flow)| Event::Answer { router, host, flow }),
        1 => (0..3_usize, any::<bool>()).prop_map(|(router, is_up)| Event::Connected { router, is_up }),
        3 => (1..60_u64).prop_map(|ms| Event::Wait { ms }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens: a datagram is given back once, in its flow's order and soon; a segment at most once.
    #[test]
    fn no_datagram_is_lost_doubled_or_out_of_order(events in proptest::collection::vec(event(), 1..100)) {
        let flows = [flow(1), flow(2), datagram(1), datagram(2)];
        let mut search = search(&ROUTERS[..2]);
        let mut now = Instant::now();
        let (mut given, mut back) = (Vec::new(), BTreeMap::<FlowKey, Vec<usize>>::new());
        let calm = Event::Wait { ms: HOLD_FOR.as_millis() as u64 };
        for event in events.into_iter().chain([calm]) {
            match event {
                Event::Packet { flow } => {
                    given.push((flows[flow], now));
                    search.hold(now, flows[flow], given.len() - 1, 100);
                }
                Event::Answer { router, host, flow } => {
                    search.handle_answer(&name(ROUTERS[router]), &answer(host.then_some("h1"), &[flows[flow]]));
                }
                Event::Connected { router, is_up: true } => search.connected(&name(ROUTERS[router])),
                Event::Connected { router, is_up: false } => search.disconnected(&name(ROUTERS[router])),
                Event::Wait { ms } => {
                    let until = now + Duration::from_millis(ms);
                    while let Some(due) = search.poll_timeout().filter(|due| *due <= until) {
                        now = now.max(due);
                        search.handle_timeout(now);
                        take_back(&mut search, now, &given, &mut back);
                    }
                    now = until;
                }
            }
            take_back(&mut search, now, &given, &mut back);
        }
        prop_assert_eq!((search.len(), &search.loads), (0, &Loads::default()));
        for flow in flows {
            let of_flow = given.iter().enumerate().filter(|(_, (of, _))| *of == flow).map(|(packet, _)| packet);
            let back = back.remove(&flow).unwrap_or_default();
            if flow.protocol() == Protocol::Udp {
                prop_assert!(of_flow.eq(back));
            } else {
                prop_assert!(back.is_sorted_by(|a, b| a < b));
            }
        }
    }
}

/// What the search gives back, each datagram before its time is over.
fn take_back(
    search: &mut Search<usize>,
    now: Instant,
    given: &[(FlowKey, Instant)],
    back: &mut BTreeMap<FlowKey, Vec<usize>>,
) {
    for output in outputs(search, now) {
        let packets = match output {
            Output::Ask { .. } => continue,
            Output::Found { packets, .. } | Output::Nobody { packets, .. } => packets,
            Output::Unheld { packet } => vec![packet],
        };
        for packet in packets {
            let (flow, at) = given[packet];
            assert!(now <= at + Terms::of(&flow).hold_for, "{flow} was held for {:?}", now - at);
            back.entry(flow).or_default().push(packet);
        }
    }
}
