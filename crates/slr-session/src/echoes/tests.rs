use super::*;

const RATES: Rates = Rates { per_client: 10, per_host: 100 };

fn flow(client: u8, port: u16) -> FlowKey {
    format!("tcp 198.51.100.{client}:{port} > 192.0.2.9:80").parse().unwrap()
}

fn echoes() -> (Echoes<u32>, Instant) {
    (Echoes::new(RATES, 7), Instant::now())
}

fn after(begin: Instant, ms: u64) -> Instant {
    begin + Duration::from_millis(ms)
}

impl Echoes<u32> {
    fn stall(&mut self, now: Instant, flow: FlowKey, due: Due) {
        self.stalled(now, flow, due, Duration::from_millis(10), 42);
    }

    /// What is asked at `now`: serials and flows.
    fn asks(&mut self, now: Instant) -> Vec<(u64, Vec<FlowKey>)> {
        self.handle_timeout(now);
        std::iter::from_fn(|| self.poll_output())
            .filter_map(|output| match output {
                Output::Ask { serial, flows } => Some((serial, flows)),
                Output::Nudge { .. } => None,
            })
            .collect()
    }
}

#[test]
fn flows_of_one_client_go_along_in_one_echo_sixteen_at_most() {
    let (mut echoes, now) = echoes();
    for port in 0..20 {
        echoes.stall(now, flow(1, port), Due::Owed);
    }
    echoes.stall(now, flow(2, 1), Due::Owed);
    let asks = echoes.asks(now);
    let sizes: Vec<(u64, usize)> = asks.iter().map(|(serial, flows)| (*serial, flows.len())).collect();
    assert_eq!(sizes, [(8, 16), (9, 4), (10, 1)]);
    assert_eq!((echoes.counters().asked, echoes.counters().told), (3, 21));
    assert_eq!(echoes.asks(now), []);
}

#[test]
fn who_does_not_answer_is_asked_again_with_patience_and_then_left() {
    let (mut echoes, begin) = echoes();
    echoes.stall(begin, flow(1, 1), Due::Owed);
    let mut asked = Vec::new();
    while let Some(at) = echoes.poll_timeout().filter(|_| !echoes.flows.is_empty()) {
        asked.extend(echoes.asks(at).iter().map(|_| at.duration_since(begin).as_millis()));
    }
    assert_eq!(asked, [0, 200, 600, 1400, 3000, 6200]);
    assert_eq!(echoes.counters().given_up, 1);
}

#[test]
fn a_flow_that_was_left_is_not_begun_anew_while_it_still_stalls() {
    let (mut echoes, begin) = echoes();
    echoes.stall(begin, flow(1, 1), Due::Owed);
    for ms in (0..13_000).step_by(10) {
        echoes.asks(after(begin, ms));
    }
    assert_eq!(echoes.counters().given_up, 1);
    for s in 13..200 {
        echoes.stall(after(begin, s * 1_000), flow(1, 1), Due::Owed);
        assert_eq!(echoes.asks(after(begin, s * 1_000 + 500)), [], "{s} s: it is told again each second");
    }
    echoes.over(&flow(1, 1));
    echoes.stall(after(begin, 201_000), flow(1, 1), Due::Owed);
    assert_eq!(echoes.asks(after(begin, 201_000)).len(), 1, "it was heard in between");
}

#[test]
fn progress_ends_it() {
    let (mut echoes, begin) = echoes();
    echoes.stall(begin, flow(1, 1), Due::Owed);
    echoes.asks(begin);
    echoes.over(&flow(1, 1));
    assert_eq!(echoes.poll_timeout(), None);
    assert_eq!((echoes.counters().by_themselves, echoes.counters().recovered), (1, 0));
}

#[test]
fn an_answer_draws_a_nudge_and_what_still_stalls_is_asked_about_again() {
    let (mut echoes, begin) = echoes();
    echoes.stall(begin, flow(1, 1), Due::Owed);
    let [(serial, _)] = echoes.asks(begin)[..] else { panic!() };
    echoes.answered(after(begin, 12), serial);
    assert_eq!(echoes.poll_output(), Some(Output::Nudge { flow: flow(1, 1), state: 42 }));
    assert_eq!(echoes.asks(after(begin, 200)).len(), 1);
    echoes.over(&flow(1, 1));
    assert_eq!(echoes.counters().recovered, 1);
}

#[test]
fn an_answer_counts_once_and_only_to_what_was_asked() {
    let (mut echoes, begin) = echoes();
    echoes.stall(begin, flow(1, 1), Due::Owed);
    let [(serial, _)] = echoes.asks(begin)[..] else { panic!() };
    for serial in [serial, serial, serial + 1, 0] {
        echoes.answered(begin, serial);
    }
    assert_eq!((echoes.counters().answered, echoes.counters().unexpected), (1, 3));
}

#[test]
fn a_client_that_owes_nothing_is_asked_twice_and_rests_once_it_has_answered() {
    let (mut echoes, begin) = echoes();
    for (client, answers, expected) in [(1, false, 2), (2, true, 1)] {
        let flow = flow(client, 1);
        echoes.stall(begin, flow, Due::Expected);
        let mut asked = 0;
        for ms in (0..5_000).step_by(10) {
            for (serial, _) in echoes.asks(after(begin, ms)) {
                asked += 1;
                if answers {
                    echoes.answered(after(begin, ms), serial);
                }
            }
        }
        assert_eq!(asked, expected, "client {client}");
    }
    assert_eq!(echoes.counters().given_up, 0, "nothing was lost");
    echoes.stall(after(begin, 5_500), flow(1, 1), Due::Expected);
    assert_eq!(echoes.asks(after(begin, 5_500)).len(), 1, "it has gone on meanwhile, and stalled again");
    echoes.over(&flow(1, 1));
    echoes.stall(after(begin, 6_000), flow(2, 1), Due::Owed);
    assert_eq!(echoes.asks(after(begin, 6_000)).len(), 1, "now it owes something");
}

#[test]
fn a_client_and_the_host_have_their_rates() {
    let (mut echoes, begin) = echoes();
    for port in 0..400 {
        echoes.stall(begin, flow(1, port), Due::Owed);
    }
    assert_eq!(echoes.asks(begin).len(), 10, "25 echoes are due");
    assert_eq!(echoes.asks(after(begin, 99)).len(), 0);
    assert_eq!(echoes.asks(after(begin, 150)).len(), 1);
    for client in 2..=255 {
        echoes.stall(after(begin, 150), flow(client, 1), Due::Owed);
    }
    let asked = echoes.asks(after(begin, 150)).len();
    assert!((90..=100).contains(&asked), "{asked}: the host's own rate");
}

#[test]
fn so_many_flows_are_known_and_no_more() {
    let (mut echoes, begin) = echoes();
    for port in 0..FLOWS_MAX as u16 + 5 {
        echoes.stall(begin, flow(1, port), Due::Owed);
    }
    assert_eq!((echoes.flows.len(), echoes.counters().refused), (FLOWS_MAX, 5));
}

/// Whatever happens in whatever order: an echo never exceeds the rates, every deadline is met, and what is due is known.
#[test]
fn random_operations_keep_the_bounds() {
    for seed in 0..200u64 {
        let (mut echoes, begin) = echoes();
        let mut word = seed;
        let mut now = begin;
        let mut sent: Vec<(Instant, IpAddr)> = Vec::new();
        for _ in 0..400 {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (client, port) = ((word >> 33) as u8 % 4, (word >> 41) as u16 % 40);
            let due = if word >> 50 & 1 == 0 { Due::Owed } else { Due::Expected };
            match word >> 60 {
                0..=7 => echoes.stall(now, flow(client, port), due),
                8..=9 => echoes.over(&flow(client, port)),
                10..=11 => echoes.answered(now, 8 + u64::from(port)),
                _ => now += Duration::from_millis(word >> 52 & 0x7f),
            }
            for (_, flows) in echoes.asks(now) {
                assert!(flows.iter().all(|flow| flow.client().ip() == flows[0].client().ip()));
                sent.push((now, flows[0].client().ip()));
            }
            assert!(echoes.poll_timeout().is_none_or(|at| at > now), "seed {seed}: nothing due is left");
            assert_eq!(echoes.due.len(), echoes.flows.len(), "seed {seed}: each flow has its deadline");
        }
        for (at, client) in &sent {
            let second =
                |(when, of): &&(Instant, IpAddr)| of == client && *when >= *at && *when < *at + Duration::from_secs(1);
            assert!(sent.iter().filter(second).count() <= 20, "seed {seed}: a burst and a second's worth");
        }
    }
}
