use super::*;

fn flow(n: usize) -> FlowKey {
    format!("tcp 198.51.{}.{}:40000 > 192.0.2.9:80", n / 250, n % 250 + 1).parse().unwrap()
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
fn the_first_router_that_names_a_host_is_believed() {
    let now = Instant::now();
    let mut search = search(&["a", "b"]);
    search.hold(now, flow(1), 7, 100);
    let first = asked(&outputs(&mut search, now));
    assert_eq!(first, [("a".to_owned(), vec![flow(1)]), ("b".to_owned(), vec![flow(1)])]);
    search.handle_answer(&name("a"), &answer(None, &[flow(1)]));
    assert_eq!(outputs(&mut search, now), []);
    search.handle_answer(&name("b"), &answer(Some("h1"), &[flow(1)]));
    let found = Output::Found { flow: flow(1), router: name("b"), host: name("h1"), packet: 7 };
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
    assert_eq!(outputs(&mut search, now), [Output::Nobody { flow: flow(1), packet: 7 }]);
    assert_eq!(search.counters(), Counters { held: 1, nobody: 1, ..Counters::default() });
}

#[test]
fn with_nobody_to_ask_there_is_nobody() {
    let now = Instant::now();
    let mut search = search(&[]);
    search.hold(now, flow(1), 7, 100);
    assert_eq!(outputs(&mut search, now), [Output::Nobody { flow: flow(1), packet: 7 }]);
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
    assert_eq!((search.len(), search.bytes, search.due.len()), (0, 0, 0));
}
